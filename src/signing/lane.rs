//! One lane: the thread-owned heart of signing.

use super::SigningError;
use super::job::Job;
use super::lanes::LaneSettings;
use super::plan::{BatchTime, PlannedTss, Told, by_tss, plan};
use super::recovery::answer_by_fate;
use super::tokens::Token;
use crate::csp::{CspError, KeyPair};
use crate::ledger::{Batch, LaneLedger, LedgerError, LoadedTss};
use crate::sma::{self, Needs};
use crate::terms::{Clock, TssId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A lane owns its ledger connection and everything it must not forget between batches.
pub(super) struct Lane {
    pub(super) ledger: Box<dyn LaneLedger>,
    pub(super) tokens: Arc<BTreeMap<String, Token>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: Arc<sma::Settings>,
    pub(super) settings: LaneSettings,
    /// Signed, and not known to be kept: committed with the same bytes before anything else.
    pub(super) unfinished: Vec<Arc<Batch>>,
    /// Which clock correction each TSS has testified to.
    pub(super) clock_steps_seen: BTreeMap<TssId, u64>,
    /// Dropped out of a batch because a signature failed; first of the next one.
    pub(super) decided_anew: VecDeque<Job>,
}

impl Lane {
    /// Runs one batch. Every job is answered, or kept in `decided_anew` for the next batch.
    ///
    /// Order is the point of this function: fenced, decided, signed, kept, told.
    pub(super) fn process(&mut self, jobs: Vec<Job>) {
        self.finish_unfinished();
        let jobs = refuse_blocked(jobs, &self.blocked());
        let mut held = match self.ledger.lock(&needs_of(&jobs)) {
            Ok(held) => held,
            Err(error) => return refuse_all(jobs, &unavailable(&error)),
        };
        let loaded = held.take_loaded();
        let time = BatchTime {
            now: self.clock.now(),
            step: self.clock.last_step(),
        };
        let rounds = Rounds {
            loaded,
            rules: &self.rules,
            time,
            seen: &self.clock_steps_seen,
        };
        let planned = rounds.decide_all(jobs);
        let signed = sign_all(planned, &self.tokens, self.settings.hsm_timeout_ms);
        let (kept, again) = rounds.drop_failed(signed);
        let (batch, told) = gather(kept);
        self.decided_anew.extend(again);
        if batch.entries.is_empty() {
            drop(held);
            return told.into_iter().for_each(Told::release);
        }
        // From here on the batch exists; if we fall, it is what we get up with.
        let batch = Arc::new(batch);
        self.unfinished.push(Arc::clone(&batch));
        match held.commit(&batch) {
            Ok(()) => {
                self.unfinished.retain(|other| !Arc::ptr_eq(other, &batch));
                self.remember_clock_step(&told, time);
                told.into_iter().for_each(Told::release);
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a commit did not succeed; finishing it");
                let fates = self.finish_unfinished();
                self.remember_clock_step(&told, time);
                answer_by_fate(told, &fates);
            }
        }
    }

    fn remember_clock_step(&mut self, told: &[Told], time: BatchTime) {
        let Some(step) = time.step else { return };
        for tss in told.iter().filter_map(|told| told.slice.tss.as_ref()) {
            self.clock_steps_seen.insert(tss.id, step.sequence);
        }
    }
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

/// Jobs of a TSS with an unfinished batch come back later.
fn refuse_blocked(jobs: Vec<Job>, blocked: &BTreeSet<TssId>) -> Vec<Job> {
    let (blocked, free): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| blocked.contains(&job.tss));
    refuse_all(blocked, &NOT_KEPT);
    free
}

/// What both rounds of deciding look at: the first one, and the one without what could not be signed.
struct Rounds<'a> {
    loaded: BTreeMap<TssId, LoadedTss>,
    rules: &'a sma::Settings,
    time: BatchTime,
    seen: &'a BTreeMap<TssId, u64>,
}

impl Rounds<'_> {
    fn decide_all(&self, jobs: Vec<Job>) -> Vec<PlannedTss> {
        by_tss(jobs)
            .into_iter()
            .filter_map(|(tss, jobs)| self.decide(tss, jobs))
            .collect()
    }

    /// `None` (jobs answered) for a TSS that the ledger did not load, which its contract excludes.
    fn decide(&self, tss: TssId, jobs: Vec<Job>) -> Option<PlannedTss> {
        let Some(state) = self.loaded.get(&tss) else {
            let reason = "the ledger did not load the TSS";
            refuse_all(jobs, &SigningError::Broken { reason });
            return None;
        };
        let seen = self.seen.get(&tss).copied().unwrap_or_default();
        Some(plan(tss, state, jobs, self.rules, self.time, seen))
    }

    /// Where a signature failed, the jobs before it stay with the bytes they have; the others drop
    /// out: once they are decided anew, the second time they are told to come back.
    fn drop_failed(&self, signed: Vec<SignedTss>) -> (Vec<PlannedTss>, Vec<Job>) {
        let mut kept = Vec::with_capacity(signed.len());
        let mut again = Vec::new();
        for tss in signed {
            if tss.signed_count() == tss.planned.messages.len() {
                kept.push(tss.planned);
            } else {
                let (id, before, signatures) = tss.give_up_the_rest(&mut again);
                // The same jobs on the same state at the same time give the same messages, so the
                // signatures fit.
                if let Some(mut prefix) = self.decide(id, before) {
                    for (message, signature) in prefix.messages.iter_mut().zip(signatures) {
                        message.signature = signature;
                    }
                    kept.push(prefix);
                }
            }
        }
        (kept, again)
    }
}

