//! One token behind the CSP port.

use super::attachment::{Attachment, Occasion};
use super::condition::{Condition, Token};
use super::config::{Selector, TokenConfig};
use super::errors::{Fault, Known, Trouble, classify};
use super::gate::lock;
use super::keys::Purpose;
use super::module::Module;
use crate::csp::{Anchor, Csp, CspError, KeyId, KeyPair, ModuleError, TokenVitals};
use crate::terms::{Clock, Curve, Entropy};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A token of a PKCS#11 module.
///
/// When the device, its link or its storage is lost, calls answer `DeviceGone` at once while a new login is tried
/// in the background, and the module initialised anew where that does not help, until the token is back under
/// its label or serial number.
pub struct Pkcs11Token {
    token: Arc<Token>,
}

impl Pkcs11Token {
    /// Loads the module (once per process), finds the token, logs in, learns its keys, makes the canary
    /// key if there is none, and signs with it.
    ///
    /// `PinRefused` is remembered for this process: opening again with the same PIN does not ask the
    /// token. The PIN is not tried at all while the token says that it is locked, or that one more wrong
    /// PIN locks it. `DeviceGone` may be tried again; the module is then initialised anew, which also shows
    /// tokens that have appeared since.
    pub fn open(
        config: TokenConfig,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CspError> {
        Self::open_as(config, entropy, clock, Occasion::Opening)
    }

    /// Opens a token only to probe it: unlike [`Pkcs11Token::open`] leaves no canary key behind.
    pub fn open_on_trial(
        config: TokenConfig,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CspError> {
        Self::open_as(config, entropy, clock, Occasion::Trial)
    }

    fn open_as(
        config: TokenConfig,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        occasion: Occasion,
    ) -> Result<Self, CspError> {
        let name = match &config.token {
            Selector::Label(label) => label.clone(),
            Selector::Serial(serial) => serial.clone(),
            Selector::Slot(slot) => format!("slot {slot}"),
        };
        require_variables(&config, &name)?;
        let (module, mut fresh) = Module::load(&config.module)?;
        if let Some(source) = module.refusal(&config) {
            return Err(CspError::PinRefused {
                token: name,
                source,
            });
        }
        loop {
            let trouble = {
                let _alone = module.alone(&name)?;
                let attached = Attachment::open(
                    module.api(),
                    &config,
                    module.generation(),
                    occasion,
                    (clock.as_ref(), entropy.as_ref()),
                );
                match attached {
                    Ok((attachment, label)) => {
                        let token = Arc::new(Token {
                            label,
                            config,
                            module: Arc::clone(&module),
                            entropy,
                            clock,
                            slot: Mutex::new(Some(attachment.slot)),
                            condition: Mutex::new(Condition::Ready(Arc::new(attachment))),
                            changed: Condvar::new(),
                            generating: Mutex::new(()),
                            on_trial: occasion == Occasion::Trial,
                            attached: AtomicU64::new(1),
                        });
                        module.join(&token);
                        return Ok(Self { token });
                    }
                    Err(trouble) => trouble,
                }
            };
            module.remember_refusal(&config, &trouble);
            if fresh || !may_heal(&trouble) {
                return Err(trouble.settle(&name, "be opened"));
            }
            module
                .reinitialise()
                .map_err(|trouble| trouble.settle(&name, "be opened"))?;
            fresh = true;
        }
    }

    /// A token that is not there now, by the label that it has. Its calls answer `DeviceGone` until it
    /// appears, once [`Self::seek`] was called. For one whose [`Pkcs11Token::open`] has just answered
    /// `DeviceGone`, or has not answered at all.
    ///
    /// # Errors
    /// `Failed` when its library cannot be loaded: no device can bring that back.
    pub fn await_return(
        config: TokenConfig,
        label: String,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CspError> {
        require_variables(&config, &label)?;
        let module = Module::library(&config.module)?;
        let condition = match module.refusal(&config) {
            Some(answer) => Condition::Refused(answer),
            None => Condition::Gone(None),
        };
        let token = Arc::new(Token {
            label,
            config,
            module: Arc::clone(&module),
            entropy,
            clock,
            slot: Mutex::new(None),
            condition: Mutex::new(condition),
            changed: Condvar::new(),
            generating: Mutex::new(()),
            on_trial: false,
            attached: AtomicU64::new(0),
        });
        // It has no session that could outlive a generation, so a call that hangs in the module is no hindrance.
        module.join(&token);
        Ok(Self { token })
    }

    /// Begins to look for it in the background if it is not there. That disturbs the other tokens of its
    /// module, so all of them should have been opened before.
    pub fn seek(&self) {
        if self.token.is_gone() {
            let now_ms = self.token.clock.monotonic_ms();
            self.token.module.request_repair(now_ms);
        }
    }

    /// Whether both lead to the very same token, as far as its module tells. `false` while one of them is not
    /// there.
    pub fn is_same_device(&self, other: &Self) -> bool {
        let slot = |token: &Token| match &*lock(&token.condition) {
            Condition::Ready(attachment) => Some(attachment.slot),
            Condition::Paused | Condition::Gone(_) | Condition::Refused(_) | Condition::Closed => {
                None
            }
        };
        let slots = slot(&self.token).zip(slot(&other.token));
        Arc::ptr_eq(&self.token.module, &other.token.module)
            && slots.is_some_and(|(one, other)| one == other)
    }

    /// The identifiers of all keys on the token that are not our canary or throw-away keys; for
    /// finding keys that no row of the ledger knows. Reads every key: not for the signing path.
    pub fn key_ids(&self) -> Result<Vec<KeyId>, CspError> {
        let pass = self.token.enter()?;
        let found = pass
            .attachment
            .list(self.token.wait())
            .map_err(|trouble| self.token.judge(&pass.attachment, trouble, "list its keys"))?;
        Ok(found
            .into_iter()
            .filter(|key| key.purpose == Purpose::Use)
            .map(|key| key.id)
            .collect())
    }

    /// Waits until the token signs again after it was lost, or until it has refused the PIN; at most
    /// `wait`. `true` if it signs.
    pub fn wait_until_ready(&self, wait: Duration) -> bool {
        let condition = lock(&self.token.condition);
        let (condition, _) = self
            .token
            .changed
            .wait_timeout_while(condition, wait, |condition| {
                matches!(condition, Condition::Gone(_) | Condition::Paused)
            })
            .unwrap_or_else(PoisonError::into_inner);
        matches!(*condition, Condition::Ready(_))
    }

    pub(super) fn inner(&self) -> &Token {
        &self.token
    }
}

impl Drop for Pkcs11Token {
    /// Here, not when the last owner of what is behind it goes: that may be the thread of a repair that has just ended,
    /// which would call into the module while the process ends and takes it down.
    fn drop(&mut self) {
        self.token.close();
    }
}

/// A module reads its variables when it is initialised, and then only once.
fn require_variables(config: &TokenConfig, name: &str) -> Result<(), CspError> {
    let unset = |(variable, value): (&String, &String)| {
        std::env::var_os(variable).is_none_or(|present| present != value.as_str())
    };
    if config.module_env.iter().any(unset) {
        return Err(CspError::Failed {
            token: name.to_owned(),
            action: "be opened before the variables of its module are set",
            source: ModuleError("environment::reexec_with was not called".to_owned()),
        });
    }
    Ok(())
}

/// Whether initialising the module anew may help.
fn may_heal(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Known(Known::TokenNotFound) => true,
        Trouble::Module(error) => match classify(error) {
            Fault::Device | Fault::Doubtful | Fault::Session => true,
            Fault::Pin | Fault::Busy | Fault::Unsupported => false,
        },
        Trouble::Busy
        | Trouble::Known(
            Known::WrongKey(_)
            | Known::TokenAmbiguous
            | Known::Unfit { .. }
            | Known::KekMissing
            | Known::CanaryMissing
            | Known::PinLocked
            | Known::PinFinalTry,
        ) => false,
    }
}

impl Csp for Pkcs11Token {
    fn token(&self) -> &str {
        &self.token.label
    }

    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.token.generate(id, curve, Purpose::Use)
    }

    fn generate_device_key(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.token.generate_for_device(id, curve)
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        self.token.sign(key, digest)
    }

    fn check_health(&self) -> Result<(), CspError> {
        let pass = self.token.enter()?;
        pass.attachment
            .check_canary(self.token.entropy.as_ref())
            .map_err(|trouble| self.token.lose(&pass.attachment, &trouble))
    }

    fn generation(&self) -> u64 {
        self.token.attached.load(Ordering::Acquire)
    }

    fn vitals(&self) -> TokenVitals {
        self.token.vitals()
    }

    fn anchors(&self) -> Result<Vec<Anchor>, CspError> {
        let pass = self.token.enter()?;
        pass.attachment
            .anchors(self.token.wait())
            .map_err(|trouble| {
                self.token
                    .judge(&pass.attachment, trouble, "read its anchors")
            })
    }

    fn write_anchor(&self, anchor: &Anchor) -> Result<(), CspError> {
        let _one = lock(&self.token.generating);
        let pass = self.token.enter()?;
        let attachment = &pass.attachment;
        attachment
            .api
            .open_rw_session(attachment.slot)
            .map_err(Trouble::Module)
            .and_then(|session| attachment.write_anchor(&session, anchor))
            .map_err(|trouble| self.token.judge(attachment, trouble, "write an anchor"))
    }
}
