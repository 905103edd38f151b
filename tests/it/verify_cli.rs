//! `siegel verify` from the outside: documents, exit codes, what a person reads, memory.

use crate::support::installation::{Installation, siegel};
use maker::message::Message;
use maker::pki::{Digest, Plan, curve};
use maker::tar::{BLOCK, Header};
use maker::{Device, T0, qr};
use serde_json::{Value, json};
use siegel::verify::{Settings, verify_archive};
use std::fs::File;
use std::io::{BufWriter, Cursor, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

#[allow(dead_code, reason = "the tests of the checker itself use the rest")]
#[path = "../../src/verify/tests/maker/mod.rs"]
mod maker;

/// A folder with archives, and the device that made them.
struct Desk {
    folder: TempDir,
    device: Device,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            device: Device::on("secp256r1", Digest::Sha256, 2),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An archive in which nothing is wrong.
    fn good(&self) -> String {
        let messages = [Message::start(1, T0, 1), Message::finish(2, T0, 1)];
        self.put("good.tar", &self.device.archive(&messages))
    }

    /// An archive in which counter 2 is missing.
    fn gap(&self) -> String {
        let messages = [Message::audit(1, T0), Message::audit(3, T0)];
        self.put("gap.tar", &self.device.archive(&messages))
    }

    fn good_code(&self) -> String {
        let data = "Beleg^1.19_0.00_0.00_0.00_0.00^1.19:Bar";
        qr::receipt(&self.device.signer, data, T0, T0)
    }
}

/// Exit code and standard output of `siegel verify`.
fn verify(arguments: &[&str]) -> (i32, String) {
    let output = siegel().arg("verify").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

/// Exit code and the one document of `siegel verify --json`.
fn verify_json(arguments: &[&str]) -> (i32, Value) {
    let (code, text) = verify(&[&["--json"], arguments].concat());
    let mut documents = serde_json::Deserializer::from_str(&text).into_iter();
    let document = documents.next().unwrap().unwrap();
    assert!(documents.next().is_none(), "more than one document: {text}");
    assert!(text.ends_with('\n'));
    (code, document)
}

/// The keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn has_the_shape_of_archives(document: &Value) {
    for archive in document["archives"].as_array().unwrap() {
        let expected = ["file", "logs", "signatures_valid", "findings", "notes"];
        assert_eq!(keys(archive), expected);
        assert!(archive["file"].is_string());
        assert!(archive["logs"].is_u64() && archive["signatures_valid"].is_u64());
        has_the_shape_of_lists(archive);
    }
}

#[track_caller]
fn has_the_shape_of_lists(report: &Value) {
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(keys(finding), ["code", "severity", "message_file", "text"]);
        assert!(finding["code"].is_string() && finding["text"].is_string());
        assert!(["error", "warning"].contains(&finding["severity"].as_str().unwrap()));
        assert!(finding["message_file"].is_string() || finding["message_file"].is_null());
    }
    for note in report["notes"].as_array().unwrap() {
        assert_eq!(keys(note), ["code", "text"]);
        assert!(note["code"].is_string() && note["text"].is_string());
    }
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

#[test]
fn there_is_one_document_at_each_exit_code() {
    let desk = Desk::new();
    let (good, gap) = (desk.good(), desk.gap());
    let missing = desk.folder.path().join("missing.tar");
    for (file, code, logs, expected) in [
        (good.as_str(), 0, 2, &[][..]),
        (&gap, 1, 2, &["counter-missing"]),
        (missing.to_str().unwrap(), 2, 0, &["not-readable"]),
        // A folder can be opened, but not read.
        (
            desk.folder.path().to_str().unwrap(),
            2,
            0,
            &["not-readable"],
        ),
        ("/dev/null", 2, 0, &["not-readable"]),
        ("/dev/zero", 2, 0, &["not-readable"]),
        ("/dev/full", 2, 0, &["not-readable"]),
    ] {
        let (exit, document) = verify_json(&[file]);
        assert_eq!(exit, code, "{file}: {document}");
        assert_eq!(keys(&document), ["archives"]);
        has_the_shape_of_archives(&document);
        let archive = &document["archives"][0];
        assert_eq!(archive["file"], file);
        assert_eq!(archive["logs"], logs);
        assert_eq!(archive["signatures_valid"], logs);
        assert_eq!(codes(archive), expected);
    }
}

#[test]
fn several_inputs_stand_in_one_document_and_the_worst_decides() {
    let desk = Desk::new();
    let (good, gap) = (desk.good(), desk.gap());
    let (code, bad_code) = (desk.good_code(), desk.good_code().replace("1.19", "1.18"));
    for (arguments, exit, archives, codes) in [
        (vec![&good, &good], 0, 2, 0),
        (vec![&good, &gap, &good], 1, 3, 0),
        (vec![&good, &"--qr".to_owned(), &code], 0, 1, 1),
        (vec![&good, &"--qr".to_owned(), &bad_code], 1, 1, 1),
        (vec![&gap, &"--qr".to_owned(), &code], 1, 1, 1),
        (vec![&good, &"--qr".to_owned(), &"none".to_owned()], 2, 1, 1),
        (
            vec![&"missing".to_owned(), &gap, &"--qr".to_owned(), &code],
            2,
            2,
            1,
        ),
        (
            vec![&"--qr".to_owned(), &code, &"--qr".to_owned(), &bad_code],
            1,
            0,
            2,
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(|text| text.as_str()).collect();
        let (code, document) = verify_json(&arguments);
        assert_eq!(code, exit, "{arguments:?}");
        let count = |key: &str| {
            document
                .get(key)
                .map_or(0, |list| list.as_array().unwrap().len())
        };
        assert_eq!((count("archives"), count("qr")), (archives, codes));
        let (plain, text) = verify(&arguments);
        assert_eq!(plain, exit, "{text}");
    }
}

#[test]
fn a_code_is_told_in_its_own_shape() {
    let desk = Desk::new();
    let (exit, document) = verify_json(&["--qr", &desk.good_code()]);
    assert_eq!((exit, keys(&document)), (0, vec!["qr"]));
    let report = &document["qr"][0];
    assert_eq!(keys(report), ["signature_valid", "findings", "notes"]);
    assert_eq!(report["signature_valid"], true);
    has_the_shape_of_lists(report);
    let (exit, document) = verify_json(&["--qr", ""]);
    assert_eq!(exit, 2);
    let report = &document["qr"][0];
    assert_eq!(report["signature_valid"], false);
    assert_eq!(codes(report), ["qr-unreadable"]);
    has_the_shape_of_lists(report);
}

#[test]
fn trust_and_partial_reach_the_checker() {
    let desk = Desk::new();
    let (good, gap) = (desk.good(), desk.gap());
    let root = desk.put(
        "root.pem",
        &desk.device.chain[1].certificate.to_pem().unwrap(),
    );
    let other = Plan::authority("Other").issue(curve("secp384r1"), None);
    let other = desk.put("other.cer", &other.der());
    let none = desk.put("none.cer", b"none");
    assert_eq!(verify(&["--partial", &gap]).0, 0);
    assert_eq!(verify(&["--trust", &root, &good]).0, 0);
    assert_eq!(verify(&["--trust", &other, "--trust", &root, &good]).0, 0);
    let (exit, document) = verify_json(&["--trust", &other, &good]);
    assert_eq!(exit, 1);
    assert_eq!(codes(&document["archives"][0]), ["chain-untrusted"]);
    for unreadable in [none.as_str(), "/nowhere/root.pem"] {
        let (exit, document) = verify_json(&["--trust", unreadable, &good, &gap]);
        assert_eq!(exit, 2);
        has_the_shape_of_archives(&document);
        for archive in document["archives"].as_array().unwrap() {
            assert_eq!(codes(archive), ["trust-not-readable"]);
        }
    }
}

#[test]
fn a_person_reads_the_outcome_on_one_screen() {
    let desk = Desk::new();
    let (exit, text) = verify(&[&desk.good()]);
    assert_eq!(exit, 0);
    assert!(text.contains("good.tar: clean\n"), "{text}");
    assert!(
        text.contains("  2 log messages, 2 signatures valid\n"),
        "{text}"
    );
    assert!(
        text.contains("signature counters 1 to 2, 2 messages\n"),
        "{text}"
    );
    let (_, text) = verify(&[&desk.gap()]);
    let line = "  error counter-missing: signature counter 2 is missing\n";
    assert!(
        text.contains(": FINDINGS\n") && text.contains(line),
        "{text}"
    );
    // A thousand findings of one kind, and names that would command a terminal.
    let mut files = desk.device.files(&[Message::audit(1, T0)]);
    for number in 0..1000 {
        files = files.with(&format!("\u{1b}[2J{number}.txt"), b"");
    }
    let (exit, text) = verify(&[&desk.put("many\u{1b}.tar", &files.tar())]);
    assert_eq!(exit, 1);
    assert!(text.lines().count() < 12, "{text}");
    assert!(text.contains("and 999 more of this kind"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let desk = Desk::new();
    let mut child = siegel()
        .args(["verify", "--json", &desk.gap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn nothing_to_check_is_a_wrong_call() {
    for arguments in [&[][..], &["--partial"], &["--unknown", "x"]] {
        let output = siegel().arg("verify").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(!output.stderr.is_empty());
    }
}

/// Writes an archive of so many messages, straight to disk. Only their signature counters differ, so names
/// and signatures are wrong, and no certificate is there: more findings than are listed.
fn many_messages(desk: &Desk, count: u32) -> PathBuf {
    let path = desk.folder.path().join(format!("{count}.tar"));
    let mut file = BufWriter::new(File::create(&path).unwrap());
    // Counters of three bytes, the first of which is 01 to 7F.
    let first = 0x01_00_00;
    let message = Message::audit(first.into(), T0);
    let (name, content) = message.file(&desk.device.signer);
    let mut entry = Header::file(&name, content.len()).bytes().to_vec();
    entry.extend(&content);
    entry.resize(2 * BLOCK, 0);
    let field = [0x02, 0x03, 0x01, 0x00, 0x00];
    let at = entry.windows(5).position(|window| window == field).unwrap();
    for counter in first..first + count {
        entry[at + 1..at + 5].copy_from_slice(&counter.to_be_bytes());
        entry[at + 1] = 3;
        file.write_all(&entry).unwrap();
    }
    file.write_all(&[0; 2 * BLOCK]).unwrap();
    file.into_inner().unwrap();
    path
}

/// Greatest memory of a check until it is over with the archive, in bytes. Two pipes are given as
/// further archives: opening the first waits for the checker to come to it, and while nobody opens the
/// second one, the checker waits there and can be looked at.
fn peak_memory(desk: &Desk, archive: &Path) -> u64 {
    let pipes = ["first", "second"].map(|name| desk.folder.path().join(name));
    for pipe in &pipes {
        let _ = std::fs::remove_file(pipe);
        let (kind, mode) = (
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        );
        rustix::fs::mknodat(rustix::fs::CWD, pipe, kind, mode, 0).unwrap();
    }
    let open = |pipe: &Path| File::options().write(true).open(pipe).unwrap();
    let mut child = siegel()
        .arg("verify")
        .arg(archive)
        .args(&pipes)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let first = open(&pipes[0]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop((first, open(&pipes[1])));
    let mut text = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    // A pipe is no archive.
    assert_eq!(child.wait().unwrap().code(), Some(2), "{text}");
    assert!(text.contains("first: NOT READABLE"), "{text}");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn memory_does_not_grow_with_the_archive_beyond_a_small_index() {
    /// What is kept of each message, and twice as much again while the list of them grows and moves.
    const BYTES_PER_MESSAGE_MAX: u64 = 3 * 32;
    /// The list of findings, what is read ahead, and the program itself; both
    /// archives have more findings than are kept.
    const CONSTANT_BYTES_MAX: u64 = 80 << 20;
    const NOISE_BYTES: u64 = 4 << 20;
    let is_long = std::env::var_os("SIEGEL_LONG_TESTS").is_some_and(|value| value == "1");
    let desk = Desk::new();
    let (few, many) = (25_000, if is_long { 2_000_000 } else { 150_000 });
    let (small, large) = (many_messages(&desk, few), many_messages(&desk, many));
    let archive_bytes = large.metadata().unwrap().len();
    let (before, after) = (peak_memory(&desk, &small), peak_memory(&desk, &large));
    let growth = after.saturating_sub(before);
    let more = u64::from(many - few);
    println!(
        "{few} messages: {before} bytes; {many} messages in {archive_bytes} bytes: {after} bytes; \
         {} more per message",
        growth / more
    );
    assert!(
        growth < more * BYTES_PER_MESSAGE_MAX + NOISE_BYTES,
        "{growth}"
    );
    assert!(before < CONSTANT_BYTES_MAX, "{before}");
}

#[test]
fn the_document_of_a_clean_archive_is_exactly_this() {
    let desk = Desk::new();
    let good = desk.good();
    let leaf = format!("{}_X509.cer", desk.device.chain[0].serial());
    let (_, document) = verify_json(&[&good]);
    let expected = json!({"archives": [{
        "file": good,
        "logs": 2,
        "signatures_valid": 2,
        "findings": [],
        "notes": [
            {
                "code": "client-unregistered",
                "text": "1 client with transactions that no message before them registers; the first is \
                         signature counter 1"
            },
            {
                "code": "chain-unanchored",
                "text": "the chain up to C=DE, CN=Root TEST is consistent; whether that one is to be \
                         trusted was not asked (--trust)"
            },
            {
                "code": "revocation-unchecked",
                "text": format!("whether {leaf} was revoked is not known")
            }
        ]
    }]});
    assert_eq!(document, expected);
}

/// Contents of an archive by name, and where each begins.
fn contents(bytes: &[u8]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let at = usize::try_from(entry.raw_file_position()).unwrap();
        found.push((name, at, usize::try_from(entry.size()).unwrap()));
    }
    found
}

#[test]
fn an_export_of_ours_is_clean_under_its_root_and_a_changed_bit_of_it_is_found() {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    let export = installation.path("demo/export.tar");
    let bytes = std::fs::read(&export).unwrap();
    let files = contents(&bytes);
    let of = |name: &str| -> Vec<&[u8]> {
        let fits = files.iter().filter(|(known, ..)| known.ends_with(name));
        fits.map(|(_, at, len)| &bytes[*at..at + len]).collect()
    };
    let root = *of(".cer").last().unwrap();
    let desk = Desk::new();
    let root = desk.put("root.cer", root);
    let export = export.to_str().unwrap();
    let (exit, document) = verify_json(&["--trust", &root, export]);
    assert_eq!(exit, 0, "{document}");
    let archive = &document["archives"][0];
    let logs = of(".log").len();
    assert!(logs > 10);
    assert_eq!(archive["logs"], logs);
    assert_eq!(archive["signatures_valid"], logs);
    let notes = archive["notes"].as_array().unwrap();
    let codes: Vec<_> = notes
        .iter()
        .map(|note| note["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["revocation-unchecked"],
        "nothing else is worth a note"
    );
    // A bit of each file, and of what stands before it.
    let settings = Settings::new(NonZeroUsize::new(2).unwrap());
    for (name, at, len) in &files {
        for place in [at - 400, at + len / 2, at + len - 1] {
            if name == "info.csv" && place > *at {
                continue;
            }
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            let outcome = verify_archive(Cursor::new(&changed), &settings);
            let is_told = outcome.map_or(true, |report| !report.findings.is_empty());
            assert!(is_told, "{name}, byte {place}");
        }
    }
}
