//! Witnesses against the ledger.
//!
//! Invariant: values in, findings out. A witness that knows less than the ledger says nothing.

use crate::ledger::{Hold, HoldScope, KeyPlace, LostKey, Mark, Standing};
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
    /// Keys of TSSs that the ledger does not know, until a person has written them off.
    pub lost: BTreeMap<SerialNumber, LostFinding>,
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
    /// Its latest messages are missing.
    Behind,
    /// A message before the latest one is missing.
    Hole,
    /// Another message stands in the place of one that was released.
    Forked,
}

/// What a witness knows of a TSS that the ledger does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFinding {
    /// Which witness.
    pub witness: String,
    /// What is known of its key.
    pub key: LostKey,
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
        self.tss.is_empty() && self.lost.is_empty() && self.tokens.is_empty()
    }
}

/// What the ledger knows, as far as witnesses speak of it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// All TSSs.
    pub standings: BTreeMap<TssId, Standing>,
    /// Numbers spent by the keys of each token, lost ones too.
    pub totals: BTreeMap<String, u64>,
    /// Of the stored messages with the counters of the highest marks.
    pub digests: BTreeMap<TssId, [u8; 32]>,
    /// Keys that were found to be lost.
    pub lost: BTreeMap<SerialNumber, LostKey>,
    /// Where keys that witnesses name are, as far as the ledger has them.
    pub places: BTreeMap<SerialNumber, KeyPlace>,
}

/// The highest mark of a key.
#[derive(Clone, Copy)]
pub(super) struct Highest<'a> {
    witness: &'a str,
    /// The TSS it signed for.
    pub tss: TssId,
    pub mark: &'a Mark,
}

/// By device: a till may give the id of a lost TSS to a new one, which has another key.
pub(super) fn highest_marks(testimonies: &[Testimony]) -> BTreeMap<SerialNumber, Highest<'_>> {
    let mut highest = BTreeMap::<SerialNumber, Highest<'_>>::new();
    for testimony in testimonies {
        for (tss, mark) in &testimony.marks {
            let one = Highest {
                witness: &testimony.name,
                tss: *tss,
                mark,
            };
            let known = highest.entry(mark.device).or_insert(one);
            if mark.signature_counter > known.mark.signature_counter {
                *known = one;
            }
        }
    }
    highest
}

/// Compares.
pub fn compare(testimonies: &[Testimony], known: &Known) -> Findings {
    let mut findings = Findings::default();
    let highest = highest_marks(testimonies);
    let owners: BTreeMap<_, _> = known
        .standings
        .iter()
        .map(|(tss, standing)| (standing.device, (tss, standing)))
        .collect();
    let only_token = only_token(testimonies);
    // What the ledger misses and of which it is known whose it is.
    let mut explained = waiting(&highest, &known.standings);
    for (device, one) in &highest {
        let Some((tss, standing)) = owners.get(device) else {
            let key = lost_key(*device, one, known, only_token);
            let noted = known.lost.get(device);
            if let Some(token) = &key.token {
                // What was noted earlier is in the total.
                let noted = noted.filter(|noted| noted.token.is_some());
                let more = key
                    .spent
                    .saturating_sub(noted.map_or(0, |noted| noted.spent));
                add(&mut explained, token, more);
            }
            let says_more = noted.is_none_or(|noted| {
                !noted.is_decided || noted.signature_counter < key.signature_counter
            });
            if says_more {
                let witness = one.witness.to_owned();
                findings.lost.insert(*device, LostFinding { witness, key });
            }
            continue;
        };
        let fault = match **tss == one.tss {
            true => fault(one.mark, standing, known.digests.get(*tss)),
            // The key has signed for a TSS that was lost.
            false => (one.mark.signature_counter > standing.settled).then_some(TssFault::Forked),
        };
        if let Some(fault) = fault {
            let finding = TssFinding {
                witness: one.witness.to_owned(),
                fault,
                ledger_counter: standing.signature_counter,
                signature_counter: one.mark.signature_counter.max(standing.signature_counter),
                transaction: one.mark.transaction.max(standing.transaction),
            };
            findings.tss.insert(**tss, finding);
        }
    }
    findings.tokens = of_tokens(testimonies, &known.totals, &explained);
    findings
}

