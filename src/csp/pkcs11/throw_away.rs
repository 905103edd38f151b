//! A key that is there for a measurement and then no more.

use super::keys::{self, Purpose};
use super::token::Pkcs11Token;
use crate::csp::{CspError, KeyPair};
use crate::terms::Curve;

/// A key pair with the marks of a throw-away key, never a TSS's. Dropping it destroys it; one that is left
/// behind, because the process was killed, is destroyed by the next `siegel hsm check`.
pub struct ThrowAwayKey<'a> {
    token: &'a Pkcs11Token,
    pair: KeyPair,
}

impl<'a> ThrowAwayKey<'a> {
    /// Makes it in the token.
    ///
    /// # Errors
    /// Whatever hinders the token from making a key pair on this curve.
    pub fn make(token: &'a Pkcs11Token, curve: Curve) -> Result<Self, CspError> {
        let id = keys::probe_id(token.inner().entropy.as_ref());
        let pair = token.inner().generate(id, curve, Purpose::Probe)?;
        Ok(Self { token, pair })
    }

    /// To sign with.
    pub const fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl Drop for ThrowAwayKey<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.token.inner().destroy_probe(self.pair.id) {
            let key = self.pair.id;
            tracing::error!(%key, %error, "the throw-away key {key} stays on the token");
        }
    }
}
