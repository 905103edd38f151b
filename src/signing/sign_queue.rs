//! What a token's signers have to do, and where their signatures come together.

use super::lock;
use crate::csp::{CspError, KeyPair};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Signatures of one batch to make.
pub(super) struct SignWork {
    /// Place of the first among those of its batch.
    pub first: usize,
    pub digests: VecDeque<(KeyPair, Vec<u8>)>,
    pub made: Arc<Board>,
    /// Gone once the batch waits no longer. Only looked at: a signer that held on to it would keep alive what
    /// nobody waits for.
    pub wanted: Weak<()>,
}

pub(super) type SignResult = Result<Vec<u8>, CspError>;

/// Where the signatures of one batch come together.
pub(super) struct Board {
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

/// A token that takes longer than this for a signature, in microseconds, is waiting for something that is not
/// this machine: then all its sessions are used at once. One that is quicker works on our cores, and whatever
/// is woken beyond their number only gets into the way.
const SLOW_US: u64 = 1_000;

/// How many signatures what was of late goes back, about.
const RECENT: u64 = 16;

impl Board {
    pub fn new(len: usize) -> Self {
        let made = Made {
            results: std::iter::repeat_with(|| None).take(len).collect(),
            missing: len,
        };
        Self {
            made: Mutex::new(made),
            complete: Condvar::new(),
        }
    }

    pub fn put(&self, place: usize, result: SignResult) {
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

    /// Waits until all are there, or for so long. Whether they are.
    pub fn wait(&self, at_most: Duration) -> bool {
        let is_missing = |made: &mut Made| made.missing > 0;
        let waited = self
            .complete
            .wait_timeout_while(lock(&self.made), at_most, is_missing);
        let (made, _) = waited.unwrap_or_else(PoisonError::into_inner);
        made.missing == 0
    }

    /// What is there; nothing is afterwards.
    pub fn take(&self) -> Vec<Option<SignResult>> {
        std::mem::take(&mut lock(&self.made).results)
    }
}

/// What waits for a signer thread. It needs no limit of its own: it holds the work of batches that are
/// waiting for it, one per lane, and batches have a limit.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// There is work for a signer, or an end to it.
    changed: Condvar,
    /// A signer has ended.
    ended: Condvar,
    /// Threads that this machine can run at the same time.
    cores: usize,
    /// What a signature has taken of late, in microseconds.
    recent_us: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<SignWork>,
    closed: bool,
    /// Threads that have not ended.
    signers: usize,
    /// Those of them that are not waiting for work.
    awake: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    pub fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            recent_us: AtomicU64::new(0),
        }
    }

    /// A thread is about to begin.
    pub fn add_signer(&self) {
        let mut waiting = self.lock();
        waiting.signers = waiting.signers.saturating_add(1);
        waiting.awake = waiting.awake.saturating_add(1);
    }

    /// The thread has let go of the token.
    pub fn signer_ended(&self) {
        let mut waiting = self.lock();
        waiting.signers = waiting.signers.saturating_sub(1);
        self.ended.notify_all();
    }

    /// Digests that no signer has taken.
    pub fn waiting(&self) -> usize {
        let waiting = self.lock();
        waiting.work.iter().map(|work| work.digests.len()).sum()
    }

    /// Forgets what nobody waits for any more.
    pub fn drop_unwanted(&self) {
        let mut waiting = self.lock();
        waiting.work.retain(|work| work.wanted.strong_count() > 0);
    }

    /// Ends the signers, and waits for them, but no longer than this.
    pub fn close(&self, at_most: Duration) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.changed.notify_all();
        let busy = |waiting: &mut Waiting| waiting.signers > 0;
        drop(self.ended.wait_timeout_while(waiting, at_most, busy));
    }

    /// Puts something in, and wakes as many signers as can make use of it.
    pub fn put(&self, work: SignWork) {
        let wanted = work.digests.len();
        let mut waiting = self.lock();
        waiting.work.push_back(work);
        let more = self.cores.saturating_sub(waiting.awake).min(wanted);
        drop(waiting);
        if self.is_slow() {
            return self.wake_all();
        }
        for _ in 0..more {
            self.changed.notify_one();
        }
    }

    /// For work that takes longer than it should: those that are awake may hang.
    pub fn wake_all(&self) {
        self.changed.notify_all();
    }

    fn is_slow(&self) -> bool {
        self.recent_us.load(Relaxed) >= SLOW_US
    }

    /// That a signature has taken so long.
    pub fn note(&self, took_us: u64) {
        let recent = self.recent_us.load(Relaxed);
        // A rough figure will do, so it does not matter that another thread may note something meanwhile.
        let kept = recent.saturating_sub(recent / RECENT);
        let next = kept.saturating_add(took_us / RECENT);
        self.recent_us.store(next, Relaxed);
    }

    /// A part of what waits, all of one batch; `None` when the queue is closed and empty. The less is left, the
    /// smaller the parts, so that all signers end at about the same time.
    pub fn next(&self) -> Option<SignWork> {
        let idle = |waiting: &mut Waiting| waiting.work.is_empty() && !waiting.closed;
        let mut waiting = self.lock();
        if idle(&mut waiting) {
            waiting.awake = waiting.awake.saturating_sub(1);
            waiting = self
                .changed
                .wait_while(waiting, idle)
                .unwrap_or_else(PoisonError::into_inner);
            waiting.awake = waiting.awake.saturating_add(1);
        }
        let all: usize = waiting.work.iter().map(|work| work.digests.len()).sum();
        let useful = match self.is_slow() {
            true => waiting.signers,
            false => waiting.signers.min(self.cores),
        };
        let parts = useful.max(waiting.awake).saturating_mul(2).max(1);
        let share = (all / parts).clamp(1, TAKEN_MAX);
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
