//! The commands of the README do what it says: they are taken out of it and run, line by line, against
//! a server of the test's own.

use crate::support::installation::{Installation, read_json};
use siegel::verify::{Settings, verify_archive, verify_qr};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Says at which command of the block it ended.
const TRAP: &str = "set -eEuo pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n";

/// The block of shell whose first line begins like this.
pub fn block(first: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let blocks = text.split("\n```sh\n").skip(1);
    let mut found = blocks.filter(|block| block.starts_with(first));
    let block = found
        .next()
        .unwrap_or_else(|| panic!("the README has no block that begins with {first:?}"));
    assert!(found.next().is_none(), "two blocks begin with {first:?}");
    block.split("\n```").next().unwrap().to_owned()
}

/// Runs commands in a folder, with `siegel` as a command, until one of them fails.
fn run(commands: &str, folder: &Path) -> Output {
    let siegel = Path::new(env!("CARGO_BIN_EXE_siegel"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", siegel.parent().unwrap().display());
    Command::new("bash")
        .arg("-c")
        .arg(format!("{TRAP}{commands}\necho 'to the end'\n"))
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("SOFTHSM2_CONF")
        .output()
        .expect("bash is installed")
}

/// What a block printed that ran to its end.
pub fn printed(commands: &str, folder: &Path) -> Vec<String> {
    for tool in ["curl", "jq", "openssl", "tar"] {
        let found = run(&format!("command -v {tool}"), folder);
        assert!(
            found.status.success(),
            "{tool} is missing; scripts/test installs it"
        );
    }
    let output = run(commands, folder);
    let text = String::from_utf8(output.stdout).unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{problems}");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(
        lines.pop().as_deref(),
        Some("to the end"),
        "{text}\n{problems}"
    );
    lines
}

/// A server whose data folder is called `var`, as after `scripts/quickstart`.
fn with_var() -> (Installation, TempDir, PathBuf) {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    installation.point_credentials_to(address);
    let folder = tempfile::tempdir().unwrap();
    symlink(installation.path(""), folder.path().join("var")).unwrap();
    let here = folder.path().to_owned();
    (installation, folder, here)
}

#[test]
fn the_walk_with_curl_leads_to_an_export_that_verifies() {
    let (_installation, _folder, here) = with_var();
    let lines = printed(&block("credentials="), &here).join("\n");
    let code = lines.lines().find(|line| line.starts_with("V0;"));
    let code = code.unwrap_or_else(|| panic!("no QR code was printed: {lines}"));
    assert!(
        code.starts_with("V0;TILL-1;Kassenbeleg-V1;Beleg^21.42_0.00_0.00_0.00_0.00^21.42:Bar;1;"),
        "{code}"
    );
    let checked = verify_qr(code).unwrap();
    assert!(checked.signature_valid);
    assert_eq!(checked.findings, []);
    let archive = File::open(here.join("export.tar")).unwrap();
    let report = verify_archive(archive, &Settings::new(NonZeroUsize::MIN)).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs, report.signatures_valid);
    // The last command says what it found.
    let logs = report.logs;
    let found = format!("{logs} log messages, {logs} signatures valid");
    assert!(lines.contains(&found), "{lines}");
}

#[test]
fn the_check_by_hand_verifies_an_export_without_any_of_our_code() {
    let (installation, _folder, here) = with_var();
    installation.play();
    let demo = here.join("var/demo");
    let lines = printed(&block("mkdir unpacked"), &demo);
    assert_eq!(lines.last().map(String::as_str), Some("Verified OK"));
    let parsed = lines.join("\n");
    assert!(parsed.contains("0.4.0.127.0.7.3.7.1.1"), "{parsed}");
    // The same commands must say no to one other byte of what was signed.
    let again = "cd unpacked\nprintf x >> signed\n\
        openssl dgst -sha256 -verify key.pem -signature signature.der signed";
    let refused = run(again, &demo);
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(text.contains("Verification failure"), "{text}");
}

#[test]
fn the_commands_that_check_an_export_run() {
    let (installation, _folder, here) = with_var();
    installation.play();
    let demo = here.join("var/demo");
    // What the block takes for granted: a filtered export, and a certificate to be trusted.
    std::fs::copy(demo.join("export.tar"), demo.join("filtered.tar")).unwrap();
    let root = "tar xf export.tar\nfor file in *_X509.cer; do\n\
        openssl x509 -inform DER -in \"$file\" -out one.pem\n\
        openssl verify -CAfile one.pem one.pem >root.log 2>&1 && mv one.pem root.pem\ndone\n\
        test -e root.pem";
    let made = run(&root.replace("\ndone", " || true\ndone"), &demo);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let lines = printed(&block("siegel verify export.tar"), &demo);
    let json = lines.iter().position(|line| line.starts_with('{'));
    let json: serde_json::Value =
        serde_json::from_str(&lines[json.expect("a document is printed")..].join("\n")).unwrap();
    assert_eq!(json["archives"][0]["findings"], serde_json::json!([]));
    let receipt = read_json(&demo.join("receipt.json"));
    assert_eq!(receipt["state"], "FINISHED");
}

#[test]
fn a_command_that_fails_ends_a_block() {
    let folder = tempfile::tempdir().unwrap();
    for commands in [
        "false\ntrue",
        "x=$(false)\ntrue",
        "false | cat\ntrue",
        "call() { curl -fsS http://127.0.0.1:1/; }\ncall | jq .\ntrue",
    ] {
        let output = run(commands, folder.path());
        assert!(!output.status.success(), "{commands}");
        let problems = String::from_utf8_lossy(&output.stderr);
        assert!(problems.contains("failed: "), "{problems}");
    }
    assert_eq!(printed("echo a", folder.path()), ["a"]);
}
