//! Messages from outside: exports of any size, and node files.

use crate::terms::TssId;
use crate::witness::{self, FileError, LostMessage, Placer, Placing};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest message that is taken from an archive, in bytes; a till sends 1 MB at most.
const MESSAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the sources hold of the TSSs that are asked for.
#[derive(Default)]
pub(super) struct Found {
    /// What the ledger lacks; an entry for each TSS of which a source holds something to be told of.
    pub messages: BTreeMap<TssId, Vec<LostMessage>>,
    /// What the ledger has otherwise, in words.
    pub torn: BTreeMap<TssId, String>,
}

/// Those of these files that are node files.
pub(super) fn node_files(from: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in from {
        match witness::read(path) {
            Ok(Some(_)) => found.push(path.clone()),
            Ok(None) => bail!("there is no file {}", path.display()),
            Err(FileError::NoNodeFile) => {}
            Err(error @ FileError::Disk { .. }) => {
                let named = format!("{} cannot be read", path.display());
                return Err(anyhow::Error::from(error).context(named));
            }
        }
    }
    Ok(found)
}

/// Reads all of them.
pub(super) fn read_all(from: &[PathBuf], placer: &Placer<'_>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for path in from {
        let named = || format!("{} cannot be read", path.display());
        match witness::read(path) {
            Ok(Some(content)) => {
                for more in content.messages {
                    let der = more.message.der.clone();
                    let more = Some(more);
                    found.take(path, placer, LostMessage { der, more })?;
                }
            }
            Ok(None) => bail!("there is no file {}", path.display()),
            Err(FileError::NoNodeFile) => {
                read_archive(path, placer, &mut found).with_context(named)?;
            }
            Err(error @ FileError::Disk { .. }) => {
                return Err(anyhow::Error::from(error).context(named()));
            }
        }
    }
    // The same message may stand in several sources; what a node file says of it is worth more.
    for messages in found.messages.values_mut() {
        messages.sort_by_cached_key(|message| (message.der.clone(), message.more.is_none()));
        messages.dedup_by(|next, kept| next.der == kept.der);
    }
    Ok(found)
}

impl Found {
    fn take(
        &mut self,
        path: &Path,
        placer: &Placer<'_>,
        message: LostMessage,
    ) -> anyhow::Result<()> {
        match placer.place(&message.der)? {
            Placing::Elsewhere => {}
            Placing::Lacking(tss) => self.messages.entry(tss).or_default().push(message),
            Placing::Torn {
                tss,
                counter,
                has_another,
            } => {
                let what = match has_another {
                    true => "is another one in the ledger",
                    false => "is not in the ledger, which goes beyond it",
                };
                self.messages.entry(tss).or_default();
                let file = path.display();
                let told = self.torn.entry(tss);
                told.or_insert_with(|| format!("message {counter} of {file} {what}"));
            }
        }
        Ok(())
    }
}

fn read_archive(path: &Path, placer: &Placer<'_>, found: &mut Found) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(File::open(path)?);
    for entry in archive.entries()? {
        let entry = entry?;
        let is_log = entry.path()?.extension().is_some_and(|end| end == "log");
        if !is_log {
            continue;
        }
        let mut der = Vec::new();
        entry.take(MESSAGE_BYTES_MAX).read_to_end(&mut der)?;
        found.take(path, placer, LostMessage { der, more: None })?;
    }
    Ok(())
}
