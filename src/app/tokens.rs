//! The tokens of a node, opened as its configuration says.

use super::NodeError;
use crate::config::Config;
use crate::csp::pkcs11::{Pkcs11Token, Selector, TokenConfig};
use crate::csp::{Csp, CspError, TokenState, Wrapping};
use crate::ledger::Store;
use crate::signing::{Member, Token, TokenPair, TokenPairs, TokensNeeded};
use crate::terms::{Clock, Entropy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Opens all tokens. One that is not there is waited for in the background, as far as `start_when` allows.
pub(super) fn open(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<TokenPairs, NodeError> {
    let opening = Opening {
        wrapping: wrapping(config, store),
        needed: config.start_when,
        store,
        clock,
        entropy,
    };
    let mut opened = Vec::with_capacity(config.tokens.len());
    let mut missing = None;
    for section in &config.tokens {
        let (csp, absence) = opening.open(section)?;
        missing = missing.or(absence.map(|source| NodeError::Token {
            name: section.name.clone(),
            source,
        }));
        opened.push((section, csp));
    }
    let is_there = |(_, csp): &(_, Arc<dyn Csp>)| match csp.vitals().state {
        // Paused: its module is being initialised anew for another token.
        TokenState::Ready | TokenState::Paused => true,
        TokenState::Gone | TokenState::PinRefused => false,
    };
    match missing {
        Some(missing) if config.start_when == TokensNeeded::None || opened.iter().any(is_there) => {
            drop(missing);
        }
        Some(missing) => return Err(missing),
        None => {}
    }
    let mut pairs = TokenPairs::new();
    let (standbys, mains): (Vec<_>, Vec<_>) = opened
        .into_iter()
        .partition(|(section, _)| section.standby_of.is_some());
    let mut standbys: BTreeMap<String, _> = standbys
        .into_iter()
        .filter_map(|(section, csp)| Some((section.standby_of.clone()?, (section, csp))))
        .collect();
    for (section, csp) in mains {
        let label = csp.token().to_owned();
        let standby = standbys.remove(&section.name);
        let standby = standby
            .map(|(section, csp)| member(section, csp))
            .transpose()?;
        let pair = TokenPair::new(member(section, csp)?, standby);
        if pair.standby().is_some() {
            opening.pair_up(&label, &pair)?;
        }
        if pairs.insert(label.clone(), pair).is_some() {
            return Err(NodeError::TokenTwice(label));
        }
    }
    Ok(pairs)
}

fn member(section: &TokenConfig, csp: Arc<dyn Csp>) -> std::io::Result<Member> {
    Ok(Member {
        name: section.name.clone(),
        token: Token::start(csp, section.environment, section.sessions_max)?,
    })
}

/// How long the main token of each label must not sign until its standby takes over, in seconds.
pub(super) fn switch_after_s(config: &Config, pairs: &TokenPairs) -> BTreeMap<String, u32> {
    let after_s = |(label, pair): (&String, &TokenPair)| {
        let standby = pair.standby()?;
        let mut sections = config.tokens.iter();
        let section = sections.find(|section| section.name == standby.name)?;
        Some((label.clone(), section.switch_after_s))
    };
    pairs.iter().filter_map(after_s).collect()
}

/// Keys that were wrapped can be used whatever the settings say now.
pub fn wrapping(config: &Config, store: &Store) -> Wrapping {
    Wrapping {
        vault: Arc::new(store.clone()),
        is_for_new_keys: config.wraps_keys,
        handles_max: config.wrapped_handles_max,
    }
}

struct Opening<'a> {
    wrapping: Wrapping,
    needed: TokensNeeded,
    store: &'a Store,
    clock: &'a Arc<dyn Clock>,
    entropy: &'a Arc<dyn Entropy>,
}

impl Opening<'_> {
    /// Makes the row that says which one is active, or reads it.
    fn pair_up(&self, label: &str, pair: &TokenPair) -> Result<(), NodeError> {
        let name = &pair.main().name;
        let active = self.store.pair_up(label, name, self.clock.now())?;
        if pair.active(Some(&active.section)).is_none() {
            return Err(NodeError::ActiveUnknown {
                label: label.to_owned(),
                section: active.section,
            });
        }
        pair.saw_active(&active.section);
        Ok(())
    }

    /// The token, and why it is not there if it is not.
    fn open(&self, section: &TokenConfig) -> Result<(Arc<dyn Csp>, Option<CspError>), NodeError> {
        let section = &TokenConfig {
            wrapping: Some(self.wrapping.clone()),
            ..section.clone()
        };
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
