//! What the till wants signed: a type and some bytes.

use std::fmt;

/// Longest processType, in characters (TR-03151-1 §3.7.2).
pub const PROCESS_TYPE_LEN_MAX: usize = 100;

/// processType of a transaction step: PrintableString, 0 to [`PROCESS_TYPE_LEN_MAX`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProcessType(String);

/// The text is no processType.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessTypeError {
    /// Longer than [`PROCESS_TYPE_LEN_MAX`] characters.
    #[error("a process type has at most {PROCESS_TYPE_LEN_MAX} characters")]
    Length,
    /// Not in ASN.1 PrintableString.
    #[error("a process type may not contain {0:?}")]
    Character(char),
}

impl ProcessType {
    /// The text as signed; empty for "none".
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ProcessType {
    type Error = ProcessTypeError;

    fn try_from(text: &str) -> Result<Self, ProcessTypeError> {
        if let Some(bad) = text.chars().find(|c| !is_printable(*c)) {
            return Err(ProcessTypeError::Character(bad));
        }
        if text.len() > PROCESS_TYPE_LEN_MAX {
            return Err(ProcessTypeError::Length);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The alphabet of ASN.1 PrintableString (X.680 §41.4).
fn is_printable(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)
}

impl fmt::Display for ProcessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// processData of a transaction step: any bytes, possibly none. Never logged, hence no contents in
/// `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ProcessData(Vec<u8>);

impl ProcessData {
    /// Wraps the bytes unchanged.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes as signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ProcessData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessData({} bytes)", self.0.len())
    }
}
