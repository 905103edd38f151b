//! Measuring how long the parts of a piece of work take.

use super::Clock;
use std::time::Duration;

/// Upper bounds of what is counted together when times are measured, in seconds: from one signature in
/// software to the longest wait that anybody has.
pub const SECONDS_BOUNDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Tells how much time has passed since it was last asked.
pub struct Stopwatch<'a> {
    clock: &'a dyn Clock,
    last_us: u64,
}

impl<'a> Stopwatch<'a> {
    /// Starts now.
    pub fn start(clock: &'a dyn Clock) -> Self {
        let last_us = clock.monotonic_us();
        Self { clock, last_us }
    }

    /// Seconds since the start or since the last call.
    pub fn lap_s(&mut self) -> f64 {
        let now_us = self.clock.monotonic_us();
        let passed = Duration::from_micros(now_us.saturating_sub(self.last_us));
        self.last_us = now_us;
        passed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::SeTime;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Steps(AtomicU64);

    impl Clock for Steps {
        fn now(&self) -> SeTime {
            SeTime::UNSET
        }

        fn monotonic_ms(&self) -> u64 {
            self.0.fetch_add(250, Ordering::Relaxed)
        }
    }

    #[test]
    fn each_lap_begins_where_the_last_one_ended() {
        let clock = Steps(AtomicU64::new(1000));
        let mut watch = Stopwatch::start(&clock);
        assert_eq!([watch.lap_s(), watch.lap_s()], [0.25, 0.25]);
        clock.0.fetch_add(1000, Ordering::Relaxed);
        assert_eq!(watch.lap_s(), 1.25);
    }
}
