//! Finishing batches whose commit failed or has an unknown outcome (design decision 1).

use super::lane::{Lane, chain, unavailable};
use super::{SigningError, plan::Told};
use crate::ledger::{Batch, CommitError, LoadedTss};
use crate::sma::Needs;
use crate::terms::TssId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Commits tried at once before the callers are told to come back.
const COMMITS_IN_A_ROW_MAX: u32 = 3;

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

/// What the ledger knows of a batch.
enum Standing {
    /// Nothing of it, although it was committed just now.
    Refused,
    /// All of it.
    Kept,
    /// Something else stands in its place.
    Overtaken,
}

impl Lane {
    /// TSSs for which nothing new may be signed.
    pub(super) fn blocked(&self) -> BTreeSet<TssId> {
        let entries = self.unfinished.iter().flat_map(|batch| &batch.entries);
        entries.map(|entry| entry.tss).collect()
    }

    /// Tries to bring every unfinished batch to its end and says what became of each TSS in them.
    pub(super) fn finish_unfinished(&mut self) -> BTreeMap<TssId, Fate> {
        let mut fates = BTreeMap::new();
        // A batch leaves the list only when its fate is known, so that a panic here loses nothing.
        for batch in self.unfinished.clone() {
            let fate = self.finish(&batch);
            if fate != Fate::Unfinished {
                self.unfinished.retain(|other| !Arc::ptr_eq(other, &batch));
            }
            fates.extend(batch.entries.iter().map(|entry| (entry.tss, fate)));
        }
        fates
    }

    fn finish(&mut self, batch: &Arc<Batch>) -> Fate {
        if batch.entries.iter().all(|entry| entry.messages.is_empty()) {
            // Nothing was signed, so nothing is owed: the callers ask again.
            return Fate::Dropped;
        }
        for _ in 0..COMMITS_IN_A_ROW_MAX {
            match self.finish_once(batch) {
                Ok(Standing::Kept) => return Fate::Kept,
                Ok(Standing::Overtaken) => {
                    tracing::error!("a signed batch was overtaken by another signer and dropped");
                    return Fate::Dropped;
                }
                Ok(Standing::Refused) => {}
                Err(_) => return Fate::Unfinished,
            }
        }
        self.split(batch);
        Fate::Unfinished
    }

    /// The ledger works but does not take this batch. Cut it up, so that the one TSS it cannot take
    /// does not stop the others.
    fn split(&mut self, batch: &Arc<Batch>) {
        if batch.entries.len() < 2 {
            return;
        }
        let parts = batch.entries.iter().map(|entry| {
            Arc::new(Batch {
                entries: vec![entry.clone()],
            })
        });
        self.unfinished.extend(parts);
        self.unfinished.retain(|other| !Arc::ptr_eq(other, batch));
    }

    /// Looks what the ledger holds, under the lock, and commits the same bytes if it holds nothing.
    fn finish_once(&mut self, batch: &Batch) -> Result<Standing, SigningError> {
        let needs: BTreeMap<TssId, Needs> = batch
            .entries
            .iter()
            .map(|entry| (entry.tss, Needs::default()))
            .collect();
        // Taking the lock also waits for a commit that may still be running in the database.
        let mut held = self
            .ledger
            .lock(&needs)
            .map_err(|error| unavailable(&error))?;
        let loaded = held.take_loaded();
        if stands_before(batch, &loaded) {
            return Ok(match held.commit(batch) {
                Ok(()) => Standing::Kept,
                Err(error) => {
                    log_failure(&error);
                    Standing::Refused
                }
            });
        }
        drop(held);
        self.compare(batch)
    }

    /// The first message of each TSS decides, because a batch is kept as a whole or not at all.
    fn compare(&mut self, batch: &Batch) -> Result<Standing, SigningError> {
        for entry in &batch.entries {
            let Some(first) = entry.messages.first() else {
                continue;
            };
            let stored = self.ledger.message(entry.tss, first.signature_counter);
            let stored = stored.map_err(|error| unavailable(&error))?;
            if stored.as_deref() != Some(first.der.as_slice()) {
                return Ok(Standing::Overtaken);
            }
        }
        Ok(Standing::Kept)
    }
}

/// Whether every TSS stands where the batch expects it.
fn stands_before(batch: &Batch, loaded: &BTreeMap<TssId, LoadedTss>) -> bool {
    batch.entries.iter().all(|entry| {
        let stored = loaded
            .get(&entry.tss)
            .and_then(|loaded| loaded.slice.tss.as_ref());
        stored.map(|tss| tss.device.signature_counter) == entry.expected_counter
    })
}

/// Answers each TSS's callers as its fate allows.
pub(super) fn answer_by_fate(told: Vec<Told>, fates: &BTreeMap<TssId, Fate>) {
    for told in told {
        match fates.get(&told.tss) {
            Some(Fate::Kept) | None => told.release(),
            Some(Fate::Dropped | Fate::Unfinished) => told.withhold(),
        }
    }
}

fn log_failure(error: &CommitError) {
    tracing::warn!(error = %chain(error), "a batch could not be committed again yet");
}
