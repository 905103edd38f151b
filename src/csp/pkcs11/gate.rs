//! Who may call into a module: many at once, or one alone who initialises it anew.
//!
//! `C_Finalize` while another thread signs crashes some modules, and so does listing slots in two
//! threads, so whoever calls holds a ticket, and whoever does one of these waits until all are back. Unlike `RwLock`,
//! both sides give up after a while: a call that hangs in a module must not hang all others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// Locks, also after a panic elsewhere: every value behind these locks is consistent between
/// statements, and a panic must end one batch, not the process.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same without waiting; `None` while somebody else holds it.
pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// See the module comment.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    inside: usize,
    closed: bool,
}

/// The right to call into the module, until it is dropped.
pub(super) struct Ticket<'a>(&'a Gate);

/// The right to list slots and to finalize the module: nobody is inside and nobody enters until this is dropped.
pub(super) struct Closed<'a>(&'a Gate);

impl Gate {
    /// Enters; waits while the gate is closed, at most `wait`.
    pub(super) fn enter(&self, wait: Duration) -> Option<Ticket<'_>> {
        let state = lock(&self.state);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.inside = state.inside.saturating_add(1);
        Some(Ticket(self))
    }

    /// Closes and waits until everyone is out, at most `wait` for each of the two; opens again if
    /// someone does not come out.
    pub(super) fn close(&self, wait: Duration) -> Option<Closed<'_>> {
        let state = lock(&self.state);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.closed = true;
        let closed = Closed(self);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| state.inside > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let empty = state.inside == 0;
        drop(state);
        empty.then_some(closed)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.inside = state.inside.saturating_sub(1);
        // Only a closer waits for this; callers wait for the gate to open.
        if state.inside == 0 && state.closed {
            self.0.changed.notify_all();
        }
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).closed = false;
        self.0.changed.notify_all();
    }
}
