//! Files that are whole or not there, and may hold secrets.

use anyhow::Context as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file that only its owner can read; whole or not at all.
pub(super) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    write_whole(path, content, 0o600)
}

/// Writes a file for everybody to read; whole or not at all.
pub(super) fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    write_whole(path, text.as_bytes(), 0o644)
}

fn write_whole(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let what = || format!("{} could not be written", path.display());
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    // Left behind by a writer that ended, it might have another mode.
    let _ = fs::remove_file(part);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(part)
        .with_context(what)?;
    file.write_all(content).with_context(what)?;
    file.sync_all().with_context(what)?;
    fs::rename(part, path).with_context(what)
}
