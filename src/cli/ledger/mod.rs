//! `siegel ledger`: whether the ledger is whole, and what a person does when it is not.

mod care;
mod decide;
mod inspect;
mod sources;

use crate::config::Config;
use crate::terms::TssId;
use anyhow::bail;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// The ledger is not whole.
const NOT_WHOLE: u8 = 1;

/// Arguments of `siegel ledger`.
#[derive(Debug, clap::Args)]
pub(super) struct LedgerArgs {
    /// Configuration of the server.
    #[arg(long, global = true, default_value = "var/siegel.toml")]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compares the ledger with its witnesses and shows what is missing. Changes nothing; the server may run
    /// or not. Exit code 0: nothing is missing; 1: something is.
    Inspect {
        /// Node files of other nodes.
        #[arg(long, value_name = "FILE")]
        witness: Vec<PathBuf>,
        /// Does not ask the tokens, which needs their PINs.
        #[arg(long)]
        no_tokens: bool,
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// First exit: puts missing messages back, from exports (TAR) or from node files.
    ///
    /// Each message must verify under the key of its TSS and follow the stored ones without gap. The state of
    /// transactions and clients is rebuilt as far as messages tell. Ids that tills have chosen stand in node
    /// files only. PINs, PUKs, metadata, descriptions and schemas stand in neither.
    Restore {
        /// Exports or node files.
        #[arg(long, value_name = "FILE", required = true)]
        from: Vec<PathBuf>,
        /// Only this TSS.
        #[arg(long)]
        tss: Option<TssId>,
        #[command(flatten)]
        decision: Decision,
    },
    /// Second exit: lets TSSs go on above every number that may have been issued. The gap stays for ever.
    Jump {
        #[command(flatten)]
        which: Which,
        /// Numbers that are left out beyond those that a witness knows: more than one TSS signs in two seconds.
        #[arg(long, default_value_t = 10_000)]
        margin: u32,
        /// Node files of other nodes.
        #[arg(long, value_name = "FILE")]
        witness: Vec<PathBuf>,
        #[command(flatten)]
        decision: Decision,
    },
    /// Third exit: a TSS becomes DEFECTIVE and never signs again.
    Retire {
        /// Id of the TSS; of one that the ledger does not know, too.
        #[arg(long)]
        tss: TssId,
        /// Node files of other nodes.
        #[arg(long, value_name = "FILE")]
        witness: Vec<PathBuf>,
        #[command(flatten)]
        decision: Decision,
    },
    /// Verifies the whole ledger: bytes, columns, signatures, numbers. The server may run or not. Exit code 0:
    /// it is whole; 1: it is not.
    Check {
        /// Messages per second; as fast as possible without.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Copies the ledger into a new file, while the server runs or not. SQLite only.
    Backup {
        /// File to make.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Of which TSSs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Id of a TSS that is stopped.
    #[arg(long)]
    tss: Option<TssId>,
    /// All TSSs that are stopped.
    #[arg(long)]
    all: bool,
}

/// A person's decision about numbers that may have been issued.
#[derive(Debug, clap::Args)]
struct Decision {
    /// Says that you have read `siegel ledger inspect` and know that this cannot be undone.
    #[arg(long)]
    yes_i_understand: bool,
}

impl Decision {
    fn require(&self) -> anyhow::Result<()> {
        if !self.yes_i_understand {
            bail!(
                "this cannot be undone; read what `siegel ledger inspect` shows, then say --yes-i-understand"
            );
        }
        Ok(())
    }
}

pub(super) fn run(args: LedgerArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let is_whole = match args.what {
        What::Inspect {
            witness,
            no_tokens,
            json,
        } => inspect::run(&config, &witness, no_tokens, json)?,
        What::Restore {
            from,
            tss,
            decision,
        } => {
            decision.require()?;
            decide::restore(config, &from, tss)?
        }
        What::Jump {
            which,
            margin,
            witness,
            decision,
        } => {
            decision.require()?;
            decide::jump(config, which.tss, margin, &witness)?;
            true
        }
        What::Retire {
            tss,
            witness,
            decision,
        } => {
            decision.require()?;
            decide::retire(config, tss, &witness)?;
            true
        }
        What::Check { rate, json } => care::check(&config, rate, json)?,
        What::Backup { to } => {
            care::back_up(&config, &to)?;
            true
        }
    };
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WHOLE)
    })
}
