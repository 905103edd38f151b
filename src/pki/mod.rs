//! Certificates: a test CA and the devices that it prepares; requests to a foreign CA and what comes
//! back. Who keeps them is the ledger's business.
//!
//! Invariant: a TSS key gets exactly one certificate, ever, and signs nothing but its certificate
//! request (signature 1, proof of possession) and log messages. All private keys, the CA's too, live
//! in the token. What a foreign CA sends is checked as a stranger would check an export of it.
//! Deliberately absent: a CA for LIVE, renewal, revocation lists.

mod ca;
mod certificate;
mod chain;
mod foreign;
mod import;
mod links;
mod records;
mod request;
mod token_key;

pub use ca::{NewCa, TestCa};
pub use foreign::{ForeignCertificate, UnreadableError};
pub use import::{Checked, Import, ImportError, Known};
pub use records::{CaCertificate, CaRole, PreparedDevice, WaitingDevice};

use crate::csp::CspError;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The token did not do it; see its own classes.
    #[error("the token did not make what a certificate needs")]
    Token(#[from] CspError),
    /// A kept certificate that cannot be read, or our bug: one that could not be put together.
    #[error("a certificate could not be read or put together")]
    Encoding(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The CA's own certificate ends too soon to issue another one.
    #[error("the test CA ends too soon; restart the server to make a new one")]
    CaExpired,
}

impl From<x509_cert::builder::Error> for PkiError {
    fn from(error: x509_cert::builder::Error) -> Self {
        Self::Encoding(error.into())
    }
}

impl From<der::Error> for PkiError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error.into())
    }
}
