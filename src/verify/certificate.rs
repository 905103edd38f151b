//! Certificates as far as a chain of ECDSA signatures needs them.

use super::key::{PublicKey, Verdict};
use crate::terms::{Hash, SignatureAlgorithm};
use std::ops::RangeInclusive;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

/// Certificates taken from one PEM file.
const PER_FILE_MAX: usize = 16;

/// One X.509 certificate.
pub(super) struct Certificate {
    /// File it came from.
    pub(super) file: String,
    /// The whole, as it was signed.
    pub(super) der: Vec<u8>,
    /// Subject, DER.
    subject: Vec<u8>,
    /// Issuer, DER.
    issuer: Vec<u8>,
    /// Subject, for people.
    pub(super) subject_text: String,
    /// Issuer, for people.
    pub(super) issuer_text: String,
    /// Unix seconds.
    pub(super) valid: RangeInclusive<i64>,
    /// `None` when the key is of a kind that may sign neither log messages nor certificates.
    pub(super) key: Option<PublicKey>,
    /// basicConstraints says CA.
    pub(super) is_ca: bool,
    /// pathLenConstraint.
    pub(super) path_len_max: Option<u32>,
    /// keyUsage: digitalSignature, keyCertSign; `None` without the extension.
    usage: Option<(bool, bool)>,
    /// The first critical extension that is not understood here.
    pub(super) critical_unknown: Option<String>,
    /// subjectKeyIdentifier.
    key_identifier: Option<Vec<u8>>,
    /// keyIdentifier of the authorityKeyIdentifier.
    authority_key: Option<Vec<u8>>,
    to_be_signed: Vec<u8>,
    signature_oid: String,
    signature: Vec<u8>,
}

impl Certificate {
    /// Reads one DER certificate or the certificates of a PEM file. Empty when there is none, or when
    /// one of them is none.
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Vec<Self> {
        if bytes.first() == Some(&0x30) {
            return Self::from_der(file, bytes).into_iter().collect();
        }
        Pem::iter_from_buffer(bytes)
            .take(PER_FILE_MAX)
            .map(|pem| {
                let pem = pem.ok().filter(|pem| pem.label.ends_with("CERTIFICATE"))?;
                Self::from_der(file, &pem.contents)
            })
            .collect::<Option<_>>()
            .unwrap_or_default()
    }

    fn from_der(file: &str, der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        // One padding sign of PEM read as a digit is one more byte after the certificate.
        if !rest.is_empty() || !is_strict_around_the_signed_part(der) {
            return None;
        }
        let constraints = parsed.basic_constraints().ok()?;
        let usage = parsed.key_usage().ok()?;
        let validity = parsed.validity();
        let extensions = || {
            parsed
                .extensions()
                .iter()
                .map(|found| found.parsed_extension())
        };
        Some(Self {
            file: file.to_owned(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_text: parsed.subject().to_string(),
            issuer_text: parsed.issuer().to_string(),
            valid: validity.not_before.timestamp()..=validity.not_after.timestamp(),
            key: PublicKey::from_spki(parsed.public_key().raw),
            is_ca: constraints.as_ref().is_some_and(|found| found.value.ca),
            path_len_max: constraints.and_then(|found| found.value.path_len_constraint),
            usage: usage
                .map(|found| (found.value.digital_signature(), found.value.key_cert_sign())),
            critical_unknown: critical_unknown(&parsed),
            key_identifier: extensions().find_map(|extension| {
                let ParsedExtension::SubjectKeyIdentifier(found) = extension else {
                    return None;
                };
                Some(found.0.to_vec())
            }),
            authority_key: extensions().find_map(|extension| {
                let ParsedExtension::AuthorityKeyIdentifier(found) = extension else {
                    return None;
                };
                found.key_identifier.as_ref().map(|found| found.0.to_vec())
            }),
            to_be_signed: parsed.tbs_certificate.as_ref().to_vec(),
            signature_oid: parsed.signature_algorithm.algorithm.to_id_string(),
            signature: parsed.signature_value.data.to_vec(),
            der: der.to_vec(),
        })
    }

    /// Whether the file's name is the hash of the key in it, in either case of letters
    /// (TR-03151-1 §2.5.4).
    pub(super) fn is_named_after_key(&self) -> bool {
        let stem = self.file.split('_').next().unwrap_or_default();
        let key = self.key.as_ref();
        key.is_some_and(|key| stem.parse() == Ok(key.serial_number()))
    }

    /// Whether it may confirm other certificates.
    pub(super) fn may_issue(&self) -> bool {
        self.is_ca
            && self
                .usage
                .is_none_or(|(_, signs_certificates)| signs_certificates)
    }

    /// Whether it may confirm log messages.
    pub(super) fn may_sign_data(&self) -> bool {
        self.usage.is_none_or(|(signs_data, _)| signs_data)
    }

    /// Whether this name is the one that `other` gives as its issuer's. Type of string and case do not
    /// count (RFC 5280 §7.1).
    pub(super) fn is_named_by(&self, other: &Self) -> bool {
        self.subject == other.issuer || self.subject_text.eq_ignore_ascii_case(&other.issuer_text)
    }

    /// Whether `other` says that a key with another identifier has signed it. Nothing can be said where
    /// one of the two identifiers is missing.
    pub(super) fn is_another_key_than_named_by(&self, other: &Self) -> bool {
        let named = other.authority_key.as_ref();
        let own = self.key_identifier.as_ref();
        named.zip(own).is_some_and(|(named, own)| named != own)
    }

    /// Whether this key has signed `other`.
    pub(super) fn has_signed(&self, other: &Self) -> bool {
        let (Some(key), Some(hash)) = (&self.key, signature_hash(&other.signature_oid)) else {
            return false;
        };
        // Certificates carry the DER form with the ANSI identifiers, the plain form with those of the
        // BSI; which of the two is for the identifier to say, and both say the same.
        key.verdict(hash, &other.to_be_signed, &other.signature) != Verdict::Invalid
    }
}

/// The first critical extension that says something nobody here looks at. basicConstraints and keyUsage
/// are judged; identifiers of keys are compared; which policy holds and where a list of revocations lies
/// changes no verdict. Any other one could.
fn critical_unknown(parsed: &X509Certificate<'_>) -> Option<String> {
    let unknown = parsed.extensions().iter().find(|extension| {
        let is_understood = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::AuthorityKeyIdentifier(_)
                | ParsedExtension::SubjectKeyIdentifier(_)
                | ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::CRLDistributionPoints(_)
        );
        extension.critical && !is_understood
    });
    unknown.map(|extension| extension.oid.to_id_string())
}

