//! Public keys and signatures, checked with OpenSSL.

use crate::terms::{Curve, Hash, SerialNumber, SignatureAlgorithm};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::Public;

/// A key that can check log messages.
pub(super) struct PublicKey {
    pub curve: Curve,
    pub serial: SerialNumber,
    key: EcKey<Public>,
}

impl PublicKey {
    /// `None` when the point is none of this curve, or not written as `04 || X || Y`.
    pub fn new(curve: Curve, point: &[u8]) -> Option<Self> {
        // OpenSSL would take compressed points, too, whose hash is not the serial number.
        if point.len() != curve.point_len() || point.first() != Some(&4) {
            return None;
        }
        let group = EcGroup::from_curve_name(nid(curve)).ok()?;
        let mut context = BigNumContext::new().ok()?;
        let parsed = EcPoint::from_bytes(&group, point, &mut context).ok()?;
        let key = EcKey::from_public_key(&group, &parsed).ok()?;
        key.check_key().ok()?;
        Some(Self {
            curve,
            serial: SerialNumber::of_public_point(point),
            key,
        })
    }

    /// Every curve that a point of this length can be on, and is on.
    pub fn candidates(point: &[u8]) -> Vec<Self> {
        Curve::ALL
            .into_iter()
            .filter_map(|curve| Self::new(curve, point))
            .collect()
    }

    /// Whether a plain signature `r || s` over `message` is by this key.
    pub fn verifies(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if signature.len() != self.curve.signature_len() {
            return false;
        }
        let (r, s) = signature.split_at(self.curve.field_len());
        let parsed = BigNum::from_slice(r)
            .and_then(|r| Ok((r, BigNum::from_slice(s)?)))
            .and_then(|(r, s)| EcdsaSig::from_private_components(r, s));
        parsed.is_ok_and(|signature| self.accepts(algorithm, message, &signature))
    }

    /// The same with a signature in DER.
    pub fn verifies_der(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        EcdsaSig::from_der(signature)
            .is_ok_and(|signature| self.accepts(algorithm, message, &signature))
    }

    fn accepts(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &EcdsaSig) -> bool {
        hash(digest(algorithm.hash()), message)
            .and_then(|digest| signature.verify(&digest, &self.key))
            .unwrap_or(false)
    }
}

fn digest(hash: Hash) -> MessageDigest {
    match hash {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
        Hash::Sha3_256 => MessageDigest::sha3_256(),
        Hash::Sha3_384 => MessageDigest::sha3_384(),
        Hash::Sha3_512 => MessageDigest::sha3_512(),
    }
}

const fn nid(curve: Curve) -> Nid {
    match curve {
        Curve::Secp256r1 => Nid::X9_62_PRIME256V1,
        Curve::Secp384r1 => Nid::SECP384R1,
        Curve::Secp521r1 => Nid::SECP521R1,
        Curve::BrainpoolP256r1 => Nid::BRAINPOOL_P256R1,
        Curve::BrainpoolP384r1 => Nid::BRAINPOOL_P384R1,
        Curve::BrainpoolP512r1 => Nid::BRAINPOOL_P512R1,
    }
}
