//! The independent checker of exports and QR codes.
//!
//! Invariant: no rule of the signing side is asked; of the other rooms only words (`terms`) and the
//! reading halves of `asn1` and `receipt` are used, so a mistake in how we sign cannot hide here. The one
//! exception are the names of files: `Display` of `asn1::LogFileName` writes them for an export and is
//! asked here, too, for the name that a message must have; a mistake in it shows only in the fixed names
//! of tests and in the archives of other makers.
//!
//! Any input gives a report or a [`VerifyError`], never a panic, and memory is bounded but for 32 bytes per
//! message. The same input gives the same report, whatever the number of threads.
//!
//! [`FindingCode`] and [`NoteCode`] are the tables of everything that can be said. A finding is
//! something wrong; a note is lawful, or outside of what an archive alone can tell.

mod answered;
mod archive;
mod certificate;
mod chain;
mod clients;
mod codes;
mod key;
mod message;
mod pool;
mod process_data;
mod qr;
mod report;
mod sequence;
mod signed;
mod survey;
mod tar;

pub use answered::{AnswerKey, AnsweredStep};
pub use archive::verify_archive;
pub use codes::{FindingCode, NoteCode, Severity};
pub use qr::verify_qr;
pub use report::{ArchiveReport, FINDINGS_MAX, Finding, KeySummary, Note, QrReport};

use certificate::Certificate;
use std::io;
use std::num::NonZeroUsize;

/// What is asked of a check of archives.
pub struct Settings {
    is_partial: bool,
    threads: NonZeroUsize,
    trust: Vec<Certificate>,
}

/// The input could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The input is no TAR archive, or one that is packed.
    #[error("this is no TAR archive, or a compressed one")]
    NotAnArchive,
    /// The input could not be read to its end.
    #[error("the archive could not be read")]
    Unreadable {
        /// Why.
        source: io::Error,
    },
}

/// The file holds no certificate to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no X.509 certificate in PEM or DER form")]
pub struct TrustError;

impl Settings {
    /// A complete archive, no trusted certificates.
    pub const fn new(threads: NonZeroUsize) -> Self {
        Self {
            is_partial: false,
            threads,
            trust: Vec::new(),
        }
    }

    /// The archives are filtered exports: gaps in the signature counters prove nothing.
    #[must_use]
    pub fn partial(mut self, is_partial: bool) -> Self {
        self.is_partial = is_partial;
        self
    }

    /// Adds a certificate to be trusted, PEM or DER. As soon as there is one, chains must lead to one.
    ///
    /// # Errors
    /// [`TrustError`] when the bytes are no certificate.
    pub fn trust(&mut self, name: &str, bytes: &[u8]) -> Result<(), TrustError> {
        let found = Certificate::parse(name, bytes);
        if found.is_empty() {
            return Err(TrustError);
        }
        self.trust.extend(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
