//! Subcommands.
//!
//! Invariant: a subcommand reads its arguments, calls one room and tells the outcome; exit code 0 is
//! success, 1 a "no" that was found out, 2 something that could not be done, 3 a PIN that a token refused
//! (or that was not tried, to spare the token).

mod admin;
mod bench;
mod client;
mod demo;
mod files;
mod hsm;
mod init;
mod ledger;
mod operator;
mod pki;
mod processdata;
mod serve;
mod verify;

use crate::csp::CspError;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Something could not be done.
const FAILED: u8 = 2;

/// A token refused the PIN: whoever starts us again must not do so by itself, because each start is one
/// more try. `hsm-config/README.md` tells supervisors this number.
const PIN_REFUSED: u8 = 3;

/// Siegel, an open technical security system (TSS). Not certified by the BSI.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data folder: configuration, keys of this installation, a SoftHSM token.
    Init(init::InitArgs),
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Credentials for a first client, and a small till that shows the whole way.
    Demo(demo::DemoArgs),
    /// Organisations and API keys.
    Admin(admin::AdminArgs),
    /// The ledger: whether it is whole, what is missing, what to do then; backup.
    Ledger(ledger::LedgerArgs),
    /// Tokens that hold keys: what there is, and what it can do.
    Hsm(hsm::HsmArgs),
    /// Devices whose certificates a foreign authority makes: requests out, certificates in.
    Pki(pki::PkiArgs),
    /// Write processData from the words of DSFinV-K: one JSON object a line in, one answer a line out.
    #[command(name = "processdata")]
    ProcessData(processdata::ProcessDataArgs),
    /// Measure a server of this dialect, a token or a ledger.
    Bench(Box<bench::BenchArgs>),
    /// Check exports and QR codes, of any maker. Exit code 0: clean; 1: findings; 2: not readable.
    Verify(verify::VerifyArgs),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Init(args) => init::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::run(&args),
        Command::ProcessData(args) => processdata::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::run(&args),
        Command::Verify(args) => Ok(verify::run(&args)),
        Command::Admin(args) => admin::run(args).map(|()| ExitCode::SUCCESS),
        Command::Ledger(args) => ledger::run(args),
        Command::Hsm(args) => Ok(hsm::run(&args)),
        Command::Pki(args) => pki::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("siegel: {error:#}");
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    let pin_refused = error.chain().any(|cause| {
        let known = cause.downcast_ref::<CspError>();
        known.is_some_and(|error| matches!(error, CspError::PinRefused { .. }))
    });
    if pin_refused { PIN_REFUSED } else { FAILED }
}
