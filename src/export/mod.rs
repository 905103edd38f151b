//! Exports: what was signed, as TAR archives (TR-03151 v1.0.1 §5, TR-03151-1 §2.5).
//!
//! Invariant: nothing is added, changed or dropped on the way out; what an export holds is fixed when
//! it is requested. Memory does not grow with the archive. Deliberately absent: signing, HTTP.

mod archive;
mod info;
mod pace;
mod request;
mod tar_blocks;
mod worker;

pub use archive::Archive;
pub use info::info_csv;
pub use pace::Pace;
pub use request::{ExportWish, freeze};
pub use worker::{ExportSettings, ExportWorker};

use crate::ledger::LedgerError;

/// Why an archive broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger did not hand it out.
    #[error("the ledger did not hand out an export")]
    Ledger(#[from] LedgerError),
    /// The export is not [`crate::ledger::ExportState::Completed`].
    #[error("the export is not complete")]
    NotComplete,
    /// Our bug: a name with characters that the guideline does not know.
    #[error("{0:?} is no name for a file of an export")]
    IllegalName(String),
    /// Fewer or more messages than were counted; the archive must not look whole.
    #[error("the export holds {found} messages instead of {counted}")]
    Incomplete {
        /// When it was requested.
        counted: u64,
        /// Now.
        found: u64,
    },
}

#[cfg(test)]
mod tests;
