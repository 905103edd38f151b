//! Commands that came before their predecessors: a till may send start, update and finish without
//! waiting for answers, and a network may turn their order around.
//!
//! Such a command waits in its lane for a bounded time. It is decided anew when its TSS has signed
//! something, now and then in between, because another node may have signed, and a last time at its end.

use super::SigningError;
use super::job::Job;
use super::lane::Lane;
use crate::ledger::Batch;
use crate::terms::TssId;
use std::collections::BTreeSet;
use std::time::Duration;

/// Steps of one TSS that may wait at a time: a few tills with a few steps each.
const EARLY_PER_TSS_MAX: usize = 64;

/// All that waits takes no more than one place in so many of its lane.
const EARLY_SHARE: usize = 2;

/// The first pause after which the ledger is looked at anew, in milliseconds; each one is twice as long as the
/// one before.
const FIRST_LOOK_MS: u64 = 50;

/// A refused command that may yet be accepted, with what it is told otherwise.
pub(super) struct Early {
    pub job: Job,
    pub refusal: SigningError,
}

impl Lane {
    /// Lets these commands wait, and answers those that have waited long enough.
    pub(super) fn put_aside(&mut self, early: Vec<Early>) {
        let now_ms = self.clock.monotonic_ms();
        let until_ms = now_ms.saturating_add(self.settings.early_wait_ms);
        for Early { mut job, refusal } in early {
            let until_ms = *job.early_until_ms.get_or_insert(until_ms);
            let begun_ms = until_ms.saturating_sub(self.settings.early_wait_ms);
            let waited_ms = now_ms.saturating_sub(begun_ms);
            let look_ms = now_ms.saturating_add(waited_ms.max(FIRST_LOOK_MS));
            job.early_look_ms = look_ms.min(until_ms);
            if until_ms <= now_ms || !self.has_room_for(job.tss) {
                job.answer.send(Err(refusal));
            } else {
                self.early.push(job);
            }
        }
    }

    /// What waits takes places of the lane from others, so there is not much room for it.
    fn has_room_for(&self, tss: TssId) -> bool {
        let of_tss = self.early.iter().filter(|job| job.tss == tss).count();
        let share = self.settings.queue_len_max.div_ceil(EARLY_SHARE);
        of_tss < EARLY_PER_TSS_MAX && self.early.len() < share
    }

    /// The TSSs of this batch have signed something: what waits for them is decided anew in the next one.
    pub(super) fn wake_early(&mut self, kept: &Batch) {
        let signed: BTreeSet<TssId> = kept.entries.iter().map(|entry| entry.tss).collect();
        let is_woken = |job: &mut Job| signed.contains(&job.tss);
        let mut woken: Vec<Job> = self.early.extract_if(.., is_woken).collect();
        // In their own order, so that one batch is enough for all of them.
        woken.sort_by_key(|job| job.command.revision());
        self.decided_anew.extend(woken);
    }

    /// Commands that have waited for a while, or long enough, and are to be decided anew.
    pub(super) fn take_due_early(&mut self) -> Vec<Job> {
        let now_ms = self.clock.monotonic_ms();
        let is_due = |job: &mut Job| job.early_look_ms <= now_ms;
        self.early.extract_if(.., is_due).collect()
    }

    /// Everything that waits, for a last decision: the lane ends.
    pub(super) fn take_all_early(&mut self) -> Vec<Job> {
        let mut jobs = std::mem::take(&mut self.early);
        for job in &mut jobs {
            job.early_until_ms = Some(0);
        }
        jobs
    }

    /// How long the lane may sleep until a command that waits is to be looked at.
    pub(super) fn sleep_at_most(&self, at_most: Duration) -> Duration {
        let early = self.early.iter().map(|job| job.early_look_ms);
        let locked_out = self.locked_out.next_look_ms();
        early.chain(locked_out).min().map_or(at_most, |until_ms| {
            let left_ms = until_ms.saturating_sub(self.clock.monotonic_ms());
            at_most.min(Duration::from_millis(left_ms))
        })
    }
}
