//! Reading the project's own files: no parser of Rust, but enough of one for what `rustfmt` leaves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folder of the project.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the project.
pub struct Source {
    /// Path from [`ROOT`].
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The room of a file under `src`; `None` for `lib.rs`, `main.rs` and whatever is elsewhere.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        match inside.split_once('/') {
            Some((room, _)) => Some(room),
            None => inside
                .strip_suffix(".rs")
                .filter(|name| !["lib", "main"].contains(name)),
        }
    }

    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
    }

    /// The text without comments.
    pub fn code(&self) -> String {
        let mut code = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            // A comment starts a line or follows a space; the slashes of an address do neither.
            let end = match line.trim_start().starts_with("//") {
                true => 0,
                false => line.find(" //").unwrap_or(line.len()),
            };
            code.push_str(&line[..end]);
            code.push('\n');
        }
        code
    }
}

/// All files below a folder whose names end so, in order. A folder that is not there has none.
pub fn files(folder: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&Path::new(ROOT).join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .filter_map(|path| {
            let name = path.strip_prefix(ROOT).ok()?.to_str()?.to_owned();
            let text = std::fs::read_to_string(&path).ok()?;
            Some(Source { path: name, text })
        })
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// One file, which must be there.
pub fn file(path: &str) -> Source {
    let text = std::fs::read_to_string(Path::new(ROOT).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    Source::new(path, &text)
}

/// Whatever follows `prefix` in paths: the name in `prefix::name`, the names in `prefix::{a, b::c}`.
pub fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let prefix = format!("{prefix}::");
    for (at, _) in code.match_indices(&prefix) {
        // `mycrate::` is another word.
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(first_words(group)),
            None => names.extend(word(rest)),
        }
    }
    names
}

/// The first word of each member of a `{…}` group.
fn first_words(group: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut depth = 0_u32;
    let mut expects = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            _ if expects && is_word(letter) => {
                words.extend(word(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|letter| !is_word(letter)).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}
