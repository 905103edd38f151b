//! The certificate of one device and the links above it: what the profile of TSE certificates wants, and
//! what the checker of exports would object to.

use super::certificate::TEST_ORGANIZATION;
use super::chain::{self, Broken};
use super::foreign::ForeignCertificate;
use super::import::ImportError;
use super::{PkiError, WaitingDevice};
use crate::terms::{SeTime, SerialNumber};

/// Issuers above a certificate, at most; what hands out chains follows no more.
const ISSUERS_MAX: usize = 7;

/// Bits that keys and hashes of CAs have at least (TR-03116-5 §2.3, rule C-2).
const CA_BITS_MIN: usize = 384;

const NOT_ECDSA: &str = "does not sign with ECDSA and SHA-2 or SHA-3";

const CRITICAL_UNKNOWN: &str = "has a critical extension that readers of exports do not know";

/// To which environment an issuer belongs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IssuerOf {
    ThisEnvironment,
    OtherEnvironment,
}

/// A check of one device.
pub(super) struct Links<'a> {
    pub device: SerialNumber,
    pub certificate: &'a ForeignCertificate,
    /// In LIVE a deviation from the profile is refused, in TEST it is told.
    pub is_live: bool,
    pub deviations: Vec<String>,
}

/// For `map_err`: something in a certificate cannot be read.
pub(super) fn unreadable(
    certificate: &ForeignCertificate,
) -> impl FnOnce(PkiError) -> ImportError + use<> {
    let subject = certificate.subject();
    move |source| ImportError::Unreadable { subject, source }
}

impl Links<'_> {
    pub fn unfit(&self, problem: &'static str) -> ImportError {
        ImportError::Unfit {
            device: self.device,
            problem,
        }
    }

    fn unfit_issuer(&self, issuer: &ForeignCertificate, problem: &'static str) -> ImportError {
        ImportError::UnfitIssuer {
            device: self.device,
            subject: issuer.subject(),
            problem,
        }
    }

    fn deviate(&mut self, problem: &'static str) -> Result<(), ImportError> {
        if self.is_live {
            return Err(self.unfit(problem));
        }
        let note = format!("the certificate of device {} {problem}", self.device);
        if !self.deviations.contains(&note) {
            self.deviations.push(note);
        }
        Ok(())
    }

    /// Checks the certificate itself, but for its signature; returns when its use ends.
    pub fn check_leaf(
        &mut self,
        waiting: &WaitingDevice,
        now: SeTime,
    ) -> Result<SeTime, ImportError> {
        let leaf = self.certificate;
        if !leaf.names_key_of(waiting).map_err(unreadable(leaf))? {
            return Err(self.unfit("does not write its key as a point of a named curve"));
        }
        if leaf.has_critical_unknown() {
            return Err(self.unfit(CRITICAL_UNKNOWN));
        }
        if leaf.is_ca() {
            return Err(self.unfit("says that the device is a CA"));
        }
        match leaf.usage().map_err(unreadable(leaf))? {
            None => return Err(self.unfit("does not say what its key is for (keyUsage)")),
            Some(usage) if !usage.digital_signature() => {
                return Err(self.unfit("does not allow its key to sign (digitalSignature)"));
            }
            Some(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(self.unfit("allows its key to sign certificates"));
            }
            Some(_) => {}
        }
        let named = leaf.serials_named();
        if named.iter().any(|serial| *serial != self.device) {
            return Err(self.unfit("names the serial number of another device"));
        }
        if named.is_empty() {
            self.deviate("does not name the serial number of the device")?;
        }
        let (first, last) = leaf.usage_period().map_err(unreadable(leaf))?;
        if first.is_some_and(|first| now < first) {
            return Err(self.unfit("does not allow its key to be used yet"));
        }
        if last.is_some_and(|last| last <= now) {
            return Err(self.unfit("does not allow its key to be used any more"));
        }
        let end = leaf.not_after().map_err(unreadable(leaf))?;
        if end <= now {
            return Err(self.unfit("has ended"));
        }
        Ok(last.map_or(end, |last| last.min(end)))
    }

    /// The issuers, up to a root.
    pub fn follow(
        &self,
        candidates: &[&ForeignCertificate],
        now: SeTime,
    ) -> Result<Vec<ForeignCertificate>, ImportError> {
        let leaf = self.certificate;
        let found = chain::issuers(leaf, candidates, now).map_err(unreadable(leaf))?;
        let found = found.map_err(|broken| self.broken(broken))?;
        if found.len() > ISSUERS_MAX {
            return Err(self.unfit("has too many issuers above it"));
        }
        let read = |der: &Vec<u8>| ForeignCertificate::from_der(der);
        let issuers: Result<_, _> = found.iter().map(read).collect();
        issuers.map_err(|error| unreadable(leaf)(error.into()))
    }

    fn broken(&self, broken: Broken) -> ImportError {
        match broken.missing {
            Some(issuer) => ImportError::ChainIncomplete {
                device: self.device,
                issuer,
            },
            None => ImportError::ChainBroken {
                device: self.device,
                depth: broken.depth,
                reason: broken.reason,
            },
        }
    }

    /// Checks what OpenSSL does not ask, and returns the hash of the issuer's key. `below` is what it has
    /// signed.
    pub fn check_issuer(
        &mut self,
        issuer: &ForeignCertificate,
        below: &ForeignCertificate,
        issuer_of: IssuerOf,
    ) -> Result<SerialNumber, ImportError> {
        let (Some(serial), Some(curve)) = (issuer.key_serial(), issuer.curve()) else {
            let problem = "has a key that is no uncompressed point of a known curve";
            return Err(self.unfit_issuer(issuer, problem));
        };
        if issuer.has_critical_unknown() {
            return Err(self.unfit_issuer(issuer, CRITICAL_UNKNOWN));
        }
        if !issuer.is_ca() {
            return Err(self.unfit_issuer(issuer, "is no CA"));
        }
        if issuer_of == IssuerOf::OtherEnvironment {
            let problem = "is one of the other environment; TEST and LIVE share none";
            return Err(self.unfit_issuer(issuer, problem));
        }
        if self.is_live && issuer.is_of(TEST_ORGANIZATION) {
            return Err(self.unfit_issuer(issuer, "is a test CA"));
        }
        let Some(hash_bits) = hash_bits(&below.signature_oid()) else {
            return Err(self.unfit_issuer(issuer, NOT_ECDSA));
        };
        if hash_bits < CA_BITS_MIN || curve.field_len().saturating_mul(8) < CA_BITS_MIN {
            self.deviate("has an issuer that signs with less than 384 bits (TR-03116-5)")?;
        }
        Ok(serial)
    }

    /// Nobody relies on what a root says about itself, but readers of the export verify it.
    pub fn check_root(&self, root: &ForeignCertificate) -> Result<(), ImportError> {
        match hash_bits(&root.signature_oid()) {
            Some(_) => Ok(()),
            None => Err(self.unfit_issuer(root, NOT_ECDSA)),
        }
    }
}

/// Bits of the hash of ecdsa-with-SHA2 and -SHA3, which are all that the checker of exports verifies.
fn hash_bits(oid: &str) -> Option<usize> {
    match oid {
        "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.3.10" => Some(256),
        "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.3.11" => Some(384),
        "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.3.12" => Some(512),
        _ => None,
    }
}
