//! Witnesses against the ledger.

mod files;
mod silence;

use super::compare::{Findings, Known, Testimony, TssFault, compare};
use crate::ledger::{Hold, HoldScope, KeyPlace, LostKey, Mark, Standing};
use crate::sma::TssState;
use crate::terms::{SeTime, SerialNumber, SignatureCounter, TransactionNumber, TssId};
use std::collections::BTreeMap;
use uuid::Uuid;

const TOKEN: &str = "main";

fn tss(number: u128) -> TssId {
    TssId::new(Uuid::from_u128(number))
}

fn device(number: u128) -> SerialNumber {
    SerialNumber::of_public_point(&number.to_be_bytes())
}

fn mark(number: u128, counter: u64, transaction: u64) -> Mark {
    Mark {
        device: device(number),
        signature_counter: SignatureCounter::new(counter),
        transaction: TransactionNumber::new(transaction),
        digest: [7; 32],
    }
}

fn standing(number: u128, counter: u64, transaction: u64) -> Standing {
    Standing {
        device: device(number),
        token: TOKEN.to_owned(),
        state: TssState::Initialized,
        device_counter: SignatureCounter::new(1),
        signature_counter: SignatureCounter::new(counter),
        transaction: TransactionNumber::new(transaction),
        settled: SignatureCounter::default(),
        hold: None,
    }
}

fn node_file(marks: &[(u128, Mark)]) -> Testimony {
    Testimony {
        name: "node file".to_owned(),
        marks: marks
            .iter()
            .map(|(id, mark)| (tss(*id), mark.clone()))
            .collect(),
        ..Testimony::default()
    }
}

fn anchor(spent: u64) -> Testimony {
    Testimony {
        name: "anchor".to_owned(),
        totals: BTreeMap::from([(TOKEN.to_owned(), spent)]),
        ..Testimony::default()
    }
}

/// A ledger of these TSSs, with this message in the place of each mark.
fn known(standings: &[(u128, Standing)], stored: Option<[u8; 32]>) -> Known {
    let standings: BTreeMap<_, _> = standings
        .iter()
        .map(|(id, standing)| (tss(*id), standing.clone()))
        .collect();
    let spent = |standing: &Standing| standing.signature_counter.value() - 1;
    Known {
        totals: BTreeMap::from([(TOKEN.to_owned(), standings.values().map(spent).sum())]),
        digests: standings
            .keys()
            .filter_map(|id| Some((*id, stored?)))
            .collect(),
        standings,
        ..Known::default()
    }
}

fn missing(findings: &Findings) -> Option<u64> {
    findings.tokens.get(TOKEN).map(|finding| finding.missing)
}

/// What is found, for a ledger that holds the message of each mark unless it is `gone`.
fn check(
    testimonies: &[Testimony],
    standings: &[(u128, Standing)],
    stored: Option<[u8; 32]>,
) -> (Vec<(TssId, TssFault)>, Option<u64>) {
    let findings = compare(testimonies, &known(standings, stored));
    let of_tss = findings
        .tss
        .iter()
        .map(|(id, finding)| (*id, finding.fault));
    (of_tss.collect(), missing(&findings))
}

const SAME: Option<[u8; 32]> = Some([7; 32]);

#[test]
fn a_witness_that_knows_no_more_than_the_ledger_says_nothing() {
    for counter in [9, 10] {
        let witnesses = [node_file(&[(1, mark(1, counter, 3))]), anchor(9)];
        let found = check(&witnesses, &[(1, standing(1, 10, 3))], SAME);
        assert_eq!(found, (vec![], None));
    }
}

#[test]
fn missing_messages_and_transactions_are_found_one_by_one() {
    for (mark, fault) in [
        (mark(1, 11, 3), TssFault::Behind),
        (mark(1, 10, 4), TssFault::Behind),
    ] {
        let found = check(&[node_file(&[(1, mark)])], &[(1, standing(1, 10, 3))], SAME);
        assert_eq!(found.0, [(tss(1), fault)]);
    }
}

/// A TSS whose key the ledger has in its pool, or not at all.
fn with_lost(place: Option<&str>) -> Known {
    let mut known = known(&[(1, standing(1, 10, 3))], SAME);
    known.places = place
        .map(|token| KeyPlace {
            token: token.to_owned(),
            device_counter: SignatureCounter::new(1),
        })
        .map(|place| (device(2), place))
        .into_iter()
        .collect();
    known
}

#[test]
fn a_lost_tss_does_not_stop_the_others_of_its_token() {
    // The ledger knows 9 numbers of the token, and the lost TSS has spent 4.
    let witnesses = |spent| [node_file(&[(2, mark(2, 5, 0))]), anchor(spent)];
    for place in [Some(TOKEN), None] {
        let findings = compare(&witnesses(13), &with_lost(place));
        assert_eq!((findings.tss.len(), missing(&findings)), (0, None));
        let lost = &findings.lost[&device(2)].key;
        assert_eq!((lost.tss, lost.spent), (tss(2), 4));
        assert_eq!(lost.token.as_deref(), Some(TOKEN));
        let findings = compare(&witnesses(14), &with_lost(place));
        assert_eq!(missing(&findings), Some(1), "one more is nobody's");
    }
    // Its key is in another token, so it explains nothing here.
    let findings = compare(&witnesses(13), &with_lost(Some("other")));
    assert_eq!(missing(&findings), Some(4));
    // With two tokens nobody knows in which one it is.
    let mut two = witnesses(13);
    two[1].totals.insert("other".to_owned(), 0);
    let findings = compare(&two, &with_lost(None));
    assert_eq!(missing(&findings), Some(4));
}

