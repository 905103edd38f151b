//! The test CA of this ledger: a root and an issuing CA, both P-384.

use super::certificate::{Period, Subject, ca_name, issue, not_after};
use super::request::random_key_id;
use super::token_key::TokenKey;
use super::{CaCertificate, CaRole, PkiError, PreparedDevice, WaitingDevice};
use crate::csp::{Csp, KeyPair};
use crate::terms::{Clock, Curve, Entropy, Environment, SeTime, SerialNumber};
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

const ROOT_YEARS: i64 = 15;
const ISSUING_YEARS: i64 = 13;
/// Rule C-6: at most 8 years.
const TSS_YEARS: i64 = 8;

/// Nobody issues for less than a day.
const LIFE_LEFT_S_MIN: i64 = 86_400;

/// Issues TSS certificates for TEST.
pub struct TestCa {
    csp: Arc<dyn Csp>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    key: KeyPair,
    name: Name,
    serial_number: SerialNumber,
    not_after: SeTime,
}

/// A root and the issuing CA below it, to be kept before anything is issued.
pub struct NewCa {
    /// Root first.
    pub certificates: [CaCertificate; 2],
}

impl TestCa {
    /// Opens the one of these CAs whose key is in this token and that lives longest; `None` where
    /// there is none, or none lives long enough.
    ///
    /// # Errors
    /// [`PkiError::Encoding`] when a certificate cannot be read.
    pub fn open(
        known: Vec<CaCertificate>,
        csp: &Arc<dyn Csp>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Option<Self>, PkiError> {
        let now = clock.now();
        let mut best: Option<Self> = None;
        for ca in known {
            let issuing = ca.role == CaRole::Issuing;
            let Some((_, key)) = ca.key.filter(|(token, _)| issuing && token == csp.token()) else {
                continue;
            };
            let certificate = Certificate::from_der(&ca.certificate)?;
            let not_after = not_after(&certificate)?;
            let left_s = not_after.unix_seconds() - now.unix_seconds();
            let better = best.as_ref().is_none_or(|best| best.not_after < not_after);
            if left_s > LIFE_LEFT_S_MIN && better {
                best = Some(Self {
                    csp: Arc::clone(csp),
                    clock: Arc::clone(clock),
                    entropy: Arc::clone(entropy),
                    key,
                    name: certificate.tbs_certificate().subject().clone(),
                    serial_number: ca.serial_number,
                    not_after,
                });
            }
        }
        Ok(best)
    }

    /// Label of the token that holds its key, and the keys of what it issues.
    pub fn token(&self) -> &str {
        self.csp.token()
    }

    /// A new key pair with its certificate, ready to become a TSS. Not kept yet.
    ///
    /// # Errors
    /// [`PkiError::Token`], or [`PkiError::CaExpired`]. A key that was made before an error stays in
    /// the token, unknown to the ledger.
    pub fn prepare(&self, curve: Curve) -> Result<PreparedDevice, PkiError> {
        let now = self.clock.now();
        let period = Period::of_years(now, TSS_YEARS, Some(self.not_after));
        if self.not_after.unix_seconds() - now.unix_seconds() < LIFE_LEFT_S_MIN {
            return Err(PkiError::CaExpired);
        }
        let (csp, entropy) = (self.csp.as_ref(), self.entropy.as_ref());
        // The CA stands beside the key and needs no request to know it, but its signature.
        let device = WaitingDevice::make(csp, entropy, Environment::Test, curve, now)?;
        let subject = Subject::Tss {
            serial: device.serial_number,
            issuer: self.name.clone(),
        };
        let issuer = TokenKey {
            csp,
            key: &self.key,
        };
        let certificate = issue(subject, &device.key.public_key, period, &issuer, entropy)?;
        Ok(device.certified(certificate, self.serial_number, period.not_after))
    }
}

impl NewCa {
    /// Makes both key pairs in the token, and both certificates.
    ///
    /// # Errors
    /// [`PkiError::Token`] as that room says. Keys made before an error stay in the token, unknown to
    /// the ledger.
    pub fn make(csp: &dyn Csp, entropy: &dyn Entropy, now: SeTime) -> Result<Self, PkiError> {
        let new_key = || csp.generate_key_pair(random_key_id(entropy), Curve::Secp384r1);
        let root_key = new_key()?;
        let root_period = Period::of_years(now, ROOT_YEARS, None);
        let root_name = common_name("Root", &root_key);
        let signer = TokenKey {
            csp,
            key: &root_key,
        };
        let root = Subject::Root {
            common_name: root_name.clone(),
        };
        let root_der = issue(root, &root_key.public_key, root_period, &signer, entropy)?;

        let issuing_key = new_key()?;
        let issuing = Subject::Issuing {
            common_name: common_name("Issuing", &issuing_key),
            issuer: ca_name(&root_name)?,
        };
        let period = Period::of_years(now, ISSUING_YEARS, Some(root_period.not_after));
        let issuing_der = issue(issuing, &issuing_key.public_key, period, &signer, entropy)?;

        let root_serial = SerialNumber::of_public_point(&root_key.public_key.point);
        let kept = |role, key: KeyPair, certificate| CaCertificate {
            serial_number: SerialNumber::of_public_point(&key.public_key.point),
            environment: Environment::Test,
            role,
            issuer: root_serial,
            key: Some((csp.token().to_owned(), key)),
            certificate,
        };
        tracing::info!(
            token = csp.token(),
            "made a test CA for {ISSUING_YEARS} years"
        );
        let root = kept(CaRole::Root, root_key, root_der);
        let issuing = kept(CaRole::Issuing, issuing_key, issuing_der);
        Ok(Self {
            certificates: [root, issuing],
        })
    }
}

/// Different for every CA, so that two of them are never confused by name.
fn common_name(role: &str, key: &KeyPair) -> String {
    let serial = SerialNumber::of_public_point(&key.public_key.point).to_string();
    let short: String = serial.chars().take(8).collect();
    format!("Siegel TEST {role} CA {short}")
}
