//! Siegel as an operator runs it: one or two server processes on one ledger and one SoftHSM folder, with
//! everything within reach that may fail.

use super::cluster::Cluster;
use super::installation::{read_json, siegel, succeed};
use super::ledger::Place;
use super::process::{Log, Process};
use super::proxy::Proxy;
use super::remote::RemoteToken;
use crate::http::client::Api;
use siegel::ledger::StoreConfig;
use siegel::terms::OrganizationId;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use tempfile::TempDir;
use uuid::Uuid;

/// Where the ledger is.
pub enum Database {
    /// A file in the installation's folder.
    Sqlite,
    /// A database on the server of the test run.
    Shared(Place),
    /// A PostgreSQL of its own, behind a proxy.
    Own { cluster: Cluster, proxy: Proxy },
}

impl Database {
    /// A PostgreSQL of its own, where that can be had.
    pub fn own() -> Option<Self> {
        let cluster = Cluster::new()?;
        let proxy = Proxy::to(cluster.address());
        Some(Self::Own { cluster, proxy })
    }
}

/// One server of the site.
#[derive(Default)]
struct Node {
    running: Mutex<Option<Process>>,
    log: Log,
    /// Where it was last told to listen; kept while it is frozen or gone.
    address: Mutex<Option<SocketAddr>>,
    is_remote: Mutex<bool>,
}

/// Servers, ledger and token. Dropping it ends everything.
pub struct Site {
    // Before the folder and the database, which must outlive them.
    nodes: Vec<Node>,
    remote: Mutex<Option<RemoteToken>>,
    pub database: Mutex<Database>,
    folder: TempDir,
    access_token: String,
    /// What all clocks are off by, in milliseconds, when nothing is wrong.
    clock_ms: AtomicI64,
}

impl Site {
    /// Installs and starts so many nodes. `sections` is added to the configuration of each.
    pub fn start(database: Database, nodes: usize, sections: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = ["init", "--port", "0", "--dir"];
        succeed(siegel().args(init).arg(folder.path()));
        let mut site = Self {
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            remote: Mutex::new(None),
            database: Mutex::new(database),
            folder,
            access_token: String::new(),
            clock_ms: AtomicI64::new(0),
        };
        for node in 0..nodes {
            site.configure(node, sections);
            fs::write(site.clock_file(node), "+0").unwrap();
        }
        let credentials = site.path("credentials.json");
        let base = "http://127.0.0.1:1/api/v2";
        succeed(
            siegel()
                .args(["demo", "credentials", "--base-url", base, "--config"])
                .arg(site.config(0, false))
                .arg("--out")
                .arg(&credentials),
        );
        (0..nodes).for_each(|node| site.start_node(node));
        let login = site.api(0).post("/auth", &read_json(&credentials)).ok();
        site.access_token = login["access_token"].as_str().unwrap().to_owned();
        site
    }

