//! Public keys and what they confirm: ECDSA over the curves and hashes of TR-03116-5 §2.2.

use crate::terms::{Curve, Hash, SerialNumber};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::Public;

/// A parsed public key, ready to check signatures from any thread.
pub(super) struct PublicKey {
    curve: Curve,
    key: EcKey<Public>,
    serial_number: SerialNumber,
}

/// How a signature fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As `r || s` (TR-03111 §5.2.1).
    Plain,
    /// As `Ecdsa-Sig-Value`, which is good mathematics in the wrong form.
    Der,
    /// Not at all.
    Invalid,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo; `None` unless it holds a point on one of our named curves.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let key = EcKey::public_key_from_der(der);
        key.and_then(Self::of_key).ok().flatten()
    }

    /// Every key that a bare point can be: two curves share each length but that of P-521.
    pub(super) fn from_point(point: &[u8]) -> Vec<Self> {
        let on = |curve: Curve| -> Result<Option<Self>, ErrorStack> {
            let group = EcGroup::from_curve_name(nid(curve))?;
            let mut context = BigNumContext::new()?;
            let point = EcPoint::from_bytes(&group, point, &mut context)?;
            Self::of_key(EcKey::from_public_key(&group, &point)?)
        };
        Curve::ALL
            .into_iter()
            .filter_map(|curve| on(curve).ok().flatten())
            .collect()
    }

    fn of_key(key: EcKey<Public>) -> Result<Option<Self>, ErrorStack> {
        key.check_key()?;
        let group = key.group();
        let Some(curve) = Curve::ALL
            .into_iter()
            .find(|curve| group.curve_name() == Some(nid(*curve)))
        else {
            return Ok(None);
        };
        let mut context = BigNumContext::new()?;
        let form = PointConversionForm::UNCOMPRESSED;
        let point = key.public_key().to_bytes(group, form, &mut context)?;
        Ok(Some(Self {
            curve,
            serial_number: SerialNumber::of_public_point(&point),
            key,
        }))
    }

    /// The curve the key is on.
    pub(super) const fn curve(&self) -> Curve {
        self.curve
    }

    /// SHA-256 of the uncompressed point (TR-03153-1 §9.3.2).
    pub(super) const fn serial_number(&self) -> SerialNumber {
        self.serial_number
    }

    /// Checks a signature in either form.
    pub(super) fn verdict(&self, hash: Hash, signed: &[u8], signature: &[u8]) -> Verdict {
        let Ok(digest) = openssl::hash::hash(message_digest(hash), signed) else {
            return Verdict::Invalid;
        };
        if self.confirms_plain(&digest, signature) {
            Verdict::Plain
        } else if self.confirms_der(&digest, signature) {
            Verdict::Der
        } else {
            Verdict::Invalid
        }
    }

    /// `r || s`, each as long as a coordinate.
    fn confirms_plain(&self, digest: &[u8], signature: &[u8]) -> bool {
        if signature.len() != self.curve.signature_len() {
            return false;
        }
        let Some((r, s)) = signature.split_at_checked(self.curve.field_len()) else {
            return false;
        };
        BigNum::from_slice(r)
            .and_then(|r| EcdsaSig::from_private_components(r, BigNum::from_slice(s)?))
            .and_then(|signature| signature.verify(digest, &self.key))
            .unwrap_or(false)
    }

    fn confirms_der(&self, digest: &[u8], signature: &[u8]) -> bool {
        // The reader takes more than DER, and stops before bytes that follow: written again, it must be the
        // same.
        EcdsaSig::from_der(signature)
            .and_then(|read| Ok(read.to_der()? == signature && read.verify(digest, &self.key)?))
            .unwrap_or(false)
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

fn message_digest(hash: Hash) -> MessageDigest {
    match hash {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
        Hash::Sha3_256 => MessageDigest::sha3_256(),
        Hash::Sha3_384 => MessageDigest::sha3_384(),
        Hash::Sha3_512 => MessageDigest::sha3_512(),
    }
}
