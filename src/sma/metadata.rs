//! Metadata: a flat map of text that tills keep at our resources. Never signed.

use super::plan::Rejection;
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
}
