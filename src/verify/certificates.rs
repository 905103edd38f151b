//! Certificates as found in archives: DER or PEM, named by the hash of their key.

use super::keys::PublicKey;
use crate::terms::{Curve, SerialNumber};
use openssl::x509::X509;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

/// One certificate, as far as the checker needs it.
pub(super) struct Certificate {
    /// Hash of the point of its key, whatever the curve.
    pub serial: SerialNumber,
    /// Its key; `None` on a curve that may not sign log messages.
    pub key: Option<PublicKey>,
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    /// For people.
    pub subject_text: String,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
    /// Unix seconds, inclusive.
    pub not_before: i64,
    pub not_after: i64,
    /// Whether it says that it may sign certificates.
    pub is_ca: bool,
    pub der: Vec<u8>,
    parsed: X509,
}

impl Certificate {
    /// Reads DER, or the first certificate of a PEM text.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let der = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            X509::from_pem(bytes).ok()?.to_der().ok()?
        } else {
            bytes.to_vec()
        };
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let point = certificate.public_key().subject_public_key.data.to_vec();
        let mut ids = (None, None);
        let mut is_ca = false;
        for extension in certificate.extensions() {
            let parsed = extension.parsed_extension();
            if let ParsedExtension::SubjectKeyIdentifier(id) = parsed {
                ids.0 = Some(id.0.to_vec());
            } else if let ParsedExtension::AuthorityKeyIdentifier(id) = parsed {
                ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            } else if let ParsedExtension::BasicConstraints(constraints) = parsed {
                is_ca = constraints.ca;
            }
        }
        Some(Self {
            serial: SerialNumber::of_public_point(&point),
            key: curve(&certificate).and_then(|curve| PublicKey::new(curve, &point)),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            subject_text: certificate.subject().to_string(),
            subject_key_id: ids.0,
            authority_key_id: ids.1,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            is_ca,
            parsed: X509::from_der(&der).ok()?,
            der,
        })
    }

    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether `issuer` signed this certificate, and both say so.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        let names = self.issuer == issuer.subject;
        let ids = match (&self.authority_key_id, &issuer.subject_key_id) {
            (Some(authority), Some(subject)) => authority == subject,
            (None, _) | (_, None) => true,
        };
        names
            && ids
            && issuer
                .parsed
                .public_key()
                .and_then(|key| self.parsed.verify(&key))
                .unwrap_or(false)
    }
}

fn curve(certificate: &X509Certificate<'_>) -> Option<Curve> {
    let parameters = certificate.public_key().algorithm.parameters.as_ref()?;
    let oid = parameters.as_oid().ok()?.to_id_string();
    Curve::ALL.into_iter().find(|curve| curve.oid() == oid)
}

/// A root that is trusted.
pub struct Root(pub(super) Certificate);

/// The file is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate in DER or PEM")]
pub struct RootError;

impl Root {
    /// Reads DER or PEM.
    ///
    /// # Errors
    /// [`RootError`]
    pub fn read(bytes: &[u8]) -> Result<Self, RootError> {
        Certificate::read(bytes).map(Self).ok_or(RootError)
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({})", self.0.subject_text)
    }
}
