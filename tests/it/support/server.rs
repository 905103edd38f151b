//! A whole server inside the test process: a real node on a token of its own, served on a free
//! loopback port, with a clock that stands still until a test moves it.

use super::ledger::{self, Place};
use super::token::{self, PIN, TestClock, TestEntropy, TestToken};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use siegel::app::{Node, NodeError};
use siegel::config::{Config, UNCERTIFIED_LIVE_SENTENCE};
use siegel::ledger::{
    ApiKey, ApiKeyStatus, LedgerError, OrganizationRow, SealingKey, Store, StoreConfig,
};
use siegel::terms::{Clock, Environment, OrganizationId, SeTime};
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for anything, in milliseconds.
pub const PATIENCE_MS: u64 = 60_000;

/// When the clock of a new server stands still, in unix seconds.
pub const START_S: i64 = 1_800_000_000;

/// A clock that tests move forward.
pub struct StillClock {
    machine: Arc<TestClock>,
    now_s: AtomicI64,
}

impl StillClock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            machine: TestClock::start(),
            now_s: AtomicI64::new(START_S),
        })
    }
}

impl Clock for StillClock {
    fn now(&self) -> SeTime {
        SeTime::try_from(self.now_s.load(Ordering::SeqCst)).unwrap()
    }

    fn monotonic_ms(&self) -> u64 {
        self.machine.monotonic_ms()
    }
}

/// What a server is to be like; TOML sections as an operator writes them.
pub struct TestServerBuilder {
    folder: TempDir,
    sections: String,
    /// `None` for SQLite in the folder.
    place: Option<Place>,
    pool_target: u32,
    curve: &'static str,
    /// More lines of [pki].
    pki: &'static str,
    /// Tokens for LIVE beside the one for TEST.
    live: usize,
    /// Line of `[server]`.
    server_line: &'static str,
    /// Chooses the token by its serial number.
    by_serial: bool,
    /// The server whose ledger it shares: that ledger's line in the configuration, sealing key, clock.
    beside: Option<(String, Vec<u8>, Arc<StillClock>)>,
}

impl TestServerBuilder {
    /// Adds a section of the configuration, such as `[limits]` with its lines.
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Prepared devices to keep.
    pub const fn pool_target(mut self, target: u32) -> Self {
        self.pool_target = target;
        self
    }

    /// Curve of its TSSs.
    pub const fn curve(mut self, curve: &'static str) -> Self {
        self.curve = curve;
        self
    }

    /// Adds a line to `[server]`.
    pub const fn server_line(mut self, line: &'static str) -> Self {
        self.server_line = line;
        self
    }

    /// Chooses its token for TEST by serial number instead of label.
    pub const fn by_serial(mut self) -> Self {
        self.by_serial = true;
        self
    }

    /// More lines of `[pki]`.
    pub const fn pki(mut self, lines: &'static str) -> Self {
        self.pki = lines;
        self
    }

    /// Devices of TEST come from a foreign CA.
    pub const fn foreign(mut self) -> Self {
        self.pki = "source = \"foreign\"";
        self
    }

    /// So many tokens for LIVE, without any device in them.
    pub const fn live(mut self, tokens: usize) -> Self {
        self.live = tokens;
        self
    }

