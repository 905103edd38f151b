//! The signed bytes of a transaction step, put together from what was told about it.

use crate::asn1::TransactionPhase;
use crate::terms::{SerialNumber, SignatureAlgorithm};

/// A step as somebody tells it.
pub(super) struct Transaction<'a> {
    /// Of the log message: 2 or 3.
    pub version: u8,
    pub phase: TransactionPhase,
    pub client_serial: &'a [u8],
    pub process_data: &'a [u8],
    /// `None`: the element is left out.
    pub process_type: Option<&'a [u8]>,
    pub number: u64,
    pub serial: SerialNumber,
    pub algorithm: SignatureAlgorithm,
    pub counter: u64,
    /// Tag of the log time's form.
    pub time_tag: u8,
    /// Content of the log time.
    pub time: &'a [u8],
}

/// What was signed: the elements of the message up to its time, one after the other
/// (TR-03151 v1.0.1 §2.4).
pub(super) fn transaction(step: &Transaction<'_>) -> Vec<u8> {
    const TRANSACTION_LOG: &str = "0.4.0.127.0.7.3.7.1.1";
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, 0x02, &[step.version]);
    put(&mut bytes, 0x06, &object_identifier(TRANSACTION_LOG));
    put(&mut bytes, 0x80, operation(step.version, step.phase));
    put(&mut bytes, 0x81, step.client_serial);
    put(&mut bytes, 0x82, step.process_data);
    if let Some(process_type) = step.process_type {
        put(&mut bytes, 0x83, process_type);
    }
    put(&mut bytes, 0x85, &integer(step.number.into()));
    put(&mut bytes, 0x04, step.serial.as_bytes());
    let mut algorithm = Vec::new();
    put(
        &mut algorithm,
        0x06,
        &object_identifier(step.algorithm.oid()),
    );
    put(&mut bytes, 0x30, &algorithm);
    put(&mut bytes, 0x02, &integer(step.counter.into()));
    put(&mut bytes, step.time_tag, step.time);
    bytes
}

const fn operation(version: u8, phase: TransactionPhase) -> &'static [u8] {
    match (version, phase) {
        (2, TransactionPhase::Start) => b"StartTransaction",
        (2, TransactionPhase::Update) => b"UpdateTransaction",
        (2, TransactionPhase::Finish) => b"FinishTransaction",
        (_, TransactionPhase::Start) => b"startTransaction",
        (_, TransactionPhase::Update) => b"updateTransaction",
        (_, TransactionPhase::Finish) => b"finishTransaction",
    }
}

/// Appends an element in DER. Own writer: the signing side's must not confirm itself here.
fn put(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    match length.get(zeros..).unwrap_or_default() {
        [] => bytes.push(0),
        [short] if *short < 0x80 => bytes.push(*short),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7F));
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend_from_slice(content);
}

/// Content of an INTEGER: two's complement, as short as possible.
pub(super) fn integer(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let superfluous = bytes
        .iter()
        .zip(bytes.iter().skip(1))
        .take_while(|(byte, next)| {
            (**byte == 0 && **next < 0x80) || (**byte == 0xFF && **next >= 0x80)
        })
        .count();
    bytes.get(superfluous..).unwrap_or_default().to_vec()
}

/// Content of an OBJECT IDENTIFIER; the ones here have arcs below 2^14.
fn object_identifier(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u32>().unwrap_or(0));
    let first = arcs.next().unwrap_or(0);
    let second = arcs.next().unwrap_or(0);
    let mut content = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(arcs) {
        let digit = |shift: u32| u8::try_from((arc >> shift) & 0x7F).unwrap_or(0);
        if arc >= 0x80 {
            content.push(0x80 | digit(7));
        }
        content.push(digit(0));
    }
    content
}
