//! The strict DER writer.

use super::event::{Origin, SystemEvent};
use super::file_name::TransactionPhase;
use crate::terms::{
    ClientSerial, LogFormat, ProcessData, ProcessType, Role, SeTime, SerialNumber,
    SignatureAlgorithm, SignatureCounter, TransactionNumber,
};

/// What a log message says, before it gets counter, time and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A step of a transaction.
    Transaction(TransactionContent),
    /// A system event.
    System {
        /// What happened.
        event: SystemEvent,
        /// Where it came from (v3; not written in v2).
        origin: Origin,
        /// User at the interface, `None` when the TSS acted by itself (v3; not written in v2).
        triggered_by: Option<Role>,
    },
    /// An audit message of the CSP; the DER of our seAuditData.
    Audit {
        /// Complete DER element.
        se_audit_data: Vec<u8>,
    },
}

/// A step of a transaction (TR-03151 v1.0.1 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionContent {
    /// Start, update or finish.
    pub phase: TransactionPhase,
    /// The till.
    pub client: ClientSerial,
    /// Signed as given; written with definite length.
    pub process_data: ProcessData,
    /// Signed as given; always present, possibly empty.
    pub process_type: ProcessType,
    /// Number of the transaction.
    pub number: TransactionNumber,
}

/// What every log message carries besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the message.
    pub format: LogFormat,
    /// Names the key.
    pub serial_number: SerialNumber,
    /// How it will be signed.
    pub algorithm: SignatureAlgorithm,
    /// Number of this signature.
    pub signature_counter: SignatureCounter,
    /// `unixTime` form (design decision 9).
    pub time: SeTime,
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A text is outside ASN.1 PrintableString.
    #[error("{field} is not a PrintableString")]
    NotPrintable {
        /// Which field.
        field: &'static str,
    },
    /// The event has no form in this log format.
    #[error("the event has no form in log format {}", .0.as_str())]
    NotInFormat(LogFormat),
    /// The message is longer than DER lengths we write.
    #[error("the message is too long")]
    TooLong,
}

/// The bytes that are signed: all elements before signatureValue, with tags and lengths, without the
/// outer SEQUENCE header (TR-03151 v1.0.1 §2.4, rule L-5).
pub fn to_be_signed(header: &Header, content: &Content) -> Result<Vec<u8>, WriteError> {
    let _ = (header, content);
    Err(WriteError::TooLong)
}

/// The log message itself: SEQUENCE { signed bytes, signatureValue }.
pub fn assemble(signed_bytes: &[u8], signature: &[u8]) -> Result<Vec<u8>, WriteError> {
    let _ = (signed_bytes, signature);
    Err(WriteError::TooLong)
}
