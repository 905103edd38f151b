//! A bell beside the bed of a background thread.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes one thread for work, or to end.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    wanted: bool,
    stop: bool,
}

impl Bell {
    /// There is work. Returns at once; a ring before the next [`Self::wait`] is not lost.
    pub fn ring(&self) {
        self.change(|state| state.wanted = true);
    }

    /// It is time to end.
    pub fn stop(&self) {
        self.change(|state| state.stop = true);
    }

    /// Whether it is time to end.
    pub fn is_stopped(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop
    }

    /// Waits for a ring, but not longer than `at_most`; `false` when it is time to end.
    pub fn wait(&self, at_most: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, at_most, |state| !state.wanted && !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        !state.stop
    }

    /// Waits that long, whether it rings or not; `false` when it is time to end. A ring meanwhile is not lost.
    pub fn rest(&self, long: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, long, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }

    fn change(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
