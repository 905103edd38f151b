//! Asks the ledger for its sizes every few seconds, so that whoever asks for metrics costs it nothing.

use crate::ledger::Store;
use crate::telemetry::SampleBox;
use crate::terms::{Bell, Clock};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it asks. The sums go over all TSSs, which takes a few milliseconds where there are thousands.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Samples until it is stopped.
pub(super) struct Sampler {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sampler {
    /// Starts with a first look.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        sample: Arc<SampleBox>,
    ) -> std::io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let own = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                look(&store, clock.as_ref(), &sample);
                while own.wait(LOOK_EVERY) {
                    look(&store, clock.as_ref(), &sample);
                }
            })?;
        Ok(Self {
            bell,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Looks again soon. Returns at once.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Ends after the look at hand.
    pub fn stop(&self) {
        self.bell.stop();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the sampler of the ledger ended by a panic");
        }
    }
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
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the ledger did not tell its sizes");
            sample.answers = false;
        }
    });
}
