//! A certificate authority that is not ours, made with OpenSSL: a root, an issuing CA below it, and
//! whatever certificates a test wants, right or wrong.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private, Public};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509Req};
use siegel::pki::WaitingDevice;

const DAY_S: i64 = 86_400;

/// A CA with its key.
pub struct Authority {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What a certificate says. Tests begin with a right one and spoil it.
pub struct Wish {
    pub subject: X509Name,
    pub key: PKey<Public>,
    /// Unix seconds.
    pub valid: (i64, i64),
    pub is_ca: bool,
    pub path_len: Option<u32>,
    /// `None` for no extension at all.
    pub usage: Option<KeyUsage>,
    pub more: Vec<X509Extension>,
    pub digest: MessageDigest,
}

/// A name with these parts.
pub fn name(parts: &[(&str, &str)]) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    for (kind, value) in parts {
        builder.append_entry_by_text(kind, value).unwrap();
    }
    builder.build()
}

/// A key on a curve.
pub fn key_on(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A key that is on no curve.
pub fn rsa_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

pub fn public(key: &PKeyRef<Private>) -> PKey<Public> {
    PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
}

/// `keyCertSign` and `cRLSign`.
pub fn ca_usage() -> KeyUsage {
    let mut usage = KeyUsage::new();
    usage.critical().key_cert_sign().crl_sign();
    usage
}

impl Wish {
    /// A certificate for a device, as the profile wants it, valid for a year from `now_s` on.
    pub fn device(waiting: &WaitingDevice, now_s: i64) -> Self {
        let request = X509Req::from_der(&waiting.request).unwrap();
        let key = request.public_key().unwrap();
        assert!(request.verify(&key).unwrap(), "a CA looks at the signature");
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        Self {
            subject: name(&[("C", "DE"), ("CN", &waiting.serial_number.to_string())]),
            key,
            valid: (now_s - DAY_S, now_s + 365 * DAY_S),
            is_ca: false,
            path_len: None,
            usage: Some(usage),
            more: Vec::new(),
            digest: MessageDigest::sha384(),
        }
    }

    /// A certificate for a CA, valid for ten years from `now_s` on.
    pub fn authority(common_name: &str, key: &PKeyRef<Private>, now_s: i64) -> Self {
        Self {
            subject: name(&[("C", "DE"), ("O", "Elsewhere"), ("CN", common_name)]),
            key: public(key),
            valid: (now_s - DAY_S, now_s + 3650 * DAY_S),
            is_ca: true,
            path_len: None,
            usage: Some(ca_usage()),
            more: Vec::new(),
            digest: MessageDigest::sha384(),
        }
    }

    /// Signed by `key`, whose owner has this name; `issuer` gives the identifier of its key.
    fn signed(
        &self,
        issuer_name: &openssl::x509::X509NameRef,
        issuer: Option<&X509>,
        key: &PKeyRef<Private>,
    ) -> X509 {
        let mut builder = X509Builder::new().unwrap();
        let mut number = BigNum::new().unwrap();
        number.rand(126, MsbOption::ONE, false).unwrap();
        builder.set_version(2).unwrap();
        let number = number.to_asn1_integer().unwrap();
        builder.set_serial_number(&number).unwrap();
        builder.set_subject_name(&self.subject).unwrap();
        builder.set_issuer_name(issuer_name).unwrap();
        let time = |at| Asn1Time::from_unix(at).unwrap();
        builder.set_not_before(&time(self.valid.0)).unwrap();
        builder.set_not_after(&time(self.valid.1)).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.is_ca {
            constraints.ca();
        }
        if let Some(path_len) = self.path_len {
            constraints.pathlen(path_len);
        }
        builder
            .append_extension(constraints.build().unwrap())
            .unwrap();
        if let Some(usage) = &self.usage {
            builder.append_extension(usage.build().unwrap()).unwrap();
        }
        let context = builder.x509v3_context(issuer.map(|issuer| &**issuer), None);
        let own = SubjectKeyIdentifier::new().build(&context).unwrap();
        builder.append_extension(own).unwrap();
        if issuer.is_some() {
            let context = builder.x509v3_context(issuer.map(|issuer| &**issuer), None);
            let mut above = AuthorityKeyIdentifier::new();
            let above = above.keyid(false).build(&context).unwrap();
            builder.append_extension(above).unwrap();
        }
        for extension in &self.more {
            builder.append_extension2(extension).unwrap();
        }
        builder.sign(key, self.digest).unwrap();
        builder.build()
    }
}

impl Authority {
    /// A root with this key.
    pub fn root(wish: &Wish, key: PKey<Private>) -> Self {
        Self {
            certificate: wish.signed(&wish.subject, None, &key),
            key,
        }
    }

    /// A certificate by this CA.
    pub fn issue(&self, wish: &Wish) -> X509 {
        let subject = self.certificate.subject_name();
        wish.signed(subject, Some(&self.certificate), &self.key)
    }

    /// Another CA below this one.
    pub fn below(&self, wish: &Wish, key: PKey<Private>) -> Self {
        Self {
            certificate: self.issue(wish),
            key,
        }
    }
}

/// A root and an issuing CA, both on P-384 as the profile wants it.
pub struct Pki {
    pub root: Authority,
    pub issuing: Authority,
}

impl Pki {
    pub fn new(now_s: i64) -> Self {
        let key = key_on(Nid::SECP384R1);
        let root = Authority::root(&Wish::authority("Root", &key, now_s), key);
        let key = key_on(Nid::SECP384R1);
        let issuing = root.below(&Wish::authority("Issuing", &key, now_s), key);
        Self { root, issuing }
    }

    /// A right certificate for a device. DER.
    pub fn certify(&self, waiting: &WaitingDevice, now_s: i64) -> Vec<u8> {
        let issued = self.issuing.issue(&Wish::device(waiting, now_s));
        issued.to_der().unwrap()
    }

    /// Both CAs, one PEM file.
    pub fn chain(&self) -> Vec<u8> {
        let issuing = self.issuing.certificate.to_pem().unwrap();
        [issuing, self.root.certificate.to_pem().unwrap()].concat()
    }
}
