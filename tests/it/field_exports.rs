//! `siegel verify` on archives and receipt codes of other makers' devices.

use crate::support::installation::siegel;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is known about an archive (`testdata/tse-exports/README.md`): file, logs, valid signatures, and
/// the ranges of counters that are missing inside.
const ARCHIVES: [(&str, u64, u64, &[&str]); 13] = [
    (
        "TSE_Export_e7d7835e-41c0-4aa2-a3c7-3c2bd62c9e9a_202109161500.tar",
        10,
        10,
        &[],
    ),
    ("TSSProtokoll_GF_2021-09-28_09_58_45.tar", 6, 6, &[]),
    ("TSSProtokoll_GF_2021-09-28_10_17_49.tar", 6, 6, &[]),
    ("TSSProtokoll_GF_2021-09-28_11_07_59.tar", 6, 6, &[]),
    (
        "TSE_Export_685e1812-79a4-4c8c-9a07-9e93a019efa7_202109171015.tar",
        155,
        155,
        &[],
    ),
    ("6e6c6a42-5c8d-4a9c-9572-26c10619d020.tar", 10, 10, &[]),
    ("54312d72-d3ed-413c-9d32-7f457576e4c8.tar", 20, 20, &[]),
    ("ae7632a3-105d-4b02-947f-a464afdc5fb1.tar", 32, 32, &[]),
    ("logMessages1.tar", 17, 17, &["2"]),
    ("logMessages2.tar", 10, 10, &[]),
    ("multiExport.tar", 1636, 1636, &["3"]),
    (
        "inconsistent_certificates.tar",
        3,
        3,
        &["644-837", "839-1042"],
    ),
    ("softwareUpdate.tar", 25, 9, &["2"]),
];

/// The folder of foreign data, or `None` after saying that it is not there.
fn testdata(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/testdata")
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    let needed = std::env::var_os("SIEGEL_NEED_SHARED").is_some_and(|value| value == "1");
    assert!(!needed, "the folder {} is missing", path.display());
    println!("skipped: there is no folder {}", path.display());
    None
}

/// Runs `siegel verify --json`; the exit code and the one document on stdout.
fn verify(arguments: &[&str]) -> (i32, Value) {
    let output = siegel()
        .args(["verify", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), document)
}

#[test]
fn archives_of_the_field_get_the_verdict_that_is_known_about_them() {
    let Some(folder) = testdata("tse-exports") else {
        return;
    };
    for (file, logs, valid, missing) in ARCHIVES {
        let path = folder.join(file);
        let (code, document) = verify(&[path.to_str().unwrap()]);
        let archive = &document["archives"][0];
        assert_eq!(archive["logs"], logs, "{file}");
        assert_eq!(archive["signatures_valid"], valid, "{file}");
        let findings = archive["findings"].as_array().unwrap();
        let told = |code: &str| {
            let fits = |finding: &&Value| finding["code"] == code;
            findings.iter().filter(fits).count()
        };
        let texts: Vec<_> = missing
            .iter()
            .map(|range| {
                let plural = range.contains('-');
                let verb = if plural {
                    "s {} are missing"
                } else {
                    " {} is missing"
                };
                format!("signature counter{}", verb.replace("{}", range))
            })
            .collect();
        assert_eq!(told("counter-missing"), texts.len(), "{file}: {findings:?}");
        for text in texts {
            assert!(
                findings.iter().any(|finding| finding["text"] == *text),
                "{file}: {text}"
            );
        }
        let invalid = usize::try_from(logs - valid).unwrap();
        assert_eq!(told("signature-invalid"), invalid, "{file}");
        let renamed = usize::from(file.starts_with("inconsistent"));
        assert_eq!(told("certificate-name"), renamed, "{file}");
        // Two certificates of another system, on a curve that may not sign log messages.
        let foreign = if file.starts_with("softwareUpdate") {
            2
        } else {
            0
        };
        assert_eq!(told("certificate-unsupported"), foreign, "{file}");
        let expected = missing.len() + invalid + renamed + foreign;
        assert_eq!(findings.len(), expected, "{file}: {findings:?}");
        assert_eq!(code, i32::from(expected > 0), "{file}");
    }
    println!("read {} archives", ARCHIVES.len());
}

#[test]
fn gaps_of_a_filtered_archive_are_notes() {
    let Some(folder) = testdata("tse-exports") else {
        return;
    };
    let file = folder.join("logMessages1.tar");
    let (code, document) = verify(&["--partial", file.to_str().unwrap()]);
    assert_eq!(code, 0);
    let notes = document["archives"][0]["notes"].as_array().unwrap();
    let gap = notes.iter().find(|note| note["code"] == "counter-gap");
    let text = gap.unwrap()["text"].as_str().unwrap();
    assert_eq!(text, "not in this archive: signature counters 2");
}

#[test]
fn receipt_codes_get_the_verdict_that_is_known_about_them() {
    let Some(folder) = testdata("qr") else { return };
    let lines = std::fs::read_to_string(folder.join("qr.jsonl")).unwrap();
    let mut read = 0;
    for line in lines.lines() {
        let known: Value = serde_json::from_str(line).unwrap();
        let (code, document) = verify(&["--qr", known["qr"].as_str().unwrap()]);
        let report = &document["qr"][0];
        let id = &known["id"];
        assert_eq!(report["signature_valid"], known["signature_valid"], "{id}");
        let valid = known["signature_valid"].as_bool().unwrap();
        assert_eq!(code, i32::from(!valid), "{id}");
        let notes = report["notes"].as_array().unwrap();
        let conformant = notes.iter().all(|note| note["code"] != "process-data");
        assert_eq!(conformant, known["process_data_conformant"] == true, "{id}");
        read += 1;
    }
    assert!(read > 10);
    println!("read {read} receipt codes");
}

#[test]
fn what_cannot_be_read_is_told_in_the_same_document() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.tar");
    let text = folder.path().join("text.tar");
    std::fs::write(&empty, b"").unwrap();
    std::fs::write(&text, "this is no archive\n".repeat(100)).unwrap();
    let missing = folder.path().join("missing.tar");
    for file in [&empty, &text, &missing] {
        let (code, document) = verify(&[file.to_str().unwrap()]);
        assert_eq!(code, 2, "{}", file.display());
        let archive = &document["archives"][0];
        assert_eq!(archive["findings"][0]["code"], "not-readable");
        assert_eq!(archive["logs"], 0);
    }
}
