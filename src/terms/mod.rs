//! The words of the house as types.
//!
//! Invariant: plain values only; no bytes formats, no I/O, nothing that waits but a
//! background thread for its bell. A value of one of
//! these types has been checked when it was made, so no room below checks it again.

mod algorithm;
mod background;
mod bell;
mod causes;
mod client_serial;
mod clock;
mod counters;
mod export_request;
mod ids;
mod measure;
mod process;
mod secret;
mod serial_number;
mod users;

pub use algorithm::{Curve, Hash, SignatureAlgorithm};
pub use background::Background;
pub use bell::Bell;
pub use causes::chain;
pub use client_serial::{CLIENT_SERIAL_LEN_MAX, ClientSerial, ClientSerialError};
pub use clock::{Clock, ClockStep, Entropy, SeTime, SeTimeError};
pub use counters::{COUNTER_MAX, Revision, SignatureCounter, TransactionNumber};
pub use export_request::{
    EXPORT_MESSAGES_MAX, ExportBounds, ExportRequest, ExportRequestError, ExportWindow,
};
pub use ids::{ClientId, ExportId, IdError, OrganizationId, SessionId, TransactionId, TssId};
pub use measure::{SECONDS_BOUNDS, Stopwatch};
pub use process::{PROCESS_TYPE_LEN_MAX, ProcessData, ProcessType, ProcessTypeError};
pub use secret::Secret;
pub use serial_number::{SerialNumber, SerialNumberError};
pub use users::{Environment, LogFormat, Role};

#[cfg(test)]
mod tests;
