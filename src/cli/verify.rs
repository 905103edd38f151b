//! `siegel verify`: exports and receipt codes, checked without trusting us.

use super::FAILED;
use crate::verify::{
    ArchiveReport, Finding, Note, Options, QrReport, Root, check_archive, check_qr,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something was found.
const FOUND: u8 = 1;

/// Arguments of `siegel verify`.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Export archives.
    #[arg(required_unless_present = "qr")]
    files: Vec<PathBuf>,
    /// Text of a receipt code; may be given more than once.
    #[arg(long, conflicts_with = "files")]
    qr: Vec<String>,
    /// A root certificate to trust, DER or PEM; may be given more than once.
    #[arg(long)]
    trust: Vec<PathBuf>,
    /// The archives were filtered: missing signature counters are no findings.
    #[arg(long)]
    partial: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    json: bool,
}

/// Exit code 0: clean; 1: findings; 2: something could not be read; the worst of all inputs.
pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    if args.files.is_empty() {
        return verify_codes(args);
    }
    let (roots, roots_worst) = read_roots(&args.trust);
    let options = Options {
        partial: args.partial,
        roots: &roots,
    };
    let mut worst = roots_worst;
    let mut archives = Vec::new();
    for file in &args.files {
        let (document, code) = verify_archive(file, &options, args.json);
        worst = worst.max(code);
        archives.push(document);
    }
    if args.json {
        println!("{}", json!({ "archives": archives }));
    }
    ExitCode::from(worst)
}

fn read_roots(files: &[PathBuf]) -> (Vec<Root>, u8) {
    let mut roots = Vec::new();
    let mut worst = 0;
    for file in files {
        let root = std::fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Root::read(&bytes).map_err(|error| error.to_string()));
        match root {
            Ok(root) => roots.push(root),
            Err(problem) => {
                eprintln!("siegel: {}: {problem}", file.display());
                worst = FAILED;
            }
        }
    }
    (roots, worst)
}

fn verify_archive(file: &Path, options: &Options<'_>, json: bool) -> (Value, u8) {
    let name = file.display().to_string();
    let report = match check_archive(file, options) {
        Ok(report) => report,
        Err(error) => {
            let text = with_cause(&error);
            eprintln!("siegel: {name}: {text}");
            let finding = json!({
                "code": "unreadable", "severity": "error", "message_file": null, "text": text,
            });
            let document = json!({
                "file": name, "logs": 0, "signatures_valid": 0, "findings": [finding], "notes": [],
            });
            return (document, FAILED);
        }
    };
    if !json {
        print_archive(&name, &report);
    }
    let code = if report.findings.is_empty() { 0 } else { FOUND };
    let document = json!({
        "file": name,
        "logs": report.logs,
        "signatures_valid": report.signatures_valid,
        "findings": findings_json(&report.findings),
        "notes": notes_json(&report.notes),
    });
    (document, code)
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn verify_codes(args: &VerifyArgs) -> ExitCode {
    let reports: Vec<_> = args.qr.iter().map(|text| check_qr(text)).collect();
    if args.json {
        let documents: Vec<_> = reports.iter().map(code_json).collect();
        println!("{}", json!({ "qr": documents }));
    } else {
        reports.iter().for_each(print_code);
    }
    let found = reports.iter().any(|report| !report.findings.is_empty());
    ExitCode::from(if found { FOUND } else { 0 })
}

fn code_json(report: &QrReport) -> Value {
    json!({
        "signature_valid": report.signature_valid,
        "findings": findings_json(&report.findings),
        "notes": notes_json(&report.notes),
    })
}

fn findings_json(findings: &[Finding]) -> Vec<Value> {
    findings
        .iter()
        .map(|finding| {
            json!({
                "code": finding.code.name(),
                "severity": finding.code.severity().name(),
                "message_file": finding.message_file,
                "text": finding.text,
            })
        })
        .collect()
}

fn notes_json(notes: &[Note]) -> Vec<Value> {
    notes
        .iter()
        .map(|note| json!({"code": note.code.name(), "text": note.text}))
        .collect()
}

fn print_archive(name: &str, report: &ArchiveReport) {
    println!("{name}");
    println!(
        "  {} log messages, {} with a valid signature, {}",
        report.logs,
        report.signatures_valid,
        verdict(&report.findings)
    );
    print_details(&report.findings, &report.notes);
}

fn print_code(report: &QrReport) {
    let signature = if report.signature_valid {
        "valid"
    } else {
        "not valid"
    };
    println!(
        "receipt code: signature {signature}, {}",
        verdict(&report.findings)
    );
    print_details(&report.findings, &report.notes);
}

fn verdict(findings: &[Finding]) -> String {
    match findings.len() {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    }
}

fn print_details(findings: &[Finding], notes: &[Note]) {
    for finding in findings {
        let severity = finding.code.severity().name();
        let file = finding.message_file.as_deref().unwrap_or("archive");
        println!(
            "  {severity}: {file}: {} [{}]",
            finding.text,
            finding.code.name()
        );
    }
    for note in notes {
        println!("  note: {} [{}]", note.text, note.code.name());
    }
}
