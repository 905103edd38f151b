//! The way to a foreign CA and back, for the devices of one token.

use super::NodeError;
use super::node::refuse_mixed_environments;
use crate::csp::Csp;
use crate::ledger::{LedgerError, Store};
use crate::pki::{
    Checked, ForeignCertificate, Import, ImportError, Known, PkiError, WaitingDevice,
};
use crate::terms::{Curve, Entropy, Environment, SeTime};

/// Why a request or a certificate is not kept.
#[derive(Debug, thiserror::Error)]
pub enum ForeignCaError {
    /// Key or request could not be made.
    #[error("no more certificate requests can be made")]
    Request(#[from] PkiError),
    /// The certificates may not be taken; nothing was changed.
    #[error("nothing was imported")]
    Refused(#[from] ImportError),
    /// The ledger did not do it.
    #[error("the ledger did not keep it")]
    Ledger(#[from] LedgerError),
    /// The token is not what the ledger thinks.
    #[error("the token cannot be used")]
    Token(#[from] NodeError),
}

/// One token, whose devices get their certificates from somebody else.
pub struct ForeignCa<'a> {
    store: &'a Store,
    token: &'a str,
    environment: Environment,
}

impl<'a> ForeignCa<'a> {
    /// `token` is the label of the token.
    ///
    /// # Errors
    /// [`ForeignCaError::Token`] when the keys in it are for the other environment.
    pub fn new(
        store: &'a Store,
        token: &'a str,
        environment: Environment,
    ) -> Result<Self, ForeignCaError> {
        refuse_mixed_environments(store, token, environment)?;
        Ok(Self {
            store,
            token,
            environment,
        })
    }

    /// Makes a key with its request in this token, and keeps both. A run that ends in the middle leaves a
    /// key at most that nobody knows.
    ///
    /// # Errors
    /// [`ForeignCaError::Request`], [`ForeignCaError::Ledger`].
    pub fn request(
        &self,
        csp: &dyn Csp,
        entropy: &dyn Entropy,
        curve: Curve,
        now: SeTime,
    ) -> Result<WaitingDevice, ForeignCaError> {
        assert_eq!(csp.token(), self.token, "the key belongs to this token");
        // Kept only after it has proven that it works (PKCS#11 digest §5).
        let waiting = WaitingDevice::make(csp, entropy, self.environment, curve, now)?;
        self.store.add_request(&waiting)?;
        Ok(waiting)
    }

    /// Makes the devices ready whose certificates are given; those of CAs are given with them, in any
    /// order, as far as they are not kept yet. All or nothing; the same again changes nothing.
    ///
    /// # Errors
    /// [`ForeignCaError::Refused`], [`ForeignCaError::Ledger`].
    pub fn import(
        &self,
        given: &[ForeignCertificate],
        now: SeTime,
    ) -> Result<Checked, ForeignCaError> {
        let keys: Vec<_> = given.iter().filter_map(|one| one.key_serial()).collect();
        let mut cas = self.store.cas(Environment::Test)?;
        cas.extend(self.store.cas(Environment::Live)?);
        let known = Known {
            requested: self.store.requested_devices(&keys)?,
            unusable: self.store.unusable_requests(&keys)?,
            certified: self.store.certified_devices(&keys)?,
            cas,
        };
        let checked = Import {
            token: self.token,
            environment: self.environment,
            now,
            known: &known,
        }
        .check(given)?;
        self.store.add_certified(&checked.devices, &checked.cas)?;
        Ok(checked)
    }
}