    /// Keeps the ledger there.
    pub fn on(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Starts it.
    pub fn start(self) -> TestServer {
        let folder = self.folder;
        let mut sections = self.sections;
        if !sections.contains("[lanes]") {
            // Most tests that send a revision too high want to see it refused, and not to wait for it.
            sections.push_str("[lanes]\nearly_wait_ms = 50\n");
        }
        let path = |name: &str| folder.path().join(name);
        match &self.beside {
            None => drop(SealingKey::create_file(&path("seal.key"), &TestEntropy).unwrap()),
            Some((_, key, _)) => {
                fs::write(path("seal.key"), key).unwrap();
                fs::set_permissions(path("seal.key"), Permissions::from_mode(0o600)).unwrap();
            }
        }
        let token = token::softhsm();
        fs::write(path("token.pin"), PIN).unwrap();
        fs::set_permissions(path("token.pin"), Permissions::from_mode(0o600)).unwrap();
        let ledger = match self.place.as_ref().map(Place::config) {
            None | Some(StoreConfig::Sqlite { .. }) => "sqlite = \"ledger.db\"".to_owned(),
            Some(StoreConfig::Postgres { url, .. }) => format!("postgres = {url:?}"),
        };
        let ledger = self
            .beside
            .as_ref()
            .map_or(ledger, |beside| beside.0.clone());
        // The clusters of tests have no standby, which LIVE wants.
        let alone = match self.live > 0 && ledger.starts_with("postgres") {
            true => "danger_live_without_standby = true",
            false => "",
        };
        let clock = self.beside.map_or_else(StillClock::new, |beside| beside.2);
        let live: Vec<_> = (0..self.live).map(|_| token::softhsm()).collect();
        let sentence = match self.live {
            0 => String::new(),
            _ => format!("danger_uncertified_live = {UNCERTIFIED_LIVE_SENTENCE:?}"),
        };
        for (number, token) in live.iter().enumerate() {
            sections.push_str(&section(&format!("live-{number}"), "LIVE", token));
        }
        let mut main = section("main", "TEST", &token);
        if self.by_serial {
            let label = format!("label = {:?}", token.label);
            main = main.replace(&label, &format!("serial = {:?}", token.serial()));
        }
        let text = format!(
            r#"
{sentence}

[server]
listen = "127.0.0.1:0"
workers = 2
{}

[ledger]
{ledger}
{alone}

[secrets]
seal_key_file = "seal.key"

[pki]
pool_target = {}
curve = "{}"
{}

{}
{}"#,
            self.server_line, self.pool_target, self.curve, self.pki, main, sections
        );
        fs::write(path("siegel.toml"), text).unwrap();
        let mut server = TestServer {
            clock,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            running: None,
            _place: self.place,
            token,
            live,
            folder,
        };
        server.run();
        server
    }
}

/// A [[token]] section.
fn section(name: &str, environment: &str, token: &TestToken) -> String {
    let TestToken { module, label, .. } = token;
    let module = module.to_str().unwrap();
    format!(
        r#"
[[token]]
name = "{name}"
environment = "{environment}"
module = {module:?}
label = "{label}"
pin_file = "token.pin"
"#
    )
}

/// A node and its door. Dropping it stops both.
pub struct TestServer {
    // Before the place and the folder, which must outlive it.
    running: Option<Running>,
    clock: Arc<StillClock>,
    /// Stays open over restarts, so that the address stays ours.
    listener: TcpListener,
    folder: TempDir,
    /// Its token for TEST.
    pub token: TestToken,
    /// Its tokens for LIVE.
    pub live: Vec<TestToken>,
    _place: Option<Place>,
}

struct Running {
    node: Node,
    handle: actix_web::dev::ServerHandle,
    thread: JoinHandle<()>,
}

impl Running {
    fn stop(self) {
        let stopping = self.handle.stop(true);
        actix_web::rt::System::new().block_on(stopping);
        self.thread.join().unwrap();
        self.node.stop();
    }
}

impl TestServer {
    /// On SQLite, with the settings of a new installation.
    pub fn builder() -> TestServerBuilder {
        Self::builder_in(tempfile::tempdir().unwrap())
    }

    fn builder_in(folder: TempDir) -> TestServerBuilder {
        TestServerBuilder {
            folder,
            sections: String::new(),
            place: None,
            pool_target: 3,
            curve: "secp256r1",
            pki: "",
            live: 0,
            server_line: "",
            by_serial: false,
            beside: None,
        }
    }

    /// Another node with the same ledger on PostgreSQL, the same clock and a token of its own.
    pub fn neighbour(&self) -> TestServerBuilder {
        let place = self._place.as_ref().map(Place::config);
        let Some(StoreConfig::Postgres { url, .. }) = place else {
            panic!("only PostgreSQL serves two nodes");
        };
        let key = fs::read(self.folder.path().join("seal.key")).unwrap();
        TestServerBuilder {
            pool_target: 0,
            beside: Some((format!("postgres = {url:?}"), key, Arc::clone(&self.clock))),
            ..Self::builder()
        }
    }

    fn run(&mut self) {
        self.running = Some(self.run_on(&self.listener));
    }

    fn run_on(&self, listener: &TcpListener) -> Running {
        let config = Config::read(&self.folder.path().join("siegel.toml")).unwrap();
        let node = self.start_node(&config);
        let (door, listener) = (node.door(), listener.try_clone().unwrap());
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = siegel::http::serve(door, listener).unwrap();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Running {
            node,
            handle: told.recv().unwrap(),
            thread,
        }
    }

    /// Another node on the same ledger and token, which only PostgreSQL allows. Drop it first.
    pub fn second_node(&self) -> SecondNode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SecondNode {
            running: Some(self.run_on(&listener)),
            address: listener.local_addr().unwrap(),
        }
    }

