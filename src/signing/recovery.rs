//! Finishing batches whose commit failed or has an unknown outcome (design decision 1).

use super::early::Early;
use super::lane::Lane;
use super::plan::Told;
use crate::ledger::{Batch, CommitError, Held, LedgerError, LoadedTss, TssBatch};
use crate::sma::{Needs, Slice};
use crate::terms::{ClientId, ClockStep, TssId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Commits tried at once before the callers are told to come back.
const COMMITS_IN_A_ROW_MAX: u32 = 3;

/// A signed batch that is not known to be kept, and what it was decided on.
pub(super) struct Unfinished {
    pub batch: Batch,
    pub needs: BTreeMap<TssId, Needs>,
    pub before: BTreeMap<TssId, LoadedTss>,
    /// TSSs that will have testified to `clock_step` with this batch.
    pub clock_told: BTreeSet<TssId>,
    pub clock_step: Option<ClockStep>,
}

/// What became of a TSS's part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Durable, with the bytes that were signed.
    Kept,
    /// Not there and never told: nothing was signed, or another signer went on meanwhile.
    Dropped,
    /// Still waiting for its commit.
    Unfinished,
}

/// Where the finishing of a batch has got to.
enum Progress {
    /// It is at its end, or will be tried again later.
    Settled(Fate),
    /// As a whole it cannot be finished; each TSS of it may be.
    TakeApart,
    /// Another node holds these of its TSSs; the others may be finished.
    Divide(BTreeSet<TssId>),
}

/// What the ledger knows of a batch.
enum Standing {
    /// Nothing of it as far as is known, although it was committed just now.
    Open,
    /// All of it.
    Kept,
    /// Something else stands in its place.
    Overtaken,
    /// Not looked at: another node holds these of its TSSs.
    Late(BTreeSet<TssId>),
}

impl Lane {
    /// Whether nothing new may be signed for this TSS.
    pub(super) fn has_unfinished(&self, tss: TssId) -> bool {
        let mut entries = self.unfinished.iter().flat_map(|work| &work.batch.entries);
        entries.any(|entry| entry.tss == tss)
    }

    /// Tries to bring every unfinished batch to its end and says what became of each TSS in them.
    pub(super) fn finish_unfinished(&mut self) -> BTreeMap<TssId, Fate> {
        let mut fates = BTreeMap::new();
        let mut waiting = self.unfinished.clone();
        // A batch leaves the list only when its fate is known, so that a panic here loses nothing.
        while let Some(work) = waiting.pop() {
            let fate = match self.finish(&work) {
                Progress::Settled(fate) => fate,
                Progress::TakeApart => {
                    let parts = work.parts();
                    self.unfinished.extend(parts.iter().cloned());
                    self.forget(&work);
                    waiting.extend(parts);
                    continue;
                }
                Progress::Divide(late) => {
                    let (late, free) = work.divide(&late);
                    // Those that are late have been waited for; they stay together, and are tried again later.
                    let named = late.batch.entries.iter();
                    fates.extend(named.map(|entry| (entry.tss, Fate::Unfinished)));
                    self.unfinished.extend([late, Arc::clone(&free)]);
                    self.forget(&work);
                    waiting.push(free);
                    continue;
                }
            };
            match fate {
                Fate::Kept => self.was_kept(&work),
                Fate::Dropped => {
                    self.forget(&work);
                    self.bad_devices.release_used(&work.batch);
                }
                Fate::Unfinished => {}
            }
            fates.extend(work.batch.entries.iter().map(|entry| (entry.tss, fate)));
        }
        fates
    }

    /// The batch is durable.
    pub(super) fn was_kept(&mut self, work: &Arc<Unfinished>) {
        self.trouble.is_over();
        // Before any answer, so that no answer is forgotten.
        self.ledger.released(&work.batch);
        self.forget(work);
        self.bad_devices.release_used(&work.batch);
        self.wake_early(&work.batch);
        if let Some(step) = work.clock_step {
            let told = work.clock_told.iter().map(|tss| (*tss, step.sequence));
            self.clock_steps_seen.extend(told);
        }
    }

