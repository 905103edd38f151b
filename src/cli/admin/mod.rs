//! `siegel admin`: what an operator does by hand.

mod accounts;
mod token;
mod token_secret;
mod tss;

pub(super) use accounts::{create_api_key, create_organization};

use crate::app::SystemEntropy;
use crate::config::Config;
use crate::ledger::Store;
use crate::terms::TssId;
use accounts::{ApiKeyWhat, OrganizationWhat};
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;
use tss::Ending;

/// Arguments of `siegel admin`.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// Configuration of the server. With SQLite the server must not be running, except for `token`.
    #[arg(long, default_value = "var/siegel.toml")]
    config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Owners of TSSs.
    #[command(subcommand)]
    Organization(OrganizationWhat),
    /// What tills log in with.
    #[command(subcommand)]
    ApiKey(ApiKeyWhat),
    /// TSSs of all owners.
    #[command(subcommand)]
    Tss(TssWhat),
    /// Tokens that have a standby.
    #[command(subcommand)]
    Token(TokenWhat),
    /// Makes a new secret that signs access tokens; tokens that are out stay good.
    ///
    /// A server on PostgreSQL begins to use it within seconds. The old secret is forgotten when the last
    /// token that it signed has expired.
    RotateTokenSecret,
}

#[derive(Debug, Subcommand)]
enum TokenWhat {
    /// Lists them: label, name of the section that is active, number of the switch.
    List,
    /// Makes a token or its standby the one that signs, on all nodes, from the next batch on.
    ///
    /// Works while servers are running, with SQLite too. Asks no token anything: each TSS finds out with its
    /// next message whether its key is there.
    Switch {
        /// Name of the `[[token]]` section; also of one whose standby is not configured any more.
        #[arg(long)]
        to: String,
    },
}

#[derive(Debug, Subcommand)]
enum TssWhat {
    /// Lists all TSSs: id, owner, environment, state, signature counter.
    List,
    /// Ends a TSS for good, without its PIN: signs `disableSecureElement` in the name of the operator.
    Disable {
        /// Id of the TSS.
        tss: TssId,
        /// Says that you know that this cannot be undone.
        #[arg(long)]
        for_good: bool,
    },
    /// Declares a TSS defective for good: it signs nothing any more, not even this; its exports still work.
    Defective {
        /// Id of the TSS.
        tss: TssId,
        /// Says that you know that this cannot be undone.
        #[arg(long)]
        for_good: bool,
    },
}

/// What a subcommand has found out or done, to be printed.
struct Told {
    /// Lines for people; empty for nothing.
    text: String,
    /// The same for programs.
    json: Value,
}

pub(super) fn run(args: AdminArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let store = || Store::open(&config.store, &SystemEntropy);
    let told = match args.what {
        What::Organization(what) => accounts::organization(&store()?, what)?,
        What::ApiKey(what) => accounts::api_key(&store()?, what)?,
        What::Tss(TssWhat::List) => tss::list(&store()?)?,
        What::Tss(TssWhat::Disable { tss, for_good }) => {
            tss::end(config, tss, Ending::Disabled, for_good)?
        }
        What::Tss(TssWhat::Defective { tss, for_good }) => {
            tss::end(config, tss, Ending::Defective, for_good)?
        }
        What::Token(what) => {
            let store = Store::open_beside(&config.store)?;
            match what {
                TokenWhat::List => token::list(&store, &config)?,
                TokenWhat::Switch { to } => token::switch(&store, &config, &to)?,
            }
        }
        What::RotateTokenSecret => token_secret::rotate(&store()?, &config)?,
    };
    if args.json {
        println!("{}", told.json);
    } else if !told.text.is_empty() {
        println!("{}", told.text);
    }
    Ok(())
}
