//! The signing lanes: batch commands, run `sma` → `csp` → `ledger`, answer; recover.
//!
//! Invariant: sign → commit → tell. A signature that was not durably committed never leaves this room,
//! and a batch whose commit failed or has an unknown outcome is finished with the same bytes before
//! anything new is signed for its TSSs (design decision 1). Deliberately absent: HTTP types, async.

mod bad_devices;
#[cfg(test)]
mod crash_tests;
mod doubt;
mod early;
mod entrance;
mod job;
mod lane;
mod lanes;
mod locked_out;
mod measured;
mod message;
mod meter;
mod new_tss;
mod pairs;
mod plan;
mod recovery;
mod sign_queue;
mod signed;
mod tokens;
mod trouble;

pub use lanes::{LaneSettings, Lanes};
pub use message::PlannedMessage;
pub use meter::{LaneMeter, LaneReading, TokenErrors, TokenMeter, TokenReading};
pub use pairs::{Member, TokenPair, TokenPairs, preferred, standing};
pub use signed::DEVICE_FLAWS;
pub use tokens::Token;

use crate::csp::TokenState;
use crate::sma::{Caller, Command, Outcome, Rejection, SeError};
use crate::terms::{Environment, TssId};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The caller broke a rule; nothing was signed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Signed and kept, and then this is the answer.
    #[error(transparent)]
    Told(#[from] SeError),
    /// Not now; the same call again is safe.
    #[error("signing is not possible at the moment: {reason}")]
    Unavailable {
        /// For the operator's log and the caller's message.
        reason: &'static str,
        /// Seconds after which another try makes sense.
        retry_after_s: u32,
    },
    /// Our bug or damaged data; this TSS stops signing until a person looks.
    #[error("the TSS stopped signing because {reason}")]
    Broken {
        /// What does not fit.
        reason: &'static str,
    },
}

/// What is behind a lock stays usable when somebody panicked while holding it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives the answer of a command, on a lane's thread; must not block.
pub type Reply = Box<dyn FnOnce(Result<Outcome, SigningError>) + Send>;

/// Asks one token whether its canary signs. Blocks for as long as the token takes, for ever if it hangs.
pub type Signs = Box<dyn FnOnce() -> bool + Send>;

/// Takes commands for any TSS. Shared by all doors.
pub trait Submit: Send + Sync {
    /// Queues the command in the lane of its TSS. `reply` is called exactly once, at once if the lane
    /// is full or stopped, and with "unavailable" if the command is lost on the way. After
    /// "unavailable" the command may have been carried out or may yet be: the same call again finds
    /// out, and signs nothing twice.
    fn submit(&self, tss: TssId, caller: Caller, command: Command, reply: Reply);

    /// Whether everything that was signed is known to be kept, so that the ledger takes what comes. Does not
    /// block.
    fn keeps_up(&self) -> bool;

    /// Per token: how it is, and how to ask it. Does not block; the caller asks, each token on its own.
    fn token_health(&self) -> Vec<TokenStatus>;
}

/// What a token does for its TSSs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It signs.
    Active,
    /// It waits for a switch.
    Standby,
}

/// How one token is, as far as is known without asking it.
pub struct TokenStatus {
    /// Name of its section.
    pub name: String,
    /// Label under which the ledger knows its keys.
    pub label: String,
    /// What its keys are for.
    pub environment: Environment,
    /// What it does.
    pub role: Role,
    /// Its state.
    pub state: TokenState,
    /// How often it was attached to.
    pub generation: u64,
    /// How to ask it.
    pub signs: Signs,
}

/// How many of the active tokens have to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokensNeeded {
    /// None: what is to be done needs no signature.
    None,
    /// One of them.
    #[default]
    Any,
    /// Each of them.
    Every,
}