/// What the issuer has not signed is as it must be: tags and lengths, the algorithm a second time, and
/// a signature of whole bytes (RFC 5280 §4.1.1). The parser takes other forms, too.
fn is_strict_around_the_signed_part(der: &[u8]) -> bool {
    let walk = || {
        let (signed, rest) = element(0x30, only(element(0x30, der)?)?)?;
        let (algorithm, rest) = element(0x30, rest)?;
        let signature = only(element(0x03, rest)?)?;
        // In the signed part: version, where it is not the first, serial number, algorithm.
        let after_version = element(0xA0, signed).map_or(signed, |(_, rest)| rest);
        let (_, rest) = element(0x02, after_version)?;
        let (same, _) = element(0x30, rest)?;
        Some(same == algorithm && signature.first() == Some(&0))
    };
    walk().unwrap_or(false)
}

/// Content of an element that nothing follows.
fn only<'a>((content, rest): (&'a [u8], &[u8])) -> Option<&'a [u8]> {
    rest.is_empty().then_some(content)
}

/// Content of the DER element with this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first.checked_sub(0x80) {
        None => (usize::from(*first), rest),
        Some(count) => {
            let (digits, rest) = rest.split_at_checked(count.into())?;
            let is_shortest =
                digits.first() != Some(&0) && (count > 1 || digits.first() >= Some(&0x80));
            // A certificate of four digits' length is larger than any file that was read.
            if !is_shortest || count > 3 {
                return None;
            }
            let length = digits
                .iter()
                .fold(0, |length, digit| (length << 8) | usize::from(*digit));
            (length, rest)
        }
    };
    (*found == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

/// ecdsa-with-SHA2 and -SHA3 (ANSI X9.62, NIST), ecdsa-plain (TR-03111 §5.2.1).
fn signature_hash(oid: &str) -> Option<Hash> {
    match oid {
        "1.2.840.10045.4.3.2" => Some(Hash::Sha256),
        "1.2.840.10045.4.3.3" => Some(Hash::Sha384),
        "1.2.840.10045.4.3.4" => Some(Hash::Sha512),
        "2.16.840.1.101.3.4.3.10" => Some(Hash::Sha3_256),
        "2.16.840.1.101.3.4.3.11" => Some(Hash::Sha3_384),
        "2.16.840.1.101.3.4.3.12" => Some(Hash::Sha3_512),
        _ => SignatureAlgorithm::from_oid(oid).map(SignatureAlgorithm::hash),
    }
}
