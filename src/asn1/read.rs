//! The tolerant, panic-free reader.

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

impl LogTime {
    /// Unix seconds (fractions cut off), or `None` when the text is no such time.
    pub fn unix_seconds(&self) -> Option<i64> {
        None
    }
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
    /// An INTEGER or a length that is not minimal.
    NotMinimal,
    /// A signature in DER form where the plain form belongs.
    DerSignature,
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
pub fn read(bytes: &[u8]) -> Result<ReadLogMessage, ReadError> {
    let _ = bytes;
    Err(ReadError {
        offset: 0,
        reason: "not yet",
    })
}
