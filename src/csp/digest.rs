//! Hashing: a token gets the digest of what it signs, never more (design decision 6).

use crate::terms::Hash;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};

/// The digest of these bytes.
///
/// # Errors
/// When the library refuses the hash.
pub fn digest(algorithm: Hash, bytes: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let algorithm = match algorithm {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
        Hash::Sha3_256 => MessageDigest::sha3_256(),
        Hash::Sha3_384 => MessageDigest::sha3_384(),
        Hash::Sha3_512 => MessageDigest::sha3_512(),
    };
    Ok(hash(algorithm, bytes)?.to_vec())
}
