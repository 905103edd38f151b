//! All lanes: where a command goes, how they start and how they stop.

use super::entrance::{Entrance, Exit, Taken, way_in};
use super::job::{AnswerOnce, Job};
use super::lane::{Lane, refuse_all, unavailable};
use super::meter::{Kept, LaneMeter, LaneReading, TokenReading};
use super::new_tss::{place_of, token_for_new};
use super::pairs::{TokenPair, TokenPairs};
use super::trouble::Trouble;
use super::{Reply, SigningError, Submit, TokenStatus, lock};
use crate::ledger::{LedgerError, Store};
use crate::sma::{self, Caller, Command};
use crate::terms::{Clock, TssId};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How lanes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Lanes per token.
    pub lanes_per_token: usize,
    /// Commands that may wait or be at work in one lane; the next one is told to come back.
    pub queue_len_max: usize,
    /// Commands taken into one commit.
    pub batch_len_max: usize,
    /// Longest wait of a batch for its signatures, in milliseconds; its TSSs are locked meanwhile.
    pub hsm_timeout_ms: u64,
    /// How long a command waits for a TSS that another node holds, in milliseconds.
    pub lock_wait_ms: u64,
    /// How long a step of a transaction waits for the steps before it, in milliseconds.
    pub early_wait_ms: u64,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            lanes_per_token: 2,
            queue_len_max: 1024,
            batch_len_max: 256,
            hsm_timeout_ms: 5000,
            lock_wait_ms: 5000,
            early_wait_ms: 2000,
        }
    }
}

/// How often a lane without work looks after an unfinished batch.
const IDLE_RETRY: Duration = Duration::from_millis(500);

/// How many TSSs whose token is known are remembered.
const TOKENS_KNOWN_MAX: usize = 100_000;

/// Every lane of this process.
pub struct Lanes {
    lanes: Vec<LaneHandle>,
    tokens: Arc<TokenPairs>,
    token_of: Arc<RwLock<HashMap<TssId, String>>>,
    router: Entrance,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The entrance of one lane.
#[derive(Clone)]
struct LaneHandle {
    token: String,
    entrance: Entrance,
}

impl Lanes {
    /// Starts all lanes. Each takes its own ledger connection.
    pub fn start(
        store: &Store,
        tokens: Arc<TokenPairs>,
        clock: &Arc<dyn Clock>,
        rules: sma::Settings,
        settings: LaneSettings,
    ) -> Result<Self, LedgerError> {
        let rules = Arc::new(rules);
        let mut lanes = Vec::new();
        let mut threads = Vec::new();
        for token in lane_tokens(&tokens, settings) {
            // A new TSS gets a device of the token whose lane it comes from.
            let ledger = store.lane_for_token(&token)?;
            let (tokens, clock) = (Arc::clone(&tokens), Arc::clone(clock));
            let mut lane = Lane::new(ledger, tokens, clock, Arc::clone(&rules), settings);
            let (entrance, exit) = way_in(settings.queue_len_max, Arc::clone(&lane.meter));
            threads.push(spawn(format!("lane-{}", lanes.len()), move || {
                run(&mut lane, &exit)
            })?);
            lanes.push(LaneHandle { token, entrance });
        }
        let token_of = Arc::new(RwLock::new(HashMap::new()));
        let (entrance, exit) = way_in(settings.queue_len_max, Arc::<LaneMeter>::default());
        let router = Router {
            store: store.clone(),
            lanes: lanes.clone(),
            tokens: Arc::clone(&tokens),
            token_of: Arc::clone(&token_of),
            trouble: Mutex::default(),
        };
        threads.push(spawn("lane-router".to_owned(), move || router.run(&exit))?);
        Ok(Self {
            lanes,
            tokens,
            token_of,
            router: entrance,
            threads: Mutex::new(threads),
        })
    }

    /// Each lane at this moment.
    pub fn lane_readings(&self) -> impl Iterator<Item = LaneReading<'_>> {
        let lanes = self.lanes.iter().map(|lane| &lane.entrance).enumerate();
        lanes.map(|(number, entrance)| reading(number.to_string(), entrance))
    }

    /// The way to the lanes of TSSs that this process has not met yet.
    pub fn router_reading(&self) -> LaneReading<'_> {
        reading("router".to_owned(), &self.router)
    }

    /// Each token at this moment. Asks none of them anything.
    pub fn token_readings(&self) -> impl Iterator<Item = TokenReading<'_>> {
        let tokens = self.tokens.iter();
        tokens.flat_map(|(label, pair)| pair.readings(label))
    }

    /// Takes no more commands, works off those that wait, and returns when all are answered.
    pub fn drain(&self) {
        self.router.close();
        // The router ends first, because it feeds the lanes.
        let mut threads = std::mem::take(&mut *lock(&self.threads));
        if let Some(router) = threads.pop() {
            join(router);
        }
        for lane in &self.lanes {
            lane.entrance.close();
        }
        threads.into_iter().for_each(join);
    }
}

fn reading(name: String, entrance: &Entrance) -> LaneReading<'_> {
    LaneReading {
        name,
        depth: entrance.depth(),
        places: entrance.places(),
        meter: entrance.meter(),
    }
}

impl Submit for Lanes {
    fn submit(&self, tss: TssId, caller: Caller, command: Command, reply: Reply) {
        let answer = AnswerOnce::new(reply);
        let job = Job::new(tss, caller, command, answer);
        let known = self
            .token_of
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tss)
            .cloned();
        match known {
            Some(token) => hand_over(&self.lanes, &token, job),
            // Finding the token may mean asking the ledger, which must not happen on this thread.
            None => self.router.enter(job),
        }
    }

    fn keeps_up(&self) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.all(|lane| lane.entrance.meter().unfinished() == 0)
    }

    fn token_health(&self) -> Vec<TokenStatus> {
        let status = |(label, pair): (&String, &TokenPair)| pair.status(label);
        self.tokens.iter().flat_map(status).collect()
    }
}

