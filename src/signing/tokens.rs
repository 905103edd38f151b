//! The tokens that can sign, each with a bounded pool of signer threads.

use super::Signs;
use super::meter::{TokenErrors, TokenMeter};
use super::sign_queue::{Board, Queue, SignResult, SignWork};
use crate::csp::{Csp, CspError, KeyPair, ModuleError};
use crate::terms::{Clock, Environment, chain};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a token that is dropped waits for its signers: longer than any signature takes.
const SIGNERS_END_WAIT: Duration = Duration::from_secs(5);

/// After this wait for signatures all signers are woken, however many are awake.
const ALL_AWAKE_AFTER: Duration = Duration::from_millis(20);

/// A token as the lanes see it.
pub struct Token {
    csp: Arc<dyn Csp>,
    environment: Environment,
    queue: Arc<Queue>,
    meter: Arc<TokenMeter>,
}

impl Token {
    /// Starts `signers` threads, which end when the token is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        csp: Arc<dyn Csp>,
        environment: Environment,
        clock: &Arc<dyn Clock>,
        signers: usize,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let token = Self {
            csp,
            environment,
            queue,
            meter: Arc::default(),
        };
        for number in 0..signers.max(1) {
            let (csp, queue) = (Arc::clone(&token.csp), Arc::clone(&token.queue));
            let (meter, clock) = (Arc::clone(&token.meter), Arc::clone(clock));
            token.queue.add_signer();
            let signer = thread::Builder::new()
                .name(format!("sign-{}-{number}", csp.token()))
                .spawn(move || {
                    sign_until_closed(csp.as_ref(), &queue, &meter, clock.as_ref());
                    drop(csp);
                    queue.signer_ended();
                });
            if signer.is_err() {
                token.queue.signer_ended();
            }
            signer?;
        }
        Ok(token)
    }

    /// The token itself.
    pub const fn csp(&self) -> &Arc<dyn Csp> {
        &self.csp
    }

    /// What its keys are for.
    pub const fn environment(&self) -> Environment {
        self.environment
    }

    /// How to ask it whether it signs. Asking blocks, this does not.
    pub(super) fn question(&self, name: &str) -> Signs {
        let (name, csp) = (name.to_owned(), Arc::clone(&self.csp));
        Box::new(move || {
            let health = csp.check_health();
            if let Err(error) = &health {
                tracing::error!(token = %name, error = %chain(error), "token {name} does not sign");
            }
            health.is_ok()
        })
    }

    /// What its signers have counted.
    pub(super) fn meter(&self) -> &TokenMeter {
        &self.meter
    }

    /// Signatures that wait for a signer.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Begins to sign all digests, in parallel, each tried once more if it fails.
    pub(super) fn begin(&self, digests: Vec<(KeyPair, Vec<u8>)>) -> Signatures<'_> {
        let made = Arc::new(Board::new(digests.len()));
        let wanted = Arc::new(());
        let work = SignWork {
            first: 0,
            digests: digests.into(),
            made: Arc::clone(&made),
            wanted: Arc::downgrade(&wanted),
        };
        self.queue.put(work);
        Signatures {
            token: self,
            made,
            wanted: Some(wanted),
        }
    }
}

impl Drop for Token {
    /// Ends the signers and waits for them, so that the sessions are closed before the process ends:
    /// modules crash when they are called while it does. A module that hangs is not waited for.
    fn drop(&mut self) {
        self.queue.close(SIGNERS_END_WAIT);
    }
}

/// Until when a batch waits for its signatures, on whatever tokens: its TSSs are locked meanwhile.
pub(super) struct Deadline<'a> {
    clock: &'a dyn Clock,
    at_ms: u64,
}

impl<'a> Deadline<'a> {
    pub fn after(clock: &'a dyn Clock, wait_ms: u64) -> Self {
        Self {
            clock,
            at_ms: clock.monotonic_ms().saturating_add(wait_ms),
        }
    }

    fn left(&self) -> Duration {
        Duration::from_millis(self.at_ms.saturating_sub(self.clock.monotonic_ms()))
    }
}

/// Signatures of one batch that one token is making. Whoever drops this gives up what is not there
/// yet: the module may still be working on it, but its signature never leaves this file.
pub(super) struct Signatures<'a> {
    token: &'a Token,
    made: Arc<Board>,
    wanted: Option<Arc<()>>,
}

impl Signatures<'_> {
    /// Waits for them, at most until the deadline. Results in the order of the digests; what is not
    /// there in time counts as not signed. A token that has said anything meanwhile is only busy; one
    /// that has not is gone.
    pub fn wait(self, deadline: &Deadline<'_>) -> Vec<SignResult> {
        if !self.made.wait(deadline.left().min(ALL_AWAKE_AFTER)) {
            self.token.queue.wake_all();
            self.made.wait(deadline.left());
        }
        let results = self.made.take();
        let token = self.token.csp.token();
        let is_silent = results.iter().all(Option::is_none);
        let late = || match is_silent {
            true => CspError::DeviceGone {
                token: token.to_owned(),
                source: None,
            },
            false => CspError::Busy {
                token: token.to_owned(),
            },
        };
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(late())))
            .collect()
    }
}

impl Drop for Signatures<'_> {
    fn drop(&mut self) {
        // A token that hangs must not collect what nobody waits for.
        self.wanted = None;
        self.token.queue.drop_unwanted();
    }
}

fn sign_until_closed(csp: &dyn Csp, queue: &Queue, meter: &TokenMeter, clock: &dyn Clock) {
    while let Some(work) = queue.next() {
        for (place, (key, digest)) in (work.first..).zip(&work.digests) {
            // Nobody may wait any more for those behind one that took long.
            if work.wanted.strong_count() == 0 {
                break;
            }
            let began_us = clock.monotonic_us();
            let result = sign_safely(csp, key, digest, meter);
            queue.note(clock.monotonic_us().saturating_sub(began_us));
            work.made.put(place, result);
        }
    }
}

/// A panic ends this signature, not the thread: the token would sign less and less.
fn sign_safely(csp: &dyn Csp, key: &KeyPair, digest: &[u8], meter: &TokenMeter) -> SignResult {
    let sign = || sign_twice(csp, key, digest, &meter.errors);
    let result = catch_unwind(AssertUnwindSafe(sign)).unwrap_or_else(|_| {
        Err(CspError::Failed {
            token: csp.token().to_owned(),
            action: "sign",
            source: ModuleError("a panic on the way to the module".to_owned()),
        })
    });
    match &result {
        Ok(_) => drop(meter.signatures.inc()),
        Err(error) => meter.errors.count(error),
    }
    result
}

/// One more try, because a lost session is repaired by the next call (design decision 1).
fn sign_twice(csp: &dyn Csp, key: &KeyPair, digest: &[u8], errors: &TokenErrors) -> SignResult {
    csp.sign(key, digest).or_else(|first| match first {
        CspError::SessionLost { .. } | CspError::Failed { .. } | CspError::DeviceGone { .. } => {
            errors.count(&first);
            csp.sign(key, digest)
        }
        CspError::PinRefused { .. }
        | CspError::KeyMissing { .. }
        | CspError::WrongKey { .. }
        | CspError::NotSupported { .. }
        | CspError::Busy { .. } => Err(first),
    })
}

#[cfg(test)]
mod tests;
