//! One loaded PKCS#11 library for all its tokens, and initialising it anew.
//!
//! Invariant: a library is loaded and initialised once per process, and never unloaded. It is finalized
//! only while nobody calls into it and no session of ours is open.

use super::condition::Token;
use super::config::{Selector, TokenConfig};
use super::errors::{Fault, Known, Trouble, classify, describe};
use super::gate::{Closed, Gate, lock};
use crate::csp::{CspError, ModuleError};
use crate::terms::Secret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long a token that is dropped waits while the module is initialised anew.
pub(super) const CALL_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long whoever must be alone in the module waits for running calls to come back.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Milliseconds after the first failed repair; doubled after each further one …
const BACKOFF_MS_MIN: u64 = 100;
/// … up to this many: each try disturbs the other tokens of the module …
const BACKOFF_MS_MAX: u64 = 30_000;
/// … or up to this many where there is none that could be disturbed.
const BACKOFF_MS_MAX_ALONE: u64 = 5_000;
/// A token lost again this soon after the last loss waits [`FLAP_WAIT_MS`] for its repair.
const FLAP_MS_MAX: u64 = 10_000;
/// Milliseconds before a repair of a token that comes and goes.
const FLAP_WAIT_MS: u64 = 500;

type Entry = Arc<Mutex<Option<Arc<Module>>>>;

/// All libraries of this process, by path. Each has a lock of its own, so that one that hangs while it
/// is loaded does not stall the others.
static MODULES: Mutex<BTreeMap<PathBuf, Entry>> = Mutex::new(BTreeMap::new());

/// See the module comment.
pub(super) struct Module {
    path: PathBuf,
    api: Pkcs11,
    gate: Gate,
    generation: AtomicU64,
    members: Mutex<Vec<Weak<Token>>>,
    refusals: Mutex<Vec<Refusal>>,
    repair: Mutex<Repair>,
}

/// A PIN the token refused. Another try may lock the token, so nobody in this process tries the same
/// PIN again.
struct Refusal {
    token: Selector,
    pin: Secret,
    answer: ModuleError,
}

#[derive(Default)]
struct Repair {
    running: bool,
    requested_ms: Option<u64>,
}

impl Module {
    /// The library at this path, loaded and initialised on first use; `true` if it was initialised now.
    pub(super) fn load(path: &Path) -> Result<(Arc<Self>, bool), CspError> {
        let module = Self::library(path)?;
        let fresh = module.start()?;
        Ok((module, fresh))
    }

    /// The library at this path, loaded on first use. It may not have been possible to initialise it yet.
    pub(super) fn library(path: &Path) -> Result<Arc<Self>, CspError> {
        // Two names of one file must not become two modules that finalize each other.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let entry = Entry::clone(lock(&MODULES).entry(path.clone()).or_default());
        let mut entry = lock(&entry);
        if let Some(module) = entry.as_ref() {
            return Ok(Arc::clone(module));
        }
        let api = Pkcs11::new(&path).map_err(|error| CspError::Failed {
            token: path.display().to_string(),
            action: "be loaded as a module",
            source: describe(&error),
        })?;
        let module = Arc::new(Self {
            path,
            api,
            gate: Gate::default(),
            generation: AtomicU64::new(0),
            members: Mutex::default(),
            refusals: Mutex::default(),
            repair: Mutex::default(),
        });
        *entry = Some(Arc::clone(&module));
        Ok(module)
    }

    /// Initialises the library unless that was done before; `true` if it was done now. A client library
    /// whose device does not answer may refuse, and may do it later.
    fn start(&self) -> Result<bool, CspError> {
        if self.generation() > 0 {
            return Ok(false);
        }
        let name = self.path.display().to_string();
        let _alone = self.alone(&name)?;
        if self.generation() > 0 {
            return Ok(false);
        }
        initialize(&self.api).map_err(|error| CspError::DeviceGone {
            token: name,
            source: Some(describe(&error)),
        })?;
        self.generation.store(1, Ordering::Release);
        Ok(true)
    }

    pub(super) const fn api(&self) -> &Pkcs11 {
        &self.api
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// 1 after the first initialisation, 0 before.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The right to list slots. Nobody else may call into the module meanwhile: SoftHSM changes its slots
    /// while it lists them, without a lock, and aborts the process when two threads do it at once.
    pub(super) fn alone(&self, name: &str) -> Result<Closed<'_>, CspError> {
        self.gate
            .close(DRAIN_WAIT_MAX)
            .ok_or_else(|| Trouble::Busy.settle(name, "be used"))
    }

