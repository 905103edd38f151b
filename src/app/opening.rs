//! Opens the tokens of a node at its start, as far as they are there.
//!
//! A module that hangs, or takes long, keeps neither the tokens of the others waiting nor a server from starting that
//! may start without it. Nothing is repaired before all were opened: that would disturb those of the same module.

use super::NodeError;
use super::tokens::label_of;
use crate::csp::pkcs11::{Pkcs11Token, TokenConfig};
use crate::csp::{Csp as _, CspError, ModuleError, Wrapping};
use crate::ledger::Store;
use crate::signing::TokensNeeded;
use crate::terms::{Clock, Entropy, chain};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long a token that does not answer is waited for by a server that may start without it, in milliseconds.
const ANSWER_WAIT_MS: u64 = 10_000;

/// What opening a token has come to.
type Outcome = Result<Pkcs11Token, CspError>;

/// A token, and why it is not there if it is not.
pub(super) type Opened = (Arc<Pkcs11Token>, Option<CspError>);

/// See the module comment.
pub(super) struct Opening<'a> {
    pub wrapping: Wrapping,
    pub needed: TokensNeeded,
    pub store: &'a Store,
    pub clock: &'a Arc<dyn Clock>,
    pub entropy: &'a Arc<dyn Entropy>,
}

impl Opening<'_> {
    /// All tokens, in the order of their sections. One that is not there is not looked for yet.
    pub fn open(&self, sections: &[TokenConfig]) -> Result<Vec<Opened>, NodeError> {
        let wrapping = |section: &TokenConfig| TokenConfig {
            wrapping: Some(self.wrapping.clone()),
            ..section.clone()
        };
        let sections: Vec<_> = sections.iter().map(wrapping).collect();
        let mut outcomes = self.wait(&self.begin(&sections)?);
        let mut opened = Vec::with_capacity(sections.len());
        for (at, section) in sections.iter().enumerate() {
            let outcome = outcomes.remove(&at).unwrap_or_else(|| {
                Err(CspError::DeviceGone {
                    token: section.name.clone(),
                    source: Some(ModuleError("its module has not answered".to_owned())),
                })
            });
            opened.push(self.take(section, outcome)?);
        }
        Ok(opened)
    }

    /// One thread for each module, which opens its tokens one after the other.
    fn begin(&self, sections: &[TokenConfig]) -> std::io::Result<Receiver<(usize, Outcome)>> {
        let mut modules = BTreeMap::<&Path, Vec<(usize, TokenConfig)>>::new();
        for (at, section) in sections.iter().enumerate() {
            let of_module = modules.entry(&section.module).or_default();
            of_module.push((at, section.clone()));
        }
        let (tell, told) = channel();
        for of_module in modules.into_values() {
            let (tell, clock, entropy) = (
                tell.clone(),
                Arc::clone(self.clock),
                Arc::clone(self.entropy),
            );
            let open = move || {
                for (at, section) in of_module {
                    let opened =
                        Pkcs11Token::open(section, Arc::clone(&entropy), Arc::clone(&clock));
                    // Nobody waits any more: it will be found by whoever looks for it.
                    if tell.send((at, opened)).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new()
                .name("open-tokens".to_owned())
                .spawn(open)?;
        }
        Ok(told)
    }

    /// Waits for all of them; for those that do not answer only as long as the server cannot start without.
    fn wait(&self, told: &Receiver<(usize, Outcome)>) -> BTreeMap<usize, Outcome> {
        let mut outcomes = BTreeMap::<usize, Outcome>::new();
        let until_ms = self.clock.monotonic_ms().saturating_add(ANSWER_WAIT_MS);
        loop {
            let is_enough = match self.needed {
                TokensNeeded::Every => false,
                TokensNeeded::Any => outcomes.values().any(Result::is_ok),
                TokensNeeded::None => true,
            };
            let answer = if is_enough {
                let left_ms = until_ms.saturating_sub(self.clock.monotonic_ms());
                told.recv_timeout(Duration::from_millis(left_ms)).ok()
            } else {
                told.recv().ok()
            };
            let Some((at, outcome)) = answer else {
                return outcomes;
            };
            outcomes.insert(at, outcome);
        }
    }

    fn take(&self, section: &TokenConfig, outcome: Outcome) -> Result<Opened, NodeError> {
        let absence = match outcome {
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
            // Busy: a call of somebody else hangs in its module.
            (
                CspError::DeviceGone { .. } | CspError::Busy { .. },
                TokensNeeded::Any | TokensNeeded::None,
            ) => true,
            // It is remembered and not tried again; nothing is to be signed either.
            (CspError::PinRefused { .. }, TokensNeeded::None) => true,
            (_, _) => false,
        };
        if !may_wait {
            return Err(failed(absence));
        }
        let Some(label) = label_of(self.store, section)? else {
            return Err(NodeError::LabelUnknown {
                name: section.name.clone(),
                source: absence,
            });
        };
        tracing::error!(
            token = %section.name, error = %chain(&absence),
            "token {}: not there; its TSSs cannot sign until it appears", section.name
        );
        let (clock, entropy) = (Arc::clone(self.clock), Arc::clone(self.entropy));
        let awaited = Pkcs11Token::await_return(section.clone(), label, entropy, clock);
        Ok((Arc::new(awaited.map_err(failed)?), Some(absence)))
    }
}
