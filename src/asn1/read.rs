//! The tolerant, panic-free reader.

use super::event_grammar::read_event;
use super::tlv::{Cursor, Element, Notes, tag};
use crate::terms::{SerialNumber, SignatureAlgorithm};
use std::ops::Range;

/// A log message as read. Text is kept as found, even where our writer would refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLogMessage {
    /// Value of the version field, 2 or 3.
    pub version: u8,
    /// Transaction, system or audit part.
    pub kind: ReadKind,
    /// serialNumber.
    pub serial_number: SerialNumber,
    /// signatureAlgorithm.
    pub algorithm: AlgorithmIdentifier,
    /// signatureCounter.
    pub signature_counter: u64,
    /// logTime / signatureCreationTime.
    pub time: LogTime,
    /// Where the signed bytes stand within the input.
    pub signed_range: Range<usize>,
    /// signatureValue.
    pub signature: Vec<u8>,
    /// What strict DER would not have allowed.
    pub tolerated: Vec<Tolerated>,
}

/// The part that differs between the three kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadKind {
    /// Transaction log.
    Transaction {
        /// `StartTransaction`, `startTransaction` …
        operation_type: String,
        /// clientId.
        client_id: String,
        /// The logical value; parts of the indefinite form are joined.
        process_data: Vec<u8>,
        /// `None` when absent.
        process_type: Option<String>,
        /// additionalExternalData, if present.
        additional_external_data: Option<Vec<u8>>,
        /// additionalInternalData, if present.
        additional_internal_data: Option<Vec<u8>>,
        /// transactionNumber.
        transaction_number: u64,
    },
    /// System log.
    System {
        /// operationType / eventType as written.
        event_type: String,
        /// eventOrigin (v3).
        event_origin: Option<String>,
        /// eventTriggeredByUser (v3).
        triggered_by: Option<String>,
        /// The decoded event, where it is a known one and its content fits.
        event: ReadEvent,
        /// Content of systemOperationData (v2) or eventData (v3), undecoded.
        data: Vec<u8>,
        /// additionalInternalData, if present.
        additional_internal_data: Option<Vec<u8>>,
    },
    /// Audit log.
    Audit {
        /// seAuditData.
        se_audit_data: Vec<u8>,
    },
}

/// The fields of a system event that the checker needs; everything else stays in `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadEvent {
    /// A known event, content as far as it was understood.
    Known {
        /// timeBeforeUpdate and timeAfterUpdate of `updateTime`.
        time_update: Option<(LogTime, LogTime)>,
        /// clientId of `registerClient` / `deregisterClient`.
        client_id: Option<String>,
    },
    /// A known name with content that does not fit it.
    Malformed,
    /// A name we do not know.
    Unknown,
}

/// AlgorithmIdentifier as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlgorithmIdentifier {
    /// Dotted object identifier.
    pub oid: String,
    /// Whether any parameters stand there (they must not, TR-03153-1 §9.6).
    pub has_parameters: bool,
}

impl AlgorithmIdentifier {
    /// The algorithm, if it is one that may sign log messages.
    pub fn known(&self) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_oid(&self.oid)
    }
}

/// logTime in one of its three forms, with the text as written where it is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTime {
    /// INTEGER seconds.
    Unix(i64),
    /// UTCTime text.
    Utc(String),
    /// GeneralizedTime text.
    Generalized(String),
}

/// Deviations from strict DER or from the guideline that are accepted and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tolerated {
    /// processData in indefinite length although it has one part or none.
    IndefiniteLength,
    /// processType is absent.
    MissingProcessType,
    /// Bytes after the fields of a known event.
    TrailingEventData,
    /// An INTEGER or a length that is not minimal, or a BOOLEAN that is neither 00 nor FF.
    NotMinimal,
    /// A signature in DER form where the plain form belongs.
    DerSignature,
    /// processData in constructed form although its length is definite.
    ConstructedProcessData,
    /// A text with characters outside PrintableString.
    NotPrintable,
}

/// Why bytes are no log message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct ReadError {
    /// Where reading stopped.
    pub offset: usize,
    /// What was expected.
    pub reason: &'static str,
}

