//! The clock of this node: a monotonic clock plus an offset that only corrections change (rule Z-9).

use crate::terms::{Clock, ClockStep, SeTime};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Difference up to which the machine's clock may slew without a correction (rule Z-8), in
/// milliseconds.
const SLEW_MS_MAX: i128 = 128;

/// Measures how long something takes, by the machine's own clock: for whoever has no `Clock`.
#[derive(Clone, Copy, Debug)]
pub struct MachineWatch(Instant);

impl MachineWatch {
    /// Starts it.
    pub fn start() -> Self {
        Self(monotonic())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        monotonic().duration_since(self.0)
    }
}

/// The machine's clock, read so that a step of it is noticed.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Wall time minus monotonic time, in milliseconds.
    offset_ms: i128,
    last_step: Option<ClockStep>,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemClock {
    /// Starts with the time the machine has now.
    pub fn new() -> Self {
        let started = monotonic();
        let state = State {
            offset_ms: wall_ms(),
            last_step: None,
        };
        Self {
            started,
            state: Mutex::new(state),
        }
    }

    fn elapsed_ms(&self) -> i128 {
        i128::try_from(monotonic().duration_since(self.started).as_millis()).unwrap_or(i128::MAX)
    }

    /// Compares with the machine's clock and takes a step over if there was one.
    fn read(&self, wall_ms: i128, elapsed_ms: i128) -> (SeTime, Option<ClockStep>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let expected_ms = state.offset_ms.saturating_add(elapsed_ms);
        if (wall_ms - expected_ms).abs() > SLEW_MS_MAX {
            let step = ClockStep {
                sequence: state
                    .last_step
                    .map_or(1, |last| last.sequence.saturating_add(1)),
                before: se_time(expected_ms),
                after: se_time(wall_ms),
            };
            tracing::warn!(
                before = step.before.unix_seconds(),
                after = step.after.unix_seconds(),
                "the machine's clock was set by {} ms; every TSS will testify to it",
                wall_ms - expected_ms
            );
            state.offset_ms = wall_ms.saturating_sub(elapsed_ms);
            state.last_step = Some(step);
        }
        (
            se_time(state.offset_ms.saturating_add(elapsed_ms)),
            state.last_step,
        )
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SeTime {
        self.read(wall_ms(), self.elapsed_ms()).0
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.elapsed_ms()).unwrap_or(u64::MAX)
    }

    fn monotonic_us(&self) -> u64 {
        let elapsed = monotonic().duration_since(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    fn last_step(&self) -> Option<ClockStep> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_step
    }
}

/// A time before 1970 is no time at all, which the unset value says.
fn se_time(ms: i128) -> SeTime {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| SeTime::try_from(s).ok())
        .unwrap_or(SeTime::UNSET)
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the adapter that may ask the machine"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the adapter that may ask the machine"
)]
fn wall_ms() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i128::try_from(since.as_millis()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_at(wall_ms: i128) -> SystemClock {
        let state = Mutex::new(State {
            offset_ms: wall_ms,
            last_step: None,
        });
        SystemClock {
            started: monotonic(),
            state,
        }
    }

    #[test]
    fn a_slewed_clock_is_followed_without_a_correction() {
        let clock = clock_at(1_000_000_000);
        let (now, step) = clock.read(1_000_005_100, 5_000);
        assert_eq!((now.unix_seconds(), step), (1_000_005, None));
    }

    #[test]
    fn a_step_is_taken_over_once_and_counted() {
        let clock = clock_at(1_000_000_000);
        let (now, step) = clock.read(1_000_009_000, 5_000);
        let step = step.expect("a step of 4 s must be noticed");
        assert_eq!(now.unix_seconds(), 1_000_009);
        assert_eq!((step.sequence, step.before.unix_seconds()), (1, 1_000_005));
        assert_eq!(clock.read(1_000_010_000, 6_000).1, Some(step));
        assert_eq!(
            clock.read(1_000_003_000, 7_000).1.map(|step| step.sequence),
            Some(2)
        );
    }
}
