//! The independent checker of exports and receipt codes.
//!
//! Invariant: nothing of what signs is used here: only words (`terms`) and the reading halves of
//! `asn1` and `receipt`. All findings are told, in the order of the archive. Whatever the bytes are,
//! the answer is a finding or [`Unreadable`], never a panic, and memory grows by a small index entry
//! per message only.
//!
//! | File | What it checks |
//! |---|---|
//! | `tar_reader` | blocks, checksums, names and sizes of the archive itself |
//! | `certificates`, `chain` | certificates, and the way from each signer to a root |
//! | `message` | one log message: form, name, signature, validity at signing time |
//! | `sequence` | what only all messages together show: counters, times, transactions |
//! | `archive` | runs all of these over one file, spread over all cores |
//! | `qr` | one receipt code |

mod archive;
mod certificates;
mod chain;
mod keys;
mod message;
mod qr;
mod report;
mod sequence;
mod tar_reader;

pub use archive::{Options, check_archive};
pub use certificates::{Root, RootError};
pub use qr::check_qr;
pub use report::{ArchiveReport, Code, Finding, Note, NoteCode, QrReport, Severity, Unreadable};