/// Reads one log message; the input must hold nothing else.
///
/// # Errors
/// [`ReadError`] when the bytes are no log message of version 2 or 3. Deviations that are known from
/// devices in the field are no error; they stand in [`ReadLogMessage::tolerated`].
pub fn read(bytes: &[u8]) -> Result<ReadLogMessage, ReadError> {
    let mut notes = Notes::new();
    let mut input = Cursor::new(bytes);
    let message = input.expect(
        tag::SEQUENCE,
        "a log message is a SEQUENCE of definite length",
        &mut notes,
    )?;
    input.end("nothing may follow the log message")?;
    let mut body = message.cursor();

    let version = version(&mut body, &mut notes)?;
    let log_type = log_type(&mut body, &mut notes)?;
    let certified = match log_type {
        LogType::Transaction => Some(transaction(&mut body, &mut notes)?),
        LogType::System => Some(system(version, &mut body, &mut notes)?),
        LogType::Audit => None,
    };
    let serial_number = serial_number(&mut body, &mut notes)?;
    let algorithm = algorithm(&mut body, &mut notes)?;
    let kind = match certified {
        Some(kind) => kind,
        None => ReadKind::Audit {
            se_audit_data: body
                .expect(tag::OCTET_STRING, "seAuditData was expected", &mut notes)?
                .content
                .to_vec(),
        },
    };
    let signature_counter = body
        .expect(tag::INTEGER, "signatureCounter was expected", &mut notes)?
        .unsigned(&mut notes)?;
    let time = log_time(&mut body, &mut notes)?;
    let signed_range = message.content_offset..body.offset();

    let signature = body.expect(tag::OCTET_STRING, "signatureValue was expected", &mut notes)?;
    body.end("nothing may follow signatureValue")?;
    if is_der_signature(signature) {
        notes.insert(Tolerated::DerSignature);
    }
    Ok(ReadLogMessage {
        version,
        kind,
        serial_number,
        algorithm,
        signature_counter,
        time,
        signed_range,
        signature: signature.content.to_vec(),
        tolerated: notes.into_iter().collect(),
    })
}

enum LogType {
    Transaction,
    System,
    Audit,
}