    fn start_node(&self, config: &Config) -> Node {
        self.try_to_start_node(config)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    fn try_to_start_node(&self, config: &Config) -> Result<Node, NodeError> {
        let patience = TestClock::start();
        loop {
            let clock: Arc<dyn Clock> = Arc::<StillClock>::clone(&self.clock);
            match Node::start(config, clock, Arc::new(TestEntropy)) {
                // The HTTP workers of the last run let go of the ledger only after they have told
                // that they ended.
                Err(NodeError::Ledger(LedgerError::Unsafe(problem)))
                    if patience.monotonic_ms() < PATIENCE_MS =>
                {
                    assert!(problem.contains("is in use"), "{problem}");
                    std::thread::yield_now();
                }
                outcome => return outcome,
            }
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// Stops and starts again, on the same ledger, token and address.
    pub fn restart(&mut self) {
        self.running.take().expect("the server runs").stop();
        self.run();
    }

    /// Stops if it runs, does something, and starts again.
    pub fn restart_after(&mut self, act: impl FnOnce(&Self)) {
        self.running.take().into_iter().for_each(Running::stop);
        act(self);
        self.run();
    }

    /// Stops, does something, and returns what it says when it does not start. Start it again after this.
    pub fn refuses_to_start_after(&mut self, act: impl FnOnce(&Self)) -> NodeError {
        self.running.take().expect("the server runs").stop();
        act(self);
        let config = Config::read(&self.config_path()).unwrap();
        let refused = self.try_to_start_node(&config);
        refused.err().expect("it must not start")
    }

    /// Its configuration.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("siegel.toml")
    }

    /// Adds to its configuration; counts from the next start on.
    pub fn configure(&self, sections: &str) {
        let text = fs::read_to_string(self.config_path()).unwrap();
        fs::write(self.config_path(), format!("{text}\n{sections}\n")).unwrap();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The running node.
    pub fn node(&self) -> &Node {
        &self.running().node
    }

    /// Its ledger.
    pub fn store(&self) -> Store {
        self.node().door().store
    }

    /// Changes what is kept in SQLite, past the store.
    pub fn damage(&self, sql: &str) {
        let path = self.folder.path().join("ledger.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection
            .batch_execute("PRAGMA busy_timeout = 5000")
            .unwrap();
        connection.batch_execute(sql).unwrap();
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: i64) {
        self.clock.now_s.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Its time, in unix seconds.
    pub fn now_s(&self) -> i64 {
        self.clock.now_s.load(Ordering::SeqCst)
    }

    /// A new organisation with one API key.
    pub fn organization(&self) -> Credentials {
        let organization = OrganizationId::new(Uuid::new_v4());
        let row = OrganizationRow {
            id: organization,
            name: "Bäckerei".to_owned(),
            time_creation: self.clock.now(),
        };
        self.store().add_organization(&row).unwrap();
        self.api_key(organization, Environment::Test)
    }

    /// Another API key of an organisation.
    pub fn api_key(&self, organization: OrganizationId, environment: Environment) -> Credentials {
        let credentials = Credentials {
            organization,
            key: format!("test_{}_till", Uuid::new_v4().simple()),
            secret: Uuid::new_v4().to_string(),
        };
        let row = ApiKey {
            key: credentials.key.clone(),
            organization,
            environment,
            name: "till".to_owned(),
            secret_sha256: Sha256::digest(credentials.secret.as_bytes()).into(),
            status: ApiKeyStatus::Enabled,
            time_creation: self.clock.now(),
        };
        self.store().add_api_key(&row).unwrap();
        credentials
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// A node beside another one, with its own door. Dropping it stops it.
pub struct SecondNode {
    running: Option<Running>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Drop for SecondNode {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// What a till logs in with.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub organization: OrganizationId,
    pub key: String,
    pub secret: String,
}

impl Credentials {
    /// Body of a login.
    pub fn body(&self) -> serde_json::Value {
        json!({"api_key": self.key, "api_secret": self.secret})
    }
}

static ON_SQLITE: OnceLock<TestServer> = OnceLock::new();
static ON_POSTGRES: OnceLock<Option<TestServer>> = OnceLock::new();

/// The server on SQLite that most tests share: each makes an organisation of its own.
pub fn shared() -> &'static TestServer {
    ON_SQLITE.get_or_init(|| {
        let server = shared_in("http-sqlite").pool_target(12).start();
        stop_shared_at_exit();
        server
    })
}

/// The same on PostgreSQL; `None`, with a line that says so, when the run has no database server.
pub fn shared_on_postgres() -> Option<&'static TestServer> {
    let start = || {
        let place = ledger::postgres()?;
        let server = shared_in("http-postgres").on(place).pool_target(6).start();
        stop_shared_at_exit();
        Some(server)
    };
    ON_POSTGRES.get_or_init(start).as_ref()
}

/// Nobody drops what all tests share, and a PKCS#11 module that is called while the process ends crashes
/// it. Handlers run in the opposite order of their registration, so this one runs before those of the
/// module, which was loaded earlier.
#[allow(
    unsafe_code,
    reason = "there is no other way to be called before the module's own end"
)]
fn stop_shared_at_exit() {
    extern "C" fn stop() {
        let servers = ON_SQLITE.get().into_iter();
        let servers = servers.chain(ON_POSTGRES.get().and_then(Option::as_ref));
        servers.for_each(|server| server.node().stop());
    }
    // SAFETY: `stop` has the type that is asked for and lives as long as the program.
    let registered = unsafe { libc::atexit(stop) };
    assert_eq!(registered, 0, "an exit handler could not be registered");
}

/// Nobody drops what all tests share, so it lies where the next run clears up.
fn shared_in(name: &str) -> TestServerBuilder {
    let folder = token::home().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    TestServer::builder_in(tempfile::tempdir_in(folder).unwrap())
}

/// Runs a test on both databases.
pub fn on_both(test: impl Fn(&TestServer)) {
    test(shared());
    if let Some(server) = shared_on_postgres() {
        test(server);
    }
}
