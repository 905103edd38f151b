//! Looks at the ledger for its witnesses, and stops what it has forgotten.

use super::compare::{Findings, Testimony, TssFault, compare, highest_marks};
use crate::ledger::{Hold, HoldScope, LedgerError, Survey};
use crate::terms::Clock;

/// What the witnesses know more of than this ledger.
pub fn findings(
    survey: &mut Survey<'_>,
    testimonies: &[Testimony],
) -> Result<Findings, LedgerError> {
    let standings = survey.all_standings()?;
    let totals = survey.token_totals()?;
    let counters = highest_marks(testimonies)
        .into_iter()
        .map(|(tss, (_, mark))| (tss, mark.signature_counter))
        .collect();
    let digests = survey.digests(&counters)?;
    Ok(compare(testimonies, &standings, &totals, &digests))
}

/// Writes into the ledger what must not be signed, where every node sees it, and says so.
pub(super) fn stop_forgotten(
    survey: &mut Survey<'_>,
    findings: &Findings,
    clock: &dyn Clock,
) -> Result<(), LedgerError> {
    let since = clock.now();
    for (tss, finding) in &findings.tss {
        let (witness, known) = (&finding.witness, finding.signature_counter);
        let reason = match finding.fault {
            TssFault::Lost => {
                let reason = format!("{witness} knows signature {known} of it for TSS {tss}");
                if survey.set_device_aside(finding.device, &reason)? {
                    tracing::error!(device = %finding.device, "no TSS is made of device {}: {reason}", finding.device);
                }
                tracing::error!(tss.id = %tss, "the ledger does not know TSS {tss}, but {witness} does; see `siegel ledger inspect`");
                continue;
            }
            TssFault::Behind => format!(
                "{witness} knows signature {known}, the ledger only {}",
                finding.ledger_counter
            ),
            TssFault::Hole => format!("the message that {witness} knows is not there"),
            TssFault::Forked => {
                format!("another message stands where {witness} knows one that was released")
            }
        };
        tracing::error!(tss.id = %tss, "TSS {tss} is stopped: {reason}; see `siegel ledger inspect`");
        let hold = Hold {
            reason,
            signature_counter: known,
            transaction: finding.transaction,
            since,
            scope: HoldScope::Tss,
        };
        survey.hold(*tss, &hold)?;
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