/// The token that all sums are of, if there is only one.
fn only_token(testimonies: &[Testimony]) -> Option<&String> {
    let mut tokens = testimonies.iter().flat_map(|one| one.totals.keys());
    let first = tokens.next()?;
    tokens.all(|token| token == first).then_some(first)
}

/// What is known of a key whose TSS the ledger does not have.
fn lost_key(
    device: SerialNumber,
    one: &Highest<'_>,
    known: &Known,
    only_token: Option<&String>,
) -> LostKey {
    let place = known.places.get(&device);
    let noted = known.lost.get(&device);
    let counter = one.mark.signature_counter;
    // A key signs its request first.
    let before = place.map_or(1, |place| place.device_counter.value());
    LostKey {
        tss: one.tss,
        token: noted
            .and_then(|noted| noted.token.as_ref())
            .or(place.map(|place| &place.token))
            .or(only_token)
            .cloned(),
        signature_counter: counter.max(noted.map_or(counter, |noted| noted.signature_counter)),
        spent: counter
            .value()
            .saturating_sub(before)
            .max(noted.map_or(0, |noted| noted.spent)),
        is_decided: noted.is_some_and(|noted| noted.is_decided),
    }
}

fn add(sums: &mut BTreeMap<String, u64>, token: &str, more: u64) {
    let sum = sums.entry(token.to_owned()).or_default();
    *sum = sum.saturating_add(more);
}

fn of_tokens(
    testimonies: &[Testimony],
    totals: &BTreeMap<String, u64>,
    explained: &BTreeMap<String, u64>,
) -> BTreeMap<String, TokenFinding> {
    let mut found = BTreeMap::<String, TokenFinding>::new();
    for testimony in testimonies {
        for (token, spent) in &testimony.totals {
            let ledger_total = totals.get(token).copied().unwrap_or_default();
            let known = explained.get(token).copied().unwrap_or_default();
            let missing = spent.saturating_sub(ledger_total.saturating_add(known));
            let worst = found.get(token);
            if missing > worst.map_or(0, |worst| worst.missing) {
                let finding = TokenFinding {
                    witness: testimony.name.clone(),
                    witness_total: *spent,
                    ledger_total,
                    missing,
                };
                found.insert(token.clone(), finding);
            }
        }
    }
    found
}

/// Numbers that TSSs of the ledger miss: witnesses say so now, or it was found earlier and waits for a
/// person.
fn waiting(
    highest: &BTreeMap<SerialNumber, Highest<'_>>,
    standings: &BTreeMap<TssId, Standing>,
) -> BTreeMap<String, u64> {
    let mut waiting = BTreeMap::<String, u64>::new();
    // The same numbers are missing of each TSS that was stopped with its token.
    let mut of_sums = BTreeMap::<String, (u64, u64)>::new();
    for standing in standings.values() {
        let stored = standing.signature_counter.value();
        let missing = |known: SignatureCounter| known.value().saturating_sub(stored);
        let marked = highest.get(&standing.device);
        let marked = marked.map_or(0, |one| missing(one.mark.signature_counter));
        let held = |hold: &Hold| missing(hold.signature_counter);
        match &standing.hold {
            Some(hold) if hold.scope == HoldScope::Token => {
                let (most, sum) = of_sums.entry(standing.token.clone()).or_default();
                *most = (*most).max(held(hold));
                *sum = sum.saturating_add(marked);
            }
            hold => {
                let held = hold.as_ref().map_or(0, held);
                add(&mut waiting, &standing.token, marked.max(held));
            }
        }
    }
    for (token, (most, sum)) in of_sums {
        add(&mut waiting, &token, most.max(sum));
    }
    waiting
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