/// A TSS with as many of its messages signed as came before the first failure.
struct SignedTss {
    planned: PlannedTss,
    failure: Option<CspError>,
}

/// Signs everything, all TSSs at once, token by token.
fn sign_all(
    planned: Vec<PlannedTss>,
    tokens: &BTreeMap<String, Token>,
    timeout_ms: u64,
) -> Vec<SignedTss> {
    let mut work = BTreeMap::<String, (Vec<(usize, usize)>, Vec<(KeyPair, Vec<u8>)>)>::new();
    for (at, tss) in planned.iter().enumerate() {
        let (Some(token), Some(key)) = (&tss.token, &tss.key) else {
            continue;
        };
        let (places, digests) = work.entry(token.clone()).or_default();
        for (number, message) in tss.messages.iter().enumerate() {
            places.push((at, number));
            digests.push((key.clone(), message.digest.clone()));
        }
    }
    let mut signed: Vec<_> = planned
        .into_iter()
        .map(|planned| SignedTss {
            planned,
            failure: None,
        })
        .collect();
    for (token, (places, digests)) in work {
        let Some(token) = tokens.get(&token) else {
            continue;
        };
        for ((at, number), result) in places.into_iter().zip(token.sign_all(digests, timeout_ms)) {
            if let Some(tss) = signed.get_mut(at) {
                tss.take(number, result);
            }
        }
    }
    signed
}

impl SignedTss {
    /// Takes a signature over; the first failure ends it, so that no gap can arise.
    fn take(&mut self, number: usize, result: Result<Vec<u8>, CspError>) {
        if self.failure.is_some() {
            return;
        }
        match (result, self.planned.messages.get_mut(number)) {
            (Ok(signature), Some(message)) => message.signature = signature,
            (Ok(_), None) => {}
            (Err(error), _) => self.failure = Some(error),
        }
    }

    fn signed_count(&self) -> usize {
        self.planned
            .messages
            .iter()
            .take_while(|message| !message.signature.is_empty())
            .count()
    }

    /// Answers or puts aside the jobs whose messages were not all signed; returns the others, and the
    /// signatures they have.
    fn give_up_the_rest(self, again: &mut Vec<Job>) -> (TssId, Vec<Job>, Vec<Vec<u8>>) {
        let signed_count = self.signed_count();
        let id = self.planned.tss;
        let (answer, retry) = failure_answer(id, self.failure.as_ref());
        let mut before = Vec::new();
        for decided in self.planned.jobs {
            let mut job = decided.job;
            if decided.messages <= signed_count {
                before.push(job);
            } else if retry && !job.tried_before {
                job.tried_before = true;
                again.push(job);
            } else {
                job.answer.send(Err(answer.to_error()));
            }
        }
        let signatures = self
            .planned
            .messages
            .into_iter()
            .map(|message| message.signature);
        (id, before, signatures.take(signed_count).collect())
    }
}

/// What a caller is told whose message could not be signed.
#[derive(Clone, Copy)]
enum FailureAnswer {
    Later(&'static str),
    Never(&'static str),
}

impl FailureAnswer {
    const fn to_error(self) -> SigningError {
        match self {
            Self::Later(reason) => SigningError::Unavailable {
                reason,
                retry_after_s: 2,
            },
            Self::Never(reason) => SigningError::Broken { reason },
        }
    }
}

/// The answer, and whether deciding anew can help.
fn failure_answer(tss: TssId, error: Option<&CspError>) -> (FailureAnswer, bool) {
    let Some(error) = error else {
        tracing::error!(tss.id = %tss, "TSS {tss}: its token is not configured here");
        return (
            FailureAnswer::Later("the token of the TSS is not available here"),
            false,
        );
    };
    tracing::error!(tss.id = %tss, error = %chain(error), "TSS {tss}: log message not signed");
    match error {
        CspError::SessionLost { .. } | CspError::Failed { .. } => {
            (FailureAnswer::Later("the token failed to sign"), true)
        }
        CspError::Busy { .. } => (FailureAnswer::Later("the token is busy"), true),
        CspError::DeviceGone { .. } => (FailureAnswer::Later("the token is not reachable"), false),
        CspError::PinRefused { .. } => (
            FailureAnswer::Later("the token does not accept its PIN"),
            false,
        ),
        CspError::KeyMissing { .. } => (
            FailureAnswer::Later("the token does not show the key"),
            false,
        ),
        CspError::NotSupported { .. } => (
            FailureAnswer::Later("the token cannot make this signature"),
            false,
        ),
        CspError::WrongKey { .. } => (
            FailureAnswer::Never("its key in the token is not the expected one"),
            false,
        ),
    }
}

/// Everything to write, and everything that may be told afterwards.
fn gather(kept: Vec<PlannedTss>) -> (Batch, Vec<Told>) {
    let mut batch = Batch::default();
    let mut told = Vec::with_capacity(kept.len());
    for planned in kept {
        if !planned.changes_something() {
            told.push(planned.into_told());
            continue;
        }
        match planned.into_batch() {
            Ok((entry, answers)) => {
                batch.entries.push(entry);
                told.push(answers);
            }
            // Dropped jobs answer by themselves.
            Err(error) => tracing::error!(error = %chain(&error), "a batch entry was given up"),
        }
    }
    (batch, told)
}

/// Told when a signed batch waits for its commit: the same call again will find it.
pub(super) const NOT_KEPT: SigningError = SigningError::Unavailable {
    reason: "the ledger did not confirm the commit",
    retry_after_s: 1,
};

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
    tracing::error!(error = %chain(error), "the ledger did not let a lane work");
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

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
