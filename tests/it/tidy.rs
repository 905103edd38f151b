//! The house keeps its order: rooms, dependencies, files.
//!
//! Each rule is a function from files to complaints, so that a bad sample can show that it complains.

mod house;
mod source;

use source::{ROOT, Source, file, files, names_after};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Rooms from top to bottom; a room uses only rooms above itself.
const ROOMS: &[&str] = &[
    "terms",
    "asn1",
    "receipt",
    "sma",
    "csp",
    "pki",
    "ledger",
    "witness",
    "signing",
    "export",
    "verify",
    "archive",
    "dsfinvk",
    "http",
    "dashboard",
    "config",
    "telemetry",
    "app",
    "cli",
];

/// Libraries, and the only rooms that may know them.
const KEEPERS: &[(&str, &[&str])] = &[
    ("cryptoki", &["csp"]),
    ("diesel", &["ledger"]),
    ("diesel_migrations", &["ledger"]),
    ("libsqlite3_sys", &["ledger"]),
    ("actix_web", &["http", "app", "cli"]),
    ("actix_cors", &["http"]),
    ("prometheus_client", &["signing", "http", "telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_http", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
];

/// What the checker may take from the rooms it shares with the signer: what reads, never what writes.
const READING: &[(&str, &[&str])] = &[
    (
        "asn1",
        &[
            "read",
            "AlgorithmIdentifier",
            "AuditDetail",
            "AuditRecord",
            "AuthenticationResult",
            "ComponentTest",
            "FileNameError",
            "LogFileName",
            "LogKindName",
            "LogOutCause",
            "LogTime",
            "LoggingParameter",
            "Origin",
            "ReadError",
            "ReadEvent",
            "ReadKind",
            "ReadLogMessage",
            "SystemEvent",
            "Tolerated",
            "TransactionPhase",
            "UnblockResult",
        ],
    ),
    (
        "receipt",
        &[
            "LogTimeFormat",
            "QrCode",
            "QrError",
            "QrTime",
            "QrTimeError",
        ],
    ),
];

const LINES_MAX: usize = 400;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

fn no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn all<F: Fn(&Source) -> Vec<String>>(sources: &[Source], rule: F) -> Vec<String> {
    assert!(!sources.is_empty(), "there is nothing to look at");
    sources.iter().flat_map(rule).collect()
}

/// A use of a room that stands below, or of one that is not in the list.
fn looks_down(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let place = |name: &str| ROOMS.iter().position(|known| *known == name);
    let Some(own) = place(room) else {
        return vec![format!(
            "{}: {room} is not in the list of rooms",
            source.path
        )];
    };
    // Tests may bring a neighbour along, but not through this crate's own paths.
    names_after(&source.code(), "crate")
        .into_iter()
        .filter(|name| place(name).is_none_or(|other| other > own))
        .map(|name| format!("{}: {room} uses {name}, which is below it", source.path))
        .collect()
}

/// The checker of exports shares nothing with what made them.
fn checker_leans_on_the_signer(source: &Source) -> Vec<String> {
    if source.room() != Some("verify") || source.is_test() {
        return Vec::new();
    }
    let code = source.code();
    let mut complaints: Vec<_> = names_after(&code, "crate")
        .into_iter()
        .filter(|room| !["terms", "asn1", "receipt", "verify"].contains(&room.as_str()))
        .map(|room| format!("{}: verify uses {room}", source.path))
        .collect();
    for (room, reading) in READING {
        let used = names_after(&code, &format!("crate::{room}"));
        let writing = used.iter().filter(|name| !reading.contains(&name.as_str()));
        complaints
            .extend(writing.map(|name| format!("{}: verify uses {room}::{name}", source.path)));
    }
    complaints
}

/// A library in a room that must not know it.
fn library_outside_its_room(source: &Source) -> Vec<String> {
    let code = source.code();
    KEEPERS
        .iter()
        .filter(|(library, rooms)| {
            !names_after(&code, library).is_empty()
                && !source.room().is_some_and(|room| rooms.contains(&room))
        })
        .map(|(library, _)| format!("{}: only its own room knows {library}", source.path))
        .collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if source.is_test() || lines <= LINES_MAX || LONGER.iter().any(|(path, _)| *path == source.path)
    {
        return Vec::new();
    }
    vec![format!(
        "{}: {lines} lines; is there a room that wants to be born?",
        source.path
    )]
}

/// The comment at the head of a room says what always holds in it.
fn no_invariant(source: &Source) -> Vec<String> {
    let head = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"));
    let is_room = source.room().is_some() && source.path.matches('/').count() == 2;
    if !is_room
        || !source.path.ends_with("/mod.rs")
        || head.into_iter().any(|line| line.contains("Invariant: "))
    {
        return Vec::new();
    }
    vec![format!(
        "{}: its head does not name the invariant",
        source.path
    )]
}

/// Tests that do not run, code that is not there yet, traces of a search.
fn left_over(source: &Source) -> Vec<String> {
    let code = source.code();
    [
        "#[ignore",
        "todo!(",
        "unimplemented!(",
        "dbg!(",
        "thread::sleep(",
    ]
    .into_iter()
    .filter(|left| code.contains(left))
    // Waiting is for a condition or a fake clock in tests; a program may have to.
    .filter(|left| *left != "thread::sleep(" || source.is_test())
    .map(|left| format!("{}: holds {left}", source.path))
    .collect()
}

/// A path that exists on one machine only.
fn machine_path(source: &Source) -> Vec<String> {
    let folders = ["work", "root", "home", "tmp", "Users"].map(|folder| format!("/{folder}/"));
    let starts = |before: &str| {
        !before.ends_with(|letter: char| {
            letter.is_ascii_alphanumeric() || "}_.-)*$/~<>]".contains(letter)
        })
    };
    source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| {
            folders.iter().any(|folder| {
                line.match_indices(folder.as_str())
                    .any(|(at, _)| starts(&line[..at]))
            })
        })
        .map(|(number, _)| format!("{}:{}: a path of one machine", source.path, number + 1))
        .collect()
}

#[test]
fn rooms_use_only_rooms_above_them() {
    no_complaints(&all(&files("src", ".rs"), looks_down));
}

#[test]
fn a_look_down_is_noticed() {
    let bad = Source::new(
        "src/sma/x.rs",
        "use crate::{terms::Secret, ledger::Store};\n",
    );
    assert_eq!(
        looks_down(&bad),
        ["src/sma/x.rs: sma uses ledger, which is below it"]
    );
    assert_eq!(
        looks_down(&Source::new(
            "src/sma/x.rs",
            "let x = crate::http::serve();"
        ))
        .len(),
        1
    );
    assert_eq!(looks_down(&Source::new("src/attic/x.rs", "")).len(), 1);
    let good = "//! See [`crate::http`].\nuse crate::{terms::{A, B}, asn1};\nuse mycrate::http;\n";
    assert!(looks_down(&Source::new("src/sma/x.rs", good)).is_empty());
}

#[test]
fn the_checker_shares_no_rules_with_the_signer() {
    no_complaints(&all(
        &files("src/verify", ".rs"),
        checker_leans_on_the_signer,
    ));
}

#[test]
fn a_checker_that_leans_on_the_signer_is_noticed() {
    let check =
        |code: &str| checker_leans_on_the_signer(&Source::new("src/verify/x.rs", code)).len();
    assert_eq!(check("use crate::sma::State;"), 1);
    assert_eq!(check("use crate::asn1::{read, to_be_signed, ReadKind};"), 1);
    assert_eq!(check("let bytes = crate::asn1::assemble(header);"), 1);
    assert_eq!(check("use crate::receipt::Schema;"), 1);
    assert_eq!(check("use crate::asn1::{self, read};"), 1);
    assert_eq!(
        check("use crate::asn1::{read, ReadKind};\nuse crate::terms::Curve;"),
        0
    );
}

#[test]
fn a_library_stays_in_its_room() {
    no_complaints(&all(&files("src", ".rs"), library_outside_its_room));
}

#[test]
fn a_library_outside_its_room_is_noticed() {
    let check = |path, code| library_outside_its_room(&Source::new(path, code)).len();
    assert_eq!(
        check("src/signing/x.rs", "use cryptoki::session::Session;"),
        1
    );
    assert_eq!(
        check("src/http/x.rs", "use diesel::{prelude::*, sql_query};"),
        1
    );
    assert_eq!(check("src/main.rs", "use actix_web::web;"), 1);
    assert_eq!(check("src/http/x.rs", "use actix_web::web;"), 0);
    assert_eq!(
        check(
            "src/cli/x.rs",
            "let filter = \"cryptoki=off\"; // not cryptoki::Pkcs11"
        ),
        0
    );
}

#[test]
fn files_are_short() {
    no_complaints(&all(&files("src", ".rs"), too_long));
    for (path, reason) in LONGER {
        let lines = file(path).text.lines().count();
        assert!(
            lines > LINES_MAX,
            "{path} is short again; {reason:?} can go"
        );
    }
}

#[test]
fn a_long_file_is_noticed() {
    let text = "// line\n".repeat(LINES_MAX + 1);
    assert_eq!(too_long(&Source::new("src/sma/x.rs", &text)).len(), 1);
    assert!(too_long(&Source::new("src/sma/tests.rs", &text)).is_empty());
}

#[test]
fn each_room_names_its_invariant() {
    no_complaints(&all(&files("src", "mod.rs"), no_invariant));
}

#[test]
fn a_room_without_an_invariant_is_noticed() {
    let late = "//! A room.\n\nmod x;\n// Invariant: too late.\n";
    assert_eq!(no_invariant(&Source::new("src/sma/mod.rs", late)).len(), 1);
    assert!(no_invariant(&Source::new("src/sma/mod.rs", "//! Invariant: none.\n")).is_empty());
    assert!(no_invariant(&Source::new("src/sma/inner/mod.rs", late)).is_empty());
}

#[test]
fn nothing_is_left_over() {
    let mut sources = files("src", ".rs");
    sources.extend(files("tests", ".rs"));
    sources.retain(|source| !source.path.starts_with("tests/it/tidy"));
    no_complaints(&all(&sources, left_over));
}

#[test]
fn a_leftover_is_noticed() {
    let check = |path, code| left_over(&Source::new(path, code)).len();
    assert_eq!(check("tests/it/x.rs", "#[ignore = \"slow\"]\nfn x() {}"), 1);
    assert_eq!(check("src/sma/x.rs", "fn x() { todo!() }"), 1);
    assert_eq!(check("src/sma/tests.rs", "std::thread::sleep(second);"), 1);
    assert_eq!(
        check(
            "src/sma/x.rs",
            "// todo!() is not allowed\nstd::thread::sleep(second);"
        ),
        0
    );
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut sources: Vec<_> = [
        "src",
        "tests",
        "scripts",
        "schema",
        "deploy",
        "hsm-config",
        "migrations",
        ".ci",
        ".cargo",
    ]
    .iter()
    .flat_map(|folder| files(folder, ""))
    .filter(|source| !source.path.starts_with("tests/it/tidy"))
    .collect();
    sources.extend(["README.md", "Cargo.toml"].map(file));
    no_complaints(&all(&sources, machine_path));
}

#[test]
fn a_path_of_one_machine_is_noticed() {
    let check = |text: &str| machine_path(&Source::new("README.md", text)).len();
    assert_eq!(check("see /home/me/notes"), 1);
    assert_eq!(check("fine\ndir = \"/tmp/x\""), 1);
    assert_eq!(
        check("$root/tmp/x, target/tmp/x, https://example.org/home/x"),
        0
    );
}

#[test]
fn scripts_can_be_run() {
    let mut scripts: Vec<_> = files("scripts", "");
    scripts.retain(|source| source.path.matches('/').count() == 1);
    scripts.push(file(".ci/run"));
    for script in ["scripts/quickstart", "scripts/test"] {
        assert!(
            scripts.iter().any(|source| source.path == script),
            "{script} is missing"
        );
    }
    for script in scripts {
        let mode = Path::new(ROOT)
            .join(&script.path)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert!(
            script.text.starts_with("#!"),
            "{} does not say what runs it",
            script.path
        );
        assert_eq!(mode & 0o111, 0o111, "{} is not executable", script.path);
    }
}
