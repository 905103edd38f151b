//! The tokens that can sign, each with a bounded pool of signer threads.

use super::meter::{TokenErrors, TokenMeter};
use super::{Signs, lock};
use crate::csp::{Csp, CspError, KeyPair, ModuleError};
use crate::terms::{Clock, Environment, chain};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// How long a token that is dropped waits for its signers: longer than any signature takes.
const SIGNERS_END_WAIT: Duration = Duration::from_secs(5);

/// A token as the lanes see it.
pub struct Token {
    csp: Arc<dyn Csp>,
    environment: Environment,
    queue: Arc<Queue>,
    meter: Arc<TokenMeter>,
}

/// Signatures of one batch to make.
struct SignWork {
    /// Place of the first among those of its batch.
    first: usize,
    digests: VecDeque<(KeyPair, Vec<u8>)>,
    made: Arc<Board>,
    /// Gone once the batch waits no longer. Only looked at: a signer that held on to it would keep alive what
    /// nobody waits for.
    wanted: Weak<()>,
}

type SignResult = Result<Vec<u8>, CspError>;

/// Where the signatures of one batch come together.
struct Board {
    made: Mutex<Made>,
    complete: Condvar,
}

/// Results in the order of the digests, as far as they are there.
struct Made {
    results: Vec<Option<SignResult>>,
    missing: usize,
}

/// Most signatures that a signer takes at once: to take each by itself costs about as long as a quick token
/// takes to sign. On the other hand, all of them wait when the token hangs.
const TAKEN_MAX: usize = 16;

impl Board {
    fn new(len: usize) -> Self {
        let made = Made {
            results: std::iter::repeat_with(|| None).take(len).collect(),
            missing: len,
        };
        Self {
            made: Mutex::new(made),
            complete: Condvar::new(),
        }
    }

    fn put(&self, place: usize, result: SignResult) {
        let mut made = lock(&self.made);
        let Some(empty) = made.results.get_mut(place).filter(|kept| kept.is_none()) else {
            return;
        };
        *empty = Some(result);
        made.missing = made.missing.saturating_sub(1);
        // Nobody is woken for a part of it.
        if made.missing == 0 {
            self.complete.notify_all();
        }
    }
}

impl Token {
    /// Starts `signers` threads, which end when the token is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        csp: Arc<dyn Csp>,
        environment: Environment,
        signers: usize,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let token = Self {
            csp,
            environment,
            queue,
            meter: Arc::default(),
        };
        for number in 0..signers.max(1) {
            let (csp, queue) = (Arc::clone(&token.csp), Arc::clone(&token.queue));
            let meter = Arc::clone(&token.meter);
            token.queue.lock().signers += 1;
            let signer = thread::Builder::new()
                .name(format!("sign-{}-{number}", csp.token()))
                .spawn(move || {
                    sign_until_closed(csp.as_ref(), &queue, &meter);
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
        let waiting = self.queue.lock();
        waiting.work.iter().map(|work| work.digests.len()).sum()
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
        self.queue.lock().work.push_back(work);
        self.queue.changed.notify_all();
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
        let mut waiting = self.queue.lock();
        waiting.closed = true;
        self.queue.changed.notify_all();
        let busy = |waiting: &mut Waiting| waiting.signers > 0;
        drop(
            self.queue
                .changed
                .wait_timeout_while(waiting, SIGNERS_END_WAIT, busy),
        );
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
        let board = &self.made;
        let (mut made, _) = board
            .complete
            .wait_timeout_while(lock(&board.made), deadline.left(), |made| made.missing > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let token = self.token.csp.token();
        let is_silent = made.missing == made.results.len();
        let late = || match is_silent {
            true => CspError::DeviceGone {
                token: token.to_owned(),
                source: None,
            },
            false => CspError::Busy {
                token: token.to_owned(),
            },
        };
        std::mem::take(&mut made.results)
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(late())))
            .collect()
    }
}

impl Drop for Signatures<'_> {
    fn drop(&mut self) {
        // A token that hangs must not collect what nobody waits for.
        self.wanted = None;
        let mut waiting = self.token.queue.lock();
        waiting.work.retain(|work| work.wanted.strong_count() > 0);
    }
}

/// What waits for a signer thread. It needs no limit of its own: it holds the work of batches that are
/// waiting for it, one per lane, and batches have a limit.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<SignWork>,
    closed: bool,
    /// Threads that have not ended.
    signers: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// The thread has let go of the token.
    fn signer_ended(&self) {
        let mut waiting = self.lock();
        waiting.signers = waiting.signers.saturating_sub(1);
        self.changed.notify_all();
    }

    /// A fair share of what waits, all of one batch; `None` when the queue is closed and empty.
    fn next(&self) -> Option<SignWork> {
        let idle = |waiting: &mut Waiting| waiting.work.is_empty() && !waiting.closed;
        let mut waiting = self
            .changed
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.work.iter().map(|work| work.digests.len()).sum();
        let share = (all / waiting.signers.max(1)).clamp(1, TAKEN_MAX);
        let front = waiting.work.front_mut()?;
        if front.digests.len() <= share {
            return waiting.work.pop_front();
        }
        let rest = front.digests.split_off(share);
        let taken = SignWork {
            first: front.first,
            digests: std::mem::replace(&mut front.digests, rest),
            made: Arc::clone(&front.made),
            wanted: Weak::clone(&front.wanted),
        };
        front.first = front.first.saturating_add(share);
        Some(taken)
    }
}

fn sign_until_closed(csp: &dyn Csp, queue: &Queue, meter: &TokenMeter) {
    while let Some(work) = queue.next() {
        for (place, (key, digest)) in (work.first..).zip(&work.digests) {
            // Nobody may wait any more for those behind one that took long.
            if work.wanted.strong_count() == 0 {
                break;
            }
            let result = sign_safely(csp, key, digest, meter);
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
