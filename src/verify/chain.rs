//! The way from the certificate of a signer to a root (TR-03145-5 §6.1: hybrid model).

use super::certificates::{Certificate, Root};

/// Certificates in a chain at most; a longer one must be a circle.
const LEN_MAX: usize = 8;

/// What the way of one signer looks like.
pub(super) struct Chain {
    /// Where it ends.
    pub end: ChainEnd,
    /// When all certificates of it are valid at once; unix seconds, inclusive.
    pub valid: (i64, i64),
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChainEnd {
    /// At a root that is trusted.
    Trusted,
    /// At a self-signed certificate of the archive, named here.
    SelfSigned(String),
    /// Nowhere: the issuer named here is missing or did not sign.
    Broken(String),
}

/// Follows the issuers of `leaf` through the archive and the trusted roots.
pub(super) fn follow(leaf: &Certificate, known: &[Certificate], roots: &[Root]) -> Chain {
    let mut valid = (leaf.not_before, leaf.not_after);
    let mut present = leaf;
    for _ in 0..LEN_MAX {
        if roots.iter().any(|root| root.0.der == present.der) {
            return Chain {
                end: ChainEnd::Trusted,
                valid,
            };
        }
        let trusted = roots.iter().map(|root| &root.0);
        let issuer = trusted
            .chain(known)
            .find(|issuer| issuer.der != present.der && present.is_issued_by(issuer));
        match issuer {
            Some(issuer) => {
                valid = (
                    valid.0.max(issuer.not_before),
                    valid.1.min(issuer.not_after),
                );
                present = issuer;
            }
            None if present.is_self_issued() && present.is_issued_by(present) => {
                return Chain {
                    end: ChainEnd::SelfSigned(present.subject_text.clone()),
                    valid,
                };
            }
            None => break,
        }
    }
    Chain {
        end: ChainEnd::Broken(present.subject_text.clone()),
        valid,
    }
}
