//! One command on its way through a lane, and its answer.

use super::{Reply, SigningError};
use crate::sma::{Caller, Command, Outcome};
use crate::terms::TssId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::Span;

/// Told to a caller whose command was dropped on the way: shutdown, or a panic in the lane.
const DROPPED: SigningError = SigningError::Unavailable {
    reason: "the signing lane was interrupted",
    retry_after_s: 1,
};

/// A command with its caller.
pub(super) struct Job {
    pub tss: TssId,
    pub caller: Caller,
    pub command: Command,
    pub answer: AnswerOnce,
    /// Whether it dropped out of a batch before; it does so only once.
    pub tried_before: bool,
    /// Until when it waits for its predecessor, on the monotonic clock; `None` until it is found to be
    /// early.
    pub early_until_ms: Option<u64>,
    /// When an early one is looked at again, on the monotonic clock.
    pub early_look_ms: u64,
    /// Until when it waits for a TSS that somebody else holds, on the monotonic clock; `None` until that is so.
    pub locked_until_ms: Option<u64>,
    /// Given back when the job ends.
    pub place: Option<Place>,
}

impl Job {
    pub fn new(tss: TssId, caller: Caller, command: Command, answer: AnswerOnce) -> Self {
        Self {
            tss,
            caller,
            command,
            answer,
            tried_before: false,
            early_until_ms: None,
            early_look_ms: 0,
            locked_until_ms: None,
            place: None,
        }
    }
}

/// One of the places of a lane, taken by a command that waits or is at work.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// `None` when all places are taken.
    pub fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let one_more = |taken| (taken < max).then_some(taken + 1);
        let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
        taken.fetch_update(set, read, one_more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers exactly once: if nobody does, dropping it does.
pub(super) struct AnswerOnce {
    reply: Option<Reply>,
    /// What its traces belong to: the request that it answers.
    span: Span,
    /// From here to the answer.
    pub(super) way: Span,
}

impl AnswerOnce {
    /// Made where the command is handed in, because that is where the request is at work.
    pub fn new(reply: Reply) -> Self {
        Self {
            reply: Some(reply),
            span: Span::current(),
            way: tracing::debug_span!("command"),
        }
    }

    pub fn send(mut self, result: Result<Outcome, SigningError>) {
        if let Err(error) = &result {
            self.trace(error);
        }
        self.reply(result);
    }

    /// Says that there is no place. Quietly, because there may be a great many of them.
    pub fn turn_away(mut self, error: SigningError) {
        tracing::debug!(parent: &self.span, %error, "a command was turned away: {error}");
        self.reply(Err(error));
    }

    fn reply(&mut self, result: Result<Outcome, SigningError>) {
        if let Some(reply) = self.reply.take() {
            reply(result);
        }
    }

    /// Whose request a failure has hit; why it failed was traced once for all that it has hit.
    fn trace(&self, error: &SigningError) {
        match error {
            SigningError::Unavailable { .. } | SigningError::Broken { .. } => {
                tracing::warn!(parent: &self.span, %error, "a command was not carried out: {error}");
            }
            // The caller's own affair.
            SigningError::Rejected(_) | SigningError::Told(_) => {}
        }
    }
}

impl Drop for AnswerOnce {
    fn drop(&mut self) {
        if self.reply.is_some() {
            self.trace(&DROPPED);
            self.reply(Err(DROPPED));
        }
    }
}
