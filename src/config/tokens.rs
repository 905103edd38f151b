//! The `[[token]]` sections beside each other: names, standbys, LIVE.

use super::raw::value;
use super::{ConfigError, UNCERTIFIED_LIVE_SENTENCE};
use crate::csp::pkcs11::{RawToken, TokenConfig};
use crate::terms::Environment;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn check_tokens(
    raw: Vec<RawToken>,
    folder: &Path,
) -> Result<Vec<TokenConfig>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut tokens = Vec::with_capacity(raw.len());
    for token in raw {
        let token = token.check(folder).map_err(ConfigError::Token)?;
        if !names.insert(token.name.clone()) {
            return Err(value(
                "token.name",
                "must differ between [[token]] sections",
            ));
        }
        let is_same =
            |other: &TokenConfig| (&other.module, &other.token) == (&token.module, &token.token);
        if tokens.iter().any(is_same) {
            let problem =
                "leads to the very same token as another section; choose them by serial number";
            return Err(value("token", problem));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(value(
            "token",
            "is missing: add a [[token]] section, see hsm-config/",
        ));
    }
    check_standbys(&tokens)?;
    Ok(tokens)
}

fn check_standbys(tokens: &[TokenConfig]) -> Result<(), ConfigError> {
    let mut mains = BTreeSet::new();
    let wrong = |problem| Err(value("token.standby_of", problem));
    for token in tokens {
        let Some(name) = &token.standby_of else {
            continue;
        };
        let Some(main) = tokens.iter().find(|main| main.name == *name) else {
            return wrong("must be the name of another [[token]] section");
        };
        if main.standby_of.is_some() {
            return wrong("must name a token that is no standby itself");
        }
        if main.environment != token.environment {
            return wrong("must name a token of the same environment");
        }
        if !mains.insert(name) {
            return wrong("may name each token only once");
        }
    }
    Ok(())
}

/// LIVE is for people who know what it means without a certificate (design decision 11).
pub(super) fn check_live(
    tokens: &[TokenConfig],
    sentence: Option<&str>,
) -> Result<(), ConfigError> {
    let live = tokens
        .iter()
        .any(|token| token.environment == Environment::Live);
    if !live || sentence == Some(UNCERTIFIED_LIVE_SENTENCE) {
        return Ok(());
    }
    let problem = format!("must be {UNCERTIFIED_LIVE_SENTENCE:?} to use a LIVE token");
    Err(ConfigError::Value {
        key: "danger_uncertified_live",
        problem,
    })
}
