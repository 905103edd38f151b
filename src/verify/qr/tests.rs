//! Every code of the collection, down to the signed bytes, and codes that are none.

use super::{attempts, public_keys, signed_bytes, verify_qr};
use crate::receipt::QrCode;
use crate::verify::key::Verdict;
use crate::verify::{FindingCode, NoteCode, QrReport};
use serde_json::Value;
use std::path::Path;

/// Codes of real receipts; `None` where the collection is not there.
fn collection() -> Option<Vec<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("../shared/testdata/qr/qr.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        let needed = std::env::var_os("SIEGEL_NEED_SHARED").is_some_and(|value| value == "1");
        assert!(!needed, "{} is missing", file.display());
        println!("skipped: there is no {}", file.display());
        return None;
    };
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    Some(records.collect())
}

fn note(report: &QrReport, code: NoteCode) -> Option<&str> {
    let note = report.notes.iter().find(|note| note.code == code)?;
    Some(&note.text)
}

fn codes(report: &QrReport) -> Vec<FindingCode> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn every_code_of_the_collection_is_judged_and_put_together_as_is_known() {
    let Some(records) = collection() else { return };
    let mut valid = 0;
    for record in &records {
        let text = |field: &str| record[field].as_str().unwrap();
        let id = text("id");
        let report = verify_qr(text("qr")).unwrap();
        assert_eq!(report.signature_valid, record["signature_valid"], "{id}");
        let conformant = note(&report, NoteCode::ProcessData).is_none();
        assert_eq!(conformant, record["process_data_conformant"], "{id}");
        let code = QrCode::parse(text("qr")).unwrap();
        let form = match code.public_key.first() {
            Some(0x30) => "spki-der",
            _ => "uncompressed-point",
        };
        assert_eq!(form, text("public_key_encoding"), "{id}");
        let keys = public_keys(&code.public_key);
        let known_as = |serial| {
            keys.iter()
                .any(|key| key.serial_number().to_string() == serial)
        };
        assert!(known_as(text("tse_serial_hex")), "{id}");
        if !report.signature_valid {
            assert_eq!(codes(&report), [FindingCode::SignatureInvalid], "{id}");
            continue;
        }
        valid += 1;
        assert_eq!(report.findings, [], "{id}");
        let signed_as = note(&report, NoteCode::SignedAs).unwrap();
        let form = match text("signature_encoding") {
            "der" => ", signature in DER form instead of r || s",
            _ => "",
        };
        let expected = format!(
            "log version 2, {}, time as {}{form}",
            text("curve"),
            text("log_time_asn1")
        );
        assert_eq!(signed_as, expected, "{id}");
        let unconfirmed = note(&report, NoteCode::KeyUnconfirmed).unwrap();
        assert!(unconfirmed.contains(text("tse_serial_hex")), "{id}");
        let fits = attempts(&code).any(|attempt| {
            keys.iter().any(|key| {
                let signed = signed_bytes(&code, &attempt, key.serial_number()).unwrap();
                let hash = code.algorithm.hash();
                key.verdict(hash, &signed, &code.signature) != Verdict::Invalid
                    && hex::encode(&signed) == text("log_message_hex")
            })
        });
        assert!(fits, "{id}: other bytes were signed");
    }
    assert!(valid > 5 && valid < records.len());
    println!(
        "read {} receipt codes, {valid} of them valid",
        records.len()
    );
}

#[test]
fn any_changed_character_of_a_code_is_found_where_it_is_signed() {
    let Some(records) = collection() else { return };
    let whole = records[0]["qr"].as_str().unwrap();
    let field = |at: usize| whole[..at].matches(';').count();
    let end = whole.find("49.000Z").unwrap() + 3;
    let is_thousandth = |at: usize| (end..end + 3).contains(&at);
    for (at, old) in whole.char_indices() {
        for new in ['0', '1', 'A', '~', ';'] {
            if new == old {
                continue;
            }
            let mut text = whole.to_owned();
            text.replace_range(at..at + 1, &new.to_string());
            // The end of base64 has bits that stand for nothing; those are refused.
            let is_found = verify_qr(&text).map_or(true, |report| !report.findings.is_empty());
            // The start is not signed, and unix time has no thousandths.
            let is_unsigned = field(at) == 6 || is_thousandth(at);
            assert!(is_found || is_unsigned, "{at}: {old} became {new}");
        }
    }
}

#[test]
fn a_code_without_its_end_is_no_code_or_has_no_valid_signature() {
    let Some(records) = collection() else { return };
    let whole = records[0]["qr"].as_str().unwrap();
    // Base64 without its padding is taken.
    let end = whole.trim_end_matches('=').len();
    for len in 0..end {
        let is_valid = verify_qr(&whole[..len]).is_ok_and(|report| report.signature_valid);
        assert!(!is_valid, "{len}");
    }
}

#[test]
fn texts_that_are_no_codes_are_refused() {
    let long = "V0;".repeat(100_000);
    for text in [
        "",
        "V0",
        ";;;;;;;;;;;",
        "V1;a;b;c;1;1;x;x;x;x;x;x",
        "\0",
        "€",
        &long,
    ] {
        verify_qr(text).unwrap_err();
    }
}

#[test]
fn a_start_after_the_end_is_found_and_equal_times_are_not() {
    let Some(records) = collection() else { return };
    let whole = records[0]["qr"].as_str().unwrap();
    let (start, end) = ("11:29:48.000Z", "11:29:49.000Z");
    for (start_now, expected) in [
        (end, &[][..]),
        ("11:29:49.001Z", &[FindingCode::StartAfterEnd]),
        ("12:29:48.000Z", &[FindingCode::StartAfterEnd]),
    ] {
        let report = verify_qr(&whole.replacen(start, start_now, 1)).unwrap();
        assert!(report.signature_valid, "the start is not signed");
        assert_eq!(codes(&report), expected);
    }
}
