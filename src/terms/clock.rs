//! Time and chance, which come in as arguments.

use std::fmt;

/// SE time: what stands in a log message. Whole seconds since 1970-01-01T00:00:00Z, never negative;
/// 0 means "time not set" (TR-03153-1 §9.5.4, rule Z-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeTime(i64);

/// The number is no SE time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SE time is a non-negative number of seconds")]
pub struct SeTimeError;

impl SeTime {
    /// The recognisable unset value (rule Z-4).
    pub const UNSET: Self = Self(0);

    /// Unix seconds.
    pub const fn unix_seconds(self) -> i64 {
        self.0
    }

    /// This time, moved by a number of seconds (never below [`Self::UNSET`]).
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        let moved = self.0.saturating_add(seconds);
        Self(if moved < 0 { 0 } else { moved })
    }
}

impl TryFrom<i64> for SeTime {
    type Error = SeTimeError;

    fn try_from(seconds: i64) -> Result<Self, SeTimeError> {
        if seconds < 0 {
            Err(SeTimeError)
        } else {
            Ok(Self(seconds))
        }
    }
}

impl fmt::Display for SeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A correction of the clock in one step (rule Z-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// Counts up from 1 within a process.
    pub sequence: u64,
    /// Time just before the correction.
    pub before: SeTime,
    /// Time just after it.
    pub after: SeTime,
}

/// Where time comes from. Only adapters of this port may ask the machine (style rule 7, rule Z-9).
pub trait Clock: Send + Sync {
    /// The present SE time.
    fn now(&self) -> SeTime;

    /// Milliseconds on a clock that never goes back; for timeouts and measurements only.
    fn monotonic_ms(&self) -> u64;

    /// Microseconds on the same clock, as finely as it counts; for measurements only.
    fn monotonic_us(&self) -> u64 {
        self.monotonic_ms().saturating_mul(1000)
    }

    /// The latest correction of this clock by more than it may slew (rule Z-8), if there was one.
    fn last_step(&self) -> Option<ClockStep> {
        None
    }
}

/// Where randomness comes from: identifiers, PUKs, nonces. Never keys of a TSS, which the token makes.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with random bytes fit for secrets.
    fn fill(&self, buffer: &mut [u8]);
}
