//! Files that hold secrets.

use anyhow::Context as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file that only its owner can read; whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let what = || format!("{} could not be written", path.display());
    let part = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    file.sync_all().with_context(what)?;
    fs::rename(&part, path).with_context(what)
}
