//! The rules, as sentences. A [`World`] is one TSS with everything it remembers in one slice.

mod life_cycle;
mod repeats;
mod sequences;
mod transactions;
mod users;

use super::*;
use crate::asn1::{Content, file_name, to_be_signed};
use crate::receipt::Schema;
use crate::terms::{
    ClientId, ClientSerial, Environment, LogFormat, OrganizationId, Revision, SeTime, SerialNumber,
    SessionId, SignatureAlgorithm, SignatureCounter, TransactionId, TransactionNumber, TssId,
};
use serde_json::json;
use uuid::Uuid;

/// What a caller is told.
#[derive(Debug, PartialEq)]
enum Told {
    Answer(Outcome),
    Signed(SeError),
    Refused(Rejection),
}

/// One TSS, alone.
struct World {
    slice: Slice,
    settings: Settings,
    now: i64,
    messages: Vec<StampedMessage>,
}

const PIN: CredentialDigest = CredentialDigest::new([1; 32]);
const PUK: CredentialDigest = CredentialDigest::new([2; 32]);
const WRONG: CredentialDigest = CredentialDigest::new([3; 32]);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn caller(session: u128) -> Caller {
    Caller {
        organization: OrganizationId::new(id(1)),
        environment: Environment::Test,
        session: SessionId::new(id(session)),
    }
}

fn till(number: u128) -> ClientId {
    ClientId::new(id(1000 + number))
}

fn serial(text: &str) -> ClientSerial {
    ClientSerial::try_from(text).unwrap()
}

fn schema(value: &serde_json::Value) -> Option<Schema> {
    Schema::parse(value).unwrap()
}

fn receipt(amount: &str) -> Option<Schema> {
    schema(&json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": amount}],
        "amounts_per_payment_type": [{"payment_type": "CASH", "amount": amount}],
    }}}))
}

fn order() -> Option<Schema> {
    schema(&json!({"standard_v1": {"order": {"line_items": [
        {"quantity": "1", "text": "Tea", "price_per_unit": "2.00"},
    ]}}}))
}

fn raw(process_type: &str, data: &str) -> Option<Schema> {
    schema(&json!({"raw": {"process_type": process_type, "process_data": data}}))
}

fn other() -> Option<Schema> {
    schema(&json!({"standard_v1": {"other": {"event": "Tagesabschluss"}}}))
}

fn taximeter(form: &str, value: &serde_json::Value) -> Option<Schema> {
    schema(&json!({"dsfinvtw_v1": {form: value}}))
}

fn device() -> Device {
    let mut point = vec![7; 65];
    point[0] = 4;
    Device {
        serial_number: SerialNumber::of_public_point(&point),
        algorithm: SignatureAlgorithm::from_name("ecdsa-plain-SHA256").unwrap(),
        public_point: point,
        signature_counter: SignatureCounter::new(1),
        certificate_not_after: SeTime::try_from(4_000_000_000).unwrap(),
    }
}

fn assign() -> Command {
    Command::Assign(Box::new(NewTss {
        format: LogFormat::V2,
        salt: [9; 16],
        puk: PUK,
        sealed_puk: b"sealed".to_vec(),
        metadata: MetadataPatch::new(),
    }))
}

fn step_of(transaction: u128, revision: u64, schema: Option<Schema>) -> TransactionInput {
    TransactionInput {
        transaction: TransactionRef::Id(TransactionId::new(id(transaction))),
        revision: Revision::new(revision),
        client: till(1),
        schema,
        metadata: MetadataPatch::new(),
    }
}

fn start(transaction: u128, schema: Option<Schema>) -> Command {
    Command::StartTransaction(step_of(transaction, 1, schema))
}

fn update(transaction: u128, revision: u64, schema: Option<Schema>) -> Command {
    Command::UpdateTransaction(step_of(transaction, revision, schema))
}

fn finish(transaction: u128, revision: u64, schema: Option<Schema>) -> Command {
    let input = step_of(transaction, revision, schema);
    Command::FinishTransaction(input, TransactionOutcome::Finished)
}

fn cancel(transaction: u128, revision: u64, schema: Option<Schema>) -> Command {
    let input = step_of(transaction, revision, schema);
    Command::FinishTransaction(input, TransactionOutcome::Cancelled)
}

fn initialize() -> Command {
    Command::Initialize {
        description: None,
        metadata: MetadataPatch::new(),
    }
}

fn disable() -> Command {
    Command::DisableSecureElement {
        metadata: MetadataPatch::new(),
    }
}

fn take_over() -> Command {
    Command::TakeOver {
        metadata: MetadataPatch::new(),
    }
}

