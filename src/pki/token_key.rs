//! A key in the token, as x509-cert wants to see one that signs.

use super::PkiError;
use crate::csp::{Csp, KeyPair, PublicKey, digest};
use crate::terms::Curve;
use const_oid::ObjectIdentifier;
use der::Document;
use der::asn1::{Any, BitString};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use signature::Keypair;
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SubjectPublicKeyInfoOwned,
};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_WITH_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// Signs certificates and requests. Certificates carry the ANSI algorithms with DER signatures, unlike
/// log messages (TR-03111 §5.2).
pub(super) struct TokenKey<'a> {
    pub csp: &'a dyn Csp,
    pub key: &'a KeyPair,
}

/// What x509-cert asks a signer for.
#[derive(Clone)]
pub(super) struct VerifyingKey(PublicKey);

impl Keypair for TokenKey<'_> {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.key.public_key.clone())
    }
}

impl EncodePublicKey for VerifyingKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::encode_msg(&public_key_info(&self.0)?)?)
    }
}

impl DynSignatureAlgorithmIdentifier for TokenKey<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        let oid = match self.key.public_key.curve.field_len() {
            ..=32 => ECDSA_WITH_SHA256,
            33..=48 => ECDSA_WITH_SHA384,
            49.. => ECDSA_WITH_SHA512,
        };
        Ok(AlgorithmIdentifierOwned {
            oid,
            parameters: None,
        })
    }
}

impl TokenKey<'_> {
    /// The signature as certificates carry it: DER of `r` and `s`.
    pub fn sign(&self, to_be_signed: &[u8]) -> Result<BitString, PkiError> {
        let encoding = |error: openssl::error::ErrorStack| PkiError::Encoding(error.into());
        let hash = self.key.public_key.curve.default_hash();
        let digest = digest(hash, to_be_signed).map_err(encoding)?;
        let plain = self.csp.sign(self.key, &digest)?;
        let (r, s) = plain.split_at(plain.len() / 2);
        let number = |bytes| BigNum::from_slice(bytes).map_err(encoding);
        let signature =
            EcdsaSig::from_private_components(number(r)?, number(s)?).map_err(encoding)?;
        Ok(BitString::from_bytes(
            &signature.to_der().map_err(encoding)?,
        )?)
    }
}

/// The public key as a SubjectPublicKeyInfo with a named curve and an uncompressed point (rule C-2).
pub(super) fn public_key_info(key: &PublicKey) -> der::Result<SubjectPublicKeyInfoOwned> {
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: EC_PUBLIC_KEY,
            parameters: Some(Any::encode_from(&curve_oid(key.curve)?)?),
        },
        subject_public_key: BitString::from_bytes(&key.point)?,
    })
}

fn curve_oid(curve: Curve) -> der::Result<ObjectIdentifier> {
    let oid = ObjectIdentifier::new(curve.oid());
    oid.map_err(|_| der::ErrorKind::OidMalformed.into())
}
