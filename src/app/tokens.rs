//! The tokens of a node, opened as its configuration says.

use super::NodeError;
use super::opening::Opening;
use crate::config::Config;
use crate::csp::pkcs11::{Pkcs11Token, Selector, TokenConfig};
use crate::csp::{Csp as _, TokenState, Wrapping};
use crate::ledger::{LedgerError, Store};
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
    for (section, (token, absence)) in config.tokens.iter().zip(opening.open(&config.tokens)?) {
        missing = missing.or(absence.map(|source| NodeError::Token {
            name: section.name.clone(),
            source,
        }));
        opened.push((section, token));
    }
    let is_there = |(_, token): &(_, Arc<Pkcs11Token>)| match token.vitals().state {
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
    refuse_twice(&opened)?;
    let awaited: Vec<_> = opened.iter().map(|(_, token)| Arc::clone(token)).collect();
    let pairs = pair(opened, store, clock)?;
    awaited.iter().for_each(|token| token.seek());
    Ok(pairs)
}

/// One token in two sections, be it as a standby, would be its own standby, or TEST and LIVE at once.
fn refuse_twice(opened: &[(&TokenConfig, Arc<Pkcs11Token>)]) -> Result<(), NodeError> {
    let mut rest = opened;
    while let Some(((_, one), others)) = rest.split_first() {
        if others.iter().any(|(_, other)| one.is_same_device(other)) {
            return Err(NodeError::TokenTwice(one.token().to_owned()));
        }
        rest = others;
    }
    Ok(())
}

/// Each token with its standby, by its label.
fn pair(
    opened: Vec<(&TokenConfig, Arc<Pkcs11Token>)>,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> Result<TokenPairs, NodeError> {
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
            .map(|(section, csp)| member(section, csp, clock))
            .transpose()?;
        let pair = TokenPair::new(member(section, csp, clock)?, standby);
        see_active(store, &label, &pair, clock.as_ref())?;
        if pairs.insert(label.clone(), pair).is_some() {
            return Err(NodeError::TokenTwice(label));
        }
    }
    Ok(pairs)
}

/// Reads which one is active; makes the row that says so where there is none and there is a choice.
fn see_active(
    store: &Store,
    label: &str,
    pair: &TokenPair,
    clock: &dyn Clock,
) -> Result<(), NodeError> {
    let active = match pair.standby() {
        Some(_) => Some(store.pair_up(label, &pair.main().name, clock.now())?),
        // It may have had one, which may be the active one still.
        None => store.active_token(label)?,
    };
    let Some(active) = active else {
        return Ok(());
    };
    if pair.active(Some(&active.section)).is_none() {
        return Err(NodeError::ActiveUnknown {
            label: label.to_owned(),
            section: active.section,
        });
    }
    pair.saw_active(&active.section);
    Ok(())
}

/// Label under which the ledger knows the keys of the token of this section; `None` when nobody knows it
/// before the token was there once. Asks no token.
///
/// # Errors
/// [`LedgerError::Unavailable`] when the database does not answer.
pub fn label_of(store: &Store, section: &TokenConfig) -> Result<Option<String>, LedgerError> {
    match &section.token {
        Selector::Label(label) => Ok(Some(label.clone())),
        Selector::Serial(_) | Selector::Slot(_) => store.token_label(&section.name),
    }
}

fn member(
    section: &TokenConfig,
    csp: Arc<Pkcs11Token>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<Member> {
    Ok(Member {
        name: section.name.clone(),
        token: Token::start(csp, section.environment, clock, section.sessions_max)?,
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
    }
}
