//! Remembers outside of the ledger how far it was, and stops what it has forgotten (design decision 13).
//!
//! Invariant: what a witness knows more of than the ledger is not signed for until a person decides. A
//! witness is written after the commit, a moment later, and never on a lane's thread. Absent on
//! purpose: any decision of its own; it stops, and `cli` carries out what a person wants.
//!
//! | File | What it does |
//! |---|---|
//! | `keeper`, `opening`, `status` | the thread that writes the witnesses and compares |
//! | `file`, `lines` | the node file: marks and the newest messages of this node |
//! | `tokens` | anchors on the tokens |
//! | `compare` | witnesses against the ledger; pure |
//! | `stopping`, `release` | stops what the ledger has forgotten, and lets go on what lacks nothing any more |
//! | `placing`, `restore`, `rebuild` | puts lost messages back |
//! | `check`, `signature` | verifies the whole ledger again |
//!
//! A token is compared at the start and whenever its generation changes. Whoever puts another token in
//! the place of one (a standby) must change what `Csp::generation` answers, and nothing is signed with it
//! until it was compared.

mod check;
mod compare;
mod file;
mod keeper;
mod lines;
mod opening;
mod placing;
mod rebuild;
mod release;
mod restore;
mod signature;
mod status;
mod stopping;
mod tokens;

pub use check::{CheckReport, CheckStatus, Checker, check_ledger};
pub use compare::{
    Findings, Known, LostFinding, Testimony, TokenFinding, TssFault, TssFinding, compare,
};
pub use file::{Content, FileError, read};
pub use keeper::{WitnessSettings, Witnesses};
pub use placing::{Placer, Placing};
pub use release::{release_restored, stop};
pub use restore::{LostMessage, RestoreError, restore};
pub use status::Status;
pub use stopping::findings as look;
pub use tokens::{AnchorLag, testimonies};

use crate::ledger::LedgerError;
use std::path::PathBuf;

/// Why a node does not start with these witnesses.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The node file cannot be used.
    #[error("the node file {path} cannot be used")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The ledger cannot be looked at.
    #[error("the ledger could not be compared with its witnesses")]
    Ledger(#[from] LedgerError),
    /// The node file knows another ledger.
    #[error(
        "the node file {path} belongs to the ledger {other}, but this one is {ledger}: is this the right \
         database? To begin anew with it, set ledger.danger_begin_anew = true"
    )]
    OtherLedger {
        /// The node file.
        path: PathBuf,
        /// The ledger it knows.
        other: String,
        /// The ledger that is here.
        ledger: String,
    },
    /// A token was used with another ledger, and this one is empty.
    #[error(
        "the token {token} has signed {spent} messages of the ledger {other}, but this one, {ledger}, is \
         empty: is this the right database? To begin anew with it, set ledger.danger_begin_anew = true"
    )]
    UsedToken {
        /// Label of the token.
        token: String,
        /// The ledger it knows.
        other: String,
        /// Numbers spent there.
        spent: u64,
        /// The ledger that is here.
        ledger: String,
    },
    /// The thread could not be started.
    #[error("the thread that keeps the witnesses could not be started")]
    Thread(#[source] std::io::Error),
}

#[cfg(test)]
mod tests;
