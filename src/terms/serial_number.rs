//! Serial number of a TSS: the hash of its public key.

use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// SHA-256 over the uncompressed public point `04 || X || Y` (TR-03153-1 §9.3.2, rule L-7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber([u8; 32]);

/// The text or bytes are not a serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 32 bytes, or 64 hexadecimal digits")]
pub struct SerialNumberError;

impl SerialNumber {
    /// The serial number of the key with this uncompressed point (`04 || X || Y`).
    pub fn of_public_point(point: &[u8]) -> Self {
        Self(Sha256::digest(point).into())
    }

    /// The 32 bytes as they stand in a log message.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for SerialNumber {
    type Error = SerialNumberError;

    fn try_from(bytes: &[u8]) -> Result<Self, SerialNumberError> {
        bytes.try_into().map(Self).map_err(|_| SerialNumberError)
    }
}

impl FromStr for SerialNumber {
    type Err = SerialNumberError;

    /// Hexadecimal digits in either case, no separators.
    fn from_str(text: &str) -> Result<Self, SerialNumberError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| SerialNumberError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for SerialNumber {
    /// Lower-case hexadecimal, as on receipts and in file names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}
