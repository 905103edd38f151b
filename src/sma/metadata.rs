//! Metadata: a flat map of text that tills keep at our resources. Never signed.

use super::plan::Rejection;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Most pairs at one resource (HTTP dialect §10).
pub const METADATA_PAIRS_MAX: usize = 40;
/// Longest key, in characters.
pub const METADATA_KEY_LEN_MAX: usize = 40;
/// Longest value, in characters.
pub const METADATA_VALUE_LEN_MAX: usize = 500;

/// The pairs of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

/// What a request wants changed: `None` removes a key.
pub type MetadataPatch = BTreeMap<String, Option<String>>;

/// Digest of what a request wants changed; equal for equal wishes alone.
pub(super) fn patch_digest(patch: &MetadataPatch) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every part carries its length, so that no two different wishes can look alike.
    let mut part = |text: &str| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    };
    for (key, value) in patch {
        part(key);
        // Empty text is never kept, so it can stand for a key to be removed.
        part(value.as_deref().unwrap_or_default());
    }
    hash.finalize().into()
}

impl Metadata {
    /// Takes pairs over as they were stored.
    pub const fn from_pairs(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }

    /// The pairs, sorted by key.
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// These pairs with a patch merged in; refused beyond [`METADATA_PAIRS_MAX`].
    pub fn merged(&self, patch: &MetadataPatch) -> Result<Self, Rejection> {
        let mut pairs = self.0.clone();
        for (key, value) in patch {
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        if pairs.len() > METADATA_PAIRS_MAX {
            return Err(Rejection::TooManyMetadataPairs);
        }
        Ok(Self(pairs))
    }

    /// What of a wish that comes late may still be granted: keys that are not there. It is not known
    /// whether what is there is newer.
    pub(super) fn missing_of(&self, patch: &MetadataPatch) -> MetadataPatch {
        let is_new = |(key, value): &(&String, &Option<String>)| {
            value.is_some() && !self.0.contains_key(*key)
        };
        let new = patch.iter().filter(is_new);
        new.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}
