//! A test CA in a token of its own, with a clock that the test sets.

use crate::support::token::{self, TestEntropy, TestToken};
use siegel::csp::{Csp, CspError, KeyId, KeyPair};
use siegel::pki::{CaCertificate, CaRole, NewCa, PreparedDevice, TestCa};
use siegel::terms::{Clock, Curve, Entropy, SeTime};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

pub const START: i64 = 1_800_000_000;
pub const YEAR_S: i64 = 31_557_600;

/// A clock that a test sets.
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> SeTime {
        SeTime::try_from(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

/// Passes everything on to the token and counts what each key signs.
pub struct Counting {
    token: Box<dyn Csp>,
    signed: Mutex<BTreeMap<KeyId, u64>>,
}

impl Counting {
    pub fn signatures(&self, key: KeyId) -> u64 {
        self.signed
            .lock()
            .unwrap()
            .get(&key)
            .copied()
            .unwrap_or_default()
    }
}

impl Csp for Counting {
    fn token(&self) -> &str {
        self.token.token()
    }

    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.token.generate_key_pair(id, curve)
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        *self.signed.lock().unwrap().entry(key.id).or_default() += 1;
        self.token.sign(key, digest)
    }

    fn check_health(&self) -> Result<(), CspError> {
        self.token.check_health()
    }

    fn generation(&self) -> u64 {
        self.token.generation()
    }
}

/// A CA in a token of its own.
pub struct Bench {
    pub token: TestToken,
    pub counting: Arc<Counting>,
    pub csp: Arc<dyn Csp>,
    pub hand: Arc<HandClock>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub certificates: Vec<CaCertificate>,
}

impl Bench {
    pub fn new() -> Self {
        let token = token::softhsm();
        let counting = Arc::new(Counting {
            token: Box::new(token.open()),
            signed: Mutex::default(),
        });
        let csp: Arc<dyn Csp> = counting.clone();
        let hand = Arc::new(HandClock(AtomicI64::new(START)));
        let new = NewCa::make(csp.as_ref(), &TestEntropy, hand.now()).unwrap();
        Self {
            token,
            counting,
            csp,
            clock: hand.clone(),
            hand,
            entropy: Arc::new(TestEntropy),
            certificates: new.certificates.to_vec(),
        }
    }

    pub fn open(&self) -> Option<TestCa> {
        self.open_of(self.certificates.clone())
    }

    pub fn open_of(&self, known: Vec<CaCertificate>) -> Option<TestCa> {
        TestCa::open(known, &self.csp, &self.clock, &self.entropy).unwrap()
    }

    pub fn prepare(&self, curve: Curve) -> PreparedDevice {
        self.open().unwrap().prepare(curve).unwrap()
    }

    pub fn ca(&self, role: CaRole) -> &CaCertificate {
        self.certificates
            .iter()
            .find(|ca| ca.role == role)
            .expect("a new CA has a certificate of each role")
    }
}
