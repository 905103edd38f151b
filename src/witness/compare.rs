//! Witnesses against the ledger.
//!
//! Invariant: values in, findings out. A witness that knows less than the ledger says nothing.

use crate::ledger::{Mark, Standing};
use crate::terms::{SerialNumber, SignatureCounter, TransactionNumber, TssId};
use std::collections::BTreeMap;

/// What one witness says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Which witness, for people: `node file`, `this process`, `anchor`.
    pub name: String,
    /// How far single TSSs were.
    pub marks: BTreeMap<TssId, Mark>,
    /// Numbers spent by the keys of each token.
    pub totals: BTreeMap<String, u64>,
}

/// Where the ledger knows less than a witness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Single TSSs, with the worst that is said of them.
    pub tss: BTreeMap<TssId, TssFinding>,
    /// Tokens of which more is missing than the findings about TSSs explain.
    pub tokens: BTreeMap<String, TokenFinding>,
}

/// What a witness knows of a TSS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TssFinding {
    /// Which witness.
    pub witness: String,
    /// What is wrong.
    pub fault: TssFault,
    /// Whose key has signed.
    pub device: SerialNumber,
    /// What the ledger holds of its latest message.
    pub ledger_counter: SignatureCounter,
    /// No higher signature counter was issued, as far as is known.
    pub signature_counter: SignatureCounter,
    /// No higher transaction number was issued, as far as is known.
    pub transaction: TransactionNumber,
}

/// What is wrong with a TSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TssFault {
    /// The ledger does not know the TSS.
    Lost,
    /// Its latest messages are missing.
    Behind,
    /// A message before the latest one is missing.
    Hole,
    /// Another message stands in the place of one that was released.
    Forked,
}

/// What a witness knows of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFinding {
    /// Which witness.
    pub witness: String,
    /// Numbers spent that the witness knows.
    pub witness_total: u64,
    /// Numbers spent that the ledger knows.
    pub ledger_total: u64,
    /// What remains unexplained.
    pub missing: u64,
}

impl Findings {
    /// Whether the ledger knows all that the witnesses know.
    pub fn is_empty(&self) -> bool {
        self.tss.is_empty() && self.tokens.is_empty()
    }
}

/// The highest mark of each TSS.
pub(super) fn highest_marks(testimonies: &[Testimony]) -> BTreeMap<TssId, (&str, &Mark)> {
    let mut highest = BTreeMap::<TssId, (&str, &Mark)>::new();
    for testimony in testimonies {
        for (tss, mark) in &testimony.marks {
            let known = highest.entry(*tss).or_insert((&testimony.name, mark));
            if mark.signature_counter > known.1.signature_counter {
                *known = (&testimony.name, mark);
            }
        }
    }
    highest
}

/// Compares. `standings` are those of all TSSs; `digests` are those of the stored messages with the
/// counters of the highest marks.
pub fn compare(
    testimonies: &[Testimony],
    standings: &BTreeMap<TssId, Standing>,
    totals: &BTreeMap<String, u64>,
    digests: &BTreeMap<TssId, [u8; 32]>,
) -> Findings {
    let mut findings = Findings::default();
    let highest = highest_marks(testimonies);
    let owners: BTreeMap<_, _> = standings
        .iter()
        .map(|(tss, standing)| (standing.device, tss))
        .collect();
    for (known_as, (witness, mark)) in &highest {
        // A key that has signed for a TSS which is lost may belong to another one by now.
        let owner = owners.get(&mark.device).copied();
        let tss = match standings.contains_key(known_as) {
            true => known_as,
            false => owner.unwrap_or(known_as),
        };
        let standing = standings.get(tss);
        let fault = match standing {
            None => Some(TssFault::Lost),
            Some(standing) if tss != known_as => {
                (mark.signature_counter > standing.settled).then_some(TssFault::Forked)
            }
            Some(standing) => fault(mark, standing, digests.get(tss)),
        };
        let Some(fault) = fault else {
            continue;
        };
        let ledger_counter = standing.map_or(SignatureCounter::default(), |standing| {
            standing.signature_counter
        });
        let transaction = standing.map_or(TransactionNumber::default(), |standing| {
            standing.transaction
        });
        let finding = TssFinding {
            witness: (*witness).to_owned(),
            fault,
            device: mark.device,
            ledger_counter,
            signature_counter: mark.signature_counter.max(ledger_counter),
            transaction: mark.transaction.max(transaction),
        };
        findings.tss.insert(*tss, finding);
    }
    let explained = explained(&highest, standings);
    for testimony in testimonies {
        for (token, spent) in &testimony.totals {
            let ledger_total = totals.get(token).copied().unwrap_or_default();
            let known = explained.get(token.as_str()).copied().unwrap_or_default();
            let missing = spent.saturating_sub(ledger_total.saturating_add(known));
            let worst = findings.tokens.get(token);
            if missing > worst.map_or(0, |worst| worst.missing) {
                let finding = TokenFinding {
                    witness: testimony.name.clone(),
                    witness_total: *spent,
                    ledger_total,
                    missing,
                };
                findings.tokens.insert(token.clone(), finding);
            }
        }
    }
    findings
}

/// Numbers that the ledger misses and of which it is known whose they are: witnesses say so now, or it was
/// found earlier and waits for a person.
fn explained<'a>(
    highest: &BTreeMap<TssId, (&str, &Mark)>,
    standings: &'a BTreeMap<TssId, Standing>,
) -> BTreeMap<&'a str, u64> {
    let mut explained = BTreeMap::<&str, u64>::new();
    for (tss, standing) in standings {
        let marked = highest.get(tss).map(|(_, mark)| mark.signature_counter);
        let held = standing.hold.as_ref().map(|hold| hold.signature_counter);
        let known = marked.max(held).unwrap_or_default().value();
        let missing = known.saturating_sub(standing.signature_counter.value());
        let sum = explained.entry(standing.token.as_str()).or_default();
        *sum = sum.saturating_add(missing);
    }
    explained
}

/// What a mark says against what is known of its TSS.
fn fault(mark: &Mark, standing: &Standing, stored: Option<&[u8; 32]>) -> Option<TssFault> {
    if mark.signature_counter <= standing.settled {
        return None;
    }
    let is_behind = mark.signature_counter > standing.signature_counter
        || mark.transaction > standing.transaction;
    if is_behind {
        return Some(TssFault::Behind);
    }
    match stored {
        None => Some(TssFault::Hole),
        Some(stored) if *stored != mark.digest => Some(TssFault::Forked),
        Some(_) => None,
    }
}
