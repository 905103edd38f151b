//! `siegel verify`: checks exports and QR codes, and tells what it found to a person or to a tool.
//!
//! Invariant: with `--json` exactly one document goes to stdout, whatever the exit code; 0 is clean,
//! 1 means findings, 2 that something could not be read, and the worst of all inputs counts.

use crate::verify::{
    ArchiveReport, Finding, FindingCode, Note, QrReport, Settings, verify_archive, verify_qr,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Clean.
const CLEAN: u8 = 0;
/// There are findings.
const FINDINGS: u8 = 1;
/// An input could not be read.
const NOT_READABLE: u8 = 2;

/// Arguments of `siegel verify`.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Export archives (TAR).
    #[arg(value_name = "FILE", required_unless_present = "qr")]
    files: Vec<PathBuf>,
    /// Text of a receipt's QR code; may be given several times.
    #[arg(long, value_name = "TEXT")]
    qr: Vec<String>,
    /// The archives are filtered exports: gaps in the signature counters are notes, not findings.
    #[arg(long)]
    partial: bool,
    /// Certificate to be trusted, PEM or DER; may be given several times.
    #[arg(long, value_name = "ROOT")]
    trust: Vec<PathBuf>,
    /// Write one JSON document to stdout.
    #[arg(long)]
    json: bool,
}

/// Lines about one input for a person: findings, and then notes. A screen has about twice as many.
const LINES_MAX: usize = 12;
/// Longest name of a file for a person, in characters.
const NAME_LEN_MAX: usize = 120;

/// What came of one input.
struct Outcome<T> {
    input: String,
    report: T,
    code: u8,
}

/// Runs the subcommand and tells the outcome.
pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    let settings = settings(args);
    let archives: Vec<_> = args
        .files
        .iter()
        .map(|file| archive(file, &settings))
        .collect();
    let qr: Vec<_> = args.qr.iter().map(|text| qr(text)).collect();
    let codes = archives.iter().map(|archive| archive.code);
    let code = codes.chain(qr.iter().map(|qr| qr.code)).max();
    let text = if args.json {
        format!("{}\n", document(args, &archives, &qr))
    } else {
        let mut text: String = archives.iter().map(archive_summary).collect();
        text.extend(qr.iter().map(qr_summary));
        text
    };
    // Nobody may be left to read it; the exit code says the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code.unwrap_or(NOT_READABLE))
}

/// `Err` with the cause when a trusted certificate cannot be read: then nothing can be judged.
fn settings(args: &VerifyArgs) -> Result<Settings, String> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut settings = Settings::new(threads).partial(args.partial);
    for path in &args.trust {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        settings
            .trust(&name, &bytes)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(settings)
}

fn archive(path: &Path, settings: &Result<Settings, String>) -> Outcome<ArchiveReport> {
    let input = path.display().to_string();
    let failed = |code, text| Outcome {
        input: input.clone(),
        report: ArchiveReport {
            findings: vec![finding(code, text)],
            ..ArchiveReport::default()
        },
        code: NOT_READABLE,
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(cause) => return failed(FindingCode::TrustNotReadable, cause.clone()),
    };
    let report = File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(|file| Ok(verify_archive(file, settings)?));
    match report {
        Ok(report) => Outcome {
            code: code_of(&report.findings),
            report,
            input,
        },
        Err(error) => failed(FindingCode::NotReadable, format!("{error:#}")),
    }
}

fn qr(text: &str) -> Outcome<QrReport> {
    match verify_qr(text) {
        Ok(report) => Outcome {
            input: "QR code".to_owned(),
            code: code_of(&report.findings),
            report,
        },
        Err(error) => Outcome {
            input: "QR code".to_owned(),
            report: QrReport {
                findings: vec![finding(FindingCode::QrUnreadable, error.to_string())],
                ..QrReport::default()
            },
            code: NOT_READABLE,
        },
    }
}

const fn finding(code: FindingCode, text: String) -> Finding {
    Finding {
        code,
        message_file: None,
        text,
    }
}

const fn code_of(findings: &[Finding]) -> u8 {
    if findings.is_empty() { CLEAN } else { FINDINGS }
}

