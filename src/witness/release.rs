//! Lets TSSs sign again of which nothing is missing any more.

use super::WitnessError;
use super::compare::{Testimony, compare};
use super::stopping::{findings, known, stop_forgotten};
use crate::ledger::{HoldScope, LedgerError, Store};
use crate::terms::{Clock, TssId};
use std::collections::BTreeSet;

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

/// Looks again at those of these TSSs that are stopped, and returns those that sign again: the ledger knows
/// all that these witnesses know of them, and all that was known when they were stopped. What was found to
/// be beyond mending stays stopped, and so does a TSS of whose token a sum still misses something.
///
/// # Errors
/// When the database does not answer.
pub fn release_restored(
    store: &Store,
    testimonies: &[Testimony],
    asked: &BTreeSet<TssId>,
) -> Result<Vec<TssId>, LedgerError> {
    let mut survey = store.survey()?;
    let known = known(&mut survey, testimonies)?;
    // A limit that came from a sum explains nothing here: it is what we ask for.
    let mut bare = known.clone();
    for standing in bare.standings.values_mut() {
        let hold = standing.hold.take();
        standing.hold = hold.filter(|hold| hold.scope == HoldScope::Tss);
    }
    let findings = compare(testimonies, &bare);
    let mut released = Vec::new();
    let mut wanting: BTreeSet<&str> = findings.tokens.keys().map(String::as_str).collect();
    for (tss, standing) in &known.standings {
        let Some(hold) = &standing.hold else {
            continue;
        };
        let is_whole = !wanting.contains(standing.token.as_str())
            && !findings.tss.contains_key(tss)
            && match hold.scope {
                HoldScope::Tss => {
                    standing.signature_counter >= hold.signature_counter
                        && standing.transaction >= hold.transaction
                }
                // Without its sum nobody says that nothing is missing.
                HoldScope::Token => has_sum(testimonies, &standing.token),
                HoldScope::Unmendable => false,
            };
        if is_whole && asked.contains(tss) {
            survey.release(*tss)?;
            released.push(*tss);
        }
    }
    // Devices are free again with the last TSS that was stopped with them.
    let held = known.standings.iter().filter(|(tss, standing)| {
        let hold = standing.hold.as_ref();
        hold.is_some_and(|hold| hold.scope == HoldScope::Token) && !released.contains(tss)
    });
    wanting.extend(held.map(|(_, standing)| standing.token.as_str()));
    let freed = known.totals.keys().map(String::as_str);
    let freed = freed.filter(|token| !wanting.contains(token) && has_sum(testimonies, token));
    survey.free_devices(&freed.collect::<Vec<_>>())?;
    Ok(released)
}

fn has_sum(testimonies: &[Testimony], token: &str) -> bool {
    testimonies.iter().any(|one| one.totals.contains_key(token))
}
