//! One command on its way through a lane, and its answer.

use super::{Reply, SigningError};
use crate::sma::{Caller, Command, Outcome};
use crate::terms::TssId;

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
}

/// Answers exactly once: if nobody does, dropping it does.
pub(super) struct AnswerOnce(Option<Reply>);

impl AnswerOnce {
    pub fn new(reply: Reply) -> Self {
        Self(Some(reply))
    }

    pub fn send(mut self, result: Result<Outcome, SigningError>) {
        if let Some(reply) = self.0.take() {
            reply(result);
        }
    }
}

impl Drop for AnswerOnce {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(DROPPED));
        }
    }
}