#[test]
fn a_lost_tss_is_found_until_a_person_has_written_it_off() {
    let mut known = with_lost(None);
    let noted = |is_decided| LostKey {
        tss: tss(2),
        token: Some(TOKEN.to_owned()),
        signature_counter: SignatureCounter::new(5),
        spent: 4,
        is_decided,
    };
    // What was noted is in the total.
    known.totals = BTreeMap::from([(TOKEN.to_owned(), 13)]);
    known.lost = BTreeMap::from([(device(2), noted(false))]);
    let witnesses = [node_file(&[(2, mark(2, 5, 0))]), anchor(13)];
    let findings = compare(&witnesses, &known);
    assert_eq!((findings.lost.len(), missing(&findings)), (1, None));
    let more = [node_file(&[(2, mark(2, 7, 0))]), anchor(15)];
    assert_eq!(missing(&compare(&more, &known)), None);
    known.lost = BTreeMap::from([(device(2), noted(true))]);
    assert!(compare(&witnesses, &known).is_empty());
    assert_eq!(compare(&more, &known).lost.len(), 1, "more than was known");
    // Who knows nothing of the TSS finds nothing missing either.
    assert!(compare(&[anchor(13)], &known).is_empty());
}

#[test]
fn a_new_key_is_not_judged_by_the_mark_of_a_lost_one_of_the_same_tss() {
    let old = node_file(&[(1, mark(7, 50, 20))]);
    let new = node_file(&[(1, mark(8, 3, 0))]);
    let ledger = known(&[(1, standing(8, 3, 0))], SAME);
    let findings = compare(&[old.clone(), new], &ledger);
    assert_eq!(findings.tss.len(), 0);
    assert_eq!(findings.lost[&device(7)].key.tss, tss(1));
    // That of the new key counts, however low it is beside the other one.
    let ahead = node_file(&[(1, mark(8, 4, 0))]);
    let findings = compare(&[old, ahead], &ledger);
    assert_eq!(findings.tss[&tss(1)].fault, TssFault::Behind);
    assert_eq!(findings.tss[&tss(1)].signature_counter.value(), 4);
}

#[test]
fn another_message_in_the_same_place_is_found_and_one_that_is_gone() {
    let witnesses = [node_file(&[(1, mark(1, 9, 3))])];
    let standings = [(1, standing(1, 10, 3))];
    let found = check(&witnesses, &standings, Some([8; 32]));
    assert_eq!(found.0, [(tss(1), TssFault::Forked)]);
    assert_eq!(
        check(&witnesses, &standings, None).0,
        [(tss(1), TssFault::Hole)]
    );
}

#[test]
fn a_key_that_signed_for_a_lost_tss_stops_the_one_that_has_it_now() {
    let witnesses = [node_file(&[(1, mark(7, 5, 0))])];
    let found = check(&witnesses, &[(2, standing(7, 3, 0))], SAME);
    assert_eq!(found.0, [(tss(2), TssFault::Forked)]);
}

#[test]
fn what_single_tss_explain_is_not_asked_of_the_token() {
    let two = [(1, standing(1, 10, 3)), (2, standing(2, 10, 3))];
    // 18 numbers are known, 4 are missing: all of them are those of TSS 1.
    let explained = [node_file(&[(1, mark(1, 14, 3))]), anchor(22)];
    assert_eq!(
        check(&explained, &two, SAME),
        (vec![(tss(1), TssFault::Behind)], None)
    );
    let more = [node_file(&[(1, mark(1, 14, 3))]), anchor(23)];
    assert_eq!(check(&more, &two, SAME).1, Some(1));
    assert_eq!(check(&[anchor(22)], &two, SAME), (vec![], Some(4)));
    // What was found earlier, by another node, explains it as well.
    let mut held = two.clone();
    held[1].1.hold = Some(Hold {
        reason: "another node".to_owned(),
        signature_counter: SignatureCounter::new(14),
        transaction: TransactionNumber::new(3),
        since: SeTime::UNSET,
        scope: HoldScope::Tss,
    });
    assert_eq!(check(&[anchor(22)], &held, SAME).1, None);
}

#[test]
fn what_a_person_has_decided_is_not_found_again() {
    let mut decided = standing(1, 120, 103);
    decided.settled = SignatureCounter::new(114);
    let witnesses = [node_file(&[(1, mark(1, 14, 3))]), anchor(13)];
    assert_eq!(check(&witnesses, &[(1, decided)], None), (vec![], None));
}

#[test]
fn what_a_token_misses_is_explained_once_however_many_were_stopped_for_it() {
    let of_sum = |id| {
        let mut standing = standing(id, 10, 3);
        standing.hold = Some(Hold {
            reason: "the sum".to_owned(),
            signature_counter: SignatureCounter::new(14),
            transaction: TransactionNumber::new(7),
            since: SeTime::UNSET,
            scope: HoldScope::Token,
        });
        (id, standing)
    };
    let two = [of_sum(1), of_sum(2)];
    assert_eq!(check(&[anchor(22)], &two, SAME).1, None);
    assert_eq!(check(&[anchor(23)], &two, SAME).1, Some(1));
    let marked = [node_file(&[(1, mark(1, 12, 3))]), anchor(22)];
    assert_eq!(check(&marked, &two, SAME).1, None);
}
