//! Counters, times and transactions among each other.

use super::maker::der::tlv;
use super::maker::message::Message;
use super::maker::{Device, T0};
use super::{check, check_with, found, note_text, only_finding, settings};
use crate::verify::{ArchiveReport, FindingCode as F, NoteCode as N};
use std::collections::BTreeSet;

fn of(messages: &[Message]) -> ArchiveReport {
    check(&Device::new().archive(messages))
}

fn partial_of(messages: &[Message]) -> ArchiveReport {
    check_with(&Device::new().archive(messages), &settings().partial(true))
}

/// Audit messages with these counters.
fn counters(counters: &[u64]) -> Vec<Message> {
    counters
        .iter()
        .map(|counter| Message::audit(*counter, T0))
        .collect()
}

#[test]
fn an_archive_may_begin_at_one_or_two_and_later_is_noted() {
    for (first, text) in [
        (1, None),
        (2, None),
        (3, Some("the archive begins with signature counter 3")),
        (
            u64::MAX - 1,
            Some("the archive begins with signature counter 18446744073709551614"),
        ),
    ] {
        let report = of(&counters(&[first, first + 1]));
        assert_eq!(report.findings, []);
        assert_eq!(note_text(&report, N::LateStart), text);
        let key = &report.keys[0];
        assert_eq!(
            (key.counter_first, key.counter_last, key.logs),
            (first, first + 1, 2)
        );
    }
}

#[test]
fn gaps_are_findings_in_a_complete_archive_and_notes_in_a_filtered_one() {
    let messages = counters(&[1, 3, 7, 8, u64::MAX]);
    let report = of(&messages);
    let texts: Vec<_> = report.findings.iter().map(|f| f.text.as_str()).collect();
    let last = "signature counters 9-18446744073709551614 are missing";
    assert_eq!(
        texts,
        [
            "signature counter 2 is missing",
            "signature counters 4-6 are missing",
            last
        ]
    );
    assert!(report.findings.iter().all(|f| f.code == F::CounterMissing));
    let report = partial_of(&messages);
    assert_eq!(report.findings, []);
    assert_eq!(
        note_text(&report, N::CounterGap),
        Some("not in this archive: signature counters 2, 4-6, 9-18446744073709551614")
    );
}

#[test]
fn only_so_many_ranges_are_written_out() {
    let odd: Vec<_> = (0..30).map(|number| 2 * number + 1).collect();
    let report = partial_of(&counters(&odd));
    let text = note_text(&report, N::CounterGap).unwrap();
    assert!(text.ends_with(" 38, 40 and 9 more ranges"), "{text}");
}

#[test]
fn a_counter_that_stands_twice_is_found_in_a_filtered_archive_too() {
    let messages = [Message::audit(1, T0), Message::start_audit(1, T0)];
    for report in [of(&messages), partial_of(&messages)] {
        assert_eq!(only_finding(&report).0, F::CounterRepeated);
        let name = report.findings[0].message_file.as_deref();
        assert_eq!(name, Some("Unixt_1700000000_Sig-1_Log-Sys_startAudit.log"));
    }
    // The same file twice is no better.
    let report = of(&[Message::audit(1, T0), Message::audit(1, T0)]);
    assert_eq!(only_finding(&report).0, F::CounterRepeated);
}

#[test]
fn the_order_within_a_transaction_is_that_of_its_counters() {
    let (start, update, finish) = (Message::start, Message::update, Message::finish);
    let cases: &[(&[Message], &[F])] = &[
        (&[start(1, T0, 1), update(2, T0, 1), finish(3, T0, 1)], &[]),
        (
            &[finish(1, T0, 1), start(2, T0, 1)],
            &[F::TransactionNotStarted, F::TransactionRepeated],
        ),
        (
            &[update(1, T0, 1), finish(2, T0, 1)],
            &[F::TransactionNotStarted],
        ),
        (
            &[start(1, T0, 1), finish(2, T0, 1), finish(3, T0, 1)],
            &[F::TransactionAfterFinish],
        ),
        (
            &[start(1, T0, 1), finish(2, T0, 1), update(3, T0, 1)],
            &[F::TransactionAfterFinish],
        ),
        (
            &[start(1, T0, 1), finish(2, T0, 1), start(3, T0, 1)],
            &[F::TransactionRepeated],
        ),
        (
            &[start(1, T0, 1), start(2, T0, 1), finish(3, T0, 1)],
            &[F::TransactionRepeated],
        ),
        (
            &[
                start(1, T0, 1),
                start(2, T0, 2),
                finish(3, T0, 1),
                finish(4, T0, 2),
            ],
            &[],
        ),
    ];
    for (messages, expected) in cases {
        let codes = found(&of(messages));
        assert_eq!(
            codes,
            expected.iter().copied().collect::<BTreeSet<_>>(),
            "{messages:?}"
        );
    }
}

