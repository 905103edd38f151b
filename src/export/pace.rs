//! How long exports take, measured on those that were worked off here.

use crate::ledger::{ExportRow, ExportState, QueuedExport};
use crate::terms::SeTime;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages a second that a worker looks at, until it has measured itself: what a small machine does.
const MESSAGES_PER_S_FIRST: u64 = 100_000;
/// Shorter exports measure the clock more than the worker.
const MESSAGES_MIN: u64 = 10_000;

/// The pace of the worker of this node.
#[derive(Debug)]
pub struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(MESSAGES_PER_S_FIRST))
    }
}

impl Pace {
    /// So many messages were looked at in this time. Only one worker tells.
    pub(super) fn learn(&self, messages: u64, took_ms: u64) {
        if messages < MESSAGES_MIN {
            return;
        }
        let new = messages.saturating_mul(1000) / took_ms.max(1);
        let old = self.0.load(Ordering::Relaxed);
        // One odd export does not change the picture.
        let pace = (old.saturating_mul(3).saturating_add(new) / 4).max(1);
        self.0.store(pace, Ordering::Relaxed);
    }

    /// When a pending or working export will have ended, as far as anybody knows: the messages of those
    /// that are before it in `queue` and its own, at the pace of this node. `None` when it has ended.
    pub fn completion(
        &self,
        row: &ExportRow,
        queue: &[QueuedExport],
        now: SeTime,
    ) -> Option<SeTime> {
        let pace = self.0.load(Ordering::Relaxed).max(1);
        let own = row.counter_at_request.value();
        let messages = match row.state {
            ExportState::Pending => {
                let is_other = |other: &&QueuedExport| (other.tss, other.id) != (row.tss, row.id);
                let before = queue.iter().take_while(is_other);
                before.fold(own, |sum, other| sum.saturating_add(other.messages))
            }
            ExportState::Working => {
                let taken_up = row.time_start.unwrap_or(now);
                let worked_s = now.unix_seconds() - taken_up.unix_seconds();
                let worked_s = u64::try_from(worked_s).unwrap_or_default();
                own.saturating_sub(worked_s.saturating_mul(pace))
            }
            ExportState::Completed | ExportState::Error | ExportState::Cancelled => return None,
        };
        // It has not ended yet, so it will not have ended before the next second.
        let seconds = messages.div_ceil(pace).max(1);
        Some(now.plus_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }
}
