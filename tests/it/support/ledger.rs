//! Ledgers for tests: each test gets one of its own, in SQLite or in PostgreSQL, and rows to fill it.

use super::places::leave_out;
use super::token::TestEntropy;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use siegel::asn1::TransactionPhase;
use siegel::csp::{KeyId, KeyPair, PublicKey};
use siegel::ledger::{
    Batch, CommitError, Held, LaneLedger, LoadedTss, OrganizationRow, PreparedDevice, SignedKind,
    SignedMessage, Store, StoreConfig, TssBatch,
};
use siegel::receipt::{Schema, SchemaForm};
use siegel::sma::{
    AdminUser, Changed, Client, ClientState, CredentialDigest, Metadata, Needs, Slice, Transaction,
    TransactionState, TransactionStep, Tss, TssChange, TssState,
};
use siegel::terms::{
    ClientId, ClientSerial, Curve, Entropy as _, Environment, LogFormat, OrganizationId,
    ProcessData, ProcessType, Revision, SeTime, SerialNumber, SignatureCounter, TransactionId,
    TransactionNumber, TssId,
};
use std::collections::BTreeMap;
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for a lock in tests, in milliseconds.
pub const LOCK_TIMEOUT_MS: u32 = 3000;

/// Where a test keeps its ledger; gone when dropped.
pub enum Place {
    /// A file in a folder of its own.
    Sqlite(TempDir),
    /// A database of its own on the server of the test run.
    Postgres {
        /// URL of the server's own database.
        server: String,
        /// Name of this one.
        name: String,
    },
}

/// A place in SQLite.
pub fn sqlite() -> Place {
    Place::Sqlite(tempfile::tempdir().unwrap())
}

/// A place in PostgreSQL; `None` (and a line that says so) when the run has no server.
pub fn postgres() -> Option<Place> {
    let Ok(server) = std::env::var("SIEGEL_TEST_POSTGRES") else {
        let what = "SIEGEL_TEST_POSTGRES names no server; see scripts/with-postgres";
        leave_out("SIEGEL_NEED_POSTGRES", what);
        return None;
    };
    let name = format!("siegel_{}", Uuid::new_v4().simple());
    let place = Place::Postgres { server, name };
    place.on_server("CREATE DATABASE");
    Some(place)
}

impl Place {
    pub fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::Sqlite {
                path: folder.path().join("ledger.db"),
            },
            Self::Postgres { .. } => StoreConfig::Postgres {
                url: self.url(),
                connections_max: 4,
                lock_timeout_ms: LOCK_TIMEOUT_MS,
                standstill_ms: 30_000,
            },
        }
    }

    pub fn open(&self) -> Store {
        Store::open(&self.config(), &TestEntropy).unwrap()
    }

    pub const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// The server's URL with our database in it.
    fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => panic!("SQLite has no URL"),
            Self::Postgres { server, name } => {
                let (before, after) = server.split_once('?').unwrap_or((server, ""));
                let (host, _) = before.rsplit_once('/').unwrap();
                format!("{host}/{name}?{after}")
            }
        }
    }

    /// Runs SQL as somebody with nothing but the database: no store, no trigger of SQLite's settings.
    pub fn execute(&self, sql: &str) -> Result<(), diesel::result::Error> {
        match self {
            Self::Sqlite(folder) => {
                let path = folder.path().join("ledger.db");
                let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 5000")?;
                connection.batch_execute(sql)
            }
            Self::Postgres { .. } => PgConnection::establish(&self.url())
                .unwrap()
                .batch_execute(sql),
        }
    }

    /// `CREATE DATABASE`, `DROP DATABASE`: this database, as the server's owner.
    pub fn on_server(&self, verb: &str) {
        let Self::Postgres { server, name } = self else {
            return;
        };
        let force = if verb.starts_with("DROP") {
            " WITH (FORCE)"
        } else {
            ""
        };
        PgConnection::establish(server)
            .unwrap()
            .batch_execute(&format!("{verb} {name}{force}"))
            .unwrap();
    }

    /// A setting for every connection to come.
    pub fn set_for_database(&self, setting: &str) {
        if let Self::Postgres { server, name } = self {
            let mut connection = PgConnection::establish(server).unwrap();
            let sql = format!("ALTER DATABASE {name} SET {setting}");
            connection.batch_execute(&sql).unwrap();
        }
    }

    /// Ends the connections to this database that are inside a transaction, or all of them.
    pub fn kill_connections(&self, only_in_transaction: bool) {
        let Self::Postgres { server, name } = self else {
            panic!("SQLite has no connections to end");
        };
        let state = if only_in_transaction {
            "AND state = 'idle in transaction'"
        } else {
            ""
        };
        let ended = diesel::sql_query(format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE datname = '{name}' {state}"
        ))
        .execute(&mut PgConnection::establish(server).unwrap())
        .unwrap();
        assert!(ended > 0, "there was nothing to end");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.on_server("DROP DATABASE");
    }
}

