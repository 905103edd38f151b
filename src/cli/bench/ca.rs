//! The test CA of a measurement's ledger and token.

use crate::app::SystemEntropy;
use crate::csp::Csp;
use crate::ledger::Store;
use crate::pki::{NewCa, TestCa};
use crate::terms::{Clock, Entropy, Environment};
use anyhow::Context as _;
use std::sync::Arc;

/// The one there is, or a new one.
pub(super) fn test_ca(
    store: &Store,
    token: &Arc<dyn Csp>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<TestCa> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let open = || -> anyhow::Result<Option<TestCa>> {
        let known = store.cas(Environment::Test)?;
        Ok(TestCa::open(known, token, clock, &entropy)?)
    };
    if let Some(ca) = open()? {
        return Ok(ca);
    }
    let new = NewCa::make(token.as_ref(), entropy.as_ref(), clock.now())?;
    for certificate in &new.certificates {
        store.add_ca(certificate)?;
    }
    open()?.context("the CA that was just made is not there")
}