    /// Lets a token take part in re-initialisations. Call it while alone in the module if it has sessions:
    /// otherwise one may happen before and leave them behind in another generation.
    pub(super) fn join(&self, token: &Arc<Token>) {
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(token));
    }

    /// The refusal of this PIN, if the token has refused it before.
    pub(super) fn refusal(&self, config: &TokenConfig) -> Option<ModuleError> {
        lock(&self.refusals)
            .iter()
            .find(|refusal| {
                let pin = refusal.pin.expose().as_bytes();
                refusal.token == config.token
                    && bool::from(pin.ct_eq(config.pin.expose().as_bytes()))
            })
            .map(|refusal| refusal.answer.clone())
    }

    /// Remembers a PIN that was tried and refused. One that was not tried may be asked for again: that
    /// costs no try, and a person may have helped the token meanwhile.
    pub(super) fn remember_refusal(&self, config: &TokenConfig, trouble: &Trouble) {
        if was_tried(trouble) && self.refusal(config).is_none() {
            lock(&self.refusals).push(Refusal {
                token: config.token.clone(),
                pin: config.pin.clone(),
                answer: trouble.describe(),
            });
        }
    }

    fn members(&self) -> Vec<Arc<Token>> {
        lock(&self.members)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Initialises the module anew and attaches all its tokens again. `Err` if that was not possible;
    /// a token that could not be attached is no error here, it says so itself.
    pub(super) fn reinitialise(&self) -> Result<(), Trouble> {
        let closed = self.gate.close(DRAIN_WAIT_MAX).ok_or(Trouble::Busy)?;
        let members = self.members();
        for member in &members {
            member.detach();
        }
        // An error here means that there was nothing left to finalize.
        if let Err(error) = self.api.clone().finalize() {
            let answer = describe(&error);
            tracing::debug!(%answer, "module {}: not finalized", self.path.display());
        }
        let outcome = initialize(&self.api);
        if outcome.is_ok() {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        for member in &members {
            match &outcome {
                Ok(()) => member.attach_again(),
                Err(error) => member.stay_away(&describe(error)),
            }
        }
        drop(closed);
        outcome.map_err(Trouble::Module)
    }

    /// Starts the repair in the background unless one is running. `now_ms` is a monotonic clock's.
    pub(super) fn request_repair(self: &Arc<Self>, now_ms: u64) {
        let mut repair = lock(&self.repair);
        if repair.running {
            return;
        }
        let flaps = repair
            .requested_ms
            .is_some_and(|last| now_ms < last.saturating_add(FLAP_MS_MAX));
        repair.requested_ms = Some(now_ms);
        repair.running = true;
        let module = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("hsm-repair".to_owned())
            .spawn(move || module.repair(flaps));
        if let Err(error) = started {
            repair.running = false;
            tracing::error!(%error, "module {}: no thread for its repair", self.path.display());
        }
    }

    /// Tries until every token that can come back is back: a new session and login first, and only where
    /// that does not help the module anew, which all its tokens have to wait for. The pauses double.
    fn repair(&self, flaps: bool) {
        let _reset = RepairEnds(&self.repair);
        if flaps {
            std::thread::park_timeout(Duration::from_millis(FLAP_WAIT_MS));
        }
        let mut wait_ms = BACKOFF_MS_MIN;
        loop {
            let unhelped = |member: &Arc<Token>| !member.reconnect();
            let outcome = match self.members().into_iter().filter(unhelped).count() {
                0 => Ok(()),
                1.. => self.reinitialise(),
            };
            let others_are_well;
            {
                // Under the lock: a token lost from here on finds no repair running and starts one.
                let mut repair = lock(&self.repair);
                let members = self.members();
                if !members.iter().any(|member| member.is_gone()) {
                    repair.running = false;
                    break;
                }
                others_are_well = !members.iter().all(|member| member.is_gone());
            }
            if matches!(outcome, Err(Trouble::Busy)) {
                tracing::error!(
                    "module {}: a call into it does not return, so it cannot be initialised anew; if that does not \
                     end, start the server anew",
                    self.path.display()
                );
            }
            let answer = outcome.err().map(|trouble| trouble.describe().to_string());
            tracing::warn!(
                answer,
                wait_ms,
                "module {}: not all tokens are back, next try in {wait_ms} ms",
                self.path.display()
            );
            std::thread::park_timeout(Duration::from_millis(wait_ms));
            wait_ms = wait_ms.saturating_mul(2).min(match others_are_well {
                true => BACKOFF_MS_MAX,
                false => BACKOFF_MS_MAX_ALONE,
            });
        }
    }
}

/// Lets a later loss start a new repair although this one panicked.
struct RepairEnds<'a>(&'a Mutex<Repair>);

impl Drop for RepairEnds<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.0).running = false;
        }
    }
}

/// Whether the token refused the PIN, or we refused to try it.
pub(super) fn is_refusal(trouble: &Trouble) -> bool {
    was_tried(trouble)
        || matches!(
            trouble,
            Trouble::Known(Known::PinLocked | Known::PinFinalTry)
        )
}

fn was_tried(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Module(error) if classify(error) == Fault::Pin)
}

fn initialize(api: &Pkcs11) -> cryptoki::error::Result<()> {
    match api.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Someone else in this process uses the same library; that serves us as well.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}
