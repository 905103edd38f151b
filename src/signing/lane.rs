//! One lane: the thread-owned heart of signing.

use super::SigningError;
use super::bad_devices::BadDevices;
use super::doubt::refuse_doubtful;
use super::job::Job;
use super::lanes::LaneSettings;
use super::locked_out::LockedOut;
use super::measured::Measured;
use super::meter::LaneMeter;
use super::pairs::TokenPairs;
use super::plan::{BatchTime, PlannedTss, Told, by_tss, plan};
use super::recovery::{Unfinished, answer_by_fate};
use super::signed::{BadDevice, SignedTss, WRONG_KEY, sign_all};
use super::tokens::Deadline;
use super::trouble::Trouble;
use crate::ledger::{Batch, Clearance, LaneLedger, LedgerError, LoadedTss};
use crate::sma::{self, Command, Needs};
use crate::terms::{Clock, TssId, chain};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A lane owns its ledger connection and everything it must not forget between batches.
pub(super) struct Lane {
    pub(super) ledger: Box<dyn LaneLedger>,
    pub(super) tokens: Arc<TokenPairs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: Arc<sma::Settings>,
    pub(super) settings: LaneSettings,
    /// Signed, and not known to be kept: committed with the same bytes before anything else.
    pub(super) unfinished: Vec<Arc<Unfinished>>,
    /// Which clock correction each TSS has testified to.
    pub(super) clock_steps_seen: BTreeMap<TssId, u64>,
    /// Dropped out of a batch because a signature failed; first of the next one.
    pub(super) decided_anew: VecDeque<Job>,
    /// Came before their predecessors.
    pub(super) early: Vec<Job>,
    pub(super) trouble: Trouble,
    /// For TSSs that another node holds.
    pub(super) locked_out: LockedOut,
    /// Signs nothing more until a person has looked and started the server anew.
    pub(super) stopped: BTreeSet<TssId>,
    /// What was compared with the witnesses of this process.
    clearance: Clearance,
    /// Those that no TSS is made of, and those of unfinished batches.
    pub(super) bad_devices: BadDevices,
    /// What it has counted.
    pub(super) meter: Arc<LaneMeter>,
}

impl Lane {
    pub fn new(
        ledger: Box<dyn LaneLedger>,
        tokens: Arc<TokenPairs>,
        clock: Arc<dyn Clock>,
        rules: Arc<sma::Settings>,
        settings: LaneSettings,
    ) -> Self {
        Self {
            bad_devices: BadDevices::new(ledger.withheld()),
            clearance: ledger.clearance(),
            ledger,
            tokens,
            clock,
            rules,
            settings,
            unfinished: Vec::new(),
            clock_steps_seen: BTreeMap::new(),
            decided_anew: VecDeque::new(),
            early: Vec::new(),
            trouble: Trouble::default(),
            locked_out: LockedOut::default(),
            stopped: BTreeSet::new(),
            meter: Arc::default(),
        }
    }

    /// Runs one batch. Every job is answered, or kept in `decided_anew` for the next batch, or in
    /// `early`.
    pub(super) fn process(&mut self, jobs: Vec<Job>) {
        self.finish_unfinished();
        let tokens = &self.tokens;
        let active = |label: &str| tokens.get(label)?.active_as_seen();
        let section = |label: &str| active(label).map(|active| active.name.as_str());
        self.bad_devices.look_for_switches(section);
        let jobs = refuse_those(jobs, &NOT_KEPT, |job| self.has_unfinished(job.tss));
        let jobs = refuse_those(jobs, &STOPPED, |job| {
            // To give it up for good is what the person may decide.
            let is_farewell = matches!(job.command, Command::DeclareDefective);
            self.stopped.contains(&job.tss) && !is_farewell
        });
        let (clock, settings) = (Arc::clone(&self.clock), self.settings);
        let jobs = self.locked_out.queue_up(jobs, clock.as_ref(), &settings);
        let mut batches = vec![jobs];
        while let Some(jobs) = batches.pop() {
            batches.extend(self.work_off(jobs));
        }
        self.bad_devices.tell(self.ledger.as_mut());
    }

