//! A TSS in a ledger on disk, filled message by message the way a signing lane does it: real key, real
//! certificates, real log messages.

use crate::support::ledger::step_of;
use crate::support::token::{self, TestClock, TestEntropy};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use openssl::hash::{MessageDigest, hash};
use siegel::asn1::{
    self, Content, Origin, SystemEvent, TransactionContent, TransactionPhase, file_name,
};
use siegel::csp::{Csp, KeyPair};
use siegel::export::{Archive, ExportError, ExportSettings, ExportWish, ExportWorker, freeze};
use siegel::ledger::{
    Batch, ExportRow, ExportState, LaneLedger, OrganizationRow, SignedKind, SignedMessage, Store,
    StoreConfig, TssBatch,
};
use siegel::pki::{NewCa, TestCa};
use siegel::sma::{
    AdminUser, Change, CredentialDigest, Metadata, Needs, Slice, Step, Transaction,
    TransactionState, Tss, TssState,
};
use siegel::terms::{
    ClientId, ClientSerial, Clock, Curve, Entropy, Environment, ExportId, ExportRequest, LogFormat,
    OrganizationId, ProcessData, ProcessType, Revision, Role, SeTime, SerialNumber,
    SignatureCounter, TransactionId, TransactionNumber, TssId,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

pub const START: i64 = 1_800_000_000;
pub const EXPIRY_S: u32 = 3600;
pub const DESCRIPTION: &str = "Till, say \"one\"";

/// A till.
#[derive(Clone, Debug)]
pub struct Till {
    pub id: ClientId,
    pub serial: ClientSerial,
}

pub fn till(number: u128, serial: &str) -> Till {
    Till {
        id: ClientId::new(Uuid::from_u128(number)),
        serial: ClientSerial::try_from(serial).unwrap(),
    }
}

/// What the next message says.
#[derive(Clone, Debug)]
pub enum Say<'a> {
    Start(&'a Till, u64),
    Update(&'a Till, u64),
    Finish(&'a Till, u64),
    System,
    Audit,
}

/// A message as it went in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub counter: u64,
    pub name: String,
    pub der: Vec<u8>,
}

pub struct Rig {
    folder: TempDir,
    pub store: Store,
    pub csp: Arc<dyn Csp>,
    pub key: KeyPair,
    pub tss: TssId,
    pub serial_number: SerialNumber,
    lane: Option<Box<dyn LaneLedger>>,
    pub kept: Vec<Kept>,
    /// What stands in processData.
    pub process_data: Vec<u8>,
    revisions: BTreeMap<u64, u64>,
    exports: u128,
}

impl Rig {
    /// A TSS whose first message is its initialisation at [`START`].
    pub fn new(format: LogFormat) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let csp: Arc<dyn Csp> = Arc::new(token::softhsm().open());
        let clock: Arc<dyn Clock> = TestClock::start();
        let entropy: Arc<dyn Entropy> = Arc::new(TestEntropy);
        let new = NewCa::make(csp.as_ref(), &TestEntropy, clock.now()).unwrap();
        for certificate in &new.certificates {
            store.add_ca(certificate).unwrap();
        }
        let known = store.cas(Environment::Test).unwrap();
        let ca = TestCa::open(known, &csp, &clock, &entropy).unwrap();
        let device = ca.unwrap().prepare(Curve::Secp256r1).unwrap();
        store.add_device(&device).unwrap();
        let organization = OrganizationId::new(Uuid::from_u128(1));
        store
            .add_organization(&OrganizationRow {
                id: organization,
                name: "Tester".to_owned(),
                time_creation: time(0),
            })
            .unwrap();
        let mut rig = Self {
            lane: Some(store.lane().unwrap()),
            folder,
            store,
            csp,
            serial_number: device.serial_number,
            key: device.key,
            tss: TssId::new(Uuid::from_u128(2)),
            kept: Vec::new(),
            process_data: b"Beleg^1.00_0.00_0.00_0.00_0.00^1.00:Bar".to_vec(),
            revisions: BTreeMap::new(),
            exports: 0,
        };
        rig.create(organization, format);
        rig
    }

    fn create(&mut self, organization: OrganizationId, format: LogFormat) {
        let initialize = system(SystemEvent::Initialize {
            description: "Till".to_owned(),
        });
        let tss = self.tss;
        self.commit(|slice| {
            let created = Tss {
                id: tss,
                organization,
                environment: Environment::Test,
                format,
                device: slice.free_device.clone().unwrap(),
                state: TssState::Initialized,
                description: DESCRIPTION.to_owned(),
                transaction_counter: TransactionNumber::new(0),
                last_se_time: SeTime::UNSET,
                clients_registered: 0,
                transactions_open: 0,
                admin: AdminUser {
                    salt: [0; 16],
                    pin: None,
                    pin_retries: 0,
                    puk: CredentialDigest::new([0; 32]),
                    puk_failures: 0,
                    puk_blocked_until: SeTime::UNSET,
                    sealed_puk: None,
                    session: None,
                },
                metadata: Metadata::default(),
                time_creation: time(0),
                time_uninit: None,
                time_init: Some(time(0)),
                time_disable: None,
                time_defective: None,
            };
            let changes = vec![Change::CreateTss(Box::new(created))];
            vec![(initialize, changes, SignedKind::System, 0)]
        });
    }

    /// Signs and keeps one message, so many seconds after [`START`].
    pub fn say(&mut self, say: &Say<'_>, at: i64) {
        let (content, kind) = self.content(say);
        self.commit(|_| vec![(content, Vec::new(), kind, at)]);
    }

    /// Signs and keeps many messages of one till in one commit: starts of new transactions.
    pub fn say_starts(&mut self, till: &Till, numbers: std::ops::Range<u64>, at: i64) {
        let said: Vec<_> = numbers
            .map(|number| {
                let (content, kind) = self.content(&Say::Start(till, number));
                (content, Vec::new(), kind, at)
            })
            .collect();
        self.commit(|_| said);
    }

    fn content(&mut self, say: &Say<'_>) -> (Content, SignedKind) {
        let (phase, till, number) = match *say {
            Say::Start(till, number) => (TransactionPhase::Start, till, number),
            Say::Update(till, number) => (TransactionPhase::Update, till, number),
            Say::Finish(till, number) => (TransactionPhase::Finish, till, number),
            Say::System => {
                let content = system(SystemEvent::UpdateTime {
                    before: time(0),
                    after: time(0),
                });
                return (content, SignedKind::System);
            }
            Say::Audit => {
                let content = Content::Audit {
                    se_audit_data: vec![0x30, 0x03, 0x02, 0x01, 0x01],
                };
                return (content, SignedKind::Audit);
            }
        };
        let revision = self.revisions.entry(number).or_default();
        *revision += 1;
        let kind = SignedKind::Transaction {
            number: TransactionNumber::new(number),
            revision: Revision::new(*revision),
            client: till.id,
            client_serial: till.serial.clone(),
        };
        let content = Content::Transaction(TransactionContent {
            phase,
            client: till.serial.clone(),
            process_data: ProcessData::new(self.process_data.clone()),
            process_type: ProcessType::try_from("Kassenbeleg-V1").unwrap(),
            number: TransactionNumber::new(number),
        });
        (content, kind)
    }

    /// Locks, decides, signs, commits: the order of a lane.
    fn commit(
        &mut self,
        decide: impl FnOnce(&Slice) -> Vec<(Content, Vec<Change>, SignedKind, i64)>,
    ) {
        let needs = Needs {
            free_device: Some(Environment::Test),
            ..Needs::default()
        };
        let mut lane = self.lane.take().unwrap();
        let mut held = lane.lock(&BTreeMap::from([(self.tss, needs)])).unwrap();
        let mut slice = held.take_loaded().remove(&self.tss).unwrap().slice;
        let expected_counter = slice.tss.as_ref().map(|tss| tss.device.signature_counter);
        let mut messages = Vec::new();
        for (content, changes, kind, at) in decide(&slice) {
            let step = Step {
                message: Some(content),
                changes,
            };
            let stamped = slice.record(&step, time(at)).unwrap();
            note_step(
                &mut slice,
                &kind,
                stamped.header.signature_counter,
                time(at),
            );
            let bytes = asn1::to_be_signed(&stamped.header, &stamped.content).unwrap();
            let digest = hash(MessageDigest::sha256(), &bytes).unwrap();
            let signature = self.csp.sign(&self.key, &digest).unwrap();
            let name = file_name(&stamped.header, &stamped.content).unwrap();
            messages.push(SignedMessage {
                signature_counter: stamped.header.signature_counter,
                log_time: stamped.header.time,
                file_name: name.to_string(),
                kind,
                der: asn1::assemble(&bytes, &signature).unwrap(),
            });
        }
        self.kept.extend(messages.iter().map(|message| Kept {
            counter: message.signature_counter.value(),
            name: message.file_name.clone(),
            der: message.der.clone(),
        }));
        held.commit(&Batch {
            entries: vec![TssBatch {
                tss: self.tss,
                expected_counter,
                slice,
                active: None,
                messages,
            }],
        })
        .unwrap();
        self.lane = Some(lane);
    }

    /// Requests an export, as the HTTP door does, at this time.
    pub fn request(&mut self, filter: &str, at: i64) -> ExportRow {
        self.exports += 1;
        let row = self.store.tss(self.tss).unwrap().unwrap();
        let wish = ExportWish {
            id: ExportId::new(Uuid::from_u128(self.exports)),
            request: filter.parse::<ExportRequest>().unwrap(),
            now: time(at),
            metadata: Metadata::default(),
        };
        let row = freeze(&row.tss, self.store.chain(self.tss).unwrap(), wish);
        self.store.add_export(&row).unwrap();
        row
    }

    /// Lets a worker go on until this export has ended.
    pub fn work(&self, id: ExportId) -> ExportRow {
        let worker = self.worker();
        let row = || self.store.export(self.tss, id).unwrap().unwrap();
        wait_until("the export has ended", || match row().state {
            ExportState::Pending | ExportState::Working => false,
            ExportState::Completed | ExportState::Error | ExportState::Cancelled => true,
        });
        worker.stop();
        row()
    }

    /// Starts a worker.
    pub fn worker(&self) -> ExportWorker {
        let settings = ExportSettings { expiry_s: EXPIRY_S };
        ExportWorker::start(self.store.clone(), TestClock::start(), settings).unwrap()
    }

    /// Changes the ledger past the store.
    pub fn damage(&self, sql: &str) {
        self.past_the_store().batch_execute(sql).unwrap();
    }

    /// How often an export was taken, where the ledger was told to count that in a table `taken`.
    pub fn taken(&self, id: ExportId) -> i64 {
        diesel::sql_query("SELECT count(*) AS times FROM taken WHERE id = ?")
            .bind::<diesel::sql_types::Text, _>(id.to_string())
            .get_result::<Taken>(&mut self.past_the_store())
            .unwrap()
            .times
    }

    fn past_the_store(&self) -> SqliteConnection {
        let path = self.folder.path().join("ledger.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection
            .batch_execute("PRAGMA busy_timeout = 5000")
            .unwrap();
        connection
    }

    /// Requests an export and lets it be worked at.
    pub fn export(&mut self, filter: &str) -> ExportRow {
        let id = self.request(filter, 1000).id;
        self.work(id)
    }

    /// Closes the ledger and opens it again, as a restart does.
    pub fn restart(self) -> Self {
        let Self {
            folder,
            store,
            lane,
            ..
        } = self;
        drop((lane, store));
        let store = open(&folder);
        Self {
            lane: Some(store.lane().unwrap()),
            folder,
            store,
            ..self
        }
    }

    pub fn archive(&self, row: &ExportRow) -> Archive {
        Archive::new(self.store.clone(), row.clone()).unwrap()
    }

    /// The whole archive.
    pub fn bytes(&self, row: &ExportRow) -> Vec<u8> {
        let pieces: Result<Vec<_>, ExportError> = self.archive(row).collect();
        pieces.unwrap().concat()
    }

    /// Signature counters of the messages in the archive of an export with this filter, in order.
    pub fn counters(&mut self, filter: &str) -> Vec<u64> {
        let row = self.export(filter);
        assert_eq!(row.state, ExportState::Completed, "{filter}: {row:?}");
        let members = super::members(&self.bytes(&row));
        let logs: Vec<_> = members
            .iter()
            .filter(|member| member.name.ends_with(".log"))
            .map(|member| {
                let kept = self.kept.iter().find(|kept| kept.name == member.name);
                let kept = kept.unwrap_or_else(|| panic!("{} was never signed", member.name));
                assert_eq!(kept.der, member.content, "{}", member.name);
                kept.counter
            })
            .collect();
        assert_eq!(
            members.len(),
            logs.len() + 4,
            "info.csv, three certificates"
        );
        assert_eq!(row.messages, u64::try_from(logs.len()).ok());
        logs
    }

    /// Why an export with this filter has no data.
    pub fn exception(&mut self, filter: &str) -> String {
        let row = self.export(filter);
        assert_eq!(row.state, ExportState::Error, "{filter}: {row:?}");
        assert!(row.time_error.is_some() && row.time_end.is_none());
        assert!(Archive::new(self.store.clone(), row.clone()).is_err());
        row.exception.unwrap()
    }

    pub fn counter(&self) -> SignatureCounter {
        SignatureCounter::new(self.kept.last().unwrap().counter)
    }
}

/// What signing keeps of a step beside its message.
fn note_step(slice: &mut Slice, kind: &SignedKind, counter: SignatureCounter, at: SeTime) {
    let SignedKind::Transaction {
        number,
        revision,
        client,
        client_serial,
    } = kind
    else {
        return;
    };
    let transaction = Transaction {
        number: *number,
        id: TransactionId::new(Uuid::from_u128(number.value().into())),
        state: TransactionState::Active,
        latest_revision: *revision,
        client: *client,
        time_start: at,
        time_end: None,
        metadata: Metadata::default(),
    };
    let key = (*number, *revision);
    slice.changed.transactions.insert(*number);
    slice.changed.steps.insert(key);
    let step = step_of(&transaction, client_serial, counter, at);
    slice.steps.insert(key, step);
    slice.transactions.insert(*number, transaction);
}

#[derive(diesel::QueryableByName)]
struct Taken {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    times: i64,
}

/// Looks again until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = TestClock::start();
    while !is_so() {
        assert!(patience.monotonic_ms() < 30_000, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn open(folder: &TempDir) -> Store {
    let config = StoreConfig::Sqlite {
        path: folder.path().join("ledger.db"),
    };
    Store::open(&config, &TestEntropy).unwrap()
}

fn system(event: SystemEvent) -> Content {
    Content::System {
        event,
        origin: Origin::Sma,
        triggered_by: Some(Role::Admin),
    }
}

/// So many seconds after [`START`].
pub fn time(at: i64) -> SeTime {
    SeTime::try_from(START + at).unwrap()
}
