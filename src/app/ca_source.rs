//! Where devices come from: the test CA of the token that new TSSs get their keys in.

use super::NodeError;
use super::active_csp::ActiveCsp;
use crate::csp::Csp;
use crate::ledger::Store;
use crate::pki::{NewCa, PkiError, TestCa};
use crate::signing::{TokenPairs, preferred};
use crate::terms::{Clock, Entropy, Environment};
use std::sync::Arc;

/// Opens the CA of whatever token new TSSs go to, which is another one when the first is not there.
pub(super) struct CaSource {
    store: Store,
    tokens: Arc<TokenPairs>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ca: Option<TestCa>,
}

impl CaSource {
    pub fn new(
        store: Store,
        tokens: Arc<TokenPairs>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            store,
            tokens,
            clock,
            entropy,
            ca: None,
        }
    }

    /// Whether the token is there that new TSSs go to.
    pub fn is_there(&self) -> bool {
        let preferred = preferred(&self.tokens, Environment::Test);
        preferred.is_some_and(|(_, pair)| pair.is_there())
    }

    /// The CA to take a device from, made where there is none. `None` without a TEST token: LIVE has no CA
    /// of ours (design decision 11).
    pub fn ca(&mut self) -> Result<Option<&TestCa>, NodeError> {
        let Some((label, _)) = preferred(&self.tokens, Environment::Test) else {
            return Ok(None);
        };
        let known = self
            .ca
            .take()
            .filter(|ca| ca.token() == label && !ca.ends_soon());
        let ca = match known {
            Some(ca) => ca,
            None => self.open(label)?,
        };
        Ok(Some(self.ca.insert(ca)))
    }

    /// The test CA of this ledger and token. Two nodes that make one at the same time get two, which is
    /// fine: a chain is found by the hash of its issuer.
    fn open(&self, label: &str) -> Result<TestCa, NodeError> {
        let csp: Arc<dyn Csp> = Arc::new(ActiveCsp::new(label, &self.tokens, &self.store));
        let known = || self.store.cas(Environment::Test);
        if let Some(ca) = TestCa::open(known()?, &csp, &self.clock, &self.entropy)? {
            return Ok(ca);
        }
        let new = NewCa::make(csp.as_ref(), self.entropy.as_ref(), self.clock.now())?;
        for certificate in &new.certificates {
            self.store.add_ca(certificate)?;
        }
        TestCa::open(known()?, &csp, &self.clock, &self.entropy)?
            .ok_or(NodeError::Pki(PkiError::CaExpired))
    }
}
