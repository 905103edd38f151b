//! `siegel verify` on archives and receipt codes of other makers' devices.

use crate::support::installation::siegel;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is known about an archive.
#[derive(Debug)]
struct Known {
    file: String,
    logs: u64,
    valid: u64,
    /// First and last signature counter.
    counters: String,
    /// Ranges of counters that are missing inside.
    missing: Vec<String>,
}

/// The rows of the table in the collection's README.
fn known(readme: &str) -> Vec<Known> {
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [file, _, _, logs, verify, _, counters, missing, ""] = cells.as_slice() else {
            return None;
        };
        file.ends_with(".tar").then(|| {
            let (valid, of) = verify.split_once('/').unwrap();
            assert_eq!(of, *logs, "{file}");
            let ranges = missing.split(", ").filter(|range| *range != "-");
            Known {
                file: (*file).to_owned(),
                logs: logs.parse().unwrap(),
                valid: valid.parse().unwrap(),
                counters: (*counters).to_owned(),
                missing: ranges.map(str::to_owned).collect(),
            }
        })
    });
    rows.collect()
}

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

/// Findings that the README tells of in words: files with foreign certificates, a wrong name.
fn told_in_words(file: &str) -> (usize, usize) {
    match file {
        // Two certificates of another system, on curves that may not sign log messages.
        "softwareUpdate.tar" => (2, 0),
        "inconsistent_certificates.tar" => (0, 1),
        _ => (0, 0),
    }
}

#[test]
fn archives_of_the_field_get_the_verdict_that_is_known_about_them() {
    let Some(folder) = testdata("tse-exports") else {
        return;
    };
    let all = known(&std::fs::read_to_string(folder.join("README.md")).unwrap());
    for known in &all {
        let Known {
            file, logs, valid, ..
        } = known;
        let path = folder.join(file);
        let (code, document) = verify(&[path.to_str().unwrap()]);
        let archive = &document["archives"][0];
        assert_eq!(archive["logs"], *logs, "{file}");
        assert_eq!(archive["signatures_valid"], *valid, "{file}");
        let findings = archive["findings"].as_array().unwrap();
        let told = |code: &str| -> Vec<&str> {
            let fits = findings.iter().filter(|finding| finding["code"] == code);
            fits.map(|finding| finding["text"].as_str().unwrap())
                .collect()
        };
        let missing = known.missing.iter().map(|range| match range.contains('-') {
            true => format!("signature counters {range} are missing"),
            false => format!("signature counter {range} is missing"),
        });
        assert_eq!(
            told("counter-missing"),
            missing.collect::<Vec<_>>(),
            "{file}"
        );
        let invalid = usize::try_from(logs - valid).unwrap();
        assert_eq!(told("signature-invalid").len(), invalid, "{file}");
        let (foreign, misnamed) = told_in_words(file);
        assert_eq!(told("certificate-unsupported").len(), foreign, "{file}");
        assert_eq!(told("certificate-name").len(), misnamed, "{file}");
        let expected = known.missing.len() + invalid + foreign + misnamed;
        assert_eq!(findings.len(), expected, "{file}: {findings:?}");
        assert_eq!(code, i32::from(expected > 0), "{file}");
        counters_are(&path, known);
    }
    let archives = std::fs::read_dir(&folder).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|end| end == "tar")
    });
    assert_eq!(
        archives.count(),
        all.len(),
        "the table has a row for each archive"
    );
    let logs: u64 = all.iter().map(|known| known.logs).sum();
    println!("read {} archives with {logs} log messages", all.len());
}

/// What a person reads has the first and the last counter.
fn counters_are(path: &Path, known: &Known) {
    let output = siegel().arg("verify").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let counters = known.counters.replace('-', " to ");
    let line = format!(": signature counters {counters}, {} messages\n", known.logs);
    assert!(text.contains(&line), "{text}");
    assert!(text.lines().count() < 25, "one screen: {text}");
}

#[test]
fn a_changed_byte_of_a_field_archive_is_found() {
    let Some(folder) = testdata("tse-exports") else {
        return;
    };
    let bytes = std::fs::read(folder.join("TSSProtokoll_GF_2021-09-28_09_58_45.tar")).unwrap();
    let desk = tempfile::tempdir().unwrap();
    let file = desk.path().join("changed.tar");
    // Within the processData of a receipt.
    let receipt = b"Beleg^";
    let at = bytes
        .windows(receipt.len())
        .position(|window| window == receipt);
    let mut changed = bytes;
    changed[at.unwrap()] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    let (code, document) = verify(&[file.to_str().unwrap()]);
    assert_eq!(code, 1);
    let archive = &document["archives"][0];
    assert_eq!(archive["signatures_valid"], 5);
    assert_eq!(archive["findings"][0]["code"], "signature-invalid");
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
