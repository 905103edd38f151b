//! The active one of two tokens, for whoever makes keys: prepared devices and the CA.

use crate::csp::{Anchor, Csp, CspError, KeyId, KeyPair, ModuleError, TokenState, TokenVitals};
use crate::ledger::{ActiveToken, Store};
use crate::signing::{TokenPair, TokenPairs, standing};
use crate::terms::Curve;
use std::sync::Arc;

/// Behaves like one token under the label that the ledger knows, and goes to the token that the ledger calls
/// active at each call. Log messages do not come this way.
pub(super) struct ActiveCsp {
    label: String,
    tokens: Arc<TokenPairs>,
    store: Store,
}

impl ActiveCsp {
    pub fn new(label: &str, tokens: &Arc<TokenPairs>, store: &Store) -> Self {
        Self {
            label: label.to_owned(),
            tokens: Arc::clone(tokens),
            store: store.clone(),
        }
    }

    fn active(&self) -> Result<&Arc<dyn Csp>, CspError> {
        self.look().map(|(csp, _)| csp)
    }

    /// The active one, and what the ledger says of it; `None` for a token that never had a standby.
    fn look(&self) -> Result<(&Arc<dyn Csp>, Option<ActiveToken>), CspError> {
        let gone = |why: &str| CspError::DeviceGone {
            token: self.label.clone(),
            source: Some(ModuleError(why.to_owned())),
        };
        let pair = self.tokens.get(&self.label);
        let pair = pair.ok_or_else(|| gone("it is not configured"))?;
        let told = self.store.active_token(&self.label);
        let told = told.map_err(|_| gone("which one is active could not be read"))?;
        if let Some(active) = &told {
            pair.saw_active(&active.section);
        }
        let active = pair.active_as_seen();
        let active = active.ok_or_else(|| gone("the active one is not configured here"))?;
        Ok((active.token.csp(), told))
    }
}

impl Csp for ActiveCsp {
    fn token(&self) -> &str {
        &self.label
    }

    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.active()?.generate_key_pair(id, curve)
    }

    fn generate_device_key(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.active()?.generate_device_key(id, curve)
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        self.active()?.sign(key, digest)
    }

    fn check_health(&self) -> Result<(), CspError> {
        self.active()?.check_health()
    }

    /// Another one after each switch, too.
    fn generation(&self) -> u64 {
        let look = self.look();
        look.map_or(0, |(csp, told)| standing(told.as_ref(), csp.generation()))
    }

    fn anchors(&self) -> Result<Vec<Anchor>, CspError> {
        self.active()?.anchors()
    }

    fn write_anchor(&self, anchor: &Anchor) -> Result<(), CspError> {
        self.active()?.write_anchor(anchor)
    }

    /// Of the one that was active when this node looked last: the ledger is not asked either.
    fn vitals(&self) -> TokenVitals {
        let pair = self.tokens.get(&self.label);
        let active = pair.and_then(TokenPair::active_as_seen);
        let gone = TokenVitals {
            state: TokenState::Gone,
            generation: 0,
            sessions_in_use: 0,
            sessions_max: 0,
        };
        active.map_or(gone, |member| member.token.csp().vitals())
    }
}
