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
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::Duration;

    type Words = Arc<Joint<&'static str, String>>;

    fn doubled(words: Vec<&'static str>) -> Vec<String> {
        words.iter().map(|word| format!("{word}{word}")).collect()
    }

    fn wait_until_waiting(joint: &Words, count: usize) {
        while joint.state().waiting.len() < count {
            thread::yield_now();
        }
    }

    #[test]
    fn what_comes_while_one_is_at_work_is_done_together_and_each_gets_its_own() {
        let joint = Words::default();
        let (begun, has_begun) = channel();
        let (go, may_go) = channel();
        let first = Arc::clone(&joint);
        let first = thread::spawn(move || {
            first.join("a", |words| {
                begun.send(()).unwrap();
                may_go.recv_timeout(Duration::from_secs(60)).unwrap();
                doubled(words)
            })
        });
        has_begun.recv().unwrap();
        let (told, sizes) = channel();
        let others: Vec<_> = ["b", "c", "d"]
            .into_iter()
            .map(|word| {
                let (joint, told) = (Arc::clone(&joint), told.clone());
                thread::spawn(move || {
                    let made = joint.join(word, |words| {
                        told.send(words.len()).unwrap();
                        doubled(words)
                    });
                    (word, made.unwrap())
                })
            })
            .collect();
        wait_until_waiting(&joint, 3);
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().as_deref(), Some("aa"));
        for other in others {
            let (word, made) = other.join().unwrap();
            assert_eq!(made, format!("{word}{word}"));
        }
        drop(told);
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn whoever_is_done_does_not_wait_for_those_who_came_later() {
        let joint = Words::default();
        let (begun, has_begun) = channel();
        let (go, may_go) = channel::<()>();
        let at_work = |word, begun: Sender<()>, may_go: Receiver<()>| {
            let joint = Arc::clone(&joint);
            thread::spawn(move || {
                joint.join(word, |words| {
                    begun.send(()).unwrap();
                    may_go.recv_timeout(Duration::from_secs(60)).unwrap();
                    doubled(words)
                })
            })
        };
        // As if another one had done it and the next one were at work already.
        joint.state().results.insert(0, Some("aa".to_owned()));
        joint.state().next = 1;
        let later = at_work("b", begun, may_go);
        has_begun.recv().unwrap();
        joint.state().next = 0;
        assert_eq!(joint.join("a", doubled).as_deref(), Some("aa"));
        joint.state().waiting.clear();
        go.send(()).unwrap();
        assert_eq!(later.join().unwrap().as_deref(), Some("bb"));
    }

    #[test]
    fn a_panic_leaves_nobody_waiting_and_the_next_one_is_done() {
        let joint = Words::default();
        let (begun, has_begun) = channel();
        let leader = Arc::clone(&joint);
        let leader = thread::spawn(move || {
            leader.join("a", |_| {
                begun.send(()).unwrap();
                wait_until_waiting(&leader, 1);
                panic!("on purpose")
            })
        });
        has_begun.recv().unwrap();
        let next = Arc::clone(&joint);
        let next = thread::spawn(move || next.join("b", doubled));
        assert_eq!(leader.join().unwrap(), None);
        assert_eq!(next.join().unwrap().as_deref(), Some("bb"));
        assert_eq!(joint.join("c", doubled).as_deref(), Some("cc"));
    }

    #[test]
    fn whoever_was_joined_with_work_that_broke_off_is_told_so() {
        let joint = Words::default();
        let (begun, has_begun) = channel();
        let (go, may_go) = channel();
        let first = Arc::clone(&joint);
        let first = thread::spawn(move || {
            first.join("a", |words| {
                begun.send(()).unwrap();
                may_go.recv_timeout(Duration::from_secs(60)).unwrap();
                doubled(words)
            })
        });
        has_begun.recv().unwrap();
        let both: Vec<_> = ["b", "c"]
            .into_iter()
            .map(|word| {
                let joint = Arc::clone(&joint);
                thread::spawn(move || joint.join(word, |_| panic!("on purpose")))
            })
            .collect();
        wait_until_waiting(&joint, 2);
        go.send(()).unwrap();
        assert!(first.join().unwrap().is_some());
        for one in both {
            assert_eq!(one.join().unwrap(), None);
        }
    }
}
