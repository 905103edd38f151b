//! Whether what a lane is about to sign with was compared with the witnesses of this process.

use crate::terms::Bell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was compared: the database server behind the connections, and each token since it was last
/// opened. Clones share one. Clears everything until somebody guards it.
#[derive(Clone, Debug, Default)]
pub struct Clearance(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    asked: Arc<Bell>,
}

#[derive(Debug, Default)]
struct State {
    is_guarded: bool,
    /// Whether a lane has met a server that was not compared since the last look at this.
    was_asked: bool,
    server: Option<String>,
    /// Label of the token → its generation.
    tokens: BTreeMap<String, u64>,
}

impl Clearance {
    /// From now on only what is cleared is cleared.
    pub fn guard(&self) {
        self.state().is_guarded = true;
    }

    /// Rings when a lane meets something that was not compared.
    pub fn asked(&self) -> &Arc<Bell> {
        &self.0.asked
    }

    /// This server was compared; any other one is none any more.
    pub fn clear_server(&self, server: &str) {
        self.state().server = Some(server.to_owned());
    }

    /// This token was compared.
    pub fn clear_token(&self, token: &str, generation: u64) {
        self.state().tokens.insert(token.to_owned(), generation);
    }

    /// Whether this server was compared; asks for it otherwise.
    pub fn is_server_cleared(&self, server: &str) -> bool {
        let mut state = self.state();
        let cleared = !state.is_guarded || state.server.as_deref() == Some(server);
        state.was_asked |= !cleared;
        drop(state);
        self.ring_unless(cleared)
    }

    /// Whether this token was compared in this generation; wakes who compares otherwise. That it is another
    /// generation the token itself tells.
    pub fn is_token_cleared(&self, token: &str, generation: u64) -> bool {
        let state = self.state();
        let cleared = !state.is_guarded || state.tokens.get(token) == Some(&generation);
        drop(state);
        self.ring_unless(cleared)
    }

    /// Whether a lane has asked for its server since the last call.
    pub fn take_asked(&self) -> bool {
        std::mem::take(&mut self.state().was_asked)
    }

    fn ring_unless(&self, cleared: bool) -> bool {
        if !cleared {
            self.0.asked.ring();
        }
        cleared
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
