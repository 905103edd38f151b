//! The sessions used for signing: bounded, opened when needed, given back when all went well.

use super::errors::{Fault, Trouble, classify};
use super::gate::lock;
use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Read-only sessions of one token and one generation.
pub(super) struct Pool {
    api: Pkcs11,
    slot: Slot,
    state: Mutex<PoolState>,
    freed: Condvar,
}

struct PoolState {
    idle: Vec<Session>,
    /// Idle ones and those on lease.
    open: usize,
    /// Falls below the configured number when the token allows fewer.
    limit: usize,
}

/// A session of the pool. After an error it is closed instead of given back: it may hold an unfinished
/// operation that makes the next one fail as well.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    session: Option<Session>,
}

impl Pool {
    pub(super) fn new(api: Pkcs11, slot: Slot, limit: usize) -> Self {
        let state = PoolState {
            idle: Vec::with_capacity(limit),
            open: 0,
            limit,
        };
        Self {
            api,
            slot,
            state: Mutex::new(state),
            freed: Condvar::new(),
        }
    }

    /// Takes a free session, opens one, or waits.
    pub(super) fn take(&self, wait: Duration) -> Result<Lease<'_>, Trouble> {
        let mut state = lock(&self.state);
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(self.lease(session));
            }
            if state.open < state.limit {
                state.open = state.open.saturating_add(1);
                drop(state);
                let error = match self.api.open_ro_session(self.slot) {
                    Ok(session) => return Ok(self.lease(session)),
                    Err(error) => error,
                };
                state = lock(&self.state);
                state.open = state.open.saturating_sub(1);
                if classify(&error) != Fault::Busy || state.open == 0 {
                    drop(state);
                    self.freed.notify_one();
                    return Err(error.into());
                }
                // The token has fewer sessions for us than configured: share those we got.
                state.limit = state.open;
                continue;
            }
            let (waited, timeout) = self
                .freed
                .wait_timeout_while(state, wait, |state| {
                    state.idle.is_empty() && state.open >= state.limit
                })
                .unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return Err(Trouble::Busy);
            }
            state = waited;
        }
    }

    /// Sessions on lease, and how many may be.
    pub(super) fn usage(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.open.saturating_sub(state.idle.len()), state.limit)
    }

    fn lease(&self, session: Session) -> Lease<'_> {
        Lease {
            pool: self,
            session: Some(session),
        }
    }
}

impl Lease<'_> {
    /// Does something with the session, which goes back to the pool only if that went well.
    pub(super) fn run<T, E: Into<Trouble>>(
        mut self,
        work: impl FnOnce(&Session) -> Result<T, E>,
    ) -> Result<T, Trouble> {
        // Taken out: if `work` fails or panics, `drop` finds no session to give back.
        let session = self.session.take().ok_or(Trouble::Busy)?;
        let done = work(&session).map_err(Into::into)?;
        self.session = Some(session);
        Ok(done)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        match self.session.take() {
            Some(session) => state.idle.push(session),
            None => state.open = state.open.saturating_sub(1),
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}
