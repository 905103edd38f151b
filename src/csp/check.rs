//! Software check of what a token says: public keys and signatures.
//!
//! Invariant: public values only; nothing here holds or sees a private key.

use crate::csp::PublicKey;
use crate::terms::Curve;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::Public;

/// Why a signature or a public key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The point is not one of the curve, or not in the uncompressed form `04 || X || Y`.
    #[error("the public key is no point of {curve}")]
    PublicKeyInvalid {
        /// Name of the curve.
        curve: &'static str,
        /// What the library said, where it said something.
        source: Option<ErrorStack>,
    },
    /// The signature does not verify under this key.
    #[error("the signature does not verify")]
    SignatureInvalid {
        /// What the library said, where it said something.
        source: Option<ErrorStack>,
    },
}

/// The curve for the library.
///
/// # Errors
/// When the library does not know it.
pub fn group(curve: Curve) -> Result<EcGroup, ErrorStack> {
    let nid = match curve {
        Curve::Secp256r1 => Nid::X9_62_PRIME256V1,
        Curve::Secp384r1 => Nid::SECP384R1,
        Curve::Secp521r1 => Nid::SECP521R1,
        Curve::BrainpoolP256r1 => Nid::BRAINPOOL_P256R1,
        Curve::BrainpoolP384r1 => Nid::BRAINPOOL_P384R1,
        Curve::BrainpoolP512r1 => Nid::BRAINPOOL_P512R1,
    };
    EcGroup::from_curve_name(nid)
}

/// Checks that the key is an uncompressed point on its curve.
pub fn public_key(key: &PublicKey) -> Result<(), CheckError> {
    parse(key).map(drop)
}

/// Checks a plain signature `r || s` (TR-03111 §5.2.1) over a digest.
///
/// A digest longer than the order of the curve is cut off on the left-most bits, as ECDSA says.
pub fn verify(key: &PublicKey, digest: &[u8], signature: &[u8]) -> Result<(), CheckError> {
    ParsedKey::parse(key)?.verify(digest, signature)
}

/// A public key that was read once, for many signatures.
pub struct ParsedKey {
    curve: Curve,
    key: EcKey<Public>,
}

impl ParsedKey {
    /// Reads a key, and checks that it is an uncompressed point on its curve.
    pub fn parse(key: &PublicKey) -> Result<Self, CheckError> {
        let curve = key.curve;
        parse(key).map(|key| Self { curve, key })
    }

    /// Like [`verify`].
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), CheckError> {
        if signature.len() != self.curve.signature_len() {
            return Err(CheckError::SignatureInvalid { source: None });
        }
        let (r, s) = signature.split_at(self.curve.field_len());
        let verdict = BigNum::from_slice(r)
            .and_then(|r| Ok((r, BigNum::from_slice(s)?)))
            .and_then(|(r, s)| EcdsaSig::from_private_components(r, s))
            .and_then(|signature| signature.verify(digest, &self.key));
        match verdict {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckError::SignatureInvalid { source: None }),
            Err(stack) => Err(CheckError::SignatureInvalid {
                source: Some(stack),
            }),
        }
    }
}

fn parse(key: &PublicKey) -> Result<EcKey<Public>, CheckError> {
    let invalid = |source| CheckError::PublicKeyInvalid {
        curve: key.curve.name(),
        source,
    };
    // OpenSSL would also take the compressed and hybrid forms; nobody else here does.
    if key.point.len() != key.curve.point_len() || key.point.first() != Some(&4) {
        return Err(invalid(None));
    }
    let parse = || {
        let group = group(key.curve)?;
        let mut context = BigNumContext::new()?;
        let point = EcPoint::from_bytes(&group, &key.point, &mut context)?;
        let parsed = EcKey::from_public_key(&group, &point)?;
        parsed.check_key()?;
        Ok(parsed)
    };
    parse().map_err(|stack| invalid(Some(stack)))
}

#[cfg(test)]
mod tests;
