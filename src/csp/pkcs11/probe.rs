//! What a token can do, tried out with throw-away keys.
//!
//! Each line stands for one ability. `hsm-config/*/capabilities.toml` lists by these lines what a module
//! is known not to do, and the contract suite checks that list both ways.

use super::attachment::Attachment;
use super::curves;
use super::errors::Trouble;
use super::keys::{self, Purpose};
use super::token::{Pkcs11Token, Token};
use crate::csp::{Csp, CspError, KeyId, KeyPair, check};
use crate::terms::Curve;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The ability, such as `curve secp256r1`.
    pub line: String,
    /// What came out.
    pub verdict: Verdict,
    /// Whether Siegel cannot do without.
    pub needed: bool,
    /// Figures, or the module's answer.
    pub detail: String,
}

/// What came out of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token can do it.
    Works,
    /// The token cannot do it.
    Fails,
    /// A figure, neither good nor bad.
    Measured,
}

/// How long and how much to probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Milliseconds for each measurement of the signing rate.
    pub rate_ms: u64,
    /// Most sessions that are opened to see how many there are.
    pub sessions_max: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            rate_ms: 1_000,
            sessions_max: 64,
        }
    }
}

/// Most signatures of one measurement, should the clock not move.
const RATE_SIGNATURES_MAX: u64 = 10_000_000;

/// Whether the token has all that Siegel needs: everything marked so, and at least one curve.
pub fn suffices(findings: &[Finding]) -> bool {
    let needs = findings
        .iter()
        .all(|finding| !finding.needed || finding.verdict == Verdict::Works);
    let curve = findings
        .iter()
        .any(|finding| finding.line.starts_with("curve ") && finding.verdict == Verdict::Works);
    needs && curve
}

/// Tries everything out. Takes a few seconds with the default options; leaves nothing on the token
/// unless it breaks down meanwhile.
pub fn probe(token: &Pkcs11Token, options: ProbeOptions) -> Vec<Finding> {
    let mut probe = Probe {
        port: token,
        token: token.inner(),
        options,
        findings: Vec::new(),
    };
    probe.mechanisms();
    let key = probe.curves();
    if let Some(key) = &key {
        probe.protection(key);
        probe.digest_length(key);
        probe.hash_and_sign(key);
    }
    probe.data_objects();
    probe.sessions();
    if let Some(key) = &key {
        for threads in [1, 2] {
            probe.rate(key, threads);
        }
        probe.note(
            "throw-away keys can be destroyed",
            true,
            probe.token.destroy_probe(key.id).map(|()| String::new()),
        );
    }
    probe.findings
}

struct Probe<'a> {
    port: &'a Pkcs11Token,
    token: &'a Token,
    options: ProbeOptions,
    findings: Vec<Finding>,
}

/// Why an ability is not there, as one line of text.
struct Reason(String);

impl From<CspError> for Reason {
    fn from(error: CspError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        Self(text)
    }
}

impl From<Trouble> for Reason {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.describe().to_string())
    }
}