fn register(number: u128, text: &str) -> Command {
    Command::RegisterClient {
        id: till(number),
        serial: serial(text),
        metadata: MetadataPatch::new(),
    }
}

fn deregister(number: u128) -> Command {
    Command::DeregisterClient {
        id: till(number),
        metadata: MetadataPatch::new(),
    }
}

fn log_in(pin: CredentialDigest) -> Command {
    Command::AuthenticateUser { pin }
}

fn unblock(puk: CredentialDigest) -> Command {
    Command::UnblockPin { puk, new_pin: PIN }
}

impl World {
    /// No TSS yet, one free device.
    fn empty() -> Self {
        let slice = Slice {
            tss_id: Some(TssId::new(id(5))),
            free_device: Some(device()),
            ..Slice::default()
        };
        Self {
            slice,
            settings: Settings::default(),
            now: 1_800_000_000,
            messages: Vec::new(),
        }
    }

    /// Assigned, taken over, PIN set, admin (session 2) logged in.
    fn with_admin() -> Self {
        let mut world = Self::empty();
        for command in [assign(), take_over(), unblock(PUK), log_in(PIN)] {
            world.must(command);
        }
        world
    }

    /// Initialised, with till 1 registered.
    fn ready() -> Self {
        let mut world = Self::with_admin();
        world.must(initialize());
        world.must(register(1, "till-1"));
        world
    }

    fn tss(&self) -> &Tss {
        self.slice.tss.as_ref().unwrap()
    }

    fn time(&self) -> SeTime {
        SeTime::try_from(self.now).unwrap()
    }

    /// Decides and, where there is something to do, records: as a lane does, without the signatures.
    fn ask_as(&mut self, caller: &Caller, command: &Command) -> Told {
        let now = self.time();
        let before = self.slice.clone();
        match decide(&self.slice, caller, command, &self.settings, now) {
            Plan::Refuse(rejection) => {
                assert_eq!(self.slice.tss, before.tss, "a refusal touches nothing");
                Told::Refused(rejection)
            }
            Plan::Act { steps, answer } => {
                self.slice.changed = Changed::default();
                for step in &steps {
                    self.messages.extend(self.slice.record(step, now));
                }
                let how = how_it_changed(before.tss.as_ref(), self.slice.tss.as_ref());
                assert!(self.slice.changed.tss >= how, "{steps:?}");
                match answer {
                    Ok(answer) => Told::Answer(self.slice.outcome(answer).unwrap()),
                    Err(error) => Told::Signed(error),
                }
            }
        }
    }

    fn ask(&mut self, command: Command) -> Told {
        self.ask_as(&caller(2), &command)
    }

    #[track_caller]
    fn must(&mut self, command: Command) -> Outcome {
        match self.ask(command) {
            Told::Answer(outcome) => outcome,
            told @ (Told::Signed(_) | Told::Refused(_)) => panic!("{told:?}"),
        }
    }

    #[track_caller]
    fn refused(&mut self, command: Command) -> Rejection {
        let signed = self.messages.len();
        match self.ask(command) {
            Told::Refused(rejection) => {
                assert_eq!(self.messages.len(), signed, "a refusal signs nothing");
                rejection
            }
            told @ (Told::Signed(_) | Told::Answer(_)) => panic!("{told:?}"),
        }
    }

    /// Names of the messages signed since `from`, as in exports.
    fn names(&self, from: usize) -> Vec<String> {
        self.messages[from..]
            .iter()
            .map(|message| {
                let name = file_name(&message.header, &message.content).unwrap();
                let name = name.to_string();
                let (_, kind) = name.split_once("_Log-").unwrap();
                kind.trim_end_matches(".log").to_owned()
            })
            .collect()
    }

    /// processType and processData of the latest message.
    fn latest_signed(&self) -> (String, String) {
        match &self.messages.last().unwrap().content {
            Content::Transaction(content) => (
                content.process_type.as_str().to_owned(),
                String::from_utf8(content.process_data.as_bytes().to_vec()).unwrap(),
            ),
            Content::System { .. } | Content::Audit { .. } => panic!("no transaction message"),
        }
    }
}

/// How much of a TSS has to be written, seen from outside.
fn how_it_changed(before: Option<&Tss>, after: Option<&Tss>) -> TssChange {
    if before == after {
        return TssChange::Nothing;
    }
    let counted = before.zip(after).map(|(before, after)| Tss {
        device: Device {
            signature_counter: after.device.signature_counter,
            ..before.device.clone()
        },
        transaction_counter: after.transaction_counter,
        last_se_time: after.last_se_time,
        transactions_open: after.transactions_open,
        ..before.clone()
    });
    match counted.as_ref() == after {
        true => TssChange::Counters,
        false => TssChange::Anything,
    }
}
