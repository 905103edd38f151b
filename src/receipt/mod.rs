//! From the HTTP dialect's `schema`, and from the words of DSFinV-K, to processType and processData;
//! QR texts both ways.
//!
//! Invariant: no keys, no database, no clock. What a till sends becomes a [`Schema`] once, at the
//! door; the rules and the ledger only carry it.

mod cash_receipt;
mod decimal;
mod order;
mod other;
mod qr;
mod qr_time;
mod refusal;
mod schema;
mod strict;
mod taximeter;
mod writer;

pub use qr::{LogTimeFormat, QrCode, QrError};
pub use qr_time::{QrTime, QrTimeError};
pub use refusal::SchemaError;
pub use schema::{ABORTED_RECEIPT, Schema, SchemaForm};
pub use strict::encode_strictly;

#[cfg(test)]
mod tests;
