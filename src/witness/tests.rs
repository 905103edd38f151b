//! Witnesses against the ledger, and node files that were cut.

use super::compare::{Testimony, TssFault, compare};
use super::file::{self, Content, NodeFile};
use crate::ledger::lane::SignedKind;
use crate::ledger::{Fresh, Hold, HoldScope, Mark, ReleasedMessage, SignedMessage, Standing};
use crate::sma::{TransactionState, TssState};
use crate::terms::{
    ClientId, ClientSerial, Revision, SeTime, SerialNumber, SignatureCounter, TransactionId,
    TransactionNumber, TssId,
};
use std::collections::BTreeMap;
use std::fs;
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

fn released(counter: u64) -> ReleasedMessage {
    ReleasedMessage {
        tss: tss(1),
        message: SignedMessage {
            signature_counter: SignatureCounter::new(counter),
            log_time: SeTime::try_from(1_800_000_000).unwrap(),
            file_name: format!("{counter}.log"),
            kind: SignedKind::Transaction {
                number: TransactionNumber::new(counter),
                revision: Revision::new(1),
                client: ClientId::new(Uuid::from_u128(5)),
                client_serial: ClientSerial::try_from("KASSE-1").unwrap(),
            },
            der: vec![0x30, 0, 255],
        },
        transaction: Some(TransactionId::new(Uuid::from_u128(6))),
        request_digest: Some([1; 32]),
        state: Some(TransactionState::Active),
        clients: Vec::new(),
    }
}

#[test]
fn a_node_file_comes_back_as_it_was_written_however_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.witness");
    assert_eq!(file::read(&path).unwrap(), None);
    let begun = Content {
        ledger: "one".to_owned(),
        node: "node".to_owned(),
        ..Content::default()
    };
    let lock = file::lock(&path).unwrap().expect("nobody has it");
    assert!(
        file::lock(&path).unwrap().is_none(),
        "one process at a time"
    );
    let mut kept = NodeFile::begin(&path, lock, &begun).unwrap();
    let totals = BTreeMap::from([(TOKEN.to_owned(), 9)]);
    for counter in 2..6 {
        let fresh = Fresh {
            marks: BTreeMap::from([(tss(1), mark(1, counter, 3))]),
            messages: vec![released(counter)],
        };
        kept.add(&fresh, &totals, BTreeMap::new).unwrap();
    }
    let whole = file::read(&path).unwrap().unwrap();
    assert_eq!(whole.marks[&tss(1)], mark(1, 5, 3));
    assert_eq!(whole.messages, (2..6).map(released).collect::<Vec<_>>());
    assert_eq!((&whole.totals, whole.lines_damaged), (&totals, 0));
    drop(kept);
    // Begun again, it says the same.
    let lock = file::lock(&path).unwrap().expect("it was let go");
    drop(NodeFile::begin(&path, lock, &whole).unwrap());
    assert_eq!(file::read(&path).unwrap().unwrap(), whole);

    let bytes = fs::read(&path).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    for length in first..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let cut = file::read(&path).unwrap().unwrap();
        assert!(cut.lines_damaged <= 1);
        assert!(whole.messages.starts_with(&cut.messages));
    }
    // A line that was touched does not count.
    let text = String::from_utf8(bytes).unwrap();
    fs::write(
        &path,
        text.replace("\"signature_counter\":5", "\"signature_counter\":6"),
    )
    .unwrap();
    let touched = file::read(&path).unwrap().unwrap();
    assert_eq!(touched.lines_damaged, 2);
    fs::write(&path, "nothing of ours").unwrap();
    file::read(&path).unwrap_err();
}
