//! One certificate that somebody else has made, read strictly: what is kept goes into exports, where
//! strangers read it.

use super::certificate::{not_after, se_time};
use super::token_key::public_key_info;
use super::{PkiError, WaitingDevice};
use crate::terms::{Curve, SeTime, SerialNumber};
use const_oid::ObjectIdentifier;
use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, PrivateKeyUsagePeriod};
use x509_parser::pem::Pem;

/// Certificates in one file, at most.
const PER_FILE_MAX: usize = 100_000;

/// Critical extensions that the checker of exports understands: basicConstraints, keyUsage, key
/// identifiers, certificatePolicies, cRLDistributionPoints.
const CRITICAL_KNOWN: [&str; 6] = [
    "2.5.29.19",
    "2.5.29.15",
    "2.5.29.35",
    "2.5.29.14",
    "2.5.29.32",
    "2.5.29.31",
];

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Where some authorities put the serial number of a TSS.
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// A certificate as it came.
#[derive(Clone, Debug)]
pub struct ForeignCertificate {
    der: Vec<u8>,
    parsed: Certificate,
    key_serial: Option<SerialNumber>,
}

/// The file holds something else than certificates.
#[derive(Debug, thiserror::Error)]
#[error("this is no X.509 certificate in PEM or DER form, and no bundle of them")]
pub struct UnreadableError {
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ForeignCertificate {
    /// Reads the certificates of a file: PEM or DER, one or several one after the other.
    ///
    /// # Errors
    /// [`UnreadableError`] when there is none, or when anything in it is none.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, UnreadableError> {
        let found = match bytes.first() {
            Some(0x30) => Self::read_der(bytes),
            Some(_) | None => Self::read_pem(bytes),
        };
        let found = found.map_err(|source| UnreadableError {
            source: Some(source),
        })?;
        if found.is_empty() || found.len() > PER_FILE_MAX {
            return Err(UnreadableError { source: None });
        }
        Ok(found)
    }

    fn read_der(bytes: &[u8]) -> Result<Vec<Self>, Box<dyn std::error::Error + Send + Sync>> {
        let mut reader = SliceReader::new(bytes)?;
        let mut found = Vec::new();
        while !reader.is_finished() {
            let der = reader.tlv_bytes()?;
            found.push(Self::from_der(der)?);
        }
        Ok(found)
    }

    fn read_pem(bytes: &[u8]) -> Result<Vec<Self>, Box<dyn std::error::Error + Send + Sync>> {
        let mut found = Vec::new();
        for block in Pem::iter_from_buffer(bytes) {
            let block = block?;
            if block.label != "CERTIFICATE" {
                return Err(format!("a block of {:?} is none", block.label).into());
            }
            found.push(Self::from_der(&block.contents)?);
        }
        Ok(found)
    }

    pub(super) fn from_der(der: &[u8]) -> Result<Self, der::Error> {
        let parsed = Certificate::from_der(der)?;
        // What reads back as other bytes could be written in two ways, and a key has one certificate.
        if parsed.to_der()? != der {
            return Err(der::ErrorKind::Noncanonical {
                tag: der::Tag::Sequence,
            }
            .into());
        }
        let key = parsed.tbs_certificate().subject_public_key_info();
        let point = key.subject_public_key.as_bytes().unwrap_or_default();
        let is_point = point.first() == Some(&4);
        Ok(Self {
            key_serial: is_point.then(|| SerialNumber::of_public_point(point)),
            der: der.to_vec(),
            parsed,
        })
    }

    /// Hash of its public key; `None` for what is no uncompressed point of a curve.
    pub const fn key_serial(&self) -> Option<SerialNumber> {
        self.key_serial
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its subject, for people. Foreign text: quote it.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The name of its issuer, for people. Foreign text: quote it.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_certificate().issuer().to_string()
    }

    pub(super) fn not_after(&self) -> Result<SeTime, PkiError> {
        not_after(&self.parsed)
    }

    /// From when to when its private key may be used, as far as that is said
    /// (privateKeyUsagePeriod).
    pub(super) fn usage_period(&self) -> Result<(Option<SeTime>, Option<SeTime>), PkiError> {
        let found = self.extension::<PrivateKeyUsagePeriod>()?;
        let time = |at: Option<der::asn1::GeneralizedTime>| {
            at.map(|at| se_time(at.to_unix_duration())).transpose()
        };
        match found {
            Some(period) => Ok((time(period.not_before)?, time(period.not_after)?)),
            None => Ok((None, None)),
        }
    }

    /// Whether it says that it is the certificate of a CA.
    pub(super) fn is_ca(&self) -> bool {
        self.extension::<BasicConstraints>()
            .is_ok_and(|found| found.is_some_and(|constraints| constraints.ca))
    }

    /// What it says that its key may do; `None` where it says nothing.
    pub(super) fn usage(&self) -> Result<Option<KeyUsage>, PkiError> {
        self.extension()
    }

    /// Whether it says something that must be understood and is not.
    pub(super) fn has_critical_unknown(&self) -> bool {
        let extensions = self.parsed.tbs_certificate().extensions();
        extensions.into_iter().flatten().any(|extension| {
            let oid = extension.extn_id.to_string();
            extension.critical && !CRITICAL_KNOWN.contains(&oid.as_str())
        })
    }

    fn extension<'a, T>(&'a self) -> Result<Option<T>, PkiError>
    where
        T: der::Decode<'a, Error = der::Error> + const_oid::AssociatedOid,
    {
        let found = self.parsed.tbs_certificate().get_extension::<T>();
        let found = found.map_err(|error| PkiError::Encoding(error.into()))?;
        Ok(found.map(|(_, value)| value))
    }

    /// Whether its key is written as the profile wants it: named curve, uncompressed point (rule C-2).
    pub(super) fn names_key_of(&self, device: &WaitingDevice) -> Result<bool, PkiError> {
        let own = self.parsed.tbs_certificate().subject_public_key_info();
        Ok(own.to_der()? == public_key_info(&device.key.public_key)?.to_der()?)
    }

    /// Curve of its key; `None` for any other kind of key.
    pub(super) fn curve(&self) -> Option<Curve> {
        let algorithm = &self
            .parsed
            .tbs_certificate()
            .subject_public_key_info()
            .algorithm;
        let oid: ObjectIdentifier = algorithm.parameters.as_ref()?.decode_as().ok()?;
        let named = |curve: &Curve| curve.oid() == oid.to_string();
        Curve::ALL.into_iter().find(named)
    }

    /// Dotted identifier of the algorithm that it is signed with.
    pub(super) fn signature_oid(&self) -> String {
        self.parsed.signature_algorithm().oid.to_string()
    }

    /// Serial numbers of TSSs that its subject names.
    pub(super) fn serials_named(&self) -> Vec<SerialNumber> {
        let names = self.subject_texts(COMMON_NAME);
        let numbers = self.subject_texts(SERIAL_NUMBER);
        let texts = names.into_iter().chain(numbers);
        texts.filter_map(|text| text.parse().ok()).collect()
    }

    /// Whether its subject belongs to this organisation.
    pub(super) fn is_of(&self, organization: &str) -> bool {
        let texts = self.subject_texts(ORGANIZATION);
        texts.iter().any(|text| text == organization)
    }

    fn subject_texts(&self, kind: ObjectIdentifier) -> Vec<String> {
        let subject = self.parsed.tbs_certificate().subject();
        let values = subject.iter().filter(|part| part.oid == kind);
        values
            .map(|part| String::from_utf8_lossy(part.value.value()).into_owned())
            .collect()
    }
}