    /// Order is the point of this function: fenced, decided, signed, kept, told.
    ///
    /// Returns what has to be tried in smaller batches.
    fn work_off(&mut self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let (meter, clock) = (Arc::clone(&self.meter), Arc::clone(&self.clock));
        let mut measured = Measured::batch(&meter, clock.as_ref(), &jobs);
        let mut needs = needs_of(&jobs);
        let mut held = match measured.load(|| self.ledger.lock(&needs)) {
            Ok(held) => held,
            Err(error) => {
                self.trouble.tell(&error);
                return without_lock(jobs, &error);
            }
        };
        let late = held.late();
        let (late, jobs) = jobs.into_iter().partition(|job| late.contains(&job.tss));
        self.locked_out.wait(late, clock.as_ref(), &self.settings);
        let loaded = held.take_loaded();
        let jobs = refuse_doubtful(jobs, &loaded, &self.tokens, &self.clearance);
        if jobs.is_empty() {
            return Vec::new();
        }
        let time = BatchTime::of(clock.as_ref());
        let rounds = Rounds {
            loaded,
            rules: &self.rules,
            time,
            seen: &self.clock_steps_seen,
        };
        let planned = rounds.decide_all(jobs);
        let deadline = Deadline::after(clock.as_ref(), self.settings.hsm_timeout_ms);
        let signed = measured.sign(|| sign_all(planned, &self.tokens, &deadline));
        let sorted = rounds.drop_failed(signed);
        self.decided_anew.extend(sorted.again);
        self.stopped.extend(sorted.broken);
        self.bad_devices.take(sorted.bad_devices);
        let (batch, told, clock_told) = gather(sorted.kept);
        if batch.entries.is_empty() {
            drop(held);
            self.put_aside(told.into_iter().flat_map(Told::release).collect());
            return Vec::new();
        }
        self.bad_devices.withhold_used(&batch);
        needs.retain(|tss, _| batch.writes(*tss));
        // From here on the batch exists; if we fall, it is what we get up with.
        let unfinished = Arc::new(Unfinished {
            batch,
            needs,
            before: rounds.loaded,
            clock_told,
            clock_step: time.step,
        });
        self.unfinished.push(Arc::clone(&unfinished));
        let batch = &unfinished.batch;
        match measured.commit(batch, || held.commit(batch)) {
            Ok(()) => {
                self.was_kept(&unfinished);
                self.put_aside(told.into_iter().flat_map(Told::release).collect());
                // What came in front of its predecessor in this very batch.
                self.wake_early(&unfinished.batch);
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "a commit did not succeed; finishing it");
                let fates = self.finish_unfinished();
                self.put_aside(answer_by_fate(told, &fates));
            }
        }
        Vec::new()
    }
}

/// Answers all jobs, unless the ledger holds damaged data: one TSS with such rows must not stop the
/// others, so the jobs of each TSS are returned, to be tried alone.
fn without_lock(jobs: Vec<Job>, error: &LedgerError) -> Vec<Vec<Job>> {
    let by_tss = by_tss(jobs);
    if matches!(error, LedgerError::Damaged(_)) && by_tss.len() > 1 {
        return by_tss.into_values().collect();
    }
    let jobs = by_tss.into_values().flatten().collect();
    refuse_all(jobs, &unavailable(error));
    Vec::new()
}

fn needs_of(jobs: &[Job]) -> BTreeMap<TssId, Needs> {
    let mut needs = BTreeMap::<TssId, Needs>::new();
    for job in jobs {
        needs
            .entry(job.tss)
            .or_default()
            .add(&job.caller, &job.command);
    }
    needs
}

/// Answers some jobs with an error and returns the others.
pub(super) fn refuse_those(
    jobs: Vec<Job>,
    error: &SigningError,
    refused: impl Fn(&Job) -> bool,
) -> Vec<Job> {
    let (refused, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(refused);
    refuse_all(refused, error);
    others
}

/// What both rounds of deciding look at: the first one, and the one without what could not be signed.
struct Rounds<'a> {
    loaded: BTreeMap<TssId, LoadedTss>,
    rules: &'a sma::Settings,
    time: BatchTime,
    seen: &'a BTreeMap<TssId, u64>,
}

/// What is left after signing.
#[derive(Default)]
struct Sorted {
    kept: Vec<PlannedTss>,
    again: Vec<Job>,
    broken: Vec<TssId>,
    bad_devices: Vec<BadDevice>,
}

