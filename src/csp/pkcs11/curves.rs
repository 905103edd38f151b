//! Curves and points as PKCS#11 writes them.

use crate::terms::{Curve, Hash};
use der::{Encode, asn1::ObjectIdentifier};

/// `CKA_EC_PARAMS`: the DER object identifier of the curve.
pub(super) fn parameters(curve: Curve) -> Vec<u8> {
    ObjectIdentifier::new(curve.oid())
        .ok()
        .and_then(|oid| oid.to_der().ok())
        .unwrap_or_default()
}

/// The curve of a `CKA_EC_PARAMS`.
pub(super) fn from_parameters(encoded: &[u8]) -> Option<Curve> {
    Curve::ALL
        .into_iter()
        .find(|curve| parameters(*curve) == encoded)
}

/// The uncompressed point in a `CKA_EC_POINT`, which is the point itself in some modules and a DER
/// OCTET STRING around it in others.
///
/// Decided by length alone: a raw point starts with 04 as well, and one whose X begins with a fitting
/// length byte is a well-formed OCTET STRING (PKCS#11 digest §2).
pub(super) fn point(curve: Curve, value: &[u8]) -> Option<&[u8]> {
    let length = curve.point_len();
    let header = if length < 0x80 { 2 } else { 3 };
    let point = if value.len() == length {
        value
    } else if value.len() == length + header {
        value.split_at_checked(header)?.1
    } else {
        return None;
    };
    (point.first() == Some(&4)).then_some(point)
}

/// Bytes of a digest of the hash that goes with a curve.
pub(super) const fn digest_len(curve: Curve) -> usize {
    match curve.default_hash() {
        Hash::Sha256 | Hash::Sha3_256 => 32,
        Hash::Sha384 | Hash::Sha3_384 => 48,
        Hash::Sha512 | Hash::Sha3_512 => 64,
    }
}
