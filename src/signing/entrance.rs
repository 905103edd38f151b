//! The way into a lane: bounded, and in two classes.
//!
//! Steps of transactions that have begun go before everything else, because a till that cannot finish
//! holds up a customer who has paid, and because each of them makes the work less. New work (starts, and
//! all management) has every [`BEGUN_IN_A_ROW_MAX`]th turn at least, so it is slowed down but never
//! starved, and is refused first when places get scarce. The steps of one transaction keep the order in
//! which they came.

use super::job::{Job, Place};
use super::meter::LaneMeter;
use super::{SigningError, lock};
use crate::sma::{Command, MetadataTarget, TransactionRef};
use crate::terms::TssId;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Commands of begun transactions that are taken in a row while new work waits.
pub(super) const BEGUN_IN_A_ROW_MAX: usize = 7;

/// One place in so many is kept for steps of begun transactions.
pub(super) const RESERVE_SHARE: usize = 4;

/// Where commands go in, one by one and not too many.
#[derive(Clone)]
pub(super) struct Entrance(Arc<Shared>);

/// Where a lane takes them out. When it is dropped, nobody comes in any more.
pub(super) struct Exit(Arc<Shared>);

/// What a lane finds when it has waited.
pub(super) enum Taken {
    /// Something to do.
    Job(Box<Job>),
    /// Nothing for so long.
    Nothing,
    /// Nothing more, ever.
    Closed,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    taken: Arc<AtomicUsize>,
    places: usize,
    meter: Arc<LaneMeter>,
}

/// Needs no limit of its own: everything in it holds a place.
#[derive(Default)]
struct Queue {
    begun: VecDeque<Job>,
    new: VecDeque<Job>,
    /// How many commands of a transaction are in each of the two.
    of: HashMap<Named, Waiting>,
    begun_in_a_row: usize,
    closed: bool,
}

type Named = (TssId, TransactionRef);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Waiting {
    begun: usize,
    new: usize,
}

/// A lane's entrance and exit, with so many places.
pub(super) fn way_in(places: usize, meter: Arc<LaneMeter>) -> (Entrance, Exit) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        changed: Condvar::new(),
        taken: Arc::default(),
        places,
        meter,
    });
    (Entrance(Arc::clone(&shared)), Exit(shared))
}

impl Entrance {
    /// A full lane says so now rather than timing out later.
    pub fn enter(&self, mut job: Job) {
        let is_new = is_new(&job.command);
        let reserve = self.0.places / RESERVE_SHARE;
        let (places, retry_after_s) = match is_new {
            // Whoever has nothing begun yet can wait longer.
            true => (self.0.places.saturating_sub(reserve), 2),
            false => (self.0.places, 1),
        };
        // A place in the router, which a job may come from, is free again by this.
        job.place = Place::take(&self.0.taken, places);
        if job.place.is_none() {
            self.0.meter.refused.inc();
            return job.answer.turn_away(SigningError::Unavailable {
                reason: "too many commands are waiting",
                retry_after_s,
            });
        }
        let mut queue = lock(&self.0.queue);
        if queue.closed {
            drop(queue);
            return job.answer.turn_away(SigningError::Unavailable {
                reason: "the server is shutting down",
                retry_after_s: 5,
            });
        }
        queue.put(job, is_new);
        drop(queue);
        self.0.changed.notify_one();
    }

    /// Nothing comes in any more; what is in goes out.
    pub fn close(&self) {
        lock(&self.0.queue).closed = true;
        self.0.changed.notify_all();
    }

    /// Commands that wait or are at work.
    pub fn depth(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Most commands that may wait or be at work.
    pub fn places(&self) -> usize {
        self.0.places
    }

    /// What was counted here.
    pub fn meter(&self) -> &LaneMeter {
        &self.0.meter
    }
}

impl Exit {
    /// The next command, if there is one now.
    pub fn next(&self) -> Option<Job> {
        lock(&self.0.queue).take()
    }

    /// The next command, waited for.
    pub fn wait(&self, at_most: Duration) -> Taken {
        let idle = |queue: &mut Queue| queue.is_empty() && !queue.closed;
        let (mut queue, _) = self
            .0
            .changed
            .wait_timeout_while(lock(&self.0.queue), at_most, idle)
            .unwrap_or_else(PoisonError::into_inner);
        match queue.take() {
            Some(job) => Taken::Job(Box::new(job)),
            None if queue.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.closed = true;
        let left = std::mem::take(&mut *queue);
        queue.closed = true;
        drop(queue);
        // Answers, because nobody else will.
        drop(left);
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.new.is_empty()
    }

    fn put(&mut self, job: Job, is_new: bool) {
        let mut waiting = named_by(&job).map(|named| self.of.entry(named).or_default());
        // Behind its start, unless steps that came after the start wait already where it belongs: then
        // that start is a repeat.
        let is_behind = |waiting: &&mut Waiting| waiting.new > 0 && waiting.begun == 0;
        let to_new = is_new || waiting.as_ref().is_some_and(is_behind);
        if let Some(waiting) = &mut waiting {
            let count = if to_new {
                &mut waiting.new
            } else {
                &mut waiting.begun
            };
            *count = count.saturating_add(1);
        }
        if to_new {
            self.new.push_back(job);
        } else {
            self.begun.push_back(job);
        }
    }

    fn take(&mut self) -> Option<Job> {
        let is_turn_of_new = self.begun_in_a_row >= BEGUN_IN_A_ROW_MAX && !self.new.is_empty();
        if !is_turn_of_new && let Some(job) = self.begun.pop_front() {
            self.begun_in_a_row = self.begun_in_a_row.saturating_add(1);
            self.forget(&job, |waiting| &mut waiting.begun);
            return Some(job);
        }
        self.begun_in_a_row = 0;
        let job = self.new.pop_front()?;
        self.forget(&job, |waiting| &mut waiting.new);
        Some(job)
    }

    fn forget(&mut self, job: &Job, place: impl FnOnce(&mut Waiting) -> &mut usize) {
        let Some(named) = named_by(job) else {
            return;
        };
        if let Some(waiting) = self.of.get_mut(&named) {
            let count = place(waiting);
            *count = count.saturating_sub(1);
            if *waiting == Waiting::default() {
                self.of.remove(&named);
            }
        }
    }
}

/// Whether this makes more work instead of less.
const fn is_new(command: &Command) -> bool {
    !matches!(
        command,
        Command::UpdateTransaction(_) | Command::FinishTransaction(..)
    )
}

/// The transaction that a command names. A till that names it by number has had its start answered, so it
/// does not matter that its start named it by id.
fn named_by(job: &Job) -> Option<Named> {
    if let Some(input) = job.command.transaction_step() {
        return Some((job.tss, input.transaction));
    }
    let Command::MergeMetadata {
        target: MetadataTarget::Transaction(named),
        ..
    } = &job.command
    else {
        return None;
    };
    Some((job.tss, *named))
}

#[cfg(test)]
mod tests;
