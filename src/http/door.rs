//! What every handler works with, and the two ways out of the async world.

use super::health::Health;
use super::limits::{Limits, Rates};
use super::meter::DoorMeter;
use super::problem::Problem;
use super::throttle::WrongLogins;
use super::tokens::Tokens;
use crate::export::Pace;
use crate::ledger::{LedgerError, SealingKey, Store, TssRow};
use crate::signing::{Submit, TokensNeeded};
use crate::sma::{self, Caller, Command, Outcome};
use crate::terms::{Clock, Entropy, LogFormat, TssId};
use crate::witness::{CheckStatus, Status};
use actix_web::rt::task::spawn_blocking;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, oneshot};
use tracing::Span;

/// Settings of the door.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// Log format of new TSSs.
    pub log_format: LogFormat,
    /// Life of an access token, in seconds.
    pub access_token_s: u32,
    /// Life of a refresh token, in seconds.
    pub refresh_token_s: u32,
    /// Exports that may be pending or working per TSS.
    pub exports_running_max: u32,
    /// Largest request body, in bytes.
    pub body_len_max: usize,
    /// HTTP worker threads; `None` for one per core.
    pub workers: Option<usize>,
    /// How often something may be called.
    pub rates: Rates,
    /// How many wrong logins are taken.
    pub wrong_logins: WrongLogins,
    /// Connections and how they behave.
    pub transport: Transport,
    /// How calls are traced.
    pub calls: CallTrace,
    /// Whether somebody collects the spans of calls.
    pub spans: bool,
    /// Whether organisations and API keys can be managed through HTTP.
    pub management: bool,
    /// Active tokens that have to sign for the node to be ready.
    pub ready_when: TokensNeeded,
    /// Limits of a TSS, which its answers name.
    pub rules: sma::Settings,
}

/// One trace per answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallTrace {
    /// None.
    Off,
    /// For those who look for something.
    Debug,
    /// Always.
    Info,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Connections open at a time; more wait until one ends.
    pub connections_max: usize,
    /// A client has this long to send a header, in milliseconds.
    pub header_timeout_ms: u32,
    /// A client has this long to send a body, in milliseconds.
    pub body_timeout_ms: u32,
    /// A client may take nothing of its answer for this long, in milliseconds.
    pub answer_timeout_ms: u32,
    /// Bytes that all bodies may take in memory at a time, at least [`BODY_IN_MEMORY_MAX`].
    pub bodies_len_max: usize,
}

/// Largest request body of the dialect, in bytes.
pub const BODY_LEN_MAX: usize = 1_048_576;

/// Names and values in the JSON of one body, about. An order of 4,000 lines has fewer.
pub(super) const VALUES_MAX: usize = 32_768;

/// What one of them takes in memory at most, in bytes: an array with a place for four, of which it has one.
pub(super) const VALUE_LEN_MAX: usize = 320;

/// The most that one body takes in memory, in bytes: its text, in a buffer that doubles as it grows, what is
/// copied of it, and its values.
pub const BODY_IN_MEMORY_MAX: usize = 3 * BODY_LEN_MAX + VALUES_MAX * VALUE_LEN_MAX;

/// What the door opens to.
#[derive(Clone)]
pub struct Door {
    /// Everything stored.
    pub store: Store,
    /// Everything signed.
    pub lanes: Arc<dyn Submit>,
    /// The time of this node.
    pub clock: Arc<dyn Clock>,
    /// Randomness of this node.
    pub entropy: Arc<dyn Entropy>,
    /// For PUKs and token secrets.
    pub sealing: Arc<SealingKey>,
    /// How fast exports are worked off here.
    pub export_pace: Arc<Pace>,
    /// Called when an export was requested.
    pub export_requested: Arc<dyn Fn() + Send + Sync>,
    /// Called when a device was taken from the pool.
    pub device_taken: Arc<dyn Fn() + Send + Sync>,
    /// What it counts.
    pub meter: DoorMeter,
    /// What the witnesses say of the ledger.
    pub witnesses: Arc<Mutex<Status>>,
    /// What the check of the ledger in the background has found.
    pub ledger_check: Arc<Mutex<CheckStatus>>,
    /// Settings.
    pub settings: DoorSettings,
}

/// The door at work: shared by all HTTP workers.
pub struct Desk {
    pub(super) door: Door,
    pub(super) tokens: Tokens,
    pub(super) health: Health,
    pub(super) limits: Limits,
    pub(super) request_ids: RequestIds,
    /// Held while a login without a live session, or an export, is looked for and then made, so that
    /// two calls of this node at the same time do not both make one.
    pub(super) making: Mutex<()>,
    /// Slow hashes at a time; more would only take the cores from the signers.
    hashing: Arc<Semaphore>,
}

/// Ids for requests that bring none: random for each start of a server, and counted. They are no secrets,
/// and randomness for each takes longer than parsing the request.
pub(super) struct RequestIds {
    start: u64,
    count: AtomicU64,
}

impl RequestIds {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut start = [0; 8];
        entropy.fill(&mut start);
        Self {
            start: u64::from_be_bytes(start),
            count: AtomicU64::default(),
        }
    }

    pub(super) fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:016x}", self.start)
    }
}

impl Desk {
    pub(super) fn new(door: Door) -> Result<Self, LedgerError> {
        let tokens = Tokens::open(&door)?;
        let limits = Limits::new(door.settings.rates);
        let request_ids = RequestIds::new(door.entropy.as_ref());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            door,
            tokens,
            health: Health::default(),
            limits,
            request_ids,
            making: Mutex::default(),
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }

    /// Asks the ledger, off the async workers.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.door.store.clone();
        let span = Span::current();
        match spawn_blocking(move || span.in_scope(|| question(&store))).await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(Problem::internal(&error)),
        }
    }

    /// Hands a command to the lane of its TSS and waits for the answer.
    pub(super) async fn submit(
        &self,
        tss: TssId,
        caller: Caller,
        command: Command,
    ) -> Result<Outcome, Problem> {
        let (answer, waiting) = oneshot::channel();
        let reply = Box::new(move |result| {
            // Nobody listens any more when the client has gone; what was signed is kept all the same.
            let _ = answer.send(result);
        });
        self.door.lanes.submit(tss, caller, command, reply);
        match waiting.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Problem::internal(&error)),
        }
    }

    /// Computes something slow, off the async workers and not too much of it at a time.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        // The permit goes along: work whose client has gone still takes its core.
        let span = Span::current();
        let result = spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(work)
        })
        .await;
        result.map_err(|error| Problem::internal(&error))
    }

    /// The TSS, if it is one of the caller's.
    pub(super) async fn tss(&self, caller: &Caller, id: TssId) -> Result<TssRow, Problem> {
        let found = self.ask(move |store| store.tss(id)).await?;
        found
            .filter(|row| {
                row.tss.organization == caller.organization
                    && row.tss.environment == caller.environment
            })
            .ok_or_else(Problem::no_tss)
    }
}