pub fn time(seconds: i64) -> SeTime {
    SeTime::try_from(1_800_000_000 + seconds).unwrap()
}

pub fn counter(value: u64) -> SignatureCounter {
    SignatureCounter::new(value)
}

pub fn tss_id() -> TssId {
    TssId::new(Uuid::new_v4())
}

pub fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    Metadata::from_pairs(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// Adds an organisation.
pub fn organization(store: &Store) -> OrganizationId {
    let id = OrganizationId::new(Uuid::new_v4());
    let row = OrganizationRow {
        id,
        name: "Bäckerei".to_owned(),
        time_creation: time(0),
    };
    store.add_organization(&row).unwrap();
    id
}

/// A device with random bytes for a key.
pub fn device(token: &str, environment: Environment, made: i64) -> PreparedDevice {
    let mut point = vec![4; 65];
    let mut id = [0; 16];
    TestEntropy.fill(&mut point[1..]);
    TestEntropy.fill(&mut id);
    let public_key = PublicKey {
        curve: Curve::Secp256r1,
        point,
    };
    PreparedDevice {
        serial_number: SerialNumber::of_public_point(&public_key.point),
        environment,
        token: token.to_owned(),
        algorithm: siegel::terms::SignatureAlgorithm::ecdsa_plain(siegel::terms::Hash::Sha256),
        certificate: public_key.point.clone(),
        key: KeyPair {
            id: KeyId::new(id),
            public_key,
        },
        signature_counter: counter(1),
        issuer: SerialNumber::of_public_point(b"CA"),
        certificate_not_after: time(1_000_000),
        time_creation: time(made),
    }
}

/// What a batch needs that only wants the lock.
pub fn lock_only(ids: &[TssId]) -> BTreeMap<TssId, Needs> {
    ids.iter().map(|id| (*id, Needs::default())).collect()
}

/// The message with this counter, as whoever has the lock sees it.
pub fn stored(lane: &mut dyn LaneLedger, tss: TssId, counter: SignatureCounter) -> Option<Vec<u8>> {
    let mut held = lane.lock(&lock_only(&[tss])).unwrap();
    held.message(tss, counter).unwrap()
}

/// What a batch needs that creates TSSs.
pub fn to_create(ids: &[TssId]) -> BTreeMap<TssId, Needs> {
    let needs = Needs {
        free_device: Some(Environment::Test),
        ..Needs::default()
    };
    ids.iter().map(|id| (*id, needs.clone())).collect()
}

/// The state of one TSS as a lane loads it, once nobody else holds it.
pub fn load(lane: &mut dyn LaneLedger, id: TssId) -> LoadedTss {
    crate::http::client::wait_for("the lock of a TSS", || {
        let mut held = lane.lock(&lock_only(&[id])).unwrap();
        held.take_loaded().remove(&id)
    })
}

/// Does this once nobody else holds any of them.
pub fn with_all<T>(
    lane: &mut dyn LaneLedger,
    needs: &BTreeMap<TssId, Needs>,
    work: impl FnOnce(Box<dyn Held + '_>, BTreeMap<TssId, LoadedTss>) -> T,
) -> T {
    let mut held = loop {
        let held = lane.lock(needs).unwrap();
        if held.late().is_empty() {
            break held;
        }
    };
    let loaded = held.take_loaded();
    work(held, loaded)
}

/// A TSS on this device, with every optional column filled.
pub fn fresh_tss(id: TssId, owner: OrganizationId, loaded: &LoadedTss) -> Tss {
    let device = loaded
        .slice
        .free_device
        .clone()
        .expect("the pool has a device");
    Tss {
        id,
        organization: owner,
        environment: Environment::Test,
        format: LogFormat::V3,
        device,
        state: TssState::Initialized,
        description: "Kasse äöü".to_owned(),
        transaction_counter: TransactionNumber::new(0),
        last_se_time: time(1),
        clients_registered: 0,
        transactions_open: 0,
        admin: AdminUser {
            salt: [7; 16],
            pin: Some(CredentialDigest::new([8; 32])),
            pin_retries: 3,
            puk: CredentialDigest::new([9; 32]),
            puk_failures: 2,
            puk_blocked_until: time(5),
            sealed_puk: Some(vec![1, 2, 3]),
            session: Some(siegel::terms::SessionId::new(Uuid::new_v4())),
        },
        metadata: metadata(&[("a", "ä"), ("b", "\"{}")]),
        time_creation: time(1),
        time_uninit: Some(time(2)),
        time_init: Some(time(3)),
        time_disable: Some(time(4)),
        time_defective: Some(time(5)),
    }
}

/// One TSS's part of a batch under construction: gives out counters as signing does.
pub struct Work {
    pub entry: TssBatch,
    next: SignatureCounter,
}

impl Work {
    /// Goes on from what a lane has loaded.
    pub fn on(id: TssId, loaded: LoadedTss) -> Self {
        let tss = loaded.slice.tss.as_ref().expect("the TSS exists");
        let last = tss.device.signature_counter;
        Self::new(id, loaded.slice, Some(last), last)
    }

    /// Creates the TSS, with one system message.
    pub fn creating(id: TssId, owner: OrganizationId, mut loaded: LoadedTss) -> Self {
        let tss = fresh_tss(id, owner, &loaded);
        let last = tss.device.signature_counter;
        loaded.slice.tss = Some(tss);
        let mut work = Self::new(id, loaded.slice, None, last);
        work.message(SignedKind::System);
        work
    }

    fn new(
        tss: TssId,
        slice: Slice,
        expected_counter: Option<SignatureCounter>,
        last: SignatureCounter,
    ) -> Self {
        let slice = Slice {
            changed: Changed {
                tss: TssChange::Anything,
                ..Changed::default()
            },
            ..slice
        };
        Self {
            entry: TssBatch {
                tss,
                expected_counter,
                slice,
                active: None,
                messages: Vec::new(),
            },
            next: last.next().unwrap(),
        }
    }

    pub fn tss(&mut self) -> &mut Tss {
        self.entry.slice.tss.as_mut().unwrap()
    }

    /// The next message; its time is its counter.
    pub fn message(&mut self, kind: SignedKind) -> SignatureCounter {
        let signature_counter = self.next;
        self.next = signature_counter.next().unwrap();
        let value = i64::try_from(signature_counter.value()).unwrap();
        let mut der = vec![0; 40];
        TestEntropy.fill(&mut der);
        self.entry.messages.push(SignedMessage {
            signature_counter,
            log_time: time(value),
            file_name: format!("{value}.log"),
            kind,
            der,
        });
        let tss = self.tss();
        tss.device.signature_counter = signature_counter;
        tss.last_se_time = time(value);
        signature_counter
    }

    /// A client; no message of its own, which the ledger does not mind.
    pub fn client(&mut self, serial: &str) -> Client {
        let client = Client {
            id: ClientId::new(Uuid::new_v4()),
            serial: ClientSerial::try_from(serial).unwrap(),
            state: ClientState::Registered,
            time_creation: time(10),
            time_update: time(11),
            metadata: metadata(&[("till", serial)]),
        };
        self.tss().clients_registered += 1;
        self.put_client(&client);
        client
    }

    pub fn put_client(&mut self, client: &Client) {
        self.entry.slice.changed.clients.insert(client.id);
        self.entry.slice.clients.insert(client.id, client.clone());
    }

    /// The next step of a transaction, with its message; number 0 starts a new one.
    pub fn step(
        &mut self,
        transaction: Option<&Transaction>,
        client: &Client,
        state: TransactionState,
    ) -> (Transaction, TransactionStep) {
        let started = transaction.is_none();
        let mut now = transaction
            .cloned()
            .unwrap_or_else(|| self.started_by(client));
        now.state = state;
        now.client = client.id;
        now.latest_revision = now.latest_revision.next().unwrap();
        let signature_counter = self.message(SignedKind::Transaction {
            number: now.number,
            revision: now.latest_revision,
            client: client.id,
            client_serial: client.serial.clone(),
        });
        let log_time = time(i64::try_from(signature_counter.value()).unwrap());
        let ended = state != TransactionState::Active;
        if started {
            now.time_start = log_time;
        }
        now.time_end = ended.then_some(log_time);
        let step = step_of(&now, &client.serial, signature_counter, log_time);
        let slice = &mut self.entry.slice;
        slice.changed.transactions.insert(now.number);
        slice.transactions.insert(now.number, now.clone());
        slice.transaction_ids.insert(now.id, now.number);
        let key = (now.number, now.latest_revision);
        slice.changed.steps.insert(key);
        slice.steps.insert(key, step.clone());
        (now, step)
    }

    fn started_by(&mut self, client: &Client) -> Transaction {
        let number = self.tss().transaction_counter.next().unwrap();
        self.tss().transaction_counter = number;
        Transaction {
            number,
            id: TransactionId::new(Uuid::new_v4()),
            state: TransactionState::Active,
            latest_revision: Revision::new(0),
            client: client.id,
            time_start: time(0),
            time_end: None,
            metadata: metadata(&[("number", &number.to_string())]),
        }
    }

    pub fn into_batch(self) -> Batch {
        batch([self])
    }
}

/// What a step of this transaction by the client with this serial number has left.
pub fn step_of(
    transaction: &Transaction,
    client_serial: &ClientSerial,
    signature_counter: SignatureCounter,
    log_time: SeTime,
) -> TransactionStep {
    let signed = ProcessData::new(b"Beleg^1.00".to_vec());
    let (phase, process_data) = match (transaction.latest_revision.value(), transaction.state) {
        (1, _) => (TransactionPhase::Start, ProcessData::default()),
        (_, TransactionState::Active) => (TransactionPhase::Update, signed.clone()),
        (_, TransactionState::Finished | TransactionState::Cancelled) => {
            (TransactionPhase::Finish, signed.clone())
        }
    };
    let process_type = ProcessType::try_from("Kassenbeleg-V1").unwrap();
    TransactionStep {
        number: transaction.number,
        revision: transaction.latest_revision,
        state: transaction.state,
        phase,
        client: transaction.client,
        client_serial: client_serial.clone(),
        schema: Some(Schema {
            form: SchemaForm::Receipt,
            process_type: process_type.clone(),
            process_data: signed,
            echo: "{\"receipt\":{}}".to_owned(),
        }),
        process_type,
        process_data,
        request_digest: [5; 32],
        metadata_digest: Some([6; 32]),
        signature_counter,
        log_time,
        signature: vec![6; 64],
    }
}

/// One batch of the work for several TSSs.
pub fn batch(work: impl IntoIterator<Item = Work>) -> Batch {
    Batch {
        entries: work.into_iter().map(|work| work.entry).collect(),
    }
}

/// Locks, lets `work` fill what it wants, commits.
pub fn commit_for(
    lane: &mut dyn LaneLedger,
    id: TssId,
    work: impl FnOnce(&mut Work),
) -> Result<(), CommitError> {
    let mut held = lane.lock(&lock_only(&[id])).unwrap();
    let mut own = Work::on(id, held.take_loaded().remove(&id).unwrap());
    work(&mut own);
    held.commit(&own.into_batch())
}

/// Creates a TSS of this owner, with a device of its own.
pub fn create_tss(store: &Store, lane: &mut dyn LaneLedger, owner: OrganizationId) -> TssId {
    store
        .add_device(&device("token", Environment::Test, 0))
        .unwrap();
    let id = tss_id();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    held.commit(&Work::creating(id, owner, loaded).into_batch())
        .unwrap();
    id
}
