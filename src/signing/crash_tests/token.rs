//! Token and clock of one node, failing where chaos wants it.

use super::chaos::{Fault, Seam};
use super::ports::{Mutant, Process, lock};
use crate::csp::{Csp, CspError, KeyId, KeyPair, ModuleError};
use crate::terms::{Clock, ClockStep, Curve, SeTime};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A token whose signatures are a keyed hash: the same digest always gives the same one.
pub struct FakeCsp {
    pub process: Arc<Process>,
    pub label: String,
    /// Keys that turn out to be others.
    pub wrong: Mutex<Vec<KeyId>>,
    /// Says nothing until it is released.
    pub hangs: AtomicBool,
    fails_again: AtomicBool,
    mixed_up: Mutex<Option<Vec<u8>>>,
}

impl FakeCsp {
    pub fn new(process: &Arc<Process>, label: &str) -> Self {
        Self {
            process: Arc::clone(process),
            label: label.to_owned(),
            wrong: Mutex::default(),
            hangs: AtomicBool::new(false),
            fails_again: AtomicBool::new(false),
            mixed_up: Mutex::default(),
        }
    }
}

/// The signature of this key over this digest.
pub fn signature(key: &KeyPair, digest: &[u8]) -> Vec<u8> {
    let half = |name: &[u8]| {
        Sha256::new()
            .chain_update(name)
            .chain_update(&key.public_key.point)
            .chain_update(digest)
            .finalize()
    };
    [half(b"r"), half(b"s")].concat()
}

/// Whether a signature is that of this key over these bytes.
pub fn verifies(key: &KeyPair, bytes: &[u8], signed: &[u8]) -> bool {
    signature(key, &Sha256::digest(bytes)) == signed
}

impl Csp for FakeCsp {
    fn token(&self) -> &str {
        &self.label
    }

    fn generate_key_pair(&self, _: KeyId, _: Curve) -> Result<KeyPair, CspError> {
        panic!("no lane makes keys")
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        let shared = &self.process.shared;
        let failed = || CspError::Failed {
            token: self.label.clone(),
            action: "sign",
            source: ModuleError("chaos".to_owned()),
        };
        let meanwhile = lock(&shared.meanwhile).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        if lock(&self.wrong).contains(&key.id) {
            return Err(CspError::WrongKey {
                token: self.label.clone(),
                key: key.id,
            });
        }
        if self.hangs.load(SeqCst) {
            lock(&shared.chaos)
                .happened
                .push((Seam::Sign, 0, Fault::Hang));
            shared.wait_for_release();
        }
        let fault = match self.fails_again.swap(false, SeqCst) {
            true => Some(Fault::AnswerLost),
            false => self.process.call(Seam::Sign),
        };
        match fault {
            Some(Fault::Refused) => return Err(failed()),
            Some(Fault::RefusedTwice) => self.fails_again.store(true, SeqCst),
            Some(Fault::Hang) => shared.wait_for_release(),
            _ => {}
        }
        let made = signature(key, digest);
        *lock(&shared.signed).entry(digest.to_vec()).or_default() += 1;
        self.process.after(fault);
        match fault {
            Some(Fault::AnswerLost | Fault::RefusedTwice) => Err(failed()),
            _ if shared.mutant == Some(Mutant::MixesSignaturesUp) => {
                Ok(lock(&self.mixed_up).replace(made.clone()).unwrap_or(made))
            }
            _ => Ok(made),
        }
    }

    fn check_health(&self) -> Result<(), CspError> {
        Ok(())
    }

    fn generation(&self) -> u64 {
        1
    }
}

/// The world's time as one node sees it.
pub struct FakeClock {
    pub process: Arc<Process>,
    /// Seconds by which this node is wrong.
    pub offset_s: AtomicI64,
    /// Stands still unless a test moves it: what waits for a token here waits its whole time.
    pub monotonic_ms: AtomicU64,
    pub step: Mutex<Option<ClockStep>>,
}

impl FakeClock {
    pub fn new(process: &Arc<Process>) -> Self {
        Self {
            process: Arc::clone(process),
            offset_s: AtomicI64::new(0),
            monotonic_ms: AtomicU64::new(0),
            step: Mutex::default(),
        }
    }

    fn time(&self) -> SeTime {
        let now = self.process.shared.now.load(SeqCst) + self.offset_s.load(SeqCst);
        SeTime::try_from(now).unwrap()
    }

    /// Corrects this node's clock in one step.
    pub fn correct(&self, by_s: i64) {
        let before = self.time();
        self.offset_s.fetch_add(by_s, SeqCst);
        let mut step = lock(&self.step);
        *step = Some(ClockStep {
            sequence: step.map_or(1, |last| last.sequence + 1),
            before,
            after: self.time(),
        });
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SeTime {
        self.process.call(Seam::Clock);
        self.time()
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(SeqCst)
    }

    fn last_step(&self) -> Option<ClockStep> {
        *lock(&self.step)
    }
}
