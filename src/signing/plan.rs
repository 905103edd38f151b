//! From the commands of one TSS to messages ready to be signed, and back to answers.

use super::SigningError;
use super::early::Early;
use super::job::Job;
use super::message::PlannedMessage;
use crate::csp::KeyPair;
use crate::ledger::{ActiveToken, LoadedTss, TssBatch};
use crate::sma::{self, Answer, Plan, Slice, Step};
use crate::terms::{Clock, ClockStep, SeTime, SignatureCounter, TssId};
use std::collections::BTreeMap;

/// How far behind the last message the clock may be; the message then gets the last time again
/// (design decision 9).
const CLOCK_BEHIND_S_MAX: i64 = 1;

/// The time a batch was decided at.
#[derive(Clone, Copy)]
pub(super) struct BatchTime {
    pub now: SeTime,
    pub step: Option<ClockStep>,
}

impl BatchTime {
    /// This moment.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            now: clock.now(),
            step: clock.last_step(),
        }
    }
}

/// What was decided for one TSS: the state afterwards, the messages in between, the answers.
pub(super) struct PlannedTss {
    pub tss: TssId,
    pub expected_counter: Option<SignatureCounter>,
    pub key: Option<KeyPair>,
    pub token: Option<String>,
    pub active: Option<ActiveToken>,
    pub slice: Slice,
    pub messages: Vec<PlannedMessage>,
    pub jobs: Vec<DecidedJob>,
    /// Whether nothing is owed any more for the latest correction of the clock.
    pub knows_clock: bool,
}

/// A command whose log message cannot be written. The state it was recorded in is useless, so the
/// others must be decided without it.
pub(super) struct Spoiled {
    pub by: Job,
    pub error: SigningError,
    pub others: Vec<Job>,
}

/// A job with its decision; the answer holds once the first `messages` messages are kept.
pub(super) struct DecidedJob {
    pub job: Job,
    pub answer: Result<Answer, SigningError>,
    pub messages: usize,
}

/// Decides the jobs of one TSS in order, each on the state that the one before it leads to.
/// The same arguments give the same messages, byte for byte.
///
/// # Errors
/// [`Spoiled`] with the first job whose message cannot be written.
pub(super) fn plan(
    tss: TssId,
    loaded: &LoadedTss,
    jobs: Vec<Job>,
    rules: &sma::Settings,
    time: BatchTime,
    clock_step_seen: u64,
) -> Result<PlannedTss, Box<Spoiled>> {
    let known = loaded.slice.tss.as_ref();
    let mut planned = PlannedTss {
        tss,
        expected_counter: known.map(|tss| tss.device.signature_counter),
        key: loaded.key.clone(),
        token: loaded.token.clone(),
        active: loaded.active.clone(),
        slice: loaded.slice.clone(),
        messages: Vec::new(),
        jobs: Vec::with_capacity(jobs.len()),
        knows_clock: false,
    };
    // A TSS that comes into being now has never seen the clock before its correction.
    let mut owed = time
        .step
        .filter(|step| known.is_some() && step.sequence > clock_step_seen);
    let mut jobs = jobs.into_iter();
    while let Some(job) = jobs.next() {
        let answer = match sma::decide(&planned.slice, &job.caller, &job.command, rules, time.now) {
            Plan::Refuse(rejection) => Err(rejection.into()),
            Plan::Act { steps, answer } => match planned.act(&steps, time.now, &mut owed) {
                Ok(()) => answer.map_err(SigningError::from),
                Err(Failed::Clock(error)) => Err(error),
                Err(Failed::Message(error)) => {
                    let before = planned.jobs.into_iter().map(|decided| decided.job);
                    return Err(Box::new(Spoiled {
                        by: job,
                        error,
                        others: before.chain(jobs).collect(),
                    }));
                }
            },
        };
        let messages = planned.messages.len();
        planned.jobs.push(DecidedJob {
            job,
            answer,
            messages,
        });
    }
    planned.knows_clock = owed.is_none();
    Ok(planned)
}

