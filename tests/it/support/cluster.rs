//! A PostgreSQL of its own for tests that stop it: made in a temporary folder, gone when dropped.

use super::places::{leave_out, place_of, postgres_program};
use super::process::{end_of, leashed};
use diesel::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// How PostgreSQL is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Transactions are rolled back, and everything is written.
    Fast,
    /// As after a power cut: it recovers at the next start.
    Immediate,
}

/// A throw-away cluster; it listens on loopback only, and runs with `fsync` on.
pub struct Cluster {
    folder: TempDir,
    /// What makes it run as somebody else; PostgreSQL refuses to run as root.
    owner: Option<(String, u32)>,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes and starts one; `None`, with a printed line, where PostgreSQL's server programs are not
    /// installed. With `SIEGEL_NEED_POSTGRES=1` that is a failure instead.
    pub fn new() -> Option<Self> {
        if place_of("postgres").is_none() {
            let what = "PostgreSQL's server programs are not installed";
            leave_out("SIEGEL_NEED_POSTGRES", what);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        let owner = is_root.then(|| {
            let id = Command::new("id").args(["-u", "postgres"]).output();
            let text = String::from_utf8(id.unwrap().stdout).unwrap();
            ("postgres".to_owned(), text.trim().parse().unwrap())
        });
        if let Some((_, id)) = &owner {
            chown(folder.path(), Some(*id), None).unwrap();
        }
        let mut cluster = Self {
            folder,
            owner,
            port: 0,
            server: None,
        };
        let data = cluster.folder.path().join("data");
        let made = cluster
            .command("initdb")
            .args(["-U", "siegel", "-A", "trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-instructions", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        cluster.start();
        Some(cluster)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = leashed(&postgres_program(program).unwrap(), self.owner.as_ref());
        command.current_dir(self.folder.path());
        command
    }

    /// Starts it, on whatever port is free, and waits until it answers.
    pub fn start(&mut self) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        self.port = free.local_addr().unwrap().port();
        drop(free);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.folder.path().join("data"));
        let sockets = self.folder.path().display();
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={sockets}"),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            "max_connections=100".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        let server = command.stdin(Stdio::null()).stdout(Stdio::null());
        self.server = Some(server.stderr(log).spawn().unwrap());
        let answers = || PgConnection::establish(&self.url()).ok();
        crate::http::client::wait_for("PostgreSQL", answers);
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// URL of the one database.
    pub fn url(&self) -> String {
        format!("postgresql://siegel@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it and waits until it has ended.
    pub fn stop(&mut self, how: Stop) {
        let mut server = self.server.take().expect("PostgreSQL runs");
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        kill_process(Pid::from_child(&server), signal).unwrap();
        end_of(&mut server, &format!("PostgreSQL, told {how:?}")).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.stop(Stop::Immediate);
        }
    }
}
