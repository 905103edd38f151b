//! Where this machine has what tests need beside Rust. The scripts look in the same places, by the same list.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const PLACES: &str = include_str!("../../../scripts/lib/places");

/// The file that the list has under this name, if this machine has it.
pub fn place_of(name: &str) -> Option<PathBuf> {
    let lines = PLACES.lines().filter_map(|line| line.split_once(' '));
    let mut patterns = lines.filter(|(of, _)| *of == name);
    patterns.find_map(|(_, pattern)| {
        let found = match pattern.contains('/') {
            true => matching(pattern),
            false => in_path(pattern),
        };
        found.into_iter().max_by_key(|path| numbers(path))
    })
}

/// A program of the newest PostgreSQL with a server.
pub fn postgres_program(name: &str) -> Option<PathBuf> {
    Some(place_of("postgres")?.with_file_name(name))
}

/// Says that a test is left out because something is not there. Where the variable is 1, that is a failure instead.
#[track_caller]
pub fn leave_out(variable: &str, what: &str) {
    let needed = env::var(variable).is_ok_and(|needed| needed == "1");
    assert!(!needed, "{what}, and {variable}=1 wants it");
    println!("left out: {what}");
}

/// Files that a path with stars leads to.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let into = |folder: &PathBuf| match part.split_once('*') {
            None => vec![folder.join(part)],
            Some((start, end)) => {
                let fits = |name: &str| {
                    let rest = name.strip_prefix(start);
                    rest.is_some_and(|rest| rest.ends_with(end))
                };
                let names = fs::read_dir(folder).into_iter().flatten();
                let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                let names = names.filter(|name| fits(name));
                names.map(|name| folder.join(name)).collect()
            }
        };
        found = found.iter().flat_map(into).collect();
    }
    found.retain(|path| path.is_file());
    found
}

fn in_path(program: &str) -> Vec<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&folders).map(|folder| folder.join(program));
    places.filter(|path| path.is_file()).take(1).collect()
}

/// What tells versions of one path apart.
fn numbers(path: &Path) -> Vec<u32> {
    let text = path.to_string_lossy();
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn scripts_and_tests_find_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: Vec<_> = PLACES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    assert!(names.len() > 4);
    for name in names {
        let look = ". scripts/lib/say.sh; . scripts/lib/packages.sh; place_of \"$1\"";
        let output = std::process::Command::new("bash")
            .args(["-c", look, "bash", name])
            .env("root", root)
            .current_dir(root)
            .output()
            .unwrap();
        let by_script = String::from_utf8(output.stdout).unwrap();
        let by_script = Some(by_script.trim_end()).filter(|path| !path.is_empty());
        assert_eq!(
            place_of(name).as_deref(),
            by_script.map(Path::new),
            "{name}"
        );
        assert_eq!(output.status.success(), by_script.is_some(), "{name}");
    }
}