/// Finds the token of a TSS that this process has not met yet.
struct Router {
    store: Store,
    lanes: Vec<LaneHandle>,
    tokens: Arc<TokenPairs>,
    token_of: Arc<RwLock<HashMap<TssId, String>>>,
    trouble: Mutex<Trouble>,
}

impl Router {
    fn run(&self, jobs: &Exit) {
        loop {
            let job = match jobs.wait(IDLE_RETRY) {
                Taken::Job(job) => *job,
                Taken::Nothing => continue,
                Taken::Closed => return,
            };
            // A panic ends this command, not the router; dropping the job answers it.
            if catch_unwind(AssertUnwindSafe(|| self.route(job))).is_err() {
                tracing::error!("the way of a command to its lane ended in a panic");
            }
        }
    }

    fn route(&self, job: Job) {
        match self.store.token_of(job.tss) {
            Ok(Some(token)) => {
                lock(&self.trouble).is_over();
                let tss = job.tss;
                hand_over(&self.lanes, &token, job);
                // Only now, so that no later command of this TSS can overtake this one.
                self.remember(tss, token);
            }
            Ok(None) => self.hand_over_new(job),
            Err(error) => self.refuse(job, &error),
        }
    }

    fn refuse(&self, job: Job, error: &LedgerError) {
        lock(&self.trouble).tell(error);
        refuse_all(vec![job], &unavailable(error));
    }

    /// A TSS that does not exist can only be about to be assigned: any token of its environment will
    /// do, since the device that it gets says where its key is.
    fn hand_over_new(&self, job: Job) {
        match token_for_new(&self.store, &self.tokens, &job) {
            Ok(Some(token)) => hand_over(&self.lanes, token, job),
            Ok(None) => job.answer.send(Err(SigningError::Unavailable {
                reason: "no token is configured for this environment",
                retry_after_s: 60,
            })),
            Err(error) => self.refuse(job, &error),
        }
    }

    fn remember(&self, tss: TssId, token: String) {
        let mut known = self
            .token_of
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_KNOWN_MAX {
            known.clear();
        }
        known.insert(tss, token);
    }
}

/// The lanes to start, each with the token it belongs to.
fn lane_tokens(tokens: &TokenPairs, settings: LaneSettings) -> Vec<String> {
    let lanes = settings.lanes_per_token.max(1);
    tokens
        .keys()
        .flat_map(|token| std::iter::repeat_n(token.clone(), lanes))
        .collect()
}

/// `(token, hash(tss) mod lanes)`: one TSS, one lane, so that its commands stay in order. A TSS whose token is not
/// configured here belongs to any: to be declared defective it needs no signature.
fn hand_over(lanes: &[LaneHandle], token: &str, job: Job) {
    let of_token = || lanes.iter().filter(|lane| lane.token == token);
    let lane = match of_token().count() {
        0 => lanes.get(place_of(job.tss, lanes.len())),
        count => of_token().nth(place_of(job.tss, count)),
    };
    match lane {
        Some(lane) => lane.entrance.enter(job),
        None => job.answer.send(Err(SigningError::Unavailable {
            reason: "no token is configured here",
            retry_after_s: 60,
        })),
    }
}

/// The life of a lane's thread: until its queue is closed and empty.
fn run(lane: &mut Lane, queue: &Exit) {
    loop {
        lane.meter.keeps(&Kept {
            waiting_early: lane.early.len(),
            locked_out: lane.locked_out.len(),
            unfinished: lane.unfinished.len(),
            stopped: lane.stopped.len(),
        });
        let mut jobs: Vec<Job> = lane.decided_anew.drain(..).collect();
        jobs.extend(lane.locked_out.take_due(lane.clock.as_ref()));
        jobs.extend(lane.take_due_early());
        if jobs.is_empty() {
            match queue.wait(lane.sleep_at_most(IDLE_RETRY)) {
                Taken::Job(job) => jobs.push(*job),
                Taken::Nothing => {
                    guarded(lane, |lane| drop(lane.finish_unfinished()));
                    continue;
                }
                Taken::Closed => break,
            }
        }
        // Group commit without a timer: whatever came while the last batch was at work.
        while jobs.len() < lane.settings.batch_len_max
            && let Some(job) = queue.next()
        {
            jobs.push(job);
        }
        guarded(lane, |lane| lane.process(jobs));
    }
    let mut waiting = lane.locked_out.take_all();
    waiting.extend(lane.take_all_early());
    guarded(lane, |lane| lane.process(waiting));
    if !lane.unfinished.is_empty() {
        tracing::error!(
            "a signed batch could not be committed before the end; it was never released"
        );
    }
}

/// A panic ends this batch, not the lane: its jobs answer by being dropped, and the unfinished batch,
/// if there is one, is finished first thing next time.
pub(super) fn guarded(lane: &mut Lane, work: impl FnOnce(&mut Lane)) {
    if catch_unwind(AssertUnwindSafe(|| work(lane))).is_err() {
        tracing::error!("a signing lane panicked; its batch was given up, the lane goes on");
    }
}

fn spawn(
    name: String,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, LedgerError> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map_err(|source| LedgerError::Unavailable {
            action: "start a thread for a signing lane",
            source: Box::new(source),
        })
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a signing lane ended by a panic");
    }
}
