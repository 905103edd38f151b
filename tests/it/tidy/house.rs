//! What the house is built of: its rooms in order, its migrations, its papers.

use super::ROOMS;
use super::source::{file, files};
use std::collections::BTreeSet;
use std::process::Command;

/// What may stand at the top, beside dot-files; `benches`, `deploy` and `sdk` where they are needed.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "deploy",
    "hsm-config",
    "migrations",
    "rust-toolchain.toml",
    "schema",
    "scripts",
    "sdk",
    "src",
    "tests",
];

/// The rooms a library root declares, in order.
fn declared(lib: &str) -> Vec<&str> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect()
}

#[test]
fn the_library_lists_its_rooms_from_top_to_bottom() {
    let lib = file("src/lib.rs");
    let declared = declared(&lib.text);
    let known: Vec<_> = ROOMS
        .iter()
        .filter(|room| declared.contains(room))
        .collect();
    assert!(declared.len() > 10, "{declared:?}");
    assert_eq!(declared.iter().collect::<Vec<_>>(), known);
}

#[test]
fn the_map_shows_every_room() {
    let lib = file("src/lib.rs");
    let map = file("src/README.md").text;
    let rows: Vec<_> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .collect();
    let places = declared(&lib.text).into_iter().map(|room| {
        rows.iter()
            .position(|row| row.starts_with(&format!("{room}`")))
            .unwrap_or_else(|| panic!("src/README.md has no row for {room}"))
    });
    assert!(places.is_sorted(), "the map's rows have another order");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let of = |backend: &str| -> BTreeSet<String> {
        let folder = format!("migrations/{backend}/");
        let files = files(&folder, ".sql");
        files
            .iter()
            .map(|source| source.path.replace(&folder, ""))
            .collect()
    };
    let sqlite = of("sqlite");
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, of("postgres"));
}

#[test]
fn the_papers_are_there() {
    assert!(
        file("LICENSE-MIT")
            .text
            .contains("Permission is hereby granted, free of charge")
    );
    assert!(
        file("LICENSE-APACHE")
            .text
            .contains("Version 2.0, January 2004")
    );
    let manifest = file("Cargo.toml").text;
    assert!(manifest.contains("license = \"MIT OR Apache-2.0\""));
    for lint in [
        "unwrap_used",
        "expect_used",
        "indexing_slicing",
        "as_conversions",
        "wildcard_enum_match_arm",
    ] {
        assert!(manifest.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    let toolchain = file("rust-toolchain.toml").text;
    assert!(
        toolchain.contains("channel = ")
            && toolchain.contains("rustfmt")
            && toolchain.contains("clippy")
    );
    assert!(file("Cargo.lock").text.contains("name = \"siegel\""));
}

#[test]
fn nothing_else_stands_at_the_top() {
    let listing = Command::new("git")
        .args(["-C", super::ROOT, "ls-tree", "--name-only", "HEAD"])
        .output();
    let Some(listing) = listing.ok().filter(|listing| listing.status.success()) else {
        println!("skipped: this is no git checkout");
        return;
    };
    for name in String::from_utf8(listing.stdout).unwrap().lines() {
        assert!(
            name.starts_with('.') || TOP.contains(&name),
            "{name} stands at the top"
        );
    }
}
