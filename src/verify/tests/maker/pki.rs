//! Keys and certificates in software.

use super::T0;
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcKeyRef, PointConversionForm};
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, Private};
use openssl::sha::sha256;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Extension, X509Name, X509NameBuilder};

const YEAR_S: i64 = 365 * 24 * 3600;

/// Curves of TR-03116-5 §2.2.
pub const CURVES: [(&str, Nid); 6] = [
    ("secp256r1", Nid::X9_62_PRIME256V1),
    ("secp384r1", Nid::SECP384R1),
    ("secp521r1", Nid::SECP521R1),
    ("brainpoolP256r1", Nid::BRAINPOOL_P256R1),
    ("brainpoolP384r1", Nid::BRAINPOOL_P384R1),
    ("brainpoolP512r1", Nid::BRAINPOOL_P512R1),
];

/// A curve by its name.
pub fn curve(name: &str) -> Nid {
    let known = CURVES.iter().find(|(known, _)| *known == name);
    known.expect("the curve is known").1
}

/// Hashes of TR-03116-5 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl Digest {
    pub const ALL: [Self; 6] = [
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    /// ecdsa-plain with this hash (TR-03111 §5.2.1).
    pub const fn oid(self) -> &'static str {
        match self {
            Self::Sha256 => "0.4.0.127.0.7.1.1.4.1.3",
            Self::Sha384 => "0.4.0.127.0.7.1.1.4.1.4",
            Self::Sha512 => "0.4.0.127.0.7.1.1.4.1.5",
            Self::Sha3_256 => "0.4.0.127.0.7.1.1.4.1.9",
            Self::Sha3_384 => "0.4.0.127.0.7.1.1.4.1.10",
            Self::Sha3_512 => "0.4.0.127.0.7.1.1.4.1.11",
        }
    }

    /// As in the text of a QR code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "ecdsa-plain-SHA256",
            Self::Sha384 => "ecdsa-plain-SHA384",
            Self::Sha512 => "ecdsa-plain-SHA512",
            Self::Sha3_256 => "ecdsa-plain-SHA3-256",
            Self::Sha3_384 => "ecdsa-plain-SHA3-384",
            Self::Sha3_512 => "ecdsa-plain-SHA3-512",
        }
    }

    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let digest = match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
            Self::Sha3_256 => MessageDigest::sha3_256(),
            Self::Sha3_384 => MessageDigest::sha3_384(),
            Self::Sha3_512 => MessageDigest::sha3_512(),
        };
        hash(digest, bytes).unwrap().to_vec()
    }
}

/// `04 || X || Y`.
pub fn point<T: HasPublic>(key: &EcKeyRef<T>) -> Vec<u8> {
    let mut context = BigNumContext::new().unwrap();
    let form = PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(key.group(), form, &mut context);
    point.unwrap()
}

/// A new key.
pub fn new_key(curve: Nid) -> EcKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    EcKey::generate(&group).unwrap()
}

/// A certificate before it is issued.
#[derive(Clone, Debug)]
pub struct Plan {
    pub subject: String,
    /// Another name than that of the certificate that issues this one.
    pub issuer: Option<String>,
    pub is_ca: bool,
    pub path_len_max: Option<u32>,
    /// digitalSignature, keyCertSign.
    pub usage: Option<(bool, bool)>,
    /// Unix seconds.
    pub valid: (i64, i64),
    pub digest: fn() -> MessageDigest,
    /// Further extensions: identifier, whether it is critical, content.
    pub extensions: Vec<(&'static str, bool, Vec<u8>)>,
}

impl Plan {
    /// An issuing certificate.
    pub fn authority(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            issuer: None,
            is_ca: true,
            path_len_max: None,
            usage: Some((false, true)),
            valid: (T0 - YEAR_S, T0 + 10 * YEAR_S),
            digest: MessageDigest::sha384,
            extensions: Vec::new(),
        }
    }

    /// The certificate of a device.
    pub fn device() -> Self {
        Self {
            subject: "Device TEST".to_owned(),
            is_ca: false,
            usage: Some((true, false)),
            valid: (T0 - YEAR_S, T0 + 8 * YEAR_S),
            ..Self::authority("")
        }
    }

    /// Issues it for a new key.
    pub fn issue(&self, curve: Nid, issuer: Option<&Issued>) -> Issued {
        let key = PKey::from_ec_key(new_key(curve)).unwrap();
        self.issue_for(key, issuer)
    }

    /// Issues it for this key; signed by itself without an issuer.
    pub fn issue_for(&self, key: PKey<Private>, issuer: Option<&Issued>) -> Issued {
        let own_name = name(&self.subject);
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let number = BigNum::from_u32(4711).unwrap();
        let number = Asn1Integer::from_bn(&number).unwrap();
        builder.set_serial_number(&number).unwrap();
        builder.set_subject_name(&own_name).unwrap();
        let issuer_name = match (&self.issuer, issuer) {
            (Some(given), _) => name(given),
            (None, Some(issuer)) => name(&issuer.subject),
            (None, None) => own_name,
        };
        builder.set_issuer_name(&issuer_name).unwrap();
        let (from, until) = self.valid;
        let time = |seconds| Asn1Time::from_unix(seconds).unwrap();
        builder.set_not_before(&time(from)).unwrap();
        builder.set_not_after(&time(until)).unwrap();
        builder.set_pubkey(&key).unwrap();
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.is_ca {
            constraints.ca();
        }
        if let Some(longest) = self.path_len_max {
            constraints.pathlen(longest);
        }
        builder
            .append_extension(constraints.build().unwrap())
            .unwrap();
        if let Some((signs_data, signs_certificates)) = self.usage {
            let mut usage = KeyUsage::new();
            usage.critical();
            if signs_data {
                usage.digital_signature();
            }
            if signs_certificates {
                usage.key_cert_sign().crl_sign();
            }
            builder.append_extension(usage.build().unwrap()).unwrap();
        }
        for (identifier, is_critical, content) in &self.extensions {
            let identifier = Asn1Object::from_str(identifier).unwrap();
            let content = Asn1OctetString::new_from_bytes(content).unwrap();
            let built = X509Extension::new_from_der(&identifier, *is_critical, &content);
            builder.append_extension(built.unwrap()).unwrap();
        }
        let signing_key = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signing_key, (self.digest)()).unwrap();
        Issued {
            certificate: builder.build(),
            subject: self.subject.clone(),
            key,
            issuer: issuer.map(|issuer| Box::new(issuer.clone())),
        }
    }
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("C", "DE").unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    name.build()
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Issued {
    pub certificate: X509,
    pub subject: String,
    pub key: PKey<Private>,
    pub issuer: Option<Box<Issued>>,
}

impl Issued {
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// Hash of the key as in the names of files.
    pub fn serial(&self) -> String {
        let key = self.key.ec_key().unwrap();
        sha256(&point(&key))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Name and content as in an export.
    pub fn file(&self) -> (String, Vec<u8>) {
        (format!("{}_X509.cer", self.serial()), self.der())
    }
}
