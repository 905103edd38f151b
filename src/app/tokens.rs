//! The tokens of a node, opened as its configuration says.

use super::NodeError;
use crate::config::Config;
use crate::csp::pkcs11::{Pkcs11Token, Selector, TokenConfig};
use crate::csp::{Csp, CspError, TokenState};
use crate::ledger::Store;
use crate::signing::{Member, Token, TokenPair, TokenPairs, TokensNeeded};
use crate::terms::{Clock, Entropy};
use std::sync::Arc;

/// Opens all tokens. One that is not there is waited for in the background, as far as `start_when` allows.
pub(super) fn open(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<TokenPairs, NodeError> {
    let opening = Opening {
        needed: config.start_when,
        store,
        clock,
        entropy,
    };
    let mut pairs = TokenPairs::new();
    let mut missing = None;
    for section in &config.tokens {
        let (csp, absence) = opening.open(section)?;
        missing = missing.or(absence.map(|source| NodeError::Token {
            name: section.name.clone(),
            source,
        }));
        let label = csp.token().to_owned();
        let member = Member {
            name: section.name.clone(),
            token: Token::start(csp, section.environment, section.sessions_max)?,
        };
        if pairs
            .insert(label.clone(), TokenPair::alone(member))
            .is_some()
        {
            return Err(NodeError::TokenTwice(label));
        }
    }
    let is_there = |pair: &TokenPair| pair.main().token.csp().state() == TokenState::Ready;
    match missing {
        Some(missing)
            if config.start_when != TokensNeeded::None && !pairs.values().any(is_there) =>
        {
            Err(missing)
        }
        Some(_) | None => Ok(pairs),
    }
}

struct Opening<'a> {
    needed: TokensNeeded,
    store: &'a Store,
    clock: &'a Arc<dyn Clock>,
    entropy: &'a Arc<dyn Entropy>,
}

impl Opening<'_> {
    /// The token, and why it is not there if it is not.
    fn open(&self, section: &TokenConfig) -> Result<(Arc<dyn Csp>, Option<CspError>), NodeError> {
        let (clock, entropy) = (Arc::clone(self.clock), Arc::clone(self.entropy));
        let absence = match Pkcs11Token::open(section.clone(), entropy, clock) {
            Ok(token) => {
                self.store
                    .remember_token_label(&section.name, token.token())?;
                return Ok((Arc::new(token), None));
            }
            Err(error) => error,
        };
        let failed = |source| NodeError::Token {
            name: section.name.clone(),
            source,
        };
        let may_wait = match (&absence, self.needed) {
            (CspError::DeviceGone { .. }, TokensNeeded::Any | TokensNeeded::None) => true,
            // It is remembered and not tried again; nothing is to be signed either.
            (CspError::PinRefused { .. }, TokensNeeded::None) => true,
            (_, _) => false,
        };
        if !may_wait {
            return Err(failed(absence));
        }
        let label = match &section.token {
            Selector::Label(label) => Some(label.clone()),
            Selector::Serial(_) | Selector::Slot(_) => self.store.token_label(&section.name)?,
        };
        let Some(label) = label else {
            return Err(NodeError::LabelUnknown {
                name: section.name.clone(),
                source: absence,
            });
        };
        tracing::error!(
            token = %section.name, error = %absence,
            "token {}: not there; its TSSs cannot sign until it appears", section.name
        );
        let (clock, entropy) = (Arc::clone(self.clock), Arc::clone(self.entropy));
        let awaited = Pkcs11Token::await_return(section.clone(), label, entropy, clock);
        Ok((Arc::new(awaited.map_err(failed)?), Some(absence)))
    }
}
