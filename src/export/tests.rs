use super::Pace;
use super::info::info_csv;
use super::tar_blocks::{END, append};
use crate::ledger::{ExportRow, ExportState, QueuedExport};
use crate::sma::Metadata;
use crate::terms::{ExportId, LogFormat, SeTime, SignatureCounter, TssId};
use std::io::Read as _;
use uuid::Uuid;

fn time() -> SeTime {
    SeTime::try_from(1_787_078_299).unwrap()
}

/// Reads an archive with the library, which knows nothing of how it was written.
fn unpacked(bytes: &[u8]) -> Vec<(String, Vec<u8>, u64)> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content, entry.header().mtime().unwrap())
        })
        .collect()
}

#[test]
fn files_come_out_of_an_archive_as_they_went_in() {
    let long = format!(
        "Unixt_1_Sig-1_Log-Tra_No-1_Start_Client-{}.log",
        "a".repeat(70)
    );
    assert!(long.len() > 100);
    for len in [0, 1, 511, 512, 513] {
        let content = vec![7; len];
        let mut out = Vec::new();
        append(&mut out, "info.csv", b"x", time()).unwrap();
        append(&mut out, &long, &content, time()).unwrap();
        out.extend_from_slice(&END);
        assert_eq!(out.len() % 512, 0);
        assert_eq!(
            unpacked(&out),
            [
                ("info.csv".to_owned(), b"x".to_vec(), 1_787_078_299),
                (long.clone(), content, 1_787_078_299)
            ]
        );
    }
}

#[test]
fn a_short_name_needs_no_pax_header() {
    let name = "a".repeat(100);
    let mut out = Vec::new();
    append(&mut out, &name, b"", time()).unwrap();
    assert_eq!(out.len(), 512);
    assert_eq!(&out[257..265], b"ustar\x0000");
    append(&mut out, &"a".repeat(101), b"", time()).unwrap();
    assert_eq!(out.len(), 4 * 512);
}

#[test]
fn a_name_with_other_characters_is_never_written() {
    for name in ["", ".", "..", "a/b", "../a", "a:b", "a?b", "\u{e4}", "a\n"] {
        let mut out = Vec::new();
        assert!(append(&mut out, name, b"", time()).is_err(), "{name:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn info_of_version_2_is_one_quoted_line() {
    let text = String::from_utf8(info_csv(LogFormat::V2, "Till 1")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#""description:","Till 1","manufacturer:","Siegel","version:","{version} (nicht BSI-zertifiziert)""#
    );
    assert_eq!(text, expected);
}

#[test]
fn info_of_version_3_has_ten_fields_in_each_line() {
    let text = String::from_utf8(info_csv(LogFormat::V3, "say \"when\"")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert_eq!(line.matches(',').count(), 9, "{line}");
    }
    assert_eq!(lines[5], r#""description:","say ""when""",,,,,,,,"#);
    assert!(text.ends_with('\n'));
}

fn requested(number: u128, messages: u64) -> ExportRow {
    ExportRow {
        tss: TssId::new(Uuid::from_u128(7)),
        id: ExportId::new(Uuid::from_u128(number)),
        state: ExportState::Pending,
        filter: String::new(),
        selection: None,
        messages: None,
        messages_max: 1_000_000,
        counter_at_request: SignatureCounter::new(messages),
        time_request: time(),
        info_csv: Vec::new(),
        certificates: Vec::new(),
        time_start: None,
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: Metadata::default(),
    }
}

/// Seconds from now until it is expected to end, behind others of so many messages.
fn expected_s(pace: &Pace, row: &ExportRow, before: &[u64], passed_s: i64) -> Option<i64> {
    let others = (100..).zip(before).map(|(number, messages)| {
        let other = requested(number, *messages);
        QueuedExport {
            tss: other.tss,
            id: other.id,
            messages: *messages,
        }
    });
    let own = QueuedExport {
        tss: row.tss,
        id: row.id,
        messages: row.counter_at_request.value(),
    };
    let after = QueuedExport {
        id: ExportId::new(Uuid::from_u128(999)),
        messages: u64::MAX,
        ..own.clone()
    };
    let queue: Vec<_> = others.chain([own, after]).collect();
    let now = time().plus_seconds(passed_s);
    let end = pace.completion(row, &queue, now)?;
    Some(end.unix_seconds() - now.unix_seconds())
}

#[test]
fn an_export_is_expected_to_end_after_those_before_it_and_its_own_messages() {
    let pace = Pace::default();
    assert_eq!(expected_s(&pace, &requested(1, 20), &[], 0), Some(1));
    let long = requested(1, 1_000_000);
    assert_eq!(expected_s(&pace, &long, &[], 0), Some(10));
    assert_eq!(expected_s(&pace, &long, &[500_000, 1_000_001], 0), Some(26));
    // However long it has waited.
    assert_eq!(expected_s(&pace, &long, &[500_000], 3600), Some(15));
    // A number that no ledger has is no reason to break down.
    assert!(expected_s(&pace, &long, &[u64::MAX, u64::MAX], 0) > Some(1));
}

#[test]
fn an_export_that_is_worked_at_waits_for_nobody_and_has_not_ended_yet() {
    let pace = Pace::default();
    let working = ExportRow {
        state: ExportState::Working,
        time_start: Some(time()),
        ..requested(1, 1_000_000)
    };
    for (passed_s, left_s) in [(0, 10), (4, 6), (9, 1), (10, 1), (600, 1), (-5, 10)] {
        assert_eq!(
            expected_s(&pace, &working, &[500_000], passed_s),
            Some(left_s)
        );
    }
    for state in [
        ExportState::Completed,
        ExportState::Error,
        ExportState::Cancelled,
    ] {
        let ended = ExportRow {
            state,
            ..working.clone()
        };
        assert_eq!(expected_s(&pace, &ended, &[], 0), None);
    }
}

#[test]
fn the_pace_is_learned_from_exports_that_are_long_enough() {
    let pace = Pace::default();
    let expected = |pace: &Pace| expected_s(pace, &requested(1, 1_000_000), &[], 0);
    pace.learn(9_999, 60_000);
    assert_eq!(expected(&pace), Some(10), "too short to say anything");
    for _ in 0..50 {
        pace.learn(1_000_000, 20_000);
    }
    let slow = expected(&pace).unwrap();
    assert!((19..=21).contains(&slow), "{slow}");
    for _ in 0..50 {
        pace.learn(1_000_000, 0);
    }
    assert_eq!(expected(&pace), Some(1));
    for _ in 0..200 {
        pace.learn(10_000, u64::MAX);
    }
    assert_eq!(expected(&pace), Some(1_000_000), "never quite at a stand");
}