fn version(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<u8, ReadError> {
    let element = body.expect(tag::INTEGER, "version was expected", notes)?;
    match element.unsigned(notes)? {
        2 => Ok(2),
        3 => Ok(3),
        _ => Err(element.error("version 2 or 3 was expected")),
    }
}

fn log_type(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<LogType, ReadError> {
    let element = body.expect(
        tag::OBJECT_IDENTIFIER,
        "certifiedDataType was expected",
        notes,
    )?;
    match element.object_identifier()?.as_str() {
        "0.4.0.127.0.7.3.7.1.1" => Ok(LogType::Transaction),
        "0.4.0.127.0.7.3.7.1.2" => Ok(LogType::System),
        "0.4.0.127.0.7.3.7.1.3" => Ok(LogType::Audit),
        _ => Err(element.error("a transaction, system or audit log was expected")),
    }
}

fn transaction(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<ReadKind, ReadError> {
    let operation_type = body
        .expect(tag::context(0), "operationType was expected", notes)?
        .text(notes);
    let client_id = body
        .expect(tag::context(1), "clientId was expected", notes)?
        .text(notes);
    let process_data = process_data(body, notes)?;
    let process_type = body.optional(tag::context(3), notes)?;
    if process_type.is_none() {
        notes.insert(Tolerated::MissingProcessType);
    }
    let additional_external_data = optional_octets(body, 4, notes)?;
    let transaction_number = body
        .expect(tag::context(5), "transactionNumber was expected", notes)?
        .unsigned(notes)?;
    let additional_internal_data = optional_octets(body, 6, notes)?;
    Ok(ReadKind::Transaction {
        operation_type,
        client_id,
        process_data,
        process_type: process_type.map(|element| element.text(notes)),
        additional_external_data,
        additional_internal_data,
        transaction_number,
    })
}

/// `82` with the bytes, or `A2` with OCTET STRINGs whose contents are joined. Parts have no inner
/// structure, so this ends with the input at the latest.
fn process_data(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<Vec<u8>, ReadError> {
    const END_OF_CONTENTS: [u8; 2] = [0, 0];
    const PART: &str = "a part of processData or its end was expected";
    if let Some(element) = body.optional(tag::context(2), notes)? {
        return Ok(element.content.to_vec());
    }
    let mut joined = Vec::new();
    let mut parts: usize = 0;
    let indefinite = [tag::context_constructed(2), 0x80];
    if body.starts_with(&indefinite) {
        body.take(indefinite.len())?;
        while !body.starts_with(&END_OF_CONTENTS) {
            let part = body.expect(tag::OCTET_STRING, PART, notes)?;
            joined.extend_from_slice(part.content);
            parts = parts.saturating_add(1);
        }
        body.take(END_OF_CONTENTS.len())?;
        if parts < 2 {
            notes.insert(Tolerated::IndefiniteLength);
        }
    } else {
        let element = body.expect(
            tag::context_constructed(2),
            "processData was expected",
            notes,
        )?;
        let mut inner = element.cursor();
        while !inner.is_empty() {
            let part = inner.expect(tag::OCTET_STRING, PART, notes)?;
            joined.extend_from_slice(part.content);
        }
        notes.insert(Tolerated::ConstructedProcessData);
    }
    Ok(joined)
}

fn system(version: u8, body: &mut Cursor<'_>, notes: &mut Notes) -> Result<ReadKind, ReadError> {
    let event_type = body
        .expect(tag::context(0), "the event's name was expected", notes)?
        .text(notes);
    let mut event_origin = None;
    let mut triggered_by = None;
    let data;
    let additional_internal_data;
    if version == 2 {
        data = body.expect(tag::context(1), "systemOperationData was expected", notes)?;
        additional_internal_data = optional_octets(body, 2, notes)?;
    } else {
        event_origin = body.optional(tag::context(1), notes)?;
        triggered_by = body.optional(tag::context(2), notes)?;
        data = body.expect(tag::context_constructed(3), "eventData was expected", notes)?;
        additional_internal_data = optional_octets(body, 4, notes)?;
    }
    Ok(ReadKind::System {
        event: read_event(version, &event_type, data, notes),
        event_type,
        event_origin: event_origin.map(|element| element.text(notes)),
        triggered_by: triggered_by.map(|element| element.text(notes)),
        data: data.content.to_vec(),
        additional_internal_data,
    })
}

fn optional_octets(
    body: &mut Cursor<'_>,
    number: u8,
    notes: &mut Notes,
) -> Result<Option<Vec<u8>>, ReadError> {
    let element = body.optional(tag::context(number), notes)?;
    Ok(element.map(|element| element.content.to_vec()))
}

fn serial_number(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<SerialNumber, ReadError> {
    let element = body.expect(tag::OCTET_STRING, "serialNumber was expected", notes)?;
    SerialNumber::try_from(element.content).map_err(|_| element.error("serialNumber has 32 bytes"))
}

fn algorithm(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<AlgorithmIdentifier, ReadError> {
    let mut inner = body
        .expect(tag::SEQUENCE, "signatureAlgorithm was expected", notes)?
        .cursor();
    let oid = inner
        .expect(
            tag::OBJECT_IDENTIFIER,
            "the algorithm's object identifier was expected",
            notes,
        )?
        .object_identifier()?;
    Ok(AlgorithmIdentifier {
        oid,
        has_parameters: !inner.is_empty(),
    })
}

fn log_time(body: &mut Cursor<'_>, notes: &mut Notes) -> Result<LogTime, ReadError> {
    const REASON: &str = "logTime was expected";
    match body.peek() {
        Some(tag::UTC_TIME) => Ok(LogTime::Utc(body.next(notes)?.text(notes))),
        Some(tag::GENERALIZED_TIME) => Ok(LogTime::Generalized(body.next(notes)?.text(notes))),
        _ => {
            let element = body.expect(tag::INTEGER, REASON, notes)?;
            element.signed(notes).map(LogTime::Unix)
        }
    }
}

/// SEQUENCE { INTEGER, INTEGER } and nothing else. A plain signature looks like that only with a
/// probability below 2^-30.
fn is_der_signature(signature: Element<'_>) -> bool {
    let mut notes = Notes::new();
    let mut outer = signature.cursor();
    let mut walk = || {
        let pair = outer.expect(tag::SEQUENCE, "SEQUENCE", &mut notes)?;
        outer.end("end")?;
        let mut inner = pair.cursor();
        inner.expect(tag::INTEGER, "r", &mut notes)?;
        inner.expect(tag::INTEGER, "s", &mut notes)?;
        inner.end("end")
    };
    walk().is_ok()
}
