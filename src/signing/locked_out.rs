//! Commands for TSSs that somebody else holds: another node that is busy with them, frozen or cut off, or another
//! lane. They wait here, so that the other TSSs of their lane need not.

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
    reason: "another node or lane holds the TSS",
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
            tracing::warn!(tss = ?new, "{} TSS are held by another node or lane", new.len());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningError;
    use crate::signing::job::AnswerOnce;
    use crate::sma::{Caller, Command};
    use crate::terms::{Environment, OrganizationId, SeTime, SessionId};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use uuid::Uuid;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> SeTime {
            SeTime::UNSET
        }

        fn monotonic_ms(&self) -> u64 {
            self.0.load(SeqCst)
        }
    }

    fn job(tss: u128, answered: &Arc<AtomicUsize>, told: &Arc<Mutex<Vec<String>>>) -> Job {
        let caller = Caller {
            organization: OrganizationId::new(Uuid::nil()),
            environment: Environment::Test,
            session: SessionId::new(Uuid::nil()),
        };
        let (answered, told) = (Arc::clone(answered), Arc::clone(told));
        let answer = AnswerOnce::new(Box::new(move |result| {
            answered.fetch_add(1, SeqCst);
            if let Err(error @ SigningError::Unavailable { .. }) = result {
                told.lock().unwrap().push(error.to_string());
            }
        }));
        let tss = TssId::new(Uuid::from_u128(tss));
        Job::new(tss, caller, Command::DeclareDefective, answer)
    }

    #[test]
    fn those_who_wait_are_looked_at_in_time_however_many_come_after_them() {
        let (clock, mut waiting) = (Hand::default(), LockedOut::default());
        let settings = LaneSettings::default();
        let (answered, told) = (Arc::default(), Arc::default());
        waiting.wait(vec![job(1, &answered, &told)], &clock, &settings);
        for others in 2..20 {
            clock.0.fetch_add(LOOK_EVERY_MS / 2, SeqCst);
            waiting.wait(vec![job(others, &answered, &told)], &clock, &settings);
        }
        let look_ms = waiting.next_look_ms().unwrap();
        assert_eq!(
            look_ms, LOOK_EVERY_MS,
            "the time was set when the first one came"
        );
        assert_eq!(waiting.take_due(&clock).len(), 19);
    }

    #[test]
    fn what_waits_for_others_leaves_room_in_its_lane() {
        let (clock, mut waiting) = (Hand::default(), LockedOut::default());
        let settings = LaneSettings {
            queue_len_max: 8,
            ..LaneSettings::default()
        };
        let (answered, told) = (Arc::default(), Arc::default());
        let first = (0..3).map(|_| job(1, &answered, &told)).collect();
        waiting.wait(first, &clock, &settings);
        let same = (0..5).map(|_| job(1, &answered, &told)).collect();
        let other = waiting.queue_up(same, &clock, &settings);
        assert!(other.is_empty(), "they stay behind the first ones");
        assert_eq!((waiting.len(), answered.load(SeqCst)), (4, 4));
        let all: Vec<String> = told.lock().unwrap().clone();
        assert!(
            all.iter()
                .all(|text| text.contains("another node or lane holds the TSS")),
            "{all:?}"
        );
    }
}
