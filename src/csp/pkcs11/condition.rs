//! What stands behind a [`super::Pkcs11Token`]: its condition, and what a failed call means for it.

use super::attachment::{Attachment, Occasion};
use super::config::TokenConfig;
use super::curves;
use super::errors::{Fault, Trouble, classify};
use super::gate::{Ticket, lock};
use super::keys::{self, KeyEntry, Purpose};
use super::module::{CALL_WAIT_MAX, Module, is_refusal};
use crate::csp::{CspError, KeyId, KeyPair, ModuleError, TokenState, TokenVitals};
use crate::terms::{Clock, Curve, Entropy};
use cryptoki::session::Session;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the module keeps a weak reference to.
pub(super) struct Token {
    pub(super) label: String,
    pub(super) config: TokenConfig,
    pub(super) module: Arc<Module>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) condition: Mutex<Condition>,
    pub(super) changed: Condvar,
    /// One pair at a time: generation needs a session beyond those of the pool.
    pub(super) generating: Mutex<()>,
    /// How it is attached after the module was initialised anew.
    pub(super) again: Occasion,
}

pub(super) enum Condition {
    Ready(Arc<Attachment>),
    /// The module is being initialised anew although this token was well: callers wait.
    Paused,
    /// Lost; a repair is under way: callers are told at once.
    Gone(Option<ModuleError>),
    /// The PIN was refused: only a person can help.
    Refused(ModuleError),
}

/// A call into the token: nobody finalizes the module while it is alive.
pub(super) struct Pass<'a> {
    /// First, so that the last owner closes the sessions before the ticket goes back.
    pub(super) attachment: Arc<Attachment>,
    _ticket: Ticket<'a>,
}

impl Token {
    pub(super) const fn wait(&self) -> Duration {
        Duration::from_millis(self.config.session_wait_ms)
    }

