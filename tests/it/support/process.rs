//! The built server as a process that a test may freeze, kill and start again.

use super::installation::program;
use super::places::{leave_out, place_of};
use super::token::TestClock;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use siegel::terms::Clock as _;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for a server that starts.
pub const START_WAIT: Duration = Duration::from_secs(60);

/// Lines of a server's log that are kept for whoever has to find out why.
const LOG_LINES_MAX: usize = 400;

/// Longest wait for a program that was asked to end. A server has 30 s for the calls that are open.
const END_WAIT: Duration = Duration::from_secs(90);

/// A running server. Dropping it kills it.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The latest lines that a program has printed.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Adds one.
    pub fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// Whether one of them has this text; if so, all are forgotten.
    pub fn takes(&self, text: &str) -> bool {
        let mut lines = self.0.lock().unwrap();
        let found = lines.iter().any(|line| line.contains(text));
        if found {
            lines.clear();
        }
        found
    }

    /// All of them.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A program that ends with the thread that has started it, whatever ends that thread. It runs as `user`, whose
/// number comes second, where there is one.
pub fn leashed(program: &Path, user: Option<&(String, u32)>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some((name, _)) = user {
        command.arg("--reuid").arg(name).arg("--regid").arg(name);
        command.arg("--init-groups");
    }
    command.arg(program);
    command
}

/// Waits until a program has ended by itself.
///
/// # Errors
/// What was waited for, if it does not end in time; then it is killed.
pub fn end_of(child: &mut Child, what: &str) -> Result<ExitStatus, String> {
    end_within(END_WAIT, child, what)
}

fn end_within(wait: Duration, child: &mut Child, what: &str) -> Result<ExitStatus, String> {
    let clock = TestClock::start();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Ok(status);
        }
        let waited = Duration::from_millis(clock.monotonic_ms());
        if waited > wait {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{what} does not end within {wait:?}"));
        }
        std::thread::yield_now();
    }
}

/// The library that shifts the clock of a program; `None`, with a printed line, where there is none. With
/// `SIEGEL_NEED_FAKETIME=1` that is a failure instead.
pub fn faketime() -> Option<PathBuf> {
    let found = place_of("faketime");
    if found.is_none() {
        let what = "no clock can be shifted here: the package faketime is not installed";
        leave_out("SIEGEL_NEED_FAKETIME", what);
    }
    found
}

impl Process {
    /// Starts a server and waits until it says that it is ready. Its clock is off by what stands in the file
    /// `clock`, such as `-3`, where there is one; the file is read each time the server looks at its clock.
    ///
    /// # Errors
    /// What the server has printed, if it ends instead.
    pub fn start(config: &Path, clock: Option<&Path>, log: &Log) -> Result<Self, String> {
        let mut command = Command::new("env");
        // A write beyond the limit is to fail as on a full disk, and not to end the process.
        command
            .args(["--ignore-signal=XFSZ", "setpriv", "--pdeathsig", "KILL"])
            .arg(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .env("NO_COLOR", "1")
            .env_remove("SOFTHSM2_CONF")
            .stderr(Stdio::piped());
        if let Some((library, file)) = faketime().zip(clock) {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = channel();
        let kept = log.clone();
        // Somebody has to read on, or the server would block on a full pipe.
        std::thread::spawn(move || read_log(lines, &kept, &tell));
        let ready = told.recv_timeout(START_WAIT);
        let Ok(address) = ready else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("a server does not become ready:\n{}", log.text()));
        };
        Ok(Self { child, address })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops it where it stands. It keeps all it has, such as locks.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Ends it without letting it finish anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, as an operator does, and waits for it.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        end_of(&mut self.child, "a server that was told to stop").unwrap()
    }

    /// From now on nothing can be written to a file beyond this many bytes; `None`: no limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What libfaketime leaves behind in the memory of the system.
        let id = self.child.id();
        for name in [
            format!("faketime_shm_{id}"),
            format!("sem.faketime_sem_{id}"),
        ] {
            let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

fn read_log(lines: impl BufRead, log: &Log, tell: &Sender<SocketAddr>) {
    for line in lines.lines() {
        let Ok(line) = line else {
            return;
        };
        if let Some((_, url)) = line.split_once("ready on http://")
            && let Some(Ok(address)) = url.split('/').next().map(str::parse)
        {
            let _ = tell.send(address);
        }
        log.add(&line);
    }
}

#[test]
fn a_program_that_does_not_end_is_killed_and_named() {
    let mut child = leashed(Path::new("sleep"), None)
        .arg("600")
        .spawn()
        .unwrap();
    let ended = end_within(Duration::from_millis(50), &mut child, "a long sleep");
    assert_eq!(ended.unwrap_err(), "a long sleep does not end within 50ms");
    assert!(!child.try_wait().unwrap().unwrap().success());
}
