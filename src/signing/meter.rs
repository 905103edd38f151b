//! What the lanes and the signers count, for whoever watches the node. Counting never waits for anything
//! but another counter.

use crate::csp::{CspError, TokenVitals};
use crate::terms::SECONDS_BOUNDS;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Upper bounds of sizes of batches.
const BATCH_BOUNDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Counts of one lane.
#[derive(Debug)]
pub struct LaneMeter {
    /// Commands per batch.
    pub batch_commands: Histogram,
    /// Waiting for the locks of a batch and loading its TSSs, in seconds.
    pub load_s: Histogram,
    /// Making the signatures of a batch, in seconds.
    pub sign_s: Histogram,
    /// The commit of a batch, in seconds.
    pub commit_s: Histogram,
    /// Log messages committed at the first try.
    pub messages: Counter,
    /// Commits that failed, or whose outcome is unknown.
    pub commits_failed: Counter,
    /// Commands refused because there was no place for them.
    pub refused: Counter,
    waiting_early: AtomicUsize,
    locked_out: AtomicUsize,
    unfinished: AtomicUsize,
    stopped: AtomicUsize,
}

/// What a lane keeps between two batches.
pub(super) struct Kept {
    pub waiting_early: usize,
    pub locked_out: usize,
    pub unfinished: usize,
    pub stopped: usize,
}

impl Default for LaneMeter {
    fn default() -> Self {
        let seconds = || Histogram::new(SECONDS_BOUNDS);
        Self {
            batch_commands: Histogram::new(BATCH_BOUNDS),
            load_s: seconds(),
            sign_s: seconds(),
            commit_s: seconds(),
            messages: Counter::default(),
            commits_failed: Counter::default(),
            refused: Counter::default(),
            waiting_early: AtomicUsize::new(0),
            locked_out: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
        }
    }
}

impl LaneMeter {
    /// What a lane keeps between two batches.
    pub(super) fn keeps(&self, kept: &Kept) {
        self.waiting_early.store(kept.waiting_early, Relaxed);
        self.locked_out.store(kept.locked_out, Relaxed);
        self.unfinished.store(kept.unfinished, Relaxed);
        self.stopped.store(kept.stopped, Relaxed);
    }

    /// Commands for TSSs that another node holds.
    pub fn locked_out(&self) -> usize {
        self.locked_out.load(Relaxed)
    }

    /// Steps that wait for the steps before them.
    pub fn waiting_early(&self) -> usize {
        self.waiting_early.load(Relaxed)
    }

    /// Signed batches that are not known to be kept.
    pub fn unfinished(&self) -> usize {
        self.unfinished.load(Relaxed)
    }

    /// TSSs that sign nothing more until a person has looked.
    pub fn stopped(&self) -> usize {
        self.stopped.load(Relaxed)
    }
}

/// Counts of one token's signers.
#[derive(Debug, Default)]
pub struct TokenMeter {
    /// Signatures made.
    pub signatures: Counter,
    /// Calls that failed, by what the caller can do about it.
    pub errors: TokenErrors,
}

/// Failed calls, one counter for each class.
#[derive(Debug, Default)]
pub struct TokenErrors {
    pin_refused: Counter,
    session_lost: Counter,
    device_gone: Counter,
    key_missing: Counter,
    wrong_key: Counter,
    not_supported: Counter,
    busy: Counter,
    failed: Counter,
}

impl TokenErrors {
    pub(super) fn count(&self, error: &CspError) {
        let counter = match error {
            CspError::PinRefused { .. } => &self.pin_refused,
            CspError::SessionLost { .. } => &self.session_lost,
            CspError::DeviceGone { .. } => &self.device_gone,
            CspError::KeyMissing { .. } => &self.key_missing,
            CspError::WrongKey { .. } => &self.wrong_key,
            CspError::NotSupported { .. } => &self.not_supported,
            CspError::Busy { .. } => &self.busy,
            CspError::Failed { .. } => &self.failed,
        };
        counter.inc();
    }

    /// Every class by its name.
    pub fn by_class(&self) -> [(&'static str, &Counter); 8] {
        [
            ("pin_refused", &self.pin_refused),
            ("session_lost", &self.session_lost),
            ("device_gone", &self.device_gone),
            ("key_missing", &self.key_missing),
            ("wrong_key", &self.wrong_key),
            ("not_supported", &self.not_supported),
            ("busy", &self.busy),
            ("failed", &self.failed),
        ]
    }
}

/// One lane at this moment.
#[derive(Debug)]
pub struct LaneReading<'a> {
    /// Its number, or "router" for the way to lanes of TSSs that this process has not met yet.
    pub name: String,
    /// Commands that wait or are at work.
    pub depth: usize,
    /// Most commands that may.
    pub places: usize,
    /// What it has counted.
    pub meter: &'a LaneMeter,
}

/// One token at this moment.
#[derive(Debug)]
pub struct TokenReading<'a> {
    /// Its label; of a standby, which may have the same one, the name of its section.
    pub label: &'a str,
    /// Signatures that wait for a signer.
    pub waiting: usize,
    /// How it is.
    pub vitals: TokenVitals,
    /// What its signers have counted.
    pub meter: &'a TokenMeter,
}
