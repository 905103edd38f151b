//! Witnesses against the ledger.

mod files;
mod silence;

use super::compare::{Testimony, TssFault, compare};
use crate::ledger::{Hold, HoldScope, Mark, Standing};
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

/// What is found, for a ledger that holds the message of each mark unless it is `gone`.
fn check(
    testimonies: &[Testimony],
    standings: &[(u128, Standing)],
    stored: Option<[u8; 32]>,
) -> (Vec<(TssId, TssFault)>, Option<u64>) {
    let standings: BTreeMap<_, _> = standings
        .iter()
        .map(|(id, standing)| (tss(*id), standing.clone()))
        .collect();
    let spent = |standing: &Standing| standing.signature_counter.value() - 1;
    let totals = BTreeMap::from([(TOKEN.to_owned(), standings.values().map(spent).sum())]);
    let digests = standings
        .keys()
        .filter_map(|id| Some((*id, stored?)))
        .collect();
    let findings = compare(testimonies, &standings, &totals, &digests);
    let of_tss = findings
        .tss
        .iter()
        .map(|(id, finding)| (*id, finding.fault));
    let missing = findings.tokens.get(TOKEN).map(|finding| finding.missing);
    (of_tss.collect(), missing)
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
fn missing_messages_transactions_and_tss_are_found_one_by_one() {
    for (mark, fault) in [
        (mark(1, 11, 3), TssFault::Behind),
        (mark(1, 10, 4), TssFault::Behind),
    ] {
        let found = check(&[node_file(&[(1, mark)])], &[(1, standing(1, 10, 3))], SAME);
        assert_eq!(found.0, [(tss(1), fault)]);
    }
    let found = check(
        &[node_file(&[(2, mark(2, 5, 0))])],
        &[(1, standing(1, 10, 3))],
        SAME,
    );
    assert_eq!(found.0, [(tss(2), TssFault::Lost)]);
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
