//! Everything that is tested from outside, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop loudly, in its helpers too"
)]

mod admin_cli;
mod bench_cli;
mod chaos;
mod contract;
mod crash;
mod docs;
mod export;
mod field_exports;
mod hsm_cli;
mod http;
mod pki;
mod pki_cli;
mod processdata_cli;
mod readme;
mod rollback;
mod serve_cli;
mod support;
mod tidy;
mod tokens;
mod verify_cli;
mod watch;
mod whole_way;