    /// Starts a call. A token that is lost says so at once; one that only shares its module with a lost
    /// one waits for the module.
    pub(super) fn enter(&self) -> Result<Pass<'_>, CspError> {
        match &*lock(&self.condition) {
            Condition::Ready(_) | Condition::Paused => {}
            Condition::Gone(source) => return Err(self.gone(source.clone())),
            Condition::Refused(source) => return Err(self.refused(source.clone())),
        }
        let ticket = self
            .module
            .gate()
            .enter(self.wait())
            .ok_or_else(|| Trouble::Busy.settle(&self.label, "be used"))?;
        match &*lock(&self.condition) {
            Condition::Ready(attachment) => Ok(Pass {
                attachment: Arc::clone(attachment),
                _ticket: ticket,
            }),
            Condition::Paused => Err(self.gone(None)),
            Condition::Gone(source) => Err(self.gone(source.clone())),
            Condition::Refused(source) => Err(self.refused(source.clone())),
        }
    }

    fn gone(&self, source: Option<ModuleError>) -> CspError {
        CspError::DeviceGone {
            token: self.label.clone(),
            source,
        }
    }

    fn refused(&self, source: ModuleError) -> CspError {
        CspError::PinRefused {
            token: self.label.clone(),
            source,
        }
    }

    pub(super) fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        // Some modules sign a digest of any length, which no verifier would make sense of.
        if digest.len() != curves::digest_len(key.public_key.curve) {
            return Err(CspError::NotSupported {
                token: self.label.clone(),
                action: "sign a digest of this length with this key",
                source: None,
            });
        }
        let pass = self.enter()?;
        let attachment = &pass.attachment;
        let entry = match attachment.key(key.id) {
            Some(entry) => entry,
            None => self.find(attachment, key.id)?,
        };
        let trouble = match attachment.sign(key, &entry, digest, self.wait()) {
            Ok(signature) => return Ok(signature),
            Err(trouble) => trouble,
        };
        if !matches!(&trouble, Trouble::Module(error) if classify(error) == Fault::Doubtful) {
            return Err(self.judge(attachment, trouble, "sign"));
        }
        // Either the token is gone or this handle is dead; a key that was replaced has a new one.
        self.ask_canary(attachment)?;
        attachment.forget(key.id, &entry);
        let entry = self.find(attachment, key.id)?;
        attachment
            .sign(key, &entry, digest, self.wait())
            .map_err(|trouble| self.judge(attachment, trouble, "sign"))
    }

    /// Searches for a key whose handle is not known.
    fn find(&self, attachment: &Arc<Attachment>, id: KeyId) -> Result<Arc<KeyEntry>, CspError> {
        let found = attachment
            .search(id, self.clock.monotonic_ms(), self.wait())
            .map_err(|trouble| self.judge(attachment, trouble, "list its keys"))?;
        if let Some(entry) = found {
            return Ok(entry);
        }
        // Vanished storage looks like a token without keys.
        self.ask_canary(attachment)?;
        Err(CspError::KeyMissing {
            token: self.label.clone(),
            key: id,
        })
    }

    pub(super) fn generate(
        &self,
        id: KeyId,
        curve: Curve,
        purpose: Purpose,
    ) -> Result<KeyPair, CspError> {
        let _one = lock(&self.generating);
        let pass = self.enter()?;
        let attachment = &pass.attachment;
        if attachment.key(id).is_some() {
            return Err(CspError::Failed {
                token: self.label.clone(),
                action: "make a second key pair under one identifier",
                source: ModuleError(format!("{id} exists")),
            });
        }
        let made = attachment
            .api
            .open_rw_session(attachment.slot)
            .map_err(Trouble::Module)
            .and_then(|session| keys::generate(&session, id, curve, purpose));
        let (handle, pair) =
            made.map_err(|trouble| self.judge(attachment, trouble, "make a key pair"))?;
        attachment.remember(id, handle);
        Ok(pair)
    }

    /// Destroys a throw-away pair of a probe; tells whether it was there.
    pub(super) fn destroy_probe(&self, id: KeyId) -> Result<bool, CspError> {
        let found = self.alter("destroy a throw-away key", |session| {
            keys::destroy_probe(session, id)
        })?;
        let pass = self.enter()?;
        if let Some(entry) = pass.attachment.key(id) {
            pass.attachment.forget(id, &entry);
        }
        Ok(found)
    }

    /// Does something to objects of the token in a read/write session of its own.
    pub(super) fn alter<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, CspError> {
        let _one = lock(&self.generating);
        let pass = self.enter()?;
        let attachment = &pass.attachment;
        attachment
            .api
            .open_rw_session(attachment.slot)
            .map_err(Trouble::Module)
            .and_then(|session| work(&session))
            .map_err(|trouble| self.judge(attachment, trouble, action))
    }

    /// Initialises the module anew, which shows what has come back since. Only a probe that cannot find
    /// its keys asks for it; whatever is lost while serving is repaired by itself.
    pub(super) fn reinitialise(&self) -> Result<(), CspError> {
        self.module
            .reinitialise()
            .map_err(|trouble| trouble.settle(&self.label, "be initialised anew"))
    }

    /// What a failed call means: lost, or well apart from this call. Codes that do not tell are decided
    /// by the canary.
    pub(super) fn judge(
        &self,
        attachment: &Arc<Attachment>,
        trouble: Trouble,
        action: &'static str,
    ) -> CspError {
        let fault = match &trouble {
            Trouble::Module(error) => classify(error),
            Trouble::Busy | Trouble::Known(_) => return trouble.settle(&self.label, action),
        };
        match fault {
            Fault::Device => self.lose(attachment, &trouble),
            Fault::Session | Fault::Doubtful => match self.ask_canary(attachment) {
                Ok(()) => trouble.settle(&self.label, action),
                Err(gone) => gone,
            },
            Fault::Pin | Fault::Busy | Fault::Unsupported => trouble.settle(&self.label, action),
        }
    }

    /// Signs with the canary; a token that cannot is lost.
    fn ask_canary(&self, attachment: &Arc<Attachment>) -> Result<(), CspError> {
        attachment
            .check_canary(self.entropy.as_ref())
            .map_err(|trouble| self.lose(attachment, &trouble))
    }

    /// Marks the token as lost and has the module repaired.
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
            tracing::error!(token = label, %answer, "token {label}: lost, its module is initialised anew");
            self.module.request_repair(self.clock.monotonic_ms());
        }
        self.gone(Some(answer))
    }

    /// Closes all sessions. Only under the closed gate of the module.
    pub(super) fn detach(&self) {
        let mut condition = lock(&self.condition);
        if let Condition::Ready(attachment) = &*condition {
            // A session that outlives its generation would close, or sign with, a stranger's.
            assert!(
                Arc::strong_count(attachment) == 1,
                "nobody uses a session while the gate is closed"
            );
            *condition = Condition::Paused;
        }
    }

    /// Attaches to the token after the module was initialised anew. Only under the closed gate.
    pub(super) fn attach_again(&self) {
        let was_paused = match &*lock(&self.condition) {
            Condition::Paused => true,
            Condition::Gone(_) => false,
            Condition::Ready(_) | Condition::Refused(_) => return,
        };
        let attached = Attachment::open(
            self.module.api(),
            &self.config,
            self.module.generation(),
            self.again,
            self.entropy.as_ref(),
        );
        let label = &self.label;
        let condition = match attached {
            Ok((attachment, _)) => {
                if !was_paused {
                    let generation = attachment.generation;
                    tracing::warn!(token = label, generation, "token {label}: back");
                }
                Condition::Ready(Arc::new(attachment))
            }
            Err(trouble) => {
                let answer = trouble.describe();
                self.module.remember_refusal(&self.config, &trouble);
                if is_refusal(&trouble) {
                    tracing::error!(token = label, %answer, "token {label}: PIN refused, not tried again");
                    Condition::Refused(answer)
                } else {
                    Condition::Gone(Some(answer))
                }
            }
        };
        self.change(condition);
    }

    /// The module could not be initialised. Only under the closed gate.
    pub(super) fn stay_away(&self, answer: &ModuleError) {
        if !matches!(*lock(&self.condition), Condition::Refused(_)) {
            self.change(Condition::Gone(Some(answer.clone())));
        }
    }

    fn change(&self, condition: Condition) {
        *lock(&self.condition) = condition;
        self.changed.notify_all();
    }

    pub(super) fn vitals(&self) -> TokenVitals {
        let (state, used) = match &*lock(&self.condition) {
            Condition::Ready(attachment) => (TokenState::Ready, Some(attachment.pool.usage())),
            Condition::Paused => (TokenState::Paused, None),
            Condition::Gone(_) => (TokenState::Gone, None),
            Condition::Refused(_) => (TokenState::PinRefused, None),
        };
        let (sessions_in_use, sessions_max) = used.unwrap_or((0, self.config.sessions_max));
        TokenVitals {
            state,
            generation: self.module.generation(),
            sessions_in_use,
            sessions_max,
        }
    }

    /// Whether a repair is still needed.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*lock(&self.condition), Condition::Gone(_))
    }
}

impl Drop for Token {
    /// Closing a session is a call into the module like any other: not while it is finalized, and not
    /// in a later generation, where the number of the session may be another's.
    fn drop(&mut self) {
        let condition = std::mem::replace(&mut *lock(&self.condition), Condition::Gone(None));
        if let Condition::Ready(attachment) = condition {
            let ticket = self.module.gate().enter(CALL_WAIT_MAX);
            if ticket.is_some() && attachment.generation == self.module.generation() {
                drop(attachment);
            } else {
                std::mem::forget(attachment);
            }
        }
    }
}
