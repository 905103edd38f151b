//! Lets TSSs sign again of which nothing is missing any more.

use super::WitnessError;
use super::compare::{Testimony, compare, highest_marks};
use super::stopping::{findings, stop_forgotten};
use crate::ledger::{HoldScope, LedgerError, Store};
use crate::terms::{Clock, TssId};

/// Stops what these witnesses know more of than the ledger, as at the start of a node.
///
/// # Errors
/// When the database does not answer.
pub fn stop(
    store: &Store,
    testimonies: &[Testimony],
    clock: &dyn Clock,
) -> Result<(), WitnessError> {
    let mut survey = store.survey()?;
    let found = findings(&mut survey, testimonies)?;
    stop_forgotten(&mut survey, &found, clock)?;
    Ok(())
}

/// Looks again at every TSS that is stopped, and returns those that sign again: the ledger knows all that
/// these witnesses know of them, and all that was known when they were stopped.
///
/// # Errors
/// When the database does not answer.
pub fn release_restored(
    store: &Store,
    testimonies: &[Testimony],
) -> Result<Vec<TssId>, LedgerError> {
    let mut survey = store.survey()?;
    let standings = survey.all_standings()?;
    let totals = survey.token_totals()?;
    let counters = highest_marks(testimonies)
        .into_iter()
        .map(|(tss, (_, mark))| (tss, mark.signature_counter))
        .collect();
    let digests = survey.digests(&counters)?;
    // What was found earlier explains nothing here: it is what we ask for.
    let mut bare = standings.clone();
    for standing in bare.values_mut() {
        standing.hold = None;
    }
    let findings = compare(testimonies, &bare, &totals, &digests);
    let mut released = Vec::new();
    for (tss, standing) in standings {
        let Some(hold) = standing.hold else {
            continue;
        };
        let is_known = match hold.scope {
            HoldScope::Tss => {
                standing.signature_counter >= hold.signature_counter
                    && standing.transaction >= hold.transaction
            }
            HoldScope::Token => !findings.tokens.contains_key(&standing.token),
        };
        if is_known && !findings.tss.contains_key(&tss) {
            survey.release(tss)?;
            released.push(tss);
        }
    }
    Ok(released)
}
