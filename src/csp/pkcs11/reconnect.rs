//! Losing a token and coming back to it.
//!
//! Invariant: what belongs to one attachment (login, sessions, handles) never lives on in the next one.

use super::attachment::{Attachment, Occasion};
use super::condition::{Condition, Token};
use super::errors::{Known, Trouble};
use super::gate::lock;
use super::module::{CALL_WAIT_MAX, is_refusal};
use super::slots;
use crate::csp::{CspError, ModuleError};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Token {
    /// Marks the token as lost and has it repaired.
    pub(super) fn lose(&self, attachment: &Arc<Attachment>, trouble: &Trouble) -> CspError {
        let answer = trouble.describe();
        let lost = {
            let mut condition = lock(&self.condition);
            let current = matches!(&*condition, Condition::Ready(present) if Arc::ptr_eq(present, attachment));
            // The caller still owns the attachment, so nothing is closed under this lock.
            current
                .then(|| std::mem::replace(&mut *condition, Condition::Gone(Some(answer.clone()))))
        };
        if lost.is_some() {
            let label = &self.label;
            tracing::error!(token = label, %answer, "token {label}: lost, a repair begins");
            self.module.request_repair(self.clock.monotonic_ms());
        }
        self.gone(Some(answer))
    }

    /// Whether a missing canary may be made.
    fn occasion(&self) -> Occasion {
        match (self.on_trial, self.attached.load(Ordering::Acquire)) {
            (true, _) => Occasion::Trial,
            (false, 0) => Occasion::Opening,
            (false, 1..) => Occasion::Recovery,
        }
    }

    /// Tries a new session and a new login on a token that is lost. That is enough where only they were
    /// lost, and the other tokens of the module do not notice it. `false` where it was not: one that is lost
    /// again meanwhile deserves a new session and login first, like any other.
    pub(super) fn reconnect(&self) -> bool {
        if !self.is_gone() {
            return true;
        }
        let Some(slot) = *lock(&self.slot) else {
            return false;
        };
        let Some(_ticket) = self.module.gate().enter(CALL_WAIT_MAX) else {
            return false;
        };
        let api = self.module.api();
        let attached = match slots::is_still_in(api, slot, &self.config.token) {
            Ok(true) => Attachment::open_in(
                slot,
                api,
                &self.config,
                self.module.generation(),
                self.occasion(),
                (self.clock.as_ref(), self.entropy.as_ref()),
            ),
            Ok(false) => Err(Trouble::Known(Known::TokenNotFound)),
            Err(trouble) => Err(trouble),
        };
        match attached {
            Ok(attachment) => {
                self.take(attachment);
                true
            }
            Err(trouble) => {
                self.stay_gone(&trouble);
                !self.is_gone()
            }
        }
    }

    /// Closes all sessions. Only under the closed gate of the module.
    pub(super) fn detach(&self) {
        let ready = {
            let mut condition = lock(&self.condition);
            match &*condition {
                Condition::Ready(_) => Some(std::mem::replace(&mut *condition, Condition::Paused)),
                Condition::Paused
                | Condition::Gone(_)
                | Condition::Refused(_)
                | Condition::Closed => None,
            }
        };
        // Closed out of that lock: a module that hangs must not keep those waiting who only ask how it is.
        if let Some(Condition::Ready(attachment)) = ready {
            // A session that outlives its generation would close, or sign with, a stranger's.
            assert!(
                Arc::strong_count(&attachment) == 1,
                "nobody uses a session while the gate is closed"
            );
        }
    }

    /// Attaches to the token after the module was initialised anew. Only under the closed gate.
    pub(super) fn attach_again(&self) {
        match &*lock(&self.condition) {
            Condition::Paused | Condition::Gone(_) => {}
            Condition::Ready(_) | Condition::Refused(_) | Condition::Closed => return,
        }
        let attached = Attachment::open(
            self.module.api(),
            &self.config,
            self.module.generation(),
            self.occasion(),
            (self.clock.as_ref(), self.entropy.as_ref()),
        );
        match attached {
            Ok((attachment, _)) => self.take(attachment),
            Err(trouble) => self.stay_gone(&trouble),
        }
    }

    fn take(&self, attachment: Attachment) {
        *lock(&self.slot) = Some(attachment.slot);
        let generation = self.attached.fetch_add(1, Ordering::AcqRel) + 1;
        if self.is_gone() {
            let label = &self.label;
            tracing::warn!(token = label, generation, "token {label}: back");
        }
        self.change(Condition::Ready(Arc::new(attachment)));
    }

    fn stay_gone(&self, trouble: &Trouble) {
        let answer = trouble.describe();
        self.module.remember_refusal(&self.config, trouble);
        self.change(if is_refusal(trouble) {
            let label = &self.label;
            tracing::error!(token = label, %answer, "token {label}: PIN refused, not tried again");
            Condition::Refused(answer)
        } else {
            Condition::Gone(Some(answer))
        });
    }

    /// The module could not be initialised. Only under the closed gate.
    pub(super) fn stay_away(&self, answer: &ModuleError) {
        if !matches!(*lock(&self.condition), Condition::Refused(_)) {
            self.change(Condition::Gone(Some(answer.clone())));
        }
    }

    fn change(&self, condition: Condition) {
        let mut present = lock(&self.condition);
        let is_closed = matches!(*present, Condition::Closed);
        let outdated = match is_closed {
            true => condition,
            false => std::mem::replace(&mut *present, condition),
        };
        drop(present);
        self.changed.notify_all();
        // Out of the lock: what comes too late for its owner may have sessions to close.
        drop(outdated);
    }

    /// Closes all sessions for good. That is a call into the module like any other: not while it is finalized, and
    /// not in a later generation, where the number of a session may be another's.
    pub(super) fn close(&self) {
        let condition = std::mem::replace(&mut *lock(&self.condition), Condition::Closed);
        if let Condition::Ready(attachment) = condition {
            let ticket = self.module.gate().enter(CALL_WAIT_MAX);
            if ticket.is_some() && attachment.generation == self.module.generation() {
                drop(attachment);
            } else {
                std::mem::forget(attachment);
            }
        }
    }

    /// Whether a repair is still needed.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*lock(&self.condition), Condition::Gone(_))
    }
}
