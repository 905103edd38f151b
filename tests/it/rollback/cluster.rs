//! A throw-away PostgreSQL primary with a streaming standby, on loopback.

use crate::http::client::wait_for;
use crate::support::installation::succeed;
use crate::support::places::postgres_program;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// One of the two servers.
pub struct Server {
    data: PathBuf,
    port: u16,
}

/// Both, gone when dropped.
pub struct Cluster {
    pub primary: Server,
    pub standby: Server,
    folder: TempDir,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Text)]
    answer: String,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of PostgreSQL, which refuses to run as root.
fn as_owner(program: &str) -> Command {
    let program = postgres_program(program).unwrap();
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(program)
        .current_dir("/");
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            data: folder.join(name),
            port: free_port(),
        }
    }

    fn configure(&self, folder: &Path) {
        let text = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n\
             fsync = on\nmax_connections = 50\nwal_receiver_timeout = 5s\n",
            self.port,
            folder.display()
        );
        let file = self.data.join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn control(&self, arguments: &[&str]) -> Command {
        let mut command = as_owner("pg_ctl");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-l")
            .arg(self.data.with_extension("log"))
            .args(["-w", "-t", "60"])
            .args(arguments);
        command
    }

    pub fn start(&self) {
        // Its children would keep a pipe of ours open.
        let status = self
            .control(&["start"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{:?} does not start", self.data);
    }

    /// As a crash of the machine ends it.
    pub fn crash(&self) {
        succeed(&mut self.control(&["-m", "immediate", "stop"]));
    }

    /// As an operator ends it.
    pub fn stop(&self) {
        succeed(&mut self.control(&["-m", "fast", "stop"]));
    }

    pub fn promote(&self) {
        succeed(&mut self.control(&["promote"]));
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgresql://siegel@127.0.0.1:{}/{database}", self.port)
    }

    pub fn execute(&self, sql: &str) {
        let mut connection = PgConnection::establish(&self.url("postgres")).unwrap();
        connection.batch_execute(sql).unwrap();
    }

    /// A text that this query selects as `answer`, if it selects a row.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let mut connection = PgConnection::establish(&self.url("postgres")).unwrap();
        let found: Vec<Answer> = diesel::sql_query(sql).load(&mut connection).unwrap();
        found.into_iter().next().map(|found| found.answer)
    }
}

impl Cluster {
    /// Both run; the standby follows, but no commit waits for it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            succeed(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let primary = Server::new(folder.path(), "primary");
        let standby = Server::new(folder.path(), "standby");
        succeed(
            as_owner("initdb")
                .args([
                    "-U",
                    "siegel",
                    "-A",
                    "trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "-D",
                ])
                .arg(&primary.data),
        );
        primary.configure(folder.path());
        primary.start();
        primary.execute("CREATE DATABASE siegel");
        let follow = format!(
            "host=127.0.0.1 port={} user=siegel application_name=standby",
            primary.port
        );
        succeed(
            as_owner("pg_basebackup")
                .args(["-R", "-X", "stream", "-c", "fast", "-d", &follow, "-D"])
                .arg(&standby.data),
        );
        standby.configure(folder.path());
        standby.start();
        let cluster = Self {
            primary,
            standby,
            folder,
        };
        cluster.wait_until_it_follows();
        cluster
    }

    fn wait_until_it_follows(&self) {
        wait_for("the standby", || {
            let state = "SELECT state AS answer FROM pg_stat_replication WHERE state = 'streaming'";
            self.primary.ask(state)
        });
    }

    /// From now on commits wait for the standby.
    pub fn make_synchronous(&self) {
        self.primary
            .execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.primary.execute("SELECT pg_reload_conf()");
        wait_for("the synchronous standby", || {
            let state =
                "SELECT sync_state AS answer FROM pg_stat_replication WHERE sync_state = 'sync'";
            self.primary.ask(state)
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the primary archives its write-ahead log. It is started anew for that.
    pub fn archive(&self) {
        let archive = self.path("archive");
        std::fs::create_dir(&archive).unwrap();
        if is_root() {
            succeed(Command::new("chown").arg("postgres").arg(&archive));
        }
        let command = format!("cp %p {}/%f", archive.display());
        self.primary
            .execute(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        self.primary.execute("ALTER SYSTEM SET archive_mode = on");
        self.primary.stop();
        self.primary.start();
    }

    /// Waits until everything that was committed so far is in the archive.
    pub fn wait_until_it_is_archived(&self) {
        let last = self
            .primary
            .ask("SELECT pg_walfile_name(pg_switch_wal()) AS answer")
            .unwrap();
        let archived = format!(
            "SELECT last_archived_wal AS answer FROM pg_stat_archiver WHERE last_archived_wal >= '{last}'"
        );
        wait_for("the archive", || self.primary.ask(&archived));
    }

    /// A copy of the primary while it runs.
    pub fn base_backup(&self) {
        let from = format!("host=127.0.0.1 port={} user=siegel", self.primary.port);
        succeed(
            as_owner("pg_basebackup")
                .args(["-X", "stream", "-c", "fast", "-d", &from, "-D"])
                .arg(self.path("backup")),
        );
    }

    /// As after the loss of the primary's disk: the backup in its place, where wanted with all that was archived
    /// since. The standby goes, too.
    pub fn put_back(&self, with_archive: bool) {
        self.standby.stop();
        self.primary.crash();
        let data = &self.primary.data;
        std::fs::remove_dir_all(data).unwrap();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(self.path("backup"))
                .arg(data),
        );
        if with_archive {
            let setting = format!(
                "restore_command = 'cp {}/%f %p'\n",
                self.path("archive").display()
            );
            let file = data.join("postgresql.auto.conf");
            let mut file = OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(setting.as_bytes()).unwrap();
            std::fs::write(data.join("recovery.signal"), "").unwrap();
        }
        self.primary.start();
        wait_for("the end of recovery", || {
            self.primary
                .ask("SELECT 'done' AS answer WHERE NOT pg_is_in_recovery()")
        });
    }

    /// Whichever of the two is the primary.
    pub fn url(&self) -> String {
        format!(
            "postgresql://siegel@127.0.0.1:{},127.0.0.1:{}/siegel?target_session_attrs=read-write",
            self.primary.port, self.standby.port
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in [&self.primary, &self.standby] {
            if server.data.join("postmaster.pid").exists() {
                let _ = server.control(&["-m", "immediate", "stop"]).output();
            }
        }
        if is_root() {
            // What belongs to another user goes first; the folder itself goes by itself.
            for server in [&self.primary, &self.standby] {
                let _ = std::fs::remove_dir_all(&server.data);
            }
        }
    }
}
