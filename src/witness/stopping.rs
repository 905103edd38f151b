//! Looks at the ledger for its witnesses, and stops what it has forgotten.

use super::compare::{
    Findings, Known, LostFinding, Testimony, TssFault, TssFinding, compare, highest_marks,
};
use crate::ledger::{Hold, HoldScope, LedgerError, Survey};
use crate::terms::{Clock, SeTime, SerialNumber};

/// What the witnesses know more of than this ledger.
pub fn findings(
    survey: &mut Survey<'_>,
    testimonies: &[Testimony],
) -> Result<Findings, LedgerError> {
    Ok(compare(testimonies, &known(survey, testimonies)?))
}

/// What the ledger knows of what these witnesses speak of.
pub(super) fn known(
    survey: &mut Survey<'_>,
    testimonies: &[Testimony],
) -> Result<Known, LedgerError> {
    let standings = survey.all_standings()?;
    let totals = survey.token_totals()?;
    let highest = highest_marks(testimonies);
    let counters = standings
        .iter()
        .filter_map(|(tss, standing)| {
            let one = highest.get(&standing.device)?;
            (one.tss == *tss).then_some((*tss, one.mark.signature_counter))
        })
        .collect();
    let devices: Vec<_> = highest.into_keys().collect();
    Ok(Known {
        digests: survey.digests(&counters)?,
        lost: survey.lost_keys()?,
        places: survey.key_places(&devices)?,
        standings,
        totals,
    })
}

/// Writes into the ledger what must not be signed, where every node sees it, and says so.
pub(super) fn stop_forgotten(
    survey: &mut Survey<'_>,
    findings: &Findings,
    clock: &dyn Clock,
) -> Result<(), LedgerError> {
    let since = clock.now();
    for (tss, finding) in &findings.tss {
        let reason = reason(finding);
        tracing::error!(tss.id = %tss, "TSS {tss} is stopped: {reason}; see `siegel ledger inspect`");
        let hold = Hold {
            reason,
            signature_counter: finding.signature_counter,
            transaction: finding.transaction,
            since,
            scope: match finding.fault {
                TssFault::Behind => HoldScope::Tss,
                // What stands in its place cannot be taken away.
                TssFault::Hole | TssFault::Forked => HoldScope::Unmendable,
            },
        };
        survey.hold(*tss, &hold)?;
    }
    for (device, finding) in &findings.lost {
        lose(survey, *device, finding, since)?;
    }
    for (token, finding) in &findings.tokens {
        let reason = format!(
            "{} knows {} numbers spent, the ledger {}",
            finding.witness, finding.witness_total, finding.ledger_total
        );
        tracing::error!(%token, "all TSSs of token {token} are stopped: {reason}; see `siegel ledger inspect`");
        survey.hold_token(token, finding.missing, &reason, since)?;
    }
    Ok(())
}

fn reason(finding: &TssFinding) -> String {
    let (witness, known) = (&finding.witness, finding.signature_counter);
    match finding.fault {
        TssFault::Behind => format!(
            "{witness} knows signature {known}, the ledger only {}",
            finding.ledger_counter
        ),
        TssFault::Hole => format!("the message that {witness} knows is not there"),
        TssFault::Forked => {
            format!("another message stands where {witness} knows one that was released")
        }
    }
}

fn lose(
    survey: &mut Survey<'_>,
    device: SerialNumber,
    finding: &LostFinding,
    now: SeTime,
) -> Result<(), LedgerError> {
    let LostFinding { witness, key } = finding;
    let (tss, known) = (key.tss, key.signature_counter);
    let reason = format!("{witness} knows signature {known} of it for TSS {tss}");
    if survey.lose_key(device, key, &reason, now)? {
        tracing::error!(
            tss.id = %tss, %device,
            "the ledger does not know TSS {tss}, but {witness} does; no other TSS gets its key, {device}; see \
             `siegel ledger inspect`"
        );
    }
    Ok(())
}