    fn forget(&mut self, work: &Arc<Unfinished>) {
        self.unfinished.retain(|other| !Arc::ptr_eq(other, work));
    }

    fn finish(&mut self, work: &Unfinished) -> Progress {
        let entries = &work.batch.entries;
        if entries.iter().all(|entry| entry.messages.is_empty()) {
            // Nothing was signed, so nothing is owed: the callers ask again.
            return Progress::Settled(Fate::Dropped);
        }
        let is_alone = entries.len() < 2;
        for _ in 0..COMMITS_IN_A_ROW_MAX {
            match self.finish_once(work) {
                Ok(Standing::Kept) => return Progress::Settled(Fate::Kept),
                Ok(Standing::Overtaken) if is_alone => {
                    tracing::error!("a signed batch was overtaken by another signer and dropped");
                    return Progress::Settled(Fate::Dropped);
                }
                // The others of the batch may still stand where they stood.
                Ok(Standing::Overtaken) | Err(LedgerError::Damaged(_)) if !is_alone => {
                    return Progress::TakeApart;
                }
                Ok(Standing::Late(late)) if late.len() < entries.len() => {
                    return Progress::Divide(late);
                }
                Ok(Standing::Late(_)) => return Progress::Settled(Fate::Unfinished),
                Ok(Standing::Overtaken | Standing::Open) => {}
                Err(error) => {
                    self.trouble.tell(&error);
                    return Progress::Settled(Fate::Unfinished);
                }
            }
        }
        // The ledger works but does not take this batch. Cut it up, so that the one TSS it cannot take
        // does not stop the others.
        if is_alone {
            Progress::Settled(Fate::Unfinished)
        } else {
            Progress::TakeApart
        }
    }

    /// Looks what the ledger holds, under the lock, and commits the same bytes if it holds nothing.
    fn finish_once(&mut self, work: &Unfinished) -> Result<Standing, LedgerError> {
        // Taking the lock also waits for a commit that may still be running in the database.
        let mut held = self.ledger.lock(&work.needs)?;
        if !held.late().is_empty() {
            // Whoever else holds it may be committing this very batch.
            return Ok(Standing::Late(held.late().clone()));
        }
        let loaded = held.take_loaded();
        if work.stands_before(&loaded) {
            let Err(error) = held.commit(&work.batch_under(&loaded)) else {
                return Ok(Standing::Kept);
            };
            self.trouble.tell(&error);
            return match error {
                CommitError::RolledBack { .. } if self.has_lost_its_device(work)? => {
                    Ok(Standing::Overtaken)
                }
                CommitError::RolledBack { .. } | CommitError::Unknown { .. } => Ok(Standing::Open),
            };
        }
        compare(held.as_mut(), &work.batch)
    }