#[test]
fn open_transactions_and_skipped_numbers_are_told_as_ranges() {
    let report = of(&[
        Message::start(1, T0, 1),
        Message::start(2, T0, 2),
        Message::start(3, T0, 3),
        Message::finish(4, T0, 2),
        Message::start(5, T0, 9),
    ]);
    assert_eq!(report.findings, []);
    assert_eq!(
        note_text(&report, N::OpenTransactions),
        Some("without an end: 3 transactions (1, 3, 9)")
    );
    assert_eq!(
        note_text(&report, N::TransactionNumbersSkipped),
        Some("no message has these numbers: 5 transactions (4-8)")
    );
}

#[test]
fn a_complete_archive_that_begins_with_a_later_number_skips_the_ones_before() {
    let report = of(&[Message::start(1, T0, 4)]);
    assert_eq!(
        note_text(&report, N::TransactionNumbersSkipped),
        Some("no message has these numbers: 3 transactions (1-3)")
    );
    // Not when the archive begins later than the device did.
    let report = of(&[Message::start(10, T0, 4)]);
    assert_eq!(note_text(&report, N::TransactionNumbersSkipped), None);
}

#[test]
fn time_goes_back_only_where_it_was_set() {
    let back = |between: Option<Message>| {
        let mut messages = vec![Message::audit(1, T0)];
        let next = if between.is_some() { 3 } else { 2 };
        messages.extend(between);
        messages.push(Message::audit(next, T0 - 100));
        of(&messages)
    };
    let report = back(None);
    let text = "its time is 100 s before that of signature counter 1";
    assert_eq!(only_finding(&report), (F::TimeBackwards, text));
    // As the device is set, its clock may already show the new time or still the old one.
    for stands_at in [T0, T0 - 100] {
        let mut update = Message::update_time(2, T0, T0 - 100);
        update.time = super::maker::message::Time::Unix(stands_at);
        assert_eq!(back(Some(update)).findings, []);
    }
    let report = back(Some(Message::start_audit(2, T0)));
    assert_eq!(only_finding(&report).0, F::TimeBackwards);
    // Equal times are no step back.
    assert_eq!(of(&counters(&[1, 2])).findings, []);
}

#[test]
fn a_clock_that_was_not_set_shows_zero_and_signs_no_transaction() {
    let report = of(&[
        Message::audit(1, T0),
        Message::start_audit(2, 0),
        Message::update_time(3, 0, T0 + 5),
    ]);
    assert_eq!(report.findings, []);
    let text = note_text(&report, N::TimeUnset);
    assert_eq!(text, Some("1 message signed before the time was set"));
    let report = of(&[Message::audit(1, T0), Message::start(2, 0, 1)]);
    assert_eq!(found(&report), BTreeSet::from([F::TimeBackwards]));
}

#[test]
fn a_gap_of_a_filtered_archive_may_hide_why_time_went_back() {
    let messages = [Message::audit(1, T0), Message::audit(3, T0 - 5)];
    assert_eq!(partial_of(&messages).findings, []);
    let both = BTreeSet::from([F::CounterMissing, F::TimeBackwards]);
    assert_eq!(found(&of(&messages)), both);
    let without_gap = [Message::audit(1, T0), Message::audit(2, T0 - 5)];
    assert_eq!(only_finding(&partial_of(&without_gap)).0, F::TimeBackwards);
}

