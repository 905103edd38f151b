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
use std::time::Duration;

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
    /// Destroys first what an earlier probe has left behind that was killed. Not while another probe of
    /// the same token may be running: its keys look the same.
    pub tidy: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            rate_ms: 1_000,
            sessions_max: 64,
            tidy: false,
        }
    }
}

/// Most signatures of one measurement, should the clock not move.
const RATE_SIGNATURES_MAX: u64 = 10_000_000;

/// How long a lost token may take to come back when throw-away keys are still on it.
const CLEAN_UP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Whether the token has all that Siegel needs: everything marked so, and at least one curve for TSSs.
pub fn suffices(findings: &[Finding]) -> bool {
    let needs = findings
        .iter()
        .all(|finding| !finding.needed || finding.verdict == Verdict::Works);
    let curve = TSS_CURVES.into_iter().any(|curve| {
        findings
            .iter()
            .any(|finding| finding.line == curve_line(curve) && finding.verdict == Verdict::Works)
    });
    needs && curve
}

/// The line of the table that stands for a curve.
pub fn curve_line(curve: Curve) -> String {
    format!("curve {}", curve.name())
}

/// Curves that a TSS may have (design decision 6).
const TSS_CURVES: [Curve; 4] = [
    Curve::Secp256r1,
    Curve::Secp384r1,
    Curve::BrainpoolP256r1,
    Curve::BrainpoolP384r1,
];

/// Tries everything out. Takes a few seconds with the default options.
///
/// What it makes on the token it destroys again, however far it came: a token that is lost meanwhile is
/// waited for. What could not be destroyed is told in the last line.
pub fn probe(token: &Pkcs11Token, options: ProbeOptions) -> Vec<Finding> {
    let mut probe = Probe {
        port: token,
        token: token.inner(),
        options,
        run: keys::probe_id(token.inner().entropy.as_ref()),
        made: Vec::new(),
        findings: Vec::new(),
    };
    if options.tidy {
        probe.tidy();
    }
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
    }
    let cleaned = probe.clean_up();
    probe.note("throw-away keys can be destroyed", true, cleaned);
    std::mem::take(&mut probe.findings)
}

struct Probe<'a> {
    port: &'a Pkcs11Token,
    token: &'a Token,
    options: ProbeOptions,
    /// Names the data objects of this probe.
    run: KeyId,
    made: Vec<Made>,
    findings: Vec<Finding>,
}

/// A throw-away pair that has to be destroyed.
#[derive(Clone, Copy)]
struct Made {
    id: KeyId,
    /// Whether the token said that it made it. After an error there may be remains, or nothing.
    surely: bool,
}

impl Drop for Probe<'_> {
    /// Finds work only after a panic.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(Reason(reason)) = self.clean_up()
        {
            tracing::error!(reason, "a probe broke down and left throw-away keys behind");
        }
    }
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

    fn tidy(&mut self) {
        let line = "left behind by an earlier probe";
        match self
            .token
            .alter("destroy throw-away keys", keys::destroy_all_probes)
        {
            Ok(0) => {}
            Ok(count) => self.measured(line.to_owned(), format!("{count} objects, destroyed now")),
            Err(error) => self.note(line, true, Err::<String, _>(error)),
        }
    }

    /// Destroys everything this probe has made.
    fn clean_up(&mut self) -> Result<String, Reason> {
        // In vain for a token that stays away, which the next line tells in its own words.
        let _ = self.port.wait_until_ready(CLEAN_UP_WAIT_MAX);
        if let Ok(()) = self.destroy_made() {
            return Ok(String::new());
        }
        // Storage that was away for a while stays empty for some modules until they are initialised anew.
        self.token.reinitialise()?;
        let _ = self.port.wait_until_ready(CLEAN_UP_WAIT_MAX);
        self.destroy_made().map(|()| String::new())
    }

    fn destroy_made(&mut self) -> Result<(), Reason> {
        let run = self.run;
        let data = self.token.alter("destroy a throw-away object", |session| {
            keys::destroy_probe_data(session, Some(run))
        });
        let mut failed = data.err().map(Reason::from);
        let mut left = Vec::new();
        for made in std::mem::take(&mut self.made) {
            let Made { id, surely } = made;
            match self.token.destroy_probe(id) {
                Ok(true) => {}
                Ok(false) => {
                    left.push(made);
                    if surely {
                        failed.get_or_insert(Reason(format!("key {id} is not found again")));
                    }
                }
                Err(error) => {
                    left.push(made);
                    let Reason(text) = Reason::from(error);
                    failed.get_or_insert(Reason(format!("key {id} is left: {text}")));
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(reason) => {
                self.made = left;
                Err(reason)
            }
        }
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
            let detail = "made, signed with, verified in software".to_owned();
            let (outcome, key) = match outcome {
                Ok(key) => (Ok(detail), Some(key)),
                Err(reason) => (Err(reason), None),
            };
            self.note(&curve_line(curve), false, outcome);
            if kept.is_none() {
                kept = key;
            } else if let Some(key) = key
                && self.token.destroy_probe(key.id).is_ok_and(|found| found)
            {
                // Otherwise it is tried again at the end.
                self.made.retain(|made| made.id != key.id);
            }
        }
        kept
    }

    fn curve(&mut self, curve: Curve) -> Result<KeyPair, Reason> {
        let id = keys::probe_id(self.token.entropy.as_ref());
        // Noted before it is there: whatever happens from here on, it is looked for at the end.
        self.made.push(Made { id, surely: false });
        let key = self.token.generate(id, curve, Purpose::Probe)?;
        if let Some(made) = self.made.last_mut() {
            made.surely = true;
        }
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
        let run = self.run.to_string();
        let template = |value: &[u8]| {
            vec![
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(true),
                Attribute::Application(run.clone().into_bytes()),
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
