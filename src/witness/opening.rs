//! Opening the node file of this process.

use super::WitnessError;
use super::file::{self, Content, NodeFile};
use super::keeper::WitnessSettings;
use crate::ledger::Store;
use crate::terms::Entropy;
use std::collections::BTreeMap;
use std::path::Path;

/// What a node begins with.
pub(super) struct Opened {
    pub file: Option<NodeFile>,
    /// Totals as the file knows them.
    pub totals: BTreeMap<String, u64>,
    /// This node as others know it: the same after a restart, so that nobody waits for it in vain.
    pub node: String,
}

fn node_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    hex::encode(bytes)
}

/// The node file, and what it says taken into memory; `None` where another process of this machine has it.
pub(super) fn open_file(
    settings: &WitnessSettings,
    ledger: &str,
    store: &Store,
    entropy: &dyn Entropy,
) -> Result<Opened, WitnessError> {
    let path = settings.file.as_path();
    let failed = |source| WitnessError::File {
        path: path.to_owned(),
        source,
    };
    let Some(lock) = file::lock(path).map_err(failed)? else {
        tracing::warn!(
            "another process writes the node file {}; what this one releases is witnessed by the tokens only",
            path.display()
        );
        return Ok(Opened {
            file: None,
            totals: BTreeMap::new(),
            node: node_id(entropy),
        });
    };
    let mut known = file::read(path).map_err(failed)?.unwrap_or_default();
    if !known.ledger.is_empty() && known.ledger != ledger {
        known = begin_anew(settings, path, ledger, &known)?;
    }
    ledger.clone_into(&mut known.ledger);
    if known.node.is_empty() {
        known.node = node_id(entropy);
    }
    if known.lines_damaged > 0 {
        tracing::warn!(
            lines = known.lines_damaged,
            "the node file {} was cut off; the rest of it counts",
            path.display()
        );
    }
    let file = NodeFile::begin(path, lock, &known).map_err(failed)?;
    store.released().remember(known.marks);
    Ok(Opened {
        file: Some(file),
        totals: known.totals,
        node: known.node,
    })
}

/// Moves the file of another ledger away, if a person wants that.
fn begin_anew(
    settings: &WitnessSettings,
    path: &Path,
    ledger: &str,
    known: &Content,
) -> Result<Content, WitnessError> {
    if !settings.begins_anew {
        return Err(WitnessError::OtherLedger {
            path: path.to_owned(),
            other: known.ledger.clone(),
            ledger: ledger.to_owned(),
        });
    }
    let kept = file::beside(path, &known.ledger);
    std::fs::rename(path, &kept).map_err(|source| WitnessError::File {
        path: path.to_owned(),
        source: file::FileError::Disk {
            action: "moved away",
            source,
        },
    })?;
    tracing::warn!(
        "the node file of the ledger {} is {} now",
        known.ledger,
        kept.display()
    );
    Ok(Content::default())
}