#[test]
fn after_the_time_was_set_it_goes_back_to_about_that_time_and_no_further() {
    for shown in [T0, T0 - 100] {
        let mut update = Message::update_time(2, T0, T0 - 100);
        update.time = super::maker::message::Time::Unix(shown);
        for (back, is_lawful) in [
            (99, true),
            (100, true),
            (101, true),
            (102, false),
            (10_000, false),
        ] {
            let messages = [
                Message::audit(1, T0),
                update.clone(),
                Message::audit(3, T0 - back),
            ];
            let expected: &[F] = if is_lawful { &[] } else { &[F::TimeBackwards] };
            let codes: Vec<_> = of(&messages).findings.iter().map(|f| f.code).collect();
            assert_eq!(codes, expected, "{shown} {back}");
        }
    }
    // The message that tells of it does not go further back, either.
    let mut update = Message::update_time(2, T0, T0 - 100);
    update.time = super::maker::message::Time::Unix(T0 - 200);
    assert_eq!(
        only_finding(&of(&[Message::audit(1, T0), update])).0,
        F::TimeBackwards
    );
    // Only the next message may go back.
    let messages = [
        Message::audit(1, T0),
        Message::update_time(2, T0, T0 - 100),
        Message::audit(3, T0),
        Message::audit(4, T0 - 50),
    ];
    assert_eq!(only_finding(&of(&messages)).0, F::TimeBackwards);
    // A clock that had lost its time is set to an earlier one.
    let mut update = Message::update_time(2, 0, T0 - 100);
    update.time = super::maker::message::Time::Unix(0);
    let messages = |time| {
        [
            Message::audit(1, T0),
            update.clone(),
            Message::audit(3, time),
        ]
    };
    assert_eq!(of(&messages(T0 - 100)).findings, []);
    assert_eq!(only_finding(&of(&messages(T0 - 102))).0, F::TimeBackwards);
}

#[test]
fn a_disabled_device_goes_on_with_its_audit_and_with_nothing_that_is_asked_of_it() {
    let before = [Message::start(1, T0, 1), Message::disable(2, T0)];
    let after = |message: Message| {
        let mut messages = before.to_vec();
        messages.push(message);
        of(&messages)
    };
    for refused in [
        Message::start(3, T0, 2),
        Message::update(3, T0, 1),
        Message::finish(3, T0, 1),
        Message::register(3, T0),
        Message::start_audit(3, T0),
        Message::disable(3, T0),
    ] {
        let report = after(refused);
        let text = "signature counter 2 had disabled the device before";
        assert_eq!(only_finding(&report), (F::MessageAfterDisable, text));
    }
    let report = after(Message::audit(3, T0));
    assert_eq!(report.findings, []);
    assert_eq!(note_text(&report, N::EventAfterDisable), None);
    let own = tlv(0x81, b"x");
    let report = after(Message::system(3, T0, "deleteStoredData", own));
    assert_eq!(report.findings, []);
    let text = "1 message with events after signature counter 2 had disabled the device";
    assert_eq!(note_text(&report, N::EventAfterDisable), Some(text));
}

#[test]
fn a_client_is_registered_before_its_transactions() {
    let text = |counter: u64| {
        format!(
            "1 client with transactions that no message before them registers; the first is signature \
             counter {counter}"
        )
    };
    let (start, register) = (Message::start, Message::register);
    let other = Message::system(1, T0, "registerClient", tlv(0x81, b"KASSE 2"));
    for (messages, expected) in [
        (vec![register(1, T0), start(2, T0, 1)], None),
        (vec![start(1, T0, 1), register(2, T0)], Some(text(1))),
        (vec![other, start(2, T0, 1), start(3, T0, 2)], Some(text(2))),
        (vec![start(2, T0, 1)], Some(text(2))),
        // Whoever was registered earlier is not known.
        (vec![start(3, T0, 1)], None),
    ] {
        let report = of(&messages);
        assert_eq!(report.findings, []);
        let noted = note_text(&report, N::ClientUnregistered);
        assert_eq!(noted, expected.as_deref(), "{messages:?}");
        let report = partial_of(&messages);
        assert_eq!(note_text(&report, N::ClientUnregistered), None);
    }
}
