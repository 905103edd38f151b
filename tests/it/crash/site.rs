//! Nodes on a real token and a real database, and tills that ask them.

use crate::support::ledger::{Place, organization};
use crate::support::token::{self, TestClock, TestEntropy};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use siegel::asn1::{self, ReadKind};
use siegel::csp::Csp;
use siegel::export::{Archive, ExportSettings, ExportWish, ExportWorker, freeze};
use siegel::ledger::{ExportState, Store};
use siegel::pki::{NewCa, TestCa};
use siegel::receipt::{Schema, SchemaForm};
use siegel::signing::{LaneSettings, Lanes, Member, SigningError, Submit as _, Token, TokenPair};
use siegel::sma::{
    Caller, Command, CredentialDigest, Metadata, MetadataPatch, NewTss, Outcome, Settings,
    TransactionInput, TransactionOutcome, TransactionRef, TransactionStep,
};
use siegel::terms::{
    ClientId, ClientSerial, Clock, Curve, Entropy, Environment, ExportId, ExportRequest, LogFormat,
    OrganizationId, ProcessData, ProcessType, Revision, SessionId, SignatureCounter, TransactionId,
    TssId,
};
use siegel::verify::{self, verify_archive};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, RwLock, mpsc};
use uuid::Uuid;

const TSS: u128 = 3;
const TILLS: u128 = 3;

/// Longest wait for anything, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

const PIN: CredentialDigest = CredentialDigest::new([1; 32]);
const PUK: CredentialDigest = CredentialDigest::new([2; 32]);

/// One process of the product, as far as one test process can have several.
struct Node {
    lanes: Lanes,
    store: Store,
}

pub struct Site {
    pub place: Place,
    csp: Arc<dyn Csp>,
    clock: Arc<dyn Clock>,
    organization: OrganizationId,
    /// `None` while a node restarts.
    nodes: [RwLock<Option<Node>>; 2],
    nodes_running: AtomicUsize,
    steps: AtomicUsize,
    /// The tills go home.
    closing: AtomicBool,
}

/// Every step as it was answered.
pub type Answered = Vec<(TssId, TransactionStep)>;

impl Site {
    /// A token and a database with a certified device for each TSS.
    pub fn new(place: Place) -> Self {
        let csp: Arc<dyn Csp> = Arc::new(token::softhsm().open());
        let clock: Arc<dyn Clock> = TestClock::start();
        let entropy: Arc<dyn Entropy> = Arc::new(TestEntropy);
        let store = place.open();
        let new = NewCa::make(csp.as_ref(), &TestEntropy, clock.now()).unwrap();
        for certificate in &new.certificates {
            store.add_ca(certificate).unwrap();
        }
        let known = store.cas(Environment::Test).unwrap();
        let ca = TestCa::open(known, &csp, &clock, &entropy)
            .unwrap()
            .unwrap();
        for _ in 0..TSS {
            store
                .add_device(&ca.prepare(Curve::Secp256r1).unwrap())
                .unwrap();
        }
        Self {
            organization: organization(&store),
            place,
            csp,
            clock,
            nodes: [RwLock::new(None), RwLock::new(None)],
            nodes_running: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        }
    }

    fn start(&self, node: usize) {
        let store = self.place.open();
        let signer =
            Token::start(Arc::clone(&self.csp), Environment::Test, &self.clock, 4).unwrap();
        let name = "main".to_owned();
        let pair = TokenPair::alone(Member {
            name,
            token: signer,
        });
        let tokens = Arc::new(BTreeMap::from([(self.csp.token().to_owned(), pair)]));
        let settings = LaneSettings {
            // Small enough that it overflows at times.
            queue_len_max: 6,
            ..LaneSettings::default()
        };
        let rules = Settings::default();
        let lanes = Lanes::start(&store, tokens, &self.clock, rules, settings).unwrap();
        *self.nodes[node].write().unwrap() = Some(Node { lanes, store });
    }

    /// Ends a node, which answers what it has taken, and starts it anew.
    pub fn restart(&self, node: usize) {
        self.stop(node);
        self.start(node);
    }

    fn stop(&self, node: usize) {
        // Everybody who asks meanwhile finds nobody.
        let ended = self.nodes[node].write().unwrap().take();
        let Node { lanes, store } = ended.unwrap();
        lanes.drain();
        drop((lanes, store));
    }

    /// Waits until so many more steps were answered.
    pub fn wait_for_steps(&self, more: usize) {
        let wanted = self.steps.load(SeqCst) + more;
        let patience = TestClock::start();
        while self.steps.load(SeqCst) < wanted {
            assert!(
                patience.monotonic_ms() < PATIENCE_MS,
                "nobody signs any more"
            );
            std::thread::yield_now();
        }
    }