impl From<cryptoki::error::Error> for Reason {
    fn from(error: cryptoki::error::Error) -> Self {
        Trouble::Module(error).into()
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Probe<'_> {
    fn note(&mut self, line: &str, needed: bool, outcome: Result<String, impl Into<Reason>>) {
        let (verdict, detail) = match outcome {
            Ok(detail) => (Verdict::Works, detail),
            Err(reason) => (Verdict::Fails, reason.into().0),
        };
        self.findings.push(Finding {
            line: line.to_owned(),
            verdict,
            needed,
            detail,
        });
    }

    fn measured(&mut self, line: String, detail: String) {
        self.findings.push(Finding {
            line,
            verdict: Verdict::Measured,
            needed: false,
            detail,
        });
    }

    /// Runs on a fresh read/write session of its own.
    fn on_session<T>(
        &self,
        work: impl FnOnce(&Session, &Attachment) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let pass = self.token.enter()?;
        let session = pass.attachment.api.open_rw_session(pass.attachment.slot)?;
        work(&session, &pass.attachment)
    }

    /// Runs on a fresh session with the handle of a private key.
    fn on_key<T>(
        &self,
        key: &KeyPair,
        work: impl FnOnce(&Session, ObjectHandle) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        self.on_session(|session, attachment| {
            let entry = attachment
                .key(key.id)
                .ok_or(Reason::from("the key is not there any more"))?;
            work(session, entry.handle)
        })
    }

    fn mechanisms(&mut self) {
        let listed = self
            .on_session(|_, attachment| Ok(attachment.api.get_mechanism_list(attachment.slot)?));
        let has = |wanted: MechanismType| match &listed {
            Ok(listed) if listed.contains(&wanted) => Ok(String::new()),
            Ok(_) => Err(Reason::from("not listed")),
            Err(Reason(text)) => Err(Reason(text.clone())),
        };
        let pairs = has(MechanismType::ECC_KEY_PAIR_GEN);
        let ecdsa = has(MechanismType::ECDSA);
        self.note("mechanism CKM_EC_KEY_PAIR_GEN", true, pairs);
        self.note("mechanism CKM_ECDSA", true, ecdsa);
    }

    /// Each curve: make a pair, sign, verify in software, destroy. Keeps the first for the other probes.
    fn curves(&mut self) -> Option<KeyPair> {
        let mut kept = None;
        for curve in Curve::ALL {
            let outcome = self.curve(curve);
            let line = format!("curve {}", curve.name());
            match outcome {
                Ok(key) => {
                    self.note(&line, false, Ok::<_, Reason>(String::new()));
                    if kept.is_none() {
                        kept = Some(key);
                    } else if let Err(error) = self.token.destroy_probe(key.id) {
                        self.note(&line, true, Err::<String, _>(error));
                    }
                }
                Err(reason) => self.note(&line, false, Err::<String, _>(reason)),
            }
        }
        kept
    }

    fn curve(&self, curve: Curve) -> Result<KeyPair, Reason> {
        let mut id = [0; 16];
        self.token.entropy.fill(&mut id);
        let key = self.token.generate(KeyId::new(id), curve, Purpose::Probe)?;
        let mut digest = vec![0; curves::digest_len(curve)];
        for _ in 0..2 {
            self.token.entropy.fill(&mut digest);
            let signature = self.port.sign(&key, &digest)?;
            check::verify(&key.public_key, &digest, &signature)
                .map_err(|error| Reason(error.to_string()))?;
        }
        Ok(key)
    }

    fn protection(&mut self, key: &KeyPair) {
        let read = self.on_key(key, |session, handle| {
            Ok(keys::protection(session, handle)?)
        });
        let read = match read {
            Ok(read) => read,
            Err(reason) => {
                self.note(
                    "private key: attributes readable",
                    true,
                    Err::<String, _>(reason),
                );
                return;
            }
        };
        let lines = [
            ("private key: sensitive", true, read.sensitive, true),
            (
                "private key: not extractable",
                true,
                read.extractable,
                false,
            ),
            (
                "private key: always sensitive",
                false,
                read.always_sensitive,
                true,
            ),
            (
                "private key: never extractable",
                false,
                read.never_extractable,
                true,
            ),
            ("private key: made on the token", false, read.local, true),
            ("private key: signs only", false, read.more_than_sign, false),
        ];
        for (line, needed, reported, wanted) in lines {
            let outcome = match reported {
                Some(value) if value == wanted => Ok(String::new()),
                Some(_) => Err("the token says otherwise"),
                None => Err("not reported"),
            };
            self.note(line, needed, outcome);
        }
        let hidden = self.on_key(key, |session, handle| {
            match session.get_attributes(handle, &[AttributeType::Value]) {
                Ok(read)
                    if read.iter().any(
                        |value| matches!(value, Attribute::Value(bytes) if !bytes.is_empty()),
                    ) =>
                {
                    Err(Reason::from("the private key was read"))
                }
                Ok(_) => Ok("not given".to_owned()),
                Err(error) => Ok(Reason::from(error).0),
            }
        });
        self.note("private key: value unreadable", true, hidden);
        let fixed = self.on_key(key, |session, handle| {
            match session.update_attributes(handle, &[Attribute::Extractable(true)]) {
                Ok(()) => Err(Reason::from("the key is extractable now")),
                Err(error) => Ok(Reason::from(error).0),
            }
        });
        self.note("private key: cannot be made extractable", true, fixed);
    }

    fn digest_length(&mut self, key: &KeyPair) {
        let refused = match self.port.sign(key, &[0; 31]) {
            Err(CspError::NotSupported { source: None, .. }) => Ok(String::new()),
            Err(error) => Err(Reason::from(error)),
            Ok(_) => Err(Reason::from("signed")),
        };
        self.note("wrong digest length: refused by Siegel", true, refused);
        let refused = self.on_key(key, |session, handle| {
            match session.sign(&Mechanism::Ecdsa, handle, &[7; 300]) {
                Ok(_) => Err(Reason::from("signed")),
                Err(error) => Ok(Reason::from(error).0),
            }
        });
        self.note("wrong digest length: refused by the token", false, refused);
    }

    /// Not used by Siegel, which hashes by itself; listed because other software may ask.
    fn hash_and_sign(&mut self, key: &KeyPair) {
        let message = b"hash and sign";
        let mechanisms = [
            (
                "mechanism CKM_ECDSA_SHA256",
                Mechanism::EcdsaSha256,
                Sha256::digest(message).to_vec(),
            ),
            (
                "mechanism CKM_ECDSA_SHA384",
                Mechanism::EcdsaSha384,
                Sha384::digest(message).to_vec(),
            ),
            (
                "mechanism CKM_ECDSA_SHA512",
                Mechanism::EcdsaSha512,
                Sha512::digest(message).to_vec(),
            ),
        ];
        for (line, mechanism, digest) in mechanisms {
            let outcome = self.on_key(key, |session, handle| {
                let signature = session.sign(&mechanism, handle, message)?;
                check::verify(&key.public_key, &digest, &signature)
                    .map_err(|error| Reason(error.to_string()))?;
                Ok(String::new())
            });
            self.note(line, false, outcome);
        }
    }

    /// The anchor against rollback is a data object (PKCS#11 digest §7).
    fn data_objects(&mut self) {
        let template = |value: &[u8]| {
            vec![
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(true),
                Attribute::Application(b"siegel".to_vec()),
                Attribute::Label(keys::PROBE.as_bytes().to_vec()),
                Attribute::Value(value.to_vec()),
            ]
        };
        let made = self.on_session(|session, _| Ok(session.create_object(&template(b"one"))?));
        let object = match made {
            Ok(object) => object,
            Err(reason) => {
                self.note("data object: create", true, Err::<String, _>(reason));
                return;
            }
        };
        self.note("data object: create", true, Ok::<_, Reason>(String::new()));
        let found = self.on_session(|session, _| {
            let found = session.find_objects(&[
                Attribute::Class(ObjectClass::DATA),
                Attribute::Label(keys::PROBE.as_bytes().to_vec()),
            ])?;
            if !found.contains(&object) {
                return Err("not found again".into());
            }
            match value(session, object)?.as_deref() {
                Some(b"one") => Ok(String::new()),
                Some(_) | None => Err("another value came back".into()),
            }
        });
        self.note("data object: read back", true, found);
        let changed = self.on_session(|session, _| {
            session.update_attributes(object, &[Attribute::Value(b"two".to_vec())])?;
            match value(session, object)?.as_deref() {
                Some(b"two") => Ok(String::new()),
                Some(_) | None => Err("the value stayed".into()),
            }
        });
        self.note("data object: change in place", false, changed);
        let replaced = self.on_session(|session, _| {
            let next = session.create_object(&template(b"three"))?;
            session.destroy_object(object)?;
            match value(session, next)?.as_deref() {
                Some(b"three") => Ok(next),
                Some(_) | None => Err("another value came back".into()),
            }
        });
        let last = replaced.as_ref().map_or(object, |next| *next);
        self.note(
            "data object: replace",
            true,
            replaced.map(|_| String::new()),
        );
        let destroyed = self.on_session(|session, _| {
            session.destroy_object(last)?;
            Ok(String::new())
        });
        self.note("data object: destroy", true, destroyed);
    }

    fn sessions(&mut self) {
        let max = self.options.sessions_max;
        let opened = self.on_session(|_, attachment| {
            let mut open = Vec::with_capacity(max);
            while open.len() < max {
                match attachment.api.open_ro_session(attachment.slot) {
                    Ok(session) => open.push(session),
                    Err(_) => break,
                }
            }
            Ok(open.len())
        });
        let wanted = self.token.config.sessions_max;
        let detail = match &opened {
            Ok(count) if *count == max => format!("{max} or more"),
            Ok(count) => format!("{count}, {wanted} configured"),
            Err(Reason(text)) => text.clone(),
        };
        self.measured("sessions beside ours".to_owned(), detail);
    }

    fn rate(&mut self, key: &KeyPair, threads: usize) {
        let clock = &self.token.clock;
        let start_ms = clock.monotonic_ms();
        let end_ms = start_ms.saturating_add(self.options.rate_ms);
        let made = AtomicU64::new(0);
        let digest = vec![1; curves::digest_len(key.public_key.curve)];
        let failed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        while clock.monotonic_ms() < end_ms
                            && made.load(Ordering::Relaxed) < RATE_SIGNATURES_MAX
                        {
                            self.port.sign(key, &digest)?;
                            made.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok::<(), CspError>(())
                    })
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok()?.err())
                .next()
        });
        let took_ms = clock.monotonic_ms().saturating_sub(start_ms).max(1);
        let rate = made.into_inner().saturating_mul(1_000) / took_ms;
        let detail = match failed {
            Some(error) => Reason::from(error).0,
            None => format!("{rate} per second on {}", key.public_key.curve.name()),
        };
        let noun = if threads == 1 { "thread" } else { "threads" };
        self.measured(format!("signing rate, {threads} {noun}"), detail);
    }
}

fn value(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, Reason> {
    for attribute in session.get_attributes(object, &[AttributeType::Value])? {
        if let Attribute::Value(value) = attribute {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
