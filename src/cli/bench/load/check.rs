//! Checks what is answered, on a thread beside the load.

use super::till::{Operation, Till};
use crate::asn1::TransactionPhase;
use crate::receipt::QrCode;
use crate::terms::SignatureAlgorithm;
use crate::verify::{AnswerKey, AnsweredStep};
use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Answers that may wait for their check; then the load waits as well.
const WAITING_MAX: usize = 16_384;

/// A signature does not fit what the answer says.
const SIGNATURE_INVALID: &str = "SIGNATURE_INVALID";
/// A TSS has answered with the same signature counter twice.
const COUNTER_DOUBLED: &str = "COUNTER_DOUBLED";
/// The answer is not that of the step, or cannot be read.
const ANSWER_WRONG: &str = "ANSWER_WRONG";

/// One answer to a step.
struct Answered {
    tss_at: usize,
    client_serial: String,
    operation: Operation,
    transaction: String,
    revision: u32,
    body: Vec<u8>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    /// Signatures that were checked.
    pub verified: u64,
    /// Codes of what was wrong, and how often.
    pub wrong: BTreeMap<&'static str, u64>,
}

/// The thread that checks.
pub(super) struct Checker {
    sender: SyncSender<Answered>,
    thread: JoinHandle<Findings>,
}

/// Where answers go in. All of them must be dropped before [`Checker::finish`].
pub(super) struct Told(SyncSender<Answered>);

impl Checker {
    /// `keys`: of the TSSs, in the order they were made.
    pub(super) fn start(keys: Vec<AnswerKey>) -> anyhow::Result<Self> {
        let (sender, answers) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("bench-check".to_owned());
        let thread = thread.spawn(move || check_all(&keys, &answers))?;
        Ok(Self { sender, thread })
    }

    pub(super) fn told(&self) -> Told {
        Told(self.sender.clone())
    }

    /// Waits until all is checked.
    pub(super) fn finish(self) -> anyhow::Result<Findings> {
        drop(self.sender);
        let findings = self.thread.join();
        findings.or_else(|_| bail!("checking the answers ended in a panic"))
    }
}

impl Told {
    pub(super) fn tell(
        &self,
        till: &Till,
        operation: Operation,
        transaction: &str,
        revision: u32,
        body: &[u8],
    ) {
        let answered = Answered {
            tss_at: till.tss_at,
            client_serial: till.serial.clone(),
            operation,
            transaction: transaction.to_owned(),
            revision,
            body: body.to_owned(),
        };
        // The thread ends only after this sender; if it has panicked, `finish` says so.
        let _ = self.0.send(answered);
    }
}

fn check_all(keys: &[AnswerKey], answers: &Receiver<Answered>) -> Findings {
    let mut findings = Findings::default();
    let mut counters: Vec<HashSet<u64>> = keys.iter().map(|_| HashSet::new()).collect();
    for answered in answers {
        findings.verified = findings.verified.saturating_add(1);
        let key = keys.get(answered.tss_at);
        let counters = counters.get_mut(answered.tss_at);
        let outcome = match (key, counters) {
            (Some(key), Some(counters)) => check(key, counters, &answered),
            (None, _) | (_, None) => Err(ANSWER_WRONG),
        };
        if let Err(code) = outcome {
            let count = findings.wrong.entry(code).or_default();
            *count = count.saturating_add(1);
        }
    }
    findings
}

/// What matters of an answer.
#[derive(Deserialize)]
struct Step<'a> {
    #[serde(borrow, default)]
    schema: Forms<'a>,
    #[serde(borrow)]
    client_serial_number: Cow<'a, str>,
    revision: u32,
    number: u64,
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    #[serde(borrow)]
    signature: Signature<'a>,
    #[serde(borrow)]
    log: Log<'a>,
    #[serde(borrow)]
    qr_code_data: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Forms<'a> {
    #[serde(borrow)]
    raw: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    process_type: Cow<'a, str>,
    #[serde(borrow)]
    process_data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Signature<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow)]
    algorithm: Cow<'a, str>,
    counter: Number,
}

/// Some servers write numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow)]
    operation: Cow<'a, str>,
    timestamp: i64,
}

fn check(
    key: &AnswerKey,
    counters: &mut HashSet<u64>,
    answered: &Answered,
) -> Result<(), &'static str> {
    let step: Step = serde_json::from_slice(&answered.body).map_err(|_| ANSWER_WRONG)?;
    let phase = match answered.operation {
        Operation::Start => TransactionPhase::Start,
        Operation::Update => TransactionPhase::Update,
        Operation::Finish => TransactionPhase::Finish,
    };
    let is_its_own = step.id == answered.transaction
        && step.revision == answered.revision
        && step.client_serial_number == answered.client_serial
        && step.log.operation == phase.name();
    if !is_its_own {
        return Err(ANSWER_WRONG);
    }
    let counter = match &step.signature.counter {
        Number::Number(counter) => Some(*counter),
        Number::Text(text) => text.parse().ok(),
    };
    let counter = counter.ok_or(ANSWER_WRONG)?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| ANSWER_WRONG);
    let algorithm = SignatureAlgorithm::from_name(&step.signature.algorithm);
    let raw = step.schema.raw.as_ref();
    let signature = decode(&step.signature.value)?;
    let told = AnsweredStep {
        phase,
        client_serial: &step.client_serial_number,
        process_type: raw.map_or("", |raw| &raw.process_type),
        process_data: &decode(raw.map_or("", |raw| &raw.process_data))?,
        number: step.number,
        counter,
        log_time: step.log.timestamp,
        algorithm: algorithm.ok_or(ANSWER_WRONG)?,
        signature: &signature,
    };
    if !key.confirms(&told) {
        return Err(SIGNATURE_INVALID);
    }
    if !counters.insert(counter) {
        return Err(COUNTER_DOUBLED);
    }
    if phase == TransactionPhase::Finish {
        let text = step.qr_code_data.ok_or(ANSWER_WRONG)?;
        let code = QrCode::parse(&text).map_err(|_| ANSWER_WRONG)?;
        if code.signature != signature || code.signature_counter.value() != counter {
            return Err(ANSWER_WRONG);
        }
    }
    Ok(())
}
