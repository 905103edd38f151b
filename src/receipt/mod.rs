//! From the HTTP dialect's `schema` to processType and processData, and QR texts both ways.
//!
//! Invariant: no keys, no database, no clock. What a till sends becomes a [`Schema`] once, at the
//! door; the rules and the ledger only carry it.

mod cash_receipt;
mod decimal;
mod order;
mod qr;
mod qr_time;
mod refusal;
mod schema;

pub use qr::{LogTimeFormat, QrCode, QrError};
pub use qr_time::{QrTime, QrTimeError};
pub use refusal::SchemaError;
pub use schema::{ABORTED_RECEIPT, Schema, SchemaForm};

#[cfg(test)]
mod tests;
