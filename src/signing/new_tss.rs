//! Where a TSS comes into being.

use super::job::Job;
use super::pairs::{TokenPair, TokenPairs};
use crate::ledger::{LedgerError, Store};
use crate::sma::Command;
use crate::terms::TssId;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Label of the token to make this TSS in: one of its environment that has a device ready. Where none
/// has, any, whose lane will say so. Which one is looked at first depends on the TSS alone, so that the
/// same call again goes the same way. `None` where the environment has no token.
pub(super) fn token_for_new<'t>(
    store: &Store,
    tokens: &'t TokenPairs,
    job: &Job,
) -> Result<Option<&'t str>, LedgerError> {
    let environment = job.caller.environment;
    let fitting = tokens
        .iter()
        .filter(|(_, pair)| pair.environment() == environment);
    let mut labels: Vec<&str> = fitting.map(|(label, _)| label.as_str()).collect();
    // Any other command finds nothing, wherever it looks.
    if labels.len() > 1 && matches!(job.command, Command::Assign(_)) {
        let first = place_of(job.tss, labels.len());
        labels.rotate_left(first);
        // Those that are there before the others; each group stays in its order.
        labels.sort_by_key(|label| !tokens.get(*label).is_some_and(TokenPair::is_there));
        for label in &labels {
            if store.free_devices_in(label, environment)? > 0 {
                return Ok(Some(label));
            }
        }
    }
    Ok(labels.first().copied())
}

/// `hash(tss) mod count`.
pub(super) fn place_of(tss: TssId, count: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    tss.hash(&mut hasher);
    let count = u64::try_from(count).unwrap_or(1).max(1);
    usize::try_from(hasher.finish() % count).unwrap_or_default()
}