/// `archives` and `qr` stand there when such inputs were given. A finding is
/// `{"code","severity","message_file","text"}` with `message_file` null where it is not about one file; a
/// note is `{"code","text"}`.
fn document(
    args: &VerifyArgs,
    archives: &[Outcome<ArchiveReport>],
    qr: &[Outcome<QrReport>],
) -> Value {
    let mut document = serde_json::Map::new();
    if !args.files.is_empty() {
        let archives = archives.iter().map(|archive| {
            json!({
                "file": archive.input,
                "logs": archive.report.logs,
                "signatures_valid": archive.report.signatures_valid,
                "findings": findings_json(&archive.report.findings),
                "notes": notes_json(&archive.report.notes),
            })
        });
        document.insert("archives".to_owned(), archives.collect());
    }
    if !args.qr.is_empty() {
        let qr = qr.iter().map(|qr| {
            json!({
                "signature_valid": qr.report.signature_valid,
                "findings": findings_json(&qr.report.findings),
                "notes": notes_json(&qr.report.notes),
            })
        });
        document.insert("qr".to_owned(), qr.collect());
    }
    Value::Object(document)
}

fn findings_json(findings: &[Finding]) -> Value {
    let object = |finding: &Finding| {
        json!({
            "code": finding.code.code(),
            "severity": finding.code.severity().name(),
            "message_file": finding.message_file,
            "text": finding.text,
        })
    };
    findings.iter().map(object).collect()
}

fn notes_json(notes: &[Note]) -> Value {
    let object = |note: &Note| json!({ "code": note.code.code(), "text": note.text });
    notes.iter().map(object).collect()
}

fn archive_summary(archive: &Outcome<ArchiveReport>) -> String {
    let report = &archive.report;
    let mut text = format!("{}: {}\n", name(&archive.input), verdict(archive.code));
    if archive.code != NOT_READABLE {
        text += &format!(
            "  {} log messages, {} signatures valid\n",
            report.logs, report.signatures_valid
        );
    }
    for key in report.keys.iter().take(LINES_MAX) {
        text += &format!(
            "  TSS {}: signature counters {} to {}, {} messages\n",
            key.serial_number, key.counter_first, key.counter_last, key.logs
        );
    }
    text + &lists(&report.findings, &report.notes)
}

fn qr_summary(qr: &Outcome<QrReport>) -> String {
    let signature = if qr.report.signature_valid {
        "signature valid"
    } else {
        "no valid signature"
    };
    let head = format!("{}: {}, {signature}\n", qr.input, verdict(qr.code));
    head + &lists(&qr.report.findings, &qr.report.notes)
}

const fn verdict(code: u8) -> &'static str {
    match code {
        CLEAN => "clean",
        FINDINGS => "FINDINGS",
        _ => "NOT READABLE",
    }
}

/// Findings, then notes.
fn lists(findings: &[Finding], notes: &[Note]) -> String {
    let of_finding = |finding: &Finding| {
        let severity = finding.code.severity().name();
        let code = finding.code.code();
        let file = match &finding.message_file {
            Some(file) => format!(" {}:", name(file)),
            None => String::new(),
        };
        format!("  {severity} {code}:{file} {}\n", finding.text)
    };
    let of_note = |note: &Note| format!("  note {}: {}\n", note.code.code(), note.text);
    lines(findings, |finding| finding.code, of_finding) + &lines(notes, |note| note.code, of_note)
}

/// One line each while there are few, else the first of each kind and the number of the others.
fn lines<T, K: PartialEq>(
    items: &[T],
    kind: impl Fn(&T) -> K,
    line: impl Fn(&T) -> String,
) -> String {
    if items.len() <= LINES_MAX {
        return items.iter().map(line).collect();
    }
    let mut kinds: Vec<(&T, u64)> = Vec::new();
    for item in items {
        let known = kinds
            .iter_mut()
            .find(|(first, _)| kind(first) == kind(item));
        match known {
            Some((_, others)) => *others = others.saturating_add(1),
            None => kinds.push((item, 0)),
        }
    }
    let mut text = String::new();
    for (first, others) in kinds.iter().take(LINES_MAX) {
        text += &line(first);
        if *others > 0 {
            text += &format!("    and {others} more of this kind (--json lists them)\n");
        }
    }
    if let Some(more) = kinds.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        text += &format!("  and {more} more kinds (--json lists them)\n");
    }
    text
}

/// A foreign name, fit for a terminal.
fn name(text: &str) -> String {
    let shown: String = text.chars().take(NAME_LEN_MAX).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", shown.escape_debug())
}