    /// Runs all tills on so many nodes, and `disturb` beside them. Returns what was answered.
    pub fn under_load(&self, nodes: usize, disturb: impl FnOnce(&Self)) -> Answered {
        self.nodes_running.store(nodes, SeqCst);
        (0..nodes).for_each(|node| self.start(node));
        for tss in 0..TSS {
            for command in setup(tss) {
                self.ask(tss, tss, &command);
            }
        }
        let answered = std::thread::scope(|scope| {
            let tills: Vec<_> = (0..TSS)
                .flat_map(|tss| (0..TILLS).map(move |till| (tss, till)))
                .map(|(tss, till)| scope.spawn(move || self.play_till(tss, till)))
                .collect();
            // Whatever happens, or the tills would go on for ever.
            let disturbed = catch_unwind(AssertUnwindSafe(|| disturb(self)));
            self.closing.store(true, SeqCst);
            disturbed.unwrap();
            tills
                .into_iter()
                .flat_map(|till| till.join().unwrap())
                .collect()
        });
        (0..nodes).for_each(|node| self.stop(node));
        answered
    }

    fn play_till(&self, tss: u128, till: u128) -> Answered {
        let mut answered = Vec::new();
        for transaction in 0.. {
            if self.closing.load(SeqCst) {
                break;
            }
            for revision in [1, 2] {
                let command = step(tss, till, transaction, revision);
                let Outcome::Transaction(outcome) = self.ask(tss, till + transaction, &command)
                else {
                    panic!("a transaction is answered with something else");
                };
                answered.push((tss_id(tss), outcome.2));
                self.steps.fetch_add(1, SeqCst);
            }
        }
        answered
    }

    /// Asks again, one node after the other, until there is an answer that is one.
    fn ask(&self, tss: u128, first_node: u128, command: &Command) -> Outcome {
        let patience = TestClock::start();
        let mut node = usize::try_from(first_node).unwrap();
        loop {
            assert!(
                patience.monotonic_ms() < PATIENCE_MS,
                "{command:?} is not answered"
            );
            node += 1;
            match self.ask_once(node % self.nodes_running.load(SeqCst), tss, command) {
                Some(Ok(outcome)) => return outcome,
                None | Some(Err(SigningError::Unavailable { .. })) => std::thread::yield_now(),
                Some(Err(error)) => panic!("{command:?}: {error:?}"),
            }
        }
    }

    fn ask_once(
        &self,
        node: usize,
        tss: u128,
        command: &Command,
    ) -> Option<Result<Outcome, SigningError>> {
        let (answer, waiting) = mpsc::channel();
        {
            let node = self.nodes[node].read().unwrap();
            let reply = Box::new(move |result| answer.send(result).unwrap());
            let caller = Caller {
                organization: self.organization,
                environment: Environment::Test,
                session: SessionId::new(Uuid::from_u128(9)),
            };
            node.as_ref()?
                .lanes
                .submit(tss_id(tss), caller, command.clone(), reply);
        }
        // Exactly one answer comes, whatever happens to the node.
        let result = waiting.recv().expect("every command is answered");
        assert!(waiting.recv().is_err(), "a command is answered once");
        Some(result)
    }

    /// Asks the ledger, opened anew as after a restart.
    pub fn three_questions(&self, answered: &Answered) {
        let store = self.place.open();
        for tss in 0..TSS {
            let own = answered.iter().filter(|(owner, _)| *owner == tss_id(tss));
            self.check_history(&store, tss_id(tss), own.count());
            check_archive(&store, tss_id(tss), &self.clock);
        }
        for (tss, step) in answered {
            let kept = store.message(*tss, step.signature_counter).unwrap();
            let read = asn1::read(&kept.expect("an answered step is kept").der).unwrap();
            assert_eq!(read.signature, step.signature, "as it was answered");
            let ReadKind::Transaction {
                transaction_number,
                process_data,
                ..
            } = read.kind
            else {
                panic!("an answered step is a transaction");
            };
            assert_eq!(transaction_number, step.number.value());
            assert_eq!(process_data, step.process_data.as_bytes());
        }
    }

