//! Work of several threads, done by one of them in one go.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whoever comes while nobody is at work does all that waits; whoever comes meanwhile is done next, together with
/// everybody else who waits by then. It needs no limit of its own: each thread waits for its own piece.
pub(super) struct Joint<W, R> {
    state: Mutex<State<W, R>>,
    done: Condvar,
}

struct State<W, R> {
    waiting: BTreeMap<u64, W>,
    results: BTreeMap<u64, Option<R>>,
    next: u64,
    is_at_work: bool,
}

impl<W, R> Default for Joint<W, R> {
    fn default() -> Self {
        let state = State {
            waiting: BTreeMap::new(),
            results: BTreeMap::new(),
            next: 0,
            is_at_work: false,
        };
        Self {
            state: Mutex::new(state),
            done: Condvar::new(),
        }
    }
}

impl<W, R> Joint<W, R> {
    /// Does this piece, and those of others that wait; `work` gets them in the order in which they came and answers
    /// in this order. `None` when the thread that did it gave it up by a panic.
    pub fn join(&self, piece: W, work: impl FnOnce(Vec<W>) -> Vec<R>) -> Option<R> {
        let mut state = self.state();
        let number = state.next;
        state.next = number.saturating_add(1);
        state.waiting.insert(number, piece);
        loop {
            // First of all, or whoever is done would wait for those who came later, again and again.
            if let Some(result) = state.results.remove(&number) {
                return result;
            }
            if !state.is_at_work {
                break;
            }
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.is_at_work = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let (numbers, pieces): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let outcome = catch_unwind(AssertUnwindSafe(|| work(pieces)));
        if outcome.is_err() {
            tracing::error!("what several threads had joined for ended in a panic");
        }
        let mut made = outcome.unwrap_or_default().into_iter();
        let mut state = self.state();
        state.is_at_work = false;
        let results = numbers.into_iter().map(|number| (number, made.next()));
        state.results.extend(results);
        let own = state.results.remove(&number);
        drop(state);
        self.done.notify_all();
        own.flatten()
    }

    fn state(&self) -> MutexGuard<'_, State<W, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
