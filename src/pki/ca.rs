//! The test CA of this ledger: a root and an issuing CA, both P-384.

use super::PkiError;
use super::certificate::{Period, Subject, ca_name, issue, request};
use super::token_key::TokenKey;
use crate::csp::{Csp, KeyId, KeyPair};
use crate::ledger::{CaCertificate, CaRole, PreparedDevice, Store};
use crate::terms::{
    Clock, Curve, Entropy, Environment, SeTime, SerialNumber, SignatureAlgorithm, SignatureCounter,
};
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

impl TestCa {
    /// The CA of this ledger whose key is in this token; made where there is none, or where it ended.
    ///
    /// Two nodes that make one at the same time get two, which is fine: a chain is found by the hash
    /// of its issuer.
    ///
    /// # Errors
    /// [`PkiError::Token`] and [`PkiError::Ledger`] as those rooms say.
    pub fn open_or_create(
        store: &Store,
        csp: Arc<dyn Csp>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, PkiError> {
        let mut maker = Maker {
            store,
            csp: csp.as_ref(),
            entropy: entropy.as_ref(),
            now: clock.now(),
        };
        let known = store.cas(Environment::Test)?;
        let issuing = match maker.usable(known)? {
            Some(issuing) => issuing,
            None => maker.make()?,
        };
        let Some((_, key)) = issuing.key else {
            return Err(PkiError::Encoding("the test CA has no key".to_owned()));
        };
        let certificate = Certificate::from_der(&issuing.certificate)?;
        Ok(Self {
            name: certificate.tbs_certificate().subject().clone(),
            not_after: not_after(&certificate)?,
            serial_number: issuing.serial_number,
            csp,
            clock,
            entropy,
            key,
        })
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
        let csp = self.csp.as_ref();
        let key = csp.generate_key_pair(random_key_id(self.entropy.as_ref()), curve)?;
        let serial_number = SerialNumber::of_public_point(&key.public_key.point);
        // Made for its signature; the CA stands beside the key and needs no request to know it.
        request(serial_number, &TokenKey { csp, key: &key })?;
        let subject = Subject::Tss {
            serial: serial_number,
            issuer: self.name.clone(),
        };
        let issuer = TokenKey {
            csp,
            key: &self.key,
        };
        let entropy = self.entropy.as_ref();
        let certificate = issue(subject, &key.public_key, period, &issuer, entropy)?;
        Ok(PreparedDevice {
            serial_number,
            environment: Environment::Test,
            token: csp.token().to_owned(),
            algorithm: SignatureAlgorithm::ecdsa_plain(curve.default_hash()),
            key,
            signature_counter: SignatureCounter::new(1),
            certificate,
            issuer: self.serial_number,
            certificate_not_after: period.not_after,
            time_creation: now,
        })
    }
}

/// Finds or makes the two certificates.
struct Maker<'a> {
    store: &'a Store,
    csp: &'a dyn Csp,
    entropy: &'a dyn Entropy,
    now: SeTime,
}

impl Maker<'_> {
    /// The issuing CA of this token that lives longest, if it lives long enough.
    fn usable(&self, known: Vec<CaCertificate>) -> Result<Option<CaCertificate>, PkiError> {
        let mut best: Option<(SeTime, CaCertificate)> = None;
        for ca in known {
            let here = ca
                .key
                .as_ref()
                .is_some_and(|(token, _)| token == self.csp.token());
            if !here || ca.role != CaRole::Issuing {
                continue;
            }
            let end = not_after(&Certificate::from_der(&ca.certificate)?)?;
            let left_s = end.unix_seconds() - self.now.unix_seconds();
            if left_s > LIFE_LEFT_S_MIN && best.as_ref().is_none_or(|(other, _)| end > *other) {
                best = Some((end, ca));
            }
        }
        Ok(best.map(|(_, ca)| ca))
    }

    fn make(&mut self) -> Result<CaCertificate, PkiError> {
        let root_key = self.new_key()?;
        let root_period = Period::of_years(self.now, ROOT_YEARS, None);
        let root_name = common_name("Root", &root_key);
        let signer = TokenKey {
            csp: self.csp,
            key: &root_key,
        };
        let root = Subject::Root {
            common_name: root_name.clone(),
        };
        let root_der = issue(
            root,
            &root_key.public_key,
            root_period,
            &signer,
            self.entropy,
        )?;
        let root_serial = SerialNumber::of_public_point(&root_key.public_key.point);

        let issuing_key = self.new_key()?;
        let issuing = Subject::Issuing {
            common_name: common_name("Issuing", &issuing_key),
            issuer: ca_name(&root_name)?,
        };
        let issuing_period = Period::of_years(self.now, ISSUING_YEARS, Some(root_period.not_after));
        let issuing_public = &issuing_key.public_key;
        let issuing_der = issue(
            issuing,
            issuing_public,
            issuing_period,
            &signer,
            self.entropy,
        )?;
        self.keep(CaRole::Root, root_serial, root_key, root_der)?;
        let issuing = self.keep(CaRole::Issuing, root_serial, issuing_key, issuing_der)?;
        tracing::info!(
            token = self.csp.token(),
            "made a test CA, valid for {ISSUING_YEARS} years"
        );
        Ok(issuing)
    }

    fn new_key(&self) -> Result<KeyPair, PkiError> {
        let id = random_key_id(self.entropy);
        Ok(self.csp.generate_key_pair(id, Curve::Secp384r1)?)
    }

    fn keep(
        &self,
        role: CaRole,
        issuer: SerialNumber,
        key: KeyPair,
        certificate: Vec<u8>,
    ) -> Result<CaCertificate, PkiError> {
        let ca = CaCertificate {
            serial_number: SerialNumber::of_public_point(&key.public_key.point),
            environment: Environment::Test,
            role,
            issuer,
            key: Some((self.csp.token().to_owned(), key)),
            certificate,
        };
        self.store.add_ca(&ca)?;
        Ok(ca)
    }
}

/// Different for every CA, so that two of them are never confused by name.
fn common_name(role: &str, key: &KeyPair) -> String {
    let serial = SerialNumber::of_public_point(&key.public_key.point).to_string();
    let short: String = serial.chars().take(8).collect();
    format!("Siegel TEST {role} CA {short}")
}

fn random_key_id(entropy: &dyn Entropy) -> KeyId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    KeyId::new(id)
}

fn not_after(certificate: &Certificate) -> Result<SeTime, PkiError> {
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = i64::try_from(end.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    SeTime::try_from(seconds)
        .map_err(|_| PkiError::Encoding("the end of a certificate is no time".to_owned()))
}
