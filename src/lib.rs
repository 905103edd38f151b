//! Siegel: an open, self-hosted technical security system (TSS, German: TSE).
//!
//! Folders are rooms, listed here from top to bottom; a room uses only rooms above itself
//! (`tests/it/tidy.rs` guards that). `src/README.md` is the map.

pub mod terms;

pub mod asn1;
pub mod receipt;

pub mod sma;

pub mod csp;
pub mod pki;

pub mod ledger;
pub mod witness;

pub mod signing;

pub mod export;
pub mod verify;

pub mod http;

pub mod config;
pub mod telemetry;

pub mod app;
pub mod cli;
