//! Subcommands.
//!
//! Invariant: a subcommand reads its arguments, calls one room and tells the outcome; exit code 0 is
//! success, 1 a "no" that was found out, 2 something that could not be done.

mod admin;
mod hsm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Something could not be done.
const FAILED: u8 = 2;

/// Siegel, an open technical security system (TSS). Not certified by the BSI.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Organisations, API keys and TSSs.
    Admin(admin::AdminArgs),
    /// Tokens that hold keys: what there is, and what it can do.
    Hsm(hsm::HsmArgs),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Admin(args) => admin::run(args),
        Command::Hsm(args) => return hsm::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siegel: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
