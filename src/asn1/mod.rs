//! Log messages ⇄ DER, file names of log messages.
//!
//! Invariant: bytes only; no rules, no keys, no clocks. The writer is strict DER; the reader takes
//! what devices in the field have written and never panics on anything else.
//! What is signed is [`to_be_signed`], what is kept is [`assemble`].

mod audit_record;
mod event;
mod event_grammar;
mod event_table;
mod file_name;
mod log_time;
mod read;
mod tlv;
mod write;

pub use audit_record::{AUDIT_RECORD_VERSION, AuditDetail, AuditRecord};
pub use event::{
    AuthenticationResult, ComponentTest, LogOutCause, LoggingParameter, Origin, SystemEvent,
    UnblockResult,
};
pub use file_name::{FileNameError, LogFileName, LogKindName, TransactionPhase};
pub use read::{
    AlgorithmIdentifier, LogTime, ReadError, ReadEvent, ReadKind, ReadLogMessage, Tolerated, read,
};
pub use write::{
    Content, Header, TransactionContent, WriteError, assemble, file_name, to_be_signed,
};

#[cfg(test)]
mod tests;