    /// A file of the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, node: usize, is_remote: bool) -> PathBuf {
        let place = if is_remote { "-remote" } else { "" };
        self.path(&format!("node-{node}{place}.toml"))
    }

    /// The file whose text shifts the clock of a node.
    fn clock_file(&self, node: usize) -> PathBuf {
        self.path(&format!("clock-{node}"))
    }

    /// The configuration of a node, once with the token itself and once with the link to it.
    fn configure(&self, node: usize, sections: &str) {
        let text = fs::read_to_string(self.path("siegel.toml")).unwrap();
        let ledger = match &*self.database() {
            Database::Sqlite => "sqlite = \"siegel.db\"".to_owned(),
            Database::Shared(place) => match place.config() {
                StoreConfig::Postgres { url, .. } => {
                    let url = url.trim_end_matches('?');
                    let mark = if url.contains('?') { '&' } else { '?' };
                    format!("postgres = \"{url}{mark}application_name=node-{node}\"")
                }
                StoreConfig::Sqlite { .. } => panic!("this is for PostgreSQL"),
            },
            Database::Own { proxy, .. } => format!(
                "postgres = \"postgresql://siegel@{}/postgres?application_name=node-{node}\"",
                proxy.address
            ),
        };
        let text = text.replace("sqlite = \"siegel.db\"", &ledger);
        let text = format!("{text}\n{sections}\n");
        fs::write(self.config(node, false), &text).unwrap();
        if let Some(remote) = RemoteToken::in_front_of(&text, &self.path("link")) {
            fs::write(self.config(node, true), remote).unwrap();
        }
    }

    /// The ledger's place.
    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap()
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Starts a node that does not run.
    pub fn start_node(&self, number: usize) {
        let node = &self.nodes[number];
        let is_remote = *node.is_remote.lock().unwrap();
        let config = self.config(number, is_remote);
        let started = Process::start(&config, Some(&self.clock_file(number)), &node.log);
        let started = started.unwrap_or_else(|problem| panic!("node {number}: {problem}"));
        *node.address.lock().unwrap() = Some(started.address);
        *node.running.lock().unwrap() = Some(started);
    }

    fn take(&self, node: usize) -> Process {
        let running = self.nodes[node].running.lock().unwrap().take();
        running.expect("the node runs")
    }

    /// Ends a node without letting it finish anything.
    pub fn kill_node(&self, node: usize) {
        self.take(node).kill();
    }

    /// Asks a node to end, and waits for it.
    pub fn stop_node(&self, node: usize) -> ExitStatus {
        self.take(node).stop()
    }

    /// Does something to a running process.
    pub fn with_node<T>(&self, node: usize, act: impl FnOnce(&Process) -> T) -> T {
        let running = self.nodes[node].running.lock().unwrap();
        act(running.as_ref().expect("the node runs"))
    }

    /// Starts nodes anew that say that a call into their module does not return, as their supervisor would. Answers
    /// with how many that were.
    pub fn restart_hanging_nodes(&self) -> usize {
        let says_so = |node: &usize| {
            self.nodes[*node]
                .log
                .takes("a call into it does not return")
        };
        let hanging: Vec<usize> = (0..self.nodes.len()).filter(says_so).collect();
        for node in &hanging {
            self.kill_node(*node);
            self.start_node(*node);
        }
        hanging.len()
    }

    /// What a node has printed lately.
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].log.text()
    }

    /// Shifts the clock of a node by so many milliseconds.
    pub fn shift_clock(&self, node: usize, by_ms: i64) {
        let sign = if by_ms < 0 { '-' } else { '+' };
        let (s, ms) = (by_ms.abs() / 1000, by_ms.abs() % 1000);
        let text = format!("{sign}{s}.{ms:03}");
        // In one step, so that nobody reads half of it.
        let new = self.path(&format!("clock-{node}-new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.clock_file(node)).unwrap();
    }

    /// What all clocks are off by, in milliseconds, when nothing is wrong.
    pub fn clock_ms(&self) -> i64 {
        self.clock_ms.load(SeqCst)
    }

    /// All clocks show the same from now on.
    pub fn set_clocks(&self, by_ms: i64) {
        self.clock_ms.store(by_ms, SeqCst);
        (0..self.nodes()).for_each(|node| self.shift_clock(node, by_ms));
    }

    /// URL of the PostgreSQL behind everything, past the proxy.
    pub fn database_url(&self) -> String {
        match &*self.database() {
            Database::Sqlite => panic!("SQLite has no URL"),
            Database::Shared(place) => match place.config() {
                StoreConfig::Postgres { url, .. } => url,
                StoreConfig::Sqlite { .. } => panic!("this is for PostgreSQL"),
            },
            Database::Own { cluster, .. } => cluster.url(),
        }
    }

    /// Where a node listens, or has listened.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node]
            .address
            .lock()
            .unwrap()
            .expect("it has listened")
    }

    /// The site's organisation at one of its nodes.
    pub fn api(&self, node: usize) -> Api {
        Api {
            address: self.address(node),
            // It is not asked for anything that needs to know it.
            organization: OrganizationId::new(Uuid::nil()),
            token: Some(self.access_token.clone()).filter(|token| !token.is_empty()),
        }
    }

    /// What calls are authorised with.
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// From its next start on, this node reaches the token through a link, or directly again.
    pub fn set_remote(&self, node: usize, is_remote: bool) {
        *self.nodes[node].is_remote.lock().unwrap() = is_remote;
    }

    /// The far end of the link.
    pub fn remote(&self) -> MutexGuard<'_, Option<RemoteToken>> {
        self.remote.lock().unwrap()
    }

    /// Opens the far end of the link.
    pub fn open_link(&self) {
        let remote = RemoteToken::start(&self.path("link"), &self.path("softhsm2.conf"));
        *self.remote() = Some(remote);
    }

    /// Ends the far end of the link, whatever it is doing.
    pub fn cut_link(&self) {
        drop(self.remote().take());
    }
}