    /// Whether the one TSS of this batch was to be created with a device that another one has by now.
    /// Asked after a refused commit, so it is not this batch that has taken it.
    fn has_lost_its_device(&mut self, work: &Unfinished) -> Result<bool, LedgerError> {
        match work.batch.entries.as_slice() {
            [entry] => match entry.new_device() {
                Some(device) => self.ledger.is_device_taken(device),
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }
}

/// A batch is kept as a whole or not at all. Every message is looked at: a signer that went on from
/// the same counter may, with a token that signs the same way each time, have begun like we did.
fn compare(held: &mut dyn Held, batch: &Batch) -> Result<Standing, LedgerError> {
    for entry in &batch.entries {
        for message in &entry.messages {
            let stored = held.message(entry.tss, message.signature_counter)?;
            if stored.as_deref() != Some(message.der.as_slice()) {
                return Ok(Standing::Overtaken);
            }
        }
    }
    Ok(Standing::Kept)
}

impl Unfinished {
    /// The same for each TSS alone.
    fn parts(&self) -> Vec<Arc<Self>> {
        let entries = self.batch.entries.iter();
        entries
            .map(|entry| self.part(|tss| tss == entry.tss))
            .collect()
    }

    /// The same for these TSSs, and for the others.
    fn divide(&self, these: &BTreeSet<TssId>) -> (Arc<Self>, Arc<Self>) {
        let those = self.part(|tss| these.contains(&tss));
        (those, self.part(|tss| !these.contains(&tss)))
    }

    fn part(&self, belongs: impl Fn(TssId) -> bool) -> Arc<Self> {
        let entries = self.batch.entries.iter();
        let told = self.clock_told.iter().copied();
        Arc::new(Self {
            batch: Batch {
                entries: entries
                    .filter(|entry| belongs(entry.tss))
                    .cloned()
                    .collect(),
            },
            needs: pick(&self.needs, &belongs),
            before: pick(&self.before, &belongs),
            clock_told: told.filter(|tss| belongs(*tss)).collect(),
            clock_step: self.clock_step,
        })
    }

    /// The same bytes for the token that is active by now. Its keys are the same, so a signature made before
    /// a switch is as good as one made after it; that nobody went on meanwhile is what was looked at.
    fn batch_under(&self, loaded: &BTreeMap<TssId, LoadedTss>) -> Cow<'_, Batch> {
        let now = |entry: &TssBatch| loaded.get(&entry.tss).and_then(|tss| tss.active.clone());
        if self
            .batch
            .entries
            .iter()
            .all(|entry| now(entry) == entry.active)
        {
            return Cow::Borrowed(&self.batch);
        }
        let mut batch = self.batch.clone();
        for entry in &mut batch.entries {
            entry.active = now(entry);
        }
        Cow::Owned(batch)
    }

    /// Whether every TSS is as it was when the batch was decided. The signature counter alone would not
    /// tell: what another node has changed without a message must not be written over.
    fn stands_before(&self, loaded: &BTreeMap<TssId, LoadedTss>) -> bool {
        self.batch.entries.iter().all(|entry| {
            let (before, now) = (self.before.get(&entry.tss), loaded.get(&entry.tss));
            match (before, now) {
                (Some(before), Some(now)) => {
                    let written = &entry.slice.changed.clients;
                    is_same_state(&before.slice, &now.slice, written)
                }
                (None, _) | (_, None) => false,
            }
        })
    }
}

fn pick<T: Clone>(all: &BTreeMap<TssId, T>, belongs: impl Fn(TssId) -> bool) -> BTreeMap<TssId, T> {
    let wanted = all.iter().filter(|(tss, _)| belongs(**tss));
    wanted.map(|(tss, one)| (*tss, one.clone())).collect()
}

/// All that is loaded but the free device, which may be another each time. Of the client ids that other TSSs have,
/// those that the batch writes: the others may only have been asked for in the same batch.
fn is_same_state(one: &Slice, other: &Slice, written: &BTreeSet<ClientId>) -> bool {
    let elsewhere = |slice: &Slice| -> BTreeSet<ClientId> {
        slice
            .clients_elsewhere
            .intersection(written)
            .copied()
            .collect()
    };
    one.tss == other.tss
        && elsewhere(one) == elsewhere(other)
        && one.clients == other.clients
        && one.serials == other.serials
        && one.transactions == other.transactions
        && one.transaction_ids == other.transaction_ids
        && one.steps == other.steps
}

/// Answers each TSS's callers as its fate allows; returns those that came early.
pub(super) fn answer_by_fate(told: Vec<Told>, fates: &BTreeMap<TssId, Fate>) -> Vec<Early> {
    let mut early = Vec::new();
    for told in told {
        match fates.get(&told.tss) {
            Some(Fate::Kept) | None => early.extend(told.release()),
            Some(Fate::Dropped | Fate::Unfinished) => told.withhold(),
        }
    }
    early
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_others_of_a_batch_have_asked_for_is_no_state_of_a_tss_that_does_not_write_it() {
        // Two TSSs of a batch wanted the same client id, and one of them is finished alone.
        let id = ClientId::new(Uuid::from_u128(1));
        let (mut before, now) = (Slice::default(), Slice::default());
        before.clients_elsewhere.insert(id);
        assert!(is_same_state(&before, &now, &BTreeSet::new()));
        assert!(!is_same_state(&before, &now, &BTreeSet::from([id])));
    }
}
