//! What the witnesses of a node tell others.

use super::tokens::AnchorLag;
use std::collections::BTreeMap;

/// What the witnesses of this node say, for readiness and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the ledger behind this node was compared.
    pub is_compared: bool,
    /// TSSs that wait for a person's decision.
    pub held: u64,
    /// Whether this process writes its node file.
    pub has_file: bool,
    /// Tokens that keep an anchor.
    pub anchors: Vec<String>,
    /// How far the anchor of a token is behind, where this node is the one that writes it.
    pub anchor_lag: BTreeMap<String, AnchorLag>,
}
