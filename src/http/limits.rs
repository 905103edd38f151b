//! How often something may be called: counted by each node for itself, in memory.

use super::problem::Problem;
use super::problem_codes::ErrorCode;
use crate::terms::{ExportId, OrganizationId, SeTime, TssId};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Calls per minute; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// All calls of one API key.
    pub calls_per_key: u32,
    /// Looks at one export, and as many downloads of it.
    pub export_reads: u32,
    /// Lists of the transactions of one TSS.
    pub transaction_lists: u32,
}

const WINDOW_S: i64 = 60;

/// Subjects counted at a time. When there are more, those counted so far start anew.
const SUBJECTS_MAX: usize = 50_000;

/// What is counted. The organisation belongs to it, so that a stranger uses up nobody's calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// Calls with this API key.
    Key(String),
    /// Looks at an export.
    Export(OrganizationId, TssId, ExportId),
    /// Downloads of an export.
    ExportFile(OrganizationId, TssId, ExportId),
    /// Lists of the transactions of a TSS.
    Transactions(OrganizationId, TssId),
}

/// The counts of this minute.
#[derive(Debug)]
pub(super) struct Limits {
    rates: Rates,
    windows: Mutex<HashMap<Counted, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: SeTime,
    calls: u32,
}

impl Window {
    /// Seconds that are left of it; `None` when it is over, or the clock was set back.
    fn left_s(self, now: SeTime) -> Option<i64> {
        let passed_s = now.unix_seconds() - self.start.unix_seconds();
        (0..WINDOW_S)
            .contains(&passed_s)
            .then(|| WINDOW_S - passed_s)
    }
}

impl Limits {
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            windows: Mutex::default(),
        }
    }

    /// Counts a call; 429 when it is one too many.
    pub fn count(&self, what: Counted, now: SeTime) -> Result<(), Problem> {
        let max = match what {
            Counted::Key(_) => self.rates.calls_per_key,
            Counted::Export(..) | Counted::ExportFile(..) => self.rates.export_reads,
            Counted::Transactions(..) => self.rates.transaction_lists,
        };
        if max == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= SUBJECTS_MAX && !windows.contains_key(&what) {
            windows.retain(|_, window| window.left_s(now).is_some());
            if windows.len() >= SUBJECTS_MAX {
                windows.clear();
            }
        }
        let fresh = Window {
            start: now,
            calls: 0,
        };
        let window = windows.entry(what).or_insert(fresh);
        let left_s = match window.left_s(now) {
            Some(left_s) => left_s,
            None => {
                *window = fresh;
                WINDOW_S
            }
        };
        if window.calls >= max {
            return Err(too_many("too many requests", left_s));
        }
        window.calls += 1;
        Ok(())
    }
}

/// 429 with the time to wait. It has no code, as in the original.
pub(super) fn too_many(message: &str, retry_after_s: i64) -> Problem {
    let wait_s = u32::try_from(retry_after_s.max(1)).unwrap_or(u32::MAX);
    Problem::later(ErrorCode::TooManyRequests, message, wait_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> SeTime {
        SeTime::try_from(1_800_000_000 + seconds).unwrap()
    }

    fn key(name: usize) -> Counted {
        Counted::Key(name.to_string())
    }

    fn two_a_minute() -> Limits {
        Limits::new(Rates {
            calls_per_key: 2,
            ..Rates::default()
        })
    }

    #[test]
    fn the_call_after_the_last_one_waits_for_the_end_of_the_minute() {
        let limits = two_a_minute();
        let ask = |name, at| {
            let answer = limits.count(key(name), time(at));
            answer.err().and_then(|problem| problem.retry_after_s)
        };
        assert_eq!((ask(1, 0), ask(1, 10)), (None, None));
        assert_eq!((ask(1, 10), ask(1, 59)), (Some(50), Some(1)));
        assert_eq!(ask(2, 59), None, "another key has its own calls");
        assert_eq!(ask(1, 60), None);
        // A clock that was set back must not stop anybody for longer.
        assert_eq!((ask(1, 61), ask(1, 62), ask(1, 0)), (None, Some(58), None));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limits = Limits::new(Rates::default());
        for _ in 0..1000 {
            assert_eq!(limits.count(key(1), time(0)), Ok(()));
        }
        assert!(limits.windows.lock().unwrap().is_empty());
    }

    #[test]
    fn the_counts_do_not_grow_without_bound() {
        let limits = two_a_minute();
        for name in 0..=SUBJECTS_MAX {
            assert_eq!(limits.count(key(name), time(0)), Ok(()));
        }
        assert!(limits.windows.lock().unwrap().len() <= SUBJECTS_MAX);
    }
}
