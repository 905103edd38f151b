//! The three kinds of certificates, after TR-03145-5.

use super::PkiError;
use super::token_key::{TokenKey, public_key_info};
use crate::csp::PublicKey;
use crate::terms::{Entropy, SeTime, SerialNumber};
use const_oid::AssociatedOid;
use der::asn1::{GeneralizedTime, OctetString};
use der::{Encode, flagset};
use spki::SubjectPublicKeyInfoRef;
use std::str::FromStr as _;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder, RequestBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, PrivateKeyUsagePeriod,
    SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::{Time, Validity};

/// A certificate is valid a little before it is made, for readers whose clock is behind, in seconds.
const NOT_BEFORE_S: i64 = -300;

/// From when to when, inclusive.
#[derive(Clone, Copy)]
pub(super) struct Period {
    pub not_before: SeTime,
    pub not_after: SeTime,
}

impl Period {
    /// From a few minutes before `now`, for so many years, but not past `end`.
    pub fn of_years(now: SeTime, years: i64, end: Option<SeTime>) -> Self {
        // 365.25 days, so that leap days are nobody's loss.
        let wanted = now.plus_seconds(years * 31_557_600);
        Self {
            not_before: now.plus_seconds(NOT_BEFORE_S),
            not_after: end.map_or(wanted, |end| end.min(wanted)),
        }
    }
}

/// Whose certificate.
pub(super) enum Subject {
    /// Self-signed.
    Root { common_name: String },
    /// Signs TSS certificates.
    Issuing { common_name: String, issuer: Name },
    /// A TSS (rule C-6).
    Tss { serial: SerialNumber, issuer: Name },
}

/// Organisation in the name of every test CA.
pub(super) const TEST_ORGANIZATION: &str = "Siegel TEST";

/// The name of a CA of ours. It says TEST, so that nobody takes it for one of the TSE PKI.
pub(super) fn ca_name(common_name: &str) -> Result<Name, PkiError> {
    Ok(Name::from_str(&format!(
        "CN={common_name},O={TEST_ORGANIZATION},C=DE"
    ))?)
}

fn tss_name(serial: SerialNumber) -> Result<Name, PkiError> {
    Ok(Name::from_str(&format!("CN={serial},C=DE"))?)
}

struct Profile {
    subject: Name,
    issuer: Name,
    is_ca: bool,
    /// CAs allowed below it.
    path_len: Option<u8>,
    usage: flagset::FlagSet<KeyUsages>,
    period: Period,
}

impl Profile {
    fn new(subject: Subject, period: Period) -> Result<Self, PkiError> {
        let ca_usage = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
        Ok(match subject {
            Subject::Root { common_name } => Self {
                subject: ca_name(&common_name)?,
                issuer: ca_name(&common_name)?,
                is_ca: true,
                path_len: Some(1),
                usage: ca_usage,
                period,
            },
            Subject::Issuing {
                common_name,
                issuer,
            } => Self {
                subject: ca_name(&common_name)?,
                issuer,
                is_ca: true,
                path_len: Some(0),
                usage: ca_usage,
                period,
            },
            Subject::Tss { serial, issuer } => Self {
                subject: tss_name(serial)?,
                issuer,
                is_ca: false,
                path_len: None,
                usage: KeyUsages::DigitalSignature.into(),
                period,
            },
        })
    }
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        own_key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(SubjectKeyIdentifier::try_from(issuer_key)?.0),
            ..AuthorityKeyIdentifier::default()
        };
        let constraints = BasicConstraints {
            ca: self.is_ca,
            path_len_constraint: self.path_len,
        };
        let mut extensions = vec![
            extension(false, &authority)?,
            extension(false, &SubjectKeyIdentifier::try_from(own_key)?)?,
            extension(true, &constraints)?,
            extension(true, &KeyUsage(self.usage))?,
        ];
        if !self.is_ca {
            let usage_period = PrivateKeyUsagePeriod {
                not_before: Some(generalized(self.period.not_before)?),
                not_after: Some(generalized(self.period.not_after)?),
            };
            extensions.push(extension(false, &usage_period)?);
        }
        Ok(extensions)
    }
}

fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> der::Result<Extension> {
    Ok(Extension {
        extn_id: T::OID,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

fn generalized(time: SeTime) -> der::Result<GeneralizedTime> {
    let seconds = u64::try_from(time.unix_seconds()).unwrap_or_default();
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))
}

/// Makes a certificate over `public_key`, signed by `issuer`. DER.
pub(super) fn issue(
    subject: Subject,
    public_key: &PublicKey,
    period: Period,
    issuer: &TokenKey<'_>,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, PkiError> {
    let mut number = [0; 16];
    entropy.fill(&mut number);
    // Positive and never empty: 01 in front of 120 random bits.
    number[0] = 1;
    let validity = Validity::new(
        Time::GeneralTime(generalized(period.not_before)?),
        Time::GeneralTime(generalized(period.not_after)?),
    );
    let mut builder = CertificateBuilder::new(
        Profile::new(subject, period)?,
        x509_cert::serial_number::SerialNumber::new(&number)?,
        validity,
        public_key_info(public_key)?,
    )?;
    let to_be_signed = builder.finalize(issuer)?;
    let signature = issuer.sign(&to_be_signed)?;
    Ok(builder.assemble(signature, issuer)?.to_der()?)
}

/// The certificate request of a TSS, with the subject that its certificate shall have. DER.
pub(super) fn request(serial: SerialNumber, key: &TokenKey<'_>) -> Result<Vec<u8>, PkiError> {
    let mut builder = RequestBuilder::new(tss_name(serial)?)?;
    let to_be_signed = builder.finalize(key)?;
    let signature = key.sign(&to_be_signed)?;
    Ok(builder.assemble(signature, key)?.to_der()?)
}

/// Its last second.
pub(super) fn not_after(certificate: &Certificate) -> Result<SeTime, PkiError> {
    let end = certificate.tbs_certificate().validity().not_after;
    se_time(end.to_unix_duration())
}

/// A time of a certificate, which is never before 1970.
pub(super) fn se_time(since_1970: Duration) -> Result<SeTime, PkiError> {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    SeTime::try_from(seconds).map_err(|error| PkiError::Encoding(error.into()))
}