/// Why a plan could not be followed.
enum Failed {
    /// Nothing was recorded yet.
    Clock(SigningError),
    /// The state is spoiled.
    Message(SigningError),
}

impl PlannedTss {
    fn act(
        &mut self,
        steps: &[Step],
        now: SeTime,
        owed: &mut Option<ClockStep>,
    ) -> Result<(), Failed> {
        if steps.iter().any(|step| step.message.is_some()) {
            self.require_clock(now).map_err(Failed::Clock)?;
            if let Some(step) = owed.take() {
                let update = sma::time_update(&step);
                self.record(&update, now).map_err(Failed::Message)?;
            }
        }
        steps
            .iter()
            .try_for_each(|step| self.record(step, now))
            .map_err(Failed::Message)
    }

    fn require_clock(&self, now: SeTime) -> Result<(), SigningError> {
        let last = self
            .slice
            .tss
            .as_ref()
            .map_or(SeTime::UNSET, |tss| tss.last_se_time);
        let behind_s = last.unix_seconds() - now.unix_seconds();
        if behind_s <= CLOCK_BEHIND_S_MAX {
            return Ok(());
        }
        tracing::error!(
            tss.id = %self.tss, behind_s,
            "TSS {}: the clock of this node is {behind_s} s behind the last log message", self.tss
        );
        Err(SigningError::Unavailable {
            reason: "the clock is behind the last log message",
            retry_after_s: u32::try_from(behind_s).unwrap_or(u32::MAX),
        })
    }

    fn record(&mut self, step: &Step, now: SeTime) -> Result<(), SigningError> {
        let Some(stamped) = self.slice.record(step, now) else {
            return Ok(());
        };
        self.messages.push(PlannedMessage::new(stamped)?);
        Ok(())
    }

    /// Whether anything has to be written.
    pub fn changes_something(&self) -> bool {
        self.slice.changed != sma::Changed::default()
    }

    /// Only the answers.
    pub fn into_told(self) -> Told {
        Told {
            tss: self.tss,
            jobs: self.jobs,
            slice: self.slice,
        }
    }

    /// What to write, and what may be told once it is written. Every message must have its signature.
    pub fn into_batch(mut self) -> Result<(TssBatch, Told), SigningError> {
        let mut messages = Vec::with_capacity(self.messages.len());
        for message in std::mem::take(&mut self.messages) {
            messages.push(message.into_signed(&mut self.slice)?);
        }
        let entry = TssBatch {
            tss: self.tss,
            expected_counter: self.expected_counter,
            slice: self.slice.clone(),
            active: self.active.take(),
            messages,
        };
        Ok((entry, self.into_told()))
    }
}

/// What a commit will let us tell.
pub(super) struct Told {
    pub tss: TssId,
    pub jobs: Vec<DecidedJob>,
    pub slice: Slice,
}

impl Told {
    /// The commit is durable: now, and only now, the answers. Returns those that may get a better one,
    /// because they came before their predecessors.
    pub fn release(self) -> Vec<Early> {
        let mut early = Vec::new();
        for DecidedJob { job, answer, .. } in self.jobs {
            match answer {
                Err(SigningError::Rejected(rejection)) if rejection.is_early() => {
                    let refusal = rejection.into();
                    early.push(Early { job, refusal });
                }
                Err(error) => job.answer.send(Err(error)),
                Ok(answer) => {
                    let missing = SigningError::Broken {
                        reason: "the answer is not in its own state",
                    };
                    job.answer.send(self.slice.outcome(answer).ok_or(missing));
                }
            }
        }
        early
    }

    /// The batch is signed but not kept yet. Nothing of it is told; the same call again will find it.
    pub fn withhold(self) {
        for decided in self.jobs {
            decided.job.answer.send(Err(super::lane::NOT_KEPT));
        }
    }
}

/// Which TSSs a batch names, with its jobs in the order they came.
pub(super) fn by_tss(jobs: Vec<Job>) -> BTreeMap<TssId, Vec<Job>> {
    let mut sorted = BTreeMap::<TssId, Vec<Job>>::new();
    for job in jobs {
        sorted.entry(job.tss).or_default().push(job);
    }
    sorted
}
