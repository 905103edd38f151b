//! New keys with their certificate requests.

use super::certificate::request;
use super::token_key::TokenKey;
use super::{PkiError, WaitingDevice};
use crate::csp::{Csp, KeyId};
use crate::terms::{
    Curve, Entropy, Environment, SeTime, SerialNumber, SignatureAlgorithm, SignatureCounter,
};
use openssl::error::ErrorStack;
use openssl::x509::X509Req;

impl WaitingDevice {
    /// Makes a key pair in the token and its certificate request: signature 1 of the key, which proves
    /// that the key works and is ours (rule L-12). Both are read back and checked here; nothing is kept
    /// yet.
    ///
    /// # Errors
    /// [`PkiError::Token`], or [`PkiError::Encoding`] for a request that does not verify. A key that was
    /// made before an error stays in the token, unknown to the ledger.
    pub fn make(
        csp: &dyn Csp,
        entropy: &dyn Entropy,
        environment: Environment,
        curve: Curve,
        now: SeTime,
    ) -> Result<Self, PkiError> {
        let key = csp.generate_device_key(random_key_id(entropy), curve)?;
        let serial_number = SerialNumber::of_public_point(&key.public_key.point);
        let request = request(serial_number, &TokenKey { csp, key: &key })?;
        if !verifies(&request)? {
            return Err(PkiError::Encoding(
                "the signature of a certificate request does not verify".into(),
            ));
        }
        Ok(Self {
            serial_number,
            environment,
            token: csp.token().to_owned(),
            key,
            algorithm: SignatureAlgorithm::ecdsa_plain(curve.default_hash()),
            signature_counter: SignatureCounter::new(1),
            request,
            time_creation: now,
        })
    }

    /// The request as certificate authorities want it: PEM, a text.
    ///
    /// # Errors
    /// [`PkiError::Encoding`] when the kept request cannot be read.
    pub fn request_pem(&self) -> Result<String, PkiError> {
        let pem = parse(&self.request)?.to_pem().map_err(encoding)?;
        String::from_utf8(pem).map_err(|error| PkiError::Encoding(error.into()))
    }
}

/// Whether the request is signed by the key in it, as its receiver will see it.
fn verifies(request: &[u8]) -> Result<bool, PkiError> {
    let request = parse(request)?;
    let key = request.public_key().map_err(encoding)?;
    request.verify(&key).map_err(encoding)
}

fn parse(request: &[u8]) -> Result<X509Req, PkiError> {
    X509Req::from_der(request).map_err(encoding)
}

fn encoding(error: ErrorStack) -> PkiError {
    PkiError::Encoding(error.into())
}

pub(super) fn random_key_id(entropy: &dyn Entropy) -> KeyId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    KeyId::new(id)
}
