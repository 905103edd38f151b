//! The abilities one by one: each function tries one out and notes what came of it.

use super::{Made, Probe, Reason, curve_line};
use crate::csp::pkcs11::copies::{self, Candidate, Costs};
use crate::csp::pkcs11::curves;
use crate::csp::pkcs11::keys::{self, Purpose};
use crate::csp::pkcs11::wrapping;
use crate::csp::{Csp, CspError, KeyPair, check};
use crate::terms::Curve;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most signatures of one measurement, should the clock not move.
const RATE_SIGNATURES_MAX: u64 = 10_000_000;

impl Probe<'_> {
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
            let key = entry
                .original()
                .ok_or(Reason::from("the key is not on the token"))?;
            work(session, key)
        })
    }

    /// Asked one by one: the list of all would name dozens that nobody here knows.
    pub(super) fn mechanisms(&mut self) {
        for (line, wanted) in [
            (
                "mechanism CKM_EC_KEY_PAIR_GEN",
                MechanismType::ECC_KEY_PAIR_GEN,
            ),
            ("mechanism CKM_ECDSA", MechanismType::ECDSA),
        ] {
            let sizes = self.on_session(|_, attachment| {
                let info = attachment.api.get_mechanism_info(attachment.slot, wanted)?;
                Ok(format!(
                    "{} to {} bits",
                    info.min_key_size(),
                    info.max_key_size()
                ))
            });
            self.note(line, true, sizes);
        }
    }

    /// Each curve: make a pair, sign, verify in software, destroy. Keeps the first for the other probes.
    pub(super) fn curves(&mut self) -> Option<KeyPair> {
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

    pub(super) fn protection(&mut self, key: &KeyPair) {
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

    pub(super) fn digest_length(&mut self, key: &KeyPair) {
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
    pub(super) fn hash_and_sign(&mut self, key: &KeyPair) {
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

    /// Only for `pki.keys = "wrapped"`. Leaves nothing behind: all keys of it live no longer than the session.
    pub(super) fn wrapping(&mut self) {
        let entropy = self.token.entropy.as_ref();
        let outcome = self.on_session(|session, _| {
            let mechanism = wrapping::try_out(session, entropy)?;
            Ok(mechanism.as_str().to_owned())
        });
        self.note("keys wrapped by the token, changes noticed", false, outcome);
    }

    /// Only for `key_copies`. Leaves nothing behind: the copy lives no longer than the session.
    pub(super) fn copying(&mut self, key: &KeyPair) {
        let (clock, entropy) = (self.token.clock.as_ref(), self.token.entropy.as_ref());
        let costs = self.on_key(key, |_, handle| {
            let candidate = Candidate {
                handle,
                public_key: &key.public_key,
            };
            self.on_session(|_, attachment| {
                // One that only reads cannot put anything on the token.
                let owner = attachment.api.open_ro_session(attachment.slot)?;
                let signers = (&attachment.pool, self.token.wait());
                Ok(copies::try_out(&owner, signers, candidate, clock, entropy)?)
            })
        });
        let told = costs.map(|costs| {
            let Costs { key_us, copy_us } = costs;
            format!("a signature takes {key_us} us with the key and {copy_us} us with its copy")
        });
        self.note(
            "keys copied for a session, as closed as before",
            false,
            told,
        );
    }

    /// The anchor against rollback is a data object (PKCS#11 digest §7). Without it there is one witness
    /// less.
    pub(super) fn data_objects(&mut self) {
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
                self.note("data object: create", false, Err::<String, _>(reason));
                return;
            }
        };
        self.note("data object: create", false, Ok::<_, Reason>(String::new()));
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
        self.note("data object: read back", false, found);
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
            false,
            replaced.map(|_| String::new()),
        );
        let destroyed = self.on_session(|session, _| {
            session.destroy_object(last)?;
            Ok(String::new())
        });
        self.note("data object: destroy", false, destroyed);
    }

    pub(super) fn sessions(&mut self) {
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

    pub(super) fn rate(&mut self, key: &KeyPair, threads: usize) {
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