    /// Counters without gap or repetition, transaction numbers likewise, good signatures.
    fn check_history(&self, store: &Store, id: TssId, answered: usize) {
        let tss = store.tss(id).unwrap().unwrap().tss;
        let last = tss.device.signature_counter.value();
        let mut starts = Vec::new();
        let mut steps = 0_usize;
        for counter in 2..=last {
            let kept = store.message(id, SignatureCounter::new(counter)).unwrap();
            let der = kept
                .unwrap_or_else(|| panic!("message {counter} is missing"))
                .der;
            let read = asn1::read(&der).unwrap();
            assert_eq!(read.signature_counter, counter);
            let signed = &der[read.signed_range.clone()];
            assert!(
                openssl_verifies(&tss.device.public_point, signed, &read.signature),
                "message {counter} does not verify"
            );
            if let ReadKind::Transaction {
                transaction_number,
                operation_type,
                ..
            } = read.kind
            {
                steps += 1;
                if operation_type == "StartTransaction" {
                    starts.push(transaction_number);
                }
            }
        }
        let beyond = SignatureCounter::new(last + 1);
        assert!(store.message(id, beyond).unwrap().is_none());
        let transactions = u64::try_from(answered / 2).unwrap();
        assert_eq!(starts, (1..=transactions).collect::<Vec<_>>());
        assert_eq!(steps, answered, "each step was signed once");
        assert_eq!(tss.transaction_counter.value(), transactions);
    }
}

/// The checker that shares no rule with the lanes has nothing to say about the whole archive.
fn check_archive(store: &Store, id: TssId, clock: &Arc<dyn Clock>) {
    let tss = store.tss(id).unwrap().unwrap().tss;
    let wish = ExportWish {
        id: ExportId::new(id.uuid()),
        request: "".parse::<ExportRequest>().unwrap(),
        now: clock.now(),
        metadata: Metadata::default(),
    };
    let row = freeze(&tss, store.chain(id).unwrap(), wish);
    store.add_export(&row).unwrap();
    let settings = ExportSettings { expiry_s: 3600 };
    let worker = ExportWorker::start(store.clone(), Arc::clone(clock), settings).unwrap();
    let patience = TestClock::start();
    let row = loop {
        let row = store.export(id, row.id).unwrap().unwrap();
        if row.state == ExportState::Completed {
            break row;
        }
        assert!(patience.monotonic_ms() < PATIENCE_MS, "{row:?}");
        std::thread::yield_now();
    };
    worker.stop();
    let pieces: Result<Vec<_>, _> = Archive::new(store.clone(), row).unwrap().collect();
    let settings = verify::Settings::new(NonZeroUsize::MIN);
    let report = verify_archive(Cursor::new(pieces.unwrap().concat()), &settings).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.logs, tss.device.signature_counter.value() - 1);
    assert_eq!(report.signatures_valid, report.logs);
}

fn openssl_verifies(point: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let point = EcPoint::from_bytes(&group, point, &mut context).unwrap();
    let key = EcKey::from_public_key(&group, &point).unwrap();
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |bytes| BigNum::from_slice(bytes).unwrap();
    let signature = EcdsaSig::from_private_components(number(r), number(s)).unwrap();
    let digest = hash(MessageDigest::sha256(), bytes).unwrap();
    signature.verify(&digest, &key).unwrap()
}

fn tss_id(tss: u128) -> TssId {
    TssId::new(Uuid::from_u128(tss + 1))
}

fn client(tss: u128, till: u128) -> ClientId {
    ClientId::new(Uuid::from_u128((tss + 1) * 1000 + till))
}

fn setup(tss: u128) -> Vec<Command> {
    let metadata = MetadataPatch::new;
    let new = NewTss {
        format: LogFormat::V2,
        salt: [0; 16],
        puk: PUK,
        sealed_puk: b"sealed".to_vec(),
        metadata: metadata(),
    };
    let mut commands = vec![
        Command::Assign(Box::new(new)),
        Command::TakeOver {
            metadata: metadata(),
        },
        Command::UnblockPin {
            puk: PUK,
            new_pin: PIN,
        },
        Command::AuthenticateUser { pin: PIN },
        Command::Initialize {
            description: None,
            metadata: metadata(),
        },
    ];
    commands.extend((0..TILLS).map(|till| Command::RegisterClient {
        id: client(tss, till),
        serial: ClientSerial::try_from(format!("till-{till}").as_str()).unwrap(),
        metadata: metadata(),
    }));
    commands
}

/// Start at revision 1, finish at revision 2.
fn step(tss: u128, till: u128, transaction: u128, revision: u64) -> Command {
    let id = (tss + 1) * 1_000_000 + till * 1000 + transaction;
    let text = format!("{tss} {till} {transaction} {revision}");
    let input = TransactionInput {
        transaction: TransactionRef::Id(TransactionId::new(Uuid::from_u128(id))),
        revision: Revision::new(revision),
        client: client(tss, till),
        schema: Some(Schema {
            form: SchemaForm::Raw,
            process_type: ProcessType::try_from("SonstigerVorgang").unwrap(),
            process_data: ProcessData::new(text.into_bytes()),
            echo: String::new(),
        }),
        metadata: MetadataPatch::new(),
    };
    match revision {
        1 => Command::StartTransaction(input),
        _ => Command::FinishTransaction(input, TransactionOutcome::Finished),
    }
}