impl Rounds<'_> {
    fn decide_all(&self, jobs: Vec<Job>) -> Vec<PlannedTss> {
        by_tss(jobs)
            .into_iter()
            .filter_map(|(tss, jobs)| self.decide(tss, jobs))
            .collect()
    }

    /// `None` (jobs answered) for a TSS that the ledger did not load, which its contract excludes.
    fn decide(&self, tss: TssId, mut jobs: Vec<Job>) -> Option<PlannedTss> {
        let Some(state) = self.loaded.get(&tss) else {
            let reason = "the ledger did not load the TSS";
            refuse_all(jobs, &SigningError::Broken { reason });
            return None;
        };
        let seen = self.seen.get(&tss).copied().unwrap_or_default();
        loop {
            match plan(tss, state, jobs, self.rules, self.time, seen) {
                Ok(planned) => return Some(planned),
                Err(spoiled) => {
                    spoiled.by.answer.send(Err(spoiled.error));
                    jobs = spoiled.others;
                }
            }
        }
    }

    /// Where a signature failed, the jobs before it stay with the bytes they have; the others drop
    /// out: once they are decided anew, the second time they are told to come back.
    fn drop_failed(&self, signed: Vec<SignedTss>) -> Sorted {
        let mut sorted = Sorted::default();
        for tss in signed {
            if tss.is_whole() {
                sorted.kept.push(tss.planned);
                continue;
            }
            let rest = tss.give_up_the_rest();
            sorted.again.extend(rest.again);
            sorted.broken.extend(rest.is_broken.then_some(rest.tss));
            sorted.bad_devices.extend(rest.bad_device);
            // The same jobs on the same state at the same time give the same messages, so the
            // signatures fit.
            if let Some(mut prefix) = self.decide(rest.tss, rest.before) {
                for (message, signature) in prefix.messages.iter_mut().zip(rest.signatures) {
                    message.signature = signature;
                }
                sorted.kept.push(prefix);
            }
        }
        sorted
    }
}

/// Everything to write, everything that may be told afterwards, and which TSSs have testified to the
/// latest correction of the clock by then.
fn gather(kept: Vec<PlannedTss>) -> (Batch, Vec<Told>, BTreeSet<TssId>) {
    let mut batch = Batch::default();
    let mut told = Vec::with_capacity(kept.len());
    let mut clock_told = BTreeSet::new();
    for planned in kept {
        if !planned.changes_something() {
            told.push(planned.into_told());
            continue;
        }
        let knows_clock = planned.knows_clock.then_some(planned.tss);
        match planned.into_batch() {
            Ok((entry, answers)) => {
                clock_told.extend(knows_clock);
                batch.entries.push(entry);
                told.push(answers);
            }
            // Dropped jobs answer by themselves.
            Err(error) => tracing::error!(error = %chain(&error), "a batch entry was given up"),
        }
    }
    (batch, told, clock_told)
}

/// Told when a signed batch waits for its commit: the same call again will find it.
pub(super) const NOT_KEPT: SigningError = SigningError::Unavailable {
    reason: "the ledger did not confirm the commit",
    retry_after_s: 1,
};

/// Told for a TSS that was found broken earlier.
const STOPPED: SigningError = SigningError::Broken { reason: WRONG_KEY };

/// Answers every job with the same error.
pub(super) fn refuse_all(jobs: Vec<Job>, error: &SigningError) {
    let again = |error: &SigningError| match error {
        SigningError::Unavailable {
            reason,
            retry_after_s,
        } => SigningError::Unavailable {
            reason,
            retry_after_s: *retry_after_s,
        },
        SigningError::Broken { reason } => SigningError::Broken { reason },
        SigningError::Rejected(rejection) => SigningError::Rejected(rejection.clone()),
        SigningError::Told(told) => SigningError::Told(told.clone()),
    };
    for job in jobs {
        job.answer.send(Err(again(error)));
    }
}

/// What a caller is told when the ledger did not let the lane work.
pub(super) fn unavailable(error: &LedgerError) -> SigningError {
    match error {
        LedgerError::Unavailable { .. } | LedgerError::Unsafe(_) => SigningError::Unavailable {
            reason: "the ledger is not available",
            retry_after_s: 1,
        },
        LedgerError::Damaged(_) | LedgerError::Exists(_) => SigningError::Broken {
            reason: "the ledger holds damaged data",
        },
    }
}
