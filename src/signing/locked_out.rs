//! Commands for TSSs that somebody else holds: another node that is busy with them, frozen or cut off. They wait
//! here, so that the other TSSs of their lane need not.

use super::SigningError;
use super::job::Job;
use super::lanes::LaneSettings;
use crate::terms::{Clock, TssId};
use std::collections::BTreeSet;

/// Pause between two tries, in milliseconds. A try keeps the lane waiting for about as long, in the line for the
/// lock: whoever is never in that line would never get it from a busy neighbour.
const LOOK_EVERY_MS: u64 = 100;

/// All that waits here takes no more than one place in so many of its lane.
const SHARE: usize = 2;

/// Told when the lock did not come in time.
const HELD_ELSEWHERE: SigningError = SigningError::Unavailable {
    reason: "another node holds the TSS",
    retry_after_s: 1,
};

/// Those of one lane, in the order they came.
#[derive(Default)]
pub(super) struct LockedOut {
    jobs: Vec<Job>,
    look_ms: u64,
}

impl LockedOut {
    /// Lets these wait until their TSSs are tried again; answers those that have waited long enough, and those for
    /// whom there is no room.
    pub fn wait(&mut self, late: Vec<Job>, clock: &dyn Clock, settings: &LaneSettings) {
        if late.is_empty() {
            return;
        }
        let now_ms = clock.monotonic_ms();
        // Whoever waits already is not put off by those that come later.
        if self.jobs.is_empty() {
            self.look_ms = now_ms.saturating_add(LOOK_EVERY_MS);
        }
        let known = late.iter().filter(|job| job.locked_until_ms.is_some());
        let known: BTreeSet<TssId> = known.chain(&self.jobs).map(|job| job.tss).collect();
        let new = late.iter().map(|job| job.tss);
        let new: BTreeSet<TssId> = new.filter(|tss| !known.contains(tss)).collect();
        if !new.is_empty() {
            tracing::warn!(tss = ?new, "{} TSS are held by another node", new.len());
        }
        let room = settings.queue_len_max.div_ceil(SHARE);
        for mut job in late {
            let until_ms = now_ms.saturating_add(settings.lock_wait_ms);
            let until_ms = *job.locked_until_ms.get_or_insert(until_ms);
            if until_ms <= now_ms || self.jobs.len() >= room {
                job.answer.send(Err(HELD_ELSEWHERE));
            } else {
                self.jobs.push(job);
            }
        }
    }

    /// Puts commands behind those that wait for the same TSS, and returns the others.
    pub fn queue_up(
        &mut self,
        jobs: Vec<Job>,
        clock: &dyn Clock,
        settings: &LaneSettings,
    ) -> Vec<Job> {
        if self.jobs.is_empty() {
            return jobs;
        }
        let waiting: BTreeSet<TssId> = self.jobs.iter().map(|job| job.tss).collect();
        let (same, others) = jobs.into_iter().partition(|job| waiting.contains(&job.tss));
        self.wait(same, clock, settings);
        others
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// All of them, if it is time to try again.
    pub fn take_due(&mut self, clock: &dyn Clock) -> Vec<Job> {
        if self.jobs.is_empty() || clock.monotonic_ms() < self.look_ms {
            return Vec::new();
        }
        self.take_all()
    }

    /// All of them.
    pub fn take_all(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// When they are tried again; `None` while nobody waits.
    pub fn next_look_ms(&self) -> Option<u64> {
        (!self.jobs.is_empty()).then_some(self.look_ms)
    }
}
