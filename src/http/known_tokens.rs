//! Access tokens that were read before, each with what it says.
//!
//! Only whole and good ones come in, so nobody can fill it with others.

use super::tokens::TokenBearer;
use crate::terms::SeTime;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// How many are remembered.
const LEN_MAX: usize = 10_000;

/// See the module comment.
#[derive(Default)]
pub(super) struct KnownTokens(RwLock<HashMap<String, KnownToken>>);

/// What a token says.
#[derive(Clone)]
pub(super) struct KnownToken {
    pub bearer: TokenBearer,
    pub secret_id: String,
    /// In unix seconds.
    pub expires: i64,
}

impl KnownTokens {
    /// The token, unless it has expired.
    pub fn find(&self, token: &str, now: SeTime) -> Option<KnownToken> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(token)?;
        (known.expires > now.unix_seconds()).then(|| known.clone())
    }

    /// Remembers a token that was read and found good.
    pub fn remember(&self, token: &str, what: KnownToken) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LEN_MAX {
            known.clear();
        }
        known.insert(token.to_owned(), what);
    }
}
