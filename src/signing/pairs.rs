//! Tokens as the ledger knows them: by the label of the token that holds the keys, which may have a standby.

use super::meter::TokenReading;
use super::tokens::Token;
use super::{Role, TokenStatus};
use crate::csp::TokenState;
use crate::ledger::ActiveToken;
use crate::terms::Environment;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// All tokens of this node, by the label that the ledger knows.
pub type TokenPairs = BTreeMap<String, TokenPair>;

/// A token with the name of its section.
pub struct Member {
    /// Name of the `[[token]]` section; the same on all nodes where there is a standby.
    pub name: String,
    /// The token.
    pub token: Token,
}

/// A token and, where there is one, its standby: another token that the maker's replication keeps the same
/// keys in. The ledger says which of the two is active.
pub struct TokenPair {
    main: Member,
    standby: Option<Member>,
    /// Name of the active one, as this node has read it last. Only for those who look; whoever signs goes by
    /// what was loaded under the lock.
    active_seen: RwLock<Option<String>>,
}

impl TokenPair {
    /// A token without a standby.
    pub fn alone(main: Member) -> Self {
        Self::new(main, None)
    }

    /// A token and perhaps its standby.
    pub fn new(main: Member, standby: Option<Member>) -> Self {
        Self {
            main,
            standby,
            active_seen: RwLock::default(),
        }
    }

    /// What its keys are for.
    pub const fn environment(&self) -> Environment {
        self.main.token.environment()
    }

    /// The token that its keys were made in first.
    pub const fn main(&self) -> &Member {
        &self.main
    }

    /// The one that may take over.
    pub const fn standby(&self) -> Option<&Member> {
        self.standby.as_ref()
    }

    /// The one of this name, which the ledger calls active; where the ledger names none, it is the main one.
    /// `None` when no section of this node has that name.
    pub fn active(&self, name: Option<&str>) -> Option<&Member> {
        let Some(name) = name else {
            return Some(&self.main);
        };
        let mut members = std::iter::once(&self.main).chain(&self.standby);
        members.find(|member| member.name == name)
    }

    /// Remembers what the ledger says, for those who look.
    pub fn saw_active(&self, name: &str) {
        let mut seen = self
            .active_seen
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if seen.as_deref() != Some(name) {
            *seen = Some(name.to_owned());
        }
    }

    /// The active one as seen last.
    pub fn active_as_seen(&self) -> Option<&Member> {
        let seen = self
            .active_seen
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        self.active(seen.as_deref())
    }

    /// Whether its active token is there, as far as that is known without asking it.
    pub fn is_there(&self) -> bool {
        let state = |member: &Member| member.token.csp().vitals().state;
        let state = self.active_as_seen().map(state);
        matches!(state, Some(TokenState::Ready | TokenState::Paused))
    }

    /// Its tokens at this moment, for metrics.
    pub(super) fn readings<'a>(
        &'a self,
        label: &'a str,
    ) -> impl Iterator<Item = TokenReading<'a>> + 'a {
        let main = std::iter::once((label, &self.main));
        let standby = self.standby.iter();
        let standby = standby.map(|member| (member.name.as_str(), member));
        main.chain(standby).map(|(label, member)| TokenReading {
            label,
            waiting: member.token.waiting(),
            vitals: member.token.csp().vitals(),
            meter: member.token.meter(),
        })
    }

    /// How its tokens are, without asking them.
    pub(super) fn status(&self, label: &str) -> Vec<TokenStatus> {
        let active = self.active_as_seen().map(|member| member.name.as_str());
        let members = std::iter::once(&self.main).chain(&self.standby);
        let status = |member: &Member| {
            let vitals = member.token.csp().vitals();
            TokenStatus {
                name: member.name.clone(),
                label: label.to_owned(),
                environment: self.environment(),
                role: match active == Some(member.name.as_str()) {
                    true => Role::Active,
                    false => Role::Standby,
                },
                state: vitals.state,
                generation: vitals.generation,
                signs: member.token.question(&member.name),
            }
        };
        members.map(status).collect()
    }
}

/// What changes whenever another token, or the same one opened anew, stands behind a label: the switches so
/// far in the upper half, the token's generation in the lower one.
pub fn standing(active: Option<&ActiveToken>, generation: u64) -> u64 {
    let switches = active.map_or(0, |active| active.epoch);
    (switches << 32) | (generation & 0xFFFF_FFFF)
}

/// The token that new TSSs of this environment get their keys in: the first whose active one is there,
/// otherwise the first. `None` when there is no token of this environment.
pub fn preferred(tokens: &TokenPairs, environment: Environment) -> Option<(&String, &TokenPair)> {
    let fitting = || {
        let of_environment = |(_, pair): &(_, &TokenPair)| pair.environment() == environment;
        tokens.iter().filter(of_environment)
    };
    let is_there = |(_, pair): &(&String, &TokenPair)| pair.is_there();
    fitting().find(is_there).or_else(|| fitting().next())
}
