//! A Siegel as an operator has it: its own data folder, the built binary, a free port.

use super::process::{START_WAIT, end_of, leashed};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A data folder made by `siegel init`, and the server while it runs.
pub struct Installation {
    folder: TempDir,
    server: Option<(Child, SocketAddr)>,
    log: Log,
    reader: Option<JoinHandle<()>>,
}

/// Lines that servers have logged so far.
type Log = Arc<Mutex<Vec<String>>>;

impl Installation {
    /// Makes the folder and the demo's credentials.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let installation = Self {
            folder,
            server: None,
            log: Log::default(),
            reader: None,
        };
        let data = installation.path("");
        succeed(siegel().args(["init", "--port", "0", "--dir"]).arg(data));
        installation
    }

    /// A file of the data folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds sections to the configuration.
    pub fn configure(&self, sections: &str) {
        let file = self.path("siegel.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}\n{sections}\n")).unwrap();
    }

    /// Every line logged so far; all of them once the server was stopped.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first line with this text.
    pub fn logged(&self, text: &str) -> String {
        let log = self.log();
        let found = log.iter().find(|line| line.contains(text));
        found
            .unwrap_or_else(|| panic!("{text:?} is not in {log:?}"))
            .clone()
    }

    /// Starts the server on a free port and waits until it says that it is ready.
    pub fn start(&mut self) -> SocketAddr {
        let mut child = leashed(&program(), None)
            .env_remove("SOFTHSM2_CONF")
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.path("siegel.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        let log = Arc::clone(&self.log);
        // Somebody has to read on, or the server would block on a full pipe.
        self.reader = Some(std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let ready = line
                    .split_once("ready on http://")
                    .map(|(_, url)| url.to_owned());
                log.lock().unwrap().push(line);
                if let Some(url) = ready {
                    let _ = tell.send(url);
                }
            }
        }));
        let Ok(url) = told.recv_timeout(START_WAIT) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a server is not ready: {}", self.log().join("\n"));
        };
        let address = url.split('/').next().unwrap().parse().unwrap();
        self.server = Some((child, address));
        address
    }

    /// The process of the running server.
    pub fn pid(&self) -> u32 {
        let (child, _) = self.server.as_ref().expect("the server runs");
        child.id()
    }

    /// Stops the server as an operator does, and returns whether it ended well.
    pub fn stop(&mut self) -> bool {
        let (mut child, _) = self.server.take().expect("the server runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = end_of(&mut child, "a server that was told to stop");
        let ended_well = ended.unwrap().success();
        self.reader.take().unwrap().join().unwrap();
        ended_well
    }

    /// Ends the server without letting it finish anything.
    pub fn kill(&mut self) {
        let (mut child, _) = self.server.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Credentials for `address`; the server must not be running.
    pub fn write_credentials(&self, base_url: &str) {
        assert!(self.server.is_none(), "the ledger has one user at a time");
        succeed(
            siegel()
                .args(["demo", "credentials", "--base-url", base_url, "--config"])
                .arg(self.path("siegel.toml"))
                .arg("--out")
                .arg(self.path("demo/credentials.json")),
        );
    }

    /// Points the credentials to where the server listens now.
    pub fn point_credentials_to(&self, address: SocketAddr) {
        let file = self.path("demo/credentials.json");
        let mut credentials = read_json(&file);
        credentials["base_url"] = format!("http://{address}/api/v2").into();
        std::fs::write(file, credentials.to_string()).unwrap();
    }

    /// Plays the demo till and returns what it printed.
    pub fn play(&self) -> String {
        let output = succeed(
            siegel()
                .args(["demo", "play", "--credentials"])
                .arg(self.path("demo/credentials.json"))
                .arg("--out")
                .arg(self.path("demo")),
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.server {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program of this build, or the one that `SIEGEL_PROGRAM` names.
pub fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_siegel");
    std::env::var_os("SIEGEL_PROGRAM").map_or_else(|| built.into(), PathBuf::from)
}

/// A command of the program.
pub fn siegel() -> Command {
    let mut command = Command::new(program());
    // Tests of this process have variables of their own for their modules.
    command.env_remove("SOFTHSM2_CONF");
    command
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Reads a JSON file.
pub fn read_json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_server_ends_with_the_thread_that_has_started_it() {
    let starter = std::thread::spawn(|| {
        let mut installation = Installation::new();
        installation.start();
        installation
    });
    let installation = starter.join().unwrap();
    let stat = format!("/proc/{}/stat", installation.pid());
    // Nobody has asked how it ended, so its number is still taken.
    crate::http::client::wait_for("the end of the server", || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.contains(") Z ").then_some(())
    });
}
