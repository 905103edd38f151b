//! What stands behind a [`super::Pkcs11Token`]: its condition, and what a failed call means for it.

use super::attachment::Attachment;
use super::config::TokenConfig;
use super::curves;
use super::entry::KeyEntry;
use super::errors::{Fault, Known, Trouble, classify};
use super::gate::{Ticket, lock};
use super::keys::{self, Purpose};
use super::module::Module;
use super::wrapping;
use crate::csp::{CspError, KeyId, KeyPair, ModuleError, TokenState, TokenVitals, VaultError};
use crate::terms::{Clock, Curve, Entropy};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Whether it is only being probed.
    pub(super) on_trial: bool,
    /// How often it was attached to; 0 for one that was not there yet.
    pub(super) attached: AtomicU64,
    /// Where it was seen last.
    pub(super) slot: Mutex<Option<Slot>>,
}

pub(super) enum Condition {
    Ready(Arc<Attachment>),
    /// The module is being initialised anew although this token was well: callers wait.
    Paused,
    /// Lost; a repair is under way: callers are told at once.
    Gone(Option<ModuleError>),
    /// The PIN was refused: only a person can help.
    Refused(ModuleError),
    /// Its owner is done with it, and nobody comes back to it.
    Closed,
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
            Condition::Closed => return Err(self.gone(None)),
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
            Condition::Paused | Condition::Closed => Err(self.gone(None)),
            Condition::Gone(source) => Err(self.gone(source.clone())),
            Condition::Refused(source) => Err(self.refused(source.clone())),
        }
    }

    pub(super) fn gone(&self, source: Option<ModuleError>) -> CspError {
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
        let mut entry = match attachment.copied(key.id, &entry) {
            Ok(copy) => copy,
            Err(_) => {
                // The session of all copies may be dead, and they with it. If it is not, this key goes without.
                self.ask_canary(attachment)?;
                entry.refuse_copies();
                entry
            }
        };
        let mut is_last_try = false;
        loop {
            let trouble = match attachment.sign(key, &entry, digest, self.wait()) {
                Ok(signature) => return Ok(signature),
                Err(trouble) => trouble,
            };
            if is_last_try || !trouble.may_spare_key(entry.is_copy()) {
                return Err(self.judge(attachment, trouble, "sign"));
            }
            // Either the token is gone or this handle is of no use; a key that was replaced has a new one, and the
            // key of a copy may be well. What a copy does is never held against its key.
            self.ask_canary(attachment)?;
            is_last_try = !entry.is_copy();
            attachment.forget(key.id, &entry);
            entry = self.find(attachment, key.id)?;
        }
    }

    /// Unwraps a key, or searches for one whose handle is not known.
    fn find(&self, attachment: &Arc<Attachment>, id: KeyId) -> Result<Arc<KeyEntry>, CspError> {
        if let Some(wrapping) = &self.config.wrapping
            && let Some(wrapped) = wrapping.vault.find(id).map_err(|error| self.vault(error))?
        {
            return attachment
                .unwrap(id, &wrapped)
                .map_err(|trouble| self.not_unwrapped(attachment, trouble));
        }
        let found = attachment
            .search(id, self.clock.as_ref(), self.wait())
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

    /// What cannot be unwrapped here may be well in the hands of another node, with another module or a token that
    /// has all the keys that wrap: it is never the key that the token does not support.
    fn not_unwrapped(&self, attachment: &Arc<Attachment>, trouble: Trouble) -> CspError {
        match self.judge(attachment, trouble, "unwrap a key") {
            CspError::NotSupported {
                token,
                action,
                source,
            } => CspError::Failed {
                token,
                action,
                source: source.unwrap_or_else(|| ModuleError("it cannot".to_owned())),
            },
            error @ (CspError::PinRefused { .. }
            | CspError::SessionLost { .. }
            | CspError::DeviceGone { .. }
            | CspError::KeyMissing { .. }
            | CspError::WrongKey { .. }
            | CspError::Busy { .. }
            | CspError::Failed { .. }) => error,
        }
    }

    fn vault(&self, error: VaultError) -> CspError {
        let VaultError(source) = error;
        CspError::Failed {
            token: self.label.clone(),
            action: "use a wrapped key, which the ledger did not keep or give",
            source: ModuleError(source.to_string()),
        }
    }

    /// Makes a pair for a device; wrapped where the settings say so.
    pub(super) fn generate_for_device(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        let wrapping = self.config.wrapping.as_ref();
        let Some(wrapping) = wrapping.filter(|wrapping| wrapping.is_for_new_keys) else {
            return self.generate(id, curve, Purpose::Use);
        };
        let _one = lock(&self.generating);
        let pass = self.enter()?;
        let attachment = &pass.attachment;
        let Some(wrapper) = attachment.wrapper else {
            return Err(CspError::NotSupported {
                token: self.label.clone(),
                action: "wrap keys",
                source: None,
            });
        };
        // A session of its own: whatever happens, the pair goes with it.
        let made = attachment
            .api
            .open_ro_session(attachment.slot)
            .map_err(Trouble::Module)
            .and_then(|session| wrapping::make(&session, id, curve, wrapper));
        let (pair, wrapped) =
            made.map_err(|trouble| self.judge(attachment, trouble, "make a wrapped key"))?;
        let kept = wrapping.vault.keep(&self.label, id, &wrapped);
        kept.map_err(|error| self.vault(error))?;
        Ok(pair)
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
        {
            let pass = self.enter()?;
            let attachment = &pass.attachment;
            // Twice: the key of a copy is known again once the copy is forgotten.
            for _ in 0..2 {
                if let Some(entry) = attachment.key(id) {
                    attachment.forget(id, &entry);
                }
            }
            attachment
                .session_keys
                .destroy_let_go(&lock(&attachment.anchor));
        }
        self.alter("destroy a throw-away key", |session| {
            keys::destroy_probe(session, id)
        })
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
            // Vanished storage looks like a token without keys.
            Trouble::Known(Known::KekMissing) => Fault::Doubtful,
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

    pub(super) fn vitals(&self) -> TokenVitals {
        let (state, used) = match &*lock(&self.condition) {
            Condition::Ready(attachment) => (TokenState::Ready, Some(attachment.pool.usage())),
            Condition::Paused => (TokenState::Paused, None),
            Condition::Gone(_) | Condition::Closed => (TokenState::Gone, None),
            Condition::Refused(_) => (TokenState::PinRefused, None),
        };
        let (sessions_in_use, sessions_max) = used.unwrap_or((0, self.config.sessions_max));
        TokenVitals {
            state,
            generation: self.attached.load(Ordering::Acquire),
            sessions_in_use,
            sessions_max,
        }
    }
}
