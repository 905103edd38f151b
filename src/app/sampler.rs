//! Asks the ledger for its sizes every few seconds, so that whoever asks for metrics costs it nothing.

use crate::ledger::Store;
use crate::telemetry::SampleBox;
use crate::terms::{Background, Clock, chain};
use std::sync::Arc;
use std::time::Duration;

/// How often it asks. The sums go over all TSSs, which takes a few milliseconds where there are thousands.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Starts with a first look, and samples until it is stopped.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start(
    store: Store,
    clock: Arc<dyn Clock>,
    sample: Arc<SampleBox>,
) -> std::io::Result<Background> {
    Background::start("sampler", move |bell| {
        look(&store, clock.as_ref(), &sample);
        while bell.wait(LOOK_EVERY) {
            look(&store, clock.as_ref(), &sample);
        }
    })
}

fn look(store: &Store, clock: &dyn Clock, sample: &SampleBox) {
    let found = store.vitals();
    let at_ms = clock.monotonic_ms();
    sample.update(|sample| match found {
        Ok(ledger) => {
            sample.ledger = Some(ledger);
            sample.at_ms = at_ms;
            sample.answers = true;
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the ledger did not tell its sizes");
            sample.answers = false;
        }
    });
}
