//! What is not signed because the ledger may have forgotten what was told (design decision 13).

use super::SigningError;
use super::job::Job;
use super::lane::refuse_those;
use super::pairs::{TokenPairs, standing};
use crate::ledger::{Clearance, LoadedTss};
use crate::sma::Command;
use crate::terms::TssId;
use std::collections::BTreeMap;

/// Told for a TSS of which a witness knows more than the ledger.
const HELD: SigningError = SigningError::Broken {
    reason: "a witness knows more of it than the ledger; see `siegel ledger inspect`",
};

/// Told while a token that has come back is compared with the ledger.
const NOT_COMPARED: SigningError = SigningError::Unavailable {
    reason: "the token is being compared with the ledger",
    retry_after_s: 1,
};

/// Answers what must not be signed now and returns the rest. What was loaded is looked at under the
/// lock, so that what another node has found counts as well.
pub(super) fn refuse_doubtful(
    jobs: Vec<Job>,
    loaded: &BTreeMap<TssId, LoadedTss>,
    tokens: &TokenPairs,
    clearance: &Clearance,
) -> Vec<Job> {
    let is_held = |job: &Job| {
        // What a person decides, and carries out with these.
        let decided = matches!(
            job.command,
            Command::DeclareDefective | Command::LeaveSecureState { .. }
        );
        !decided && loaded.get(&job.tss).is_some_and(|state| state.is_held)
    };
    let is_uncompared = |job: &Job| {
        let found = loaded.get(&job.tss).and_then(|state| {
            let label = state.token.as_ref()?;
            let active = state.active.as_ref();
            let member = tokens
                .get(label)?
                .active(active.map(|one| one.section.as_str()))?;
            let generation = member.token.csp().generation();
            Some((label, standing(active, generation)))
        });
        // Where there is no token nothing is signed anyway; and to declare a TSS defective signs nothing, which
        // has to be possible just when its token is gone.
        let signs_nothing = matches!(job.command, Command::DeclareDefective);
        !signs_nothing
            && found.is_some_and(|(label, standing)| !clearance.is_token_cleared(label, standing))
    };
    let jobs = refuse_those(jobs, &HELD, is_held);
    refuse_those(jobs, &NOT_COMPARED, is_uncompared)
}
