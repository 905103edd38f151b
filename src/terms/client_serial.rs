//! Serial number of a till, as it is signed and as it becomes part of file names.

use std::fmt;

/// Longest serial number, in characters (HTTP dialect 2.0.32).
pub const CLIENT_SERIAL_LEN_MAX: usize = 70;

/// Serial number of a client: the `clientId` of TR-03151.
///
/// Only `A-Z a-z 0-9`, blank and `' ( ) + - , . =` (TR-03151-1 Appendix A), 1 to
/// [`CLIENT_SERIAL_LEN_MAX`] characters, no blank at either end. The serial becomes part of file
/// names in exports, hence no `/ : ? _ ;`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientSerial(String);

/// Why a text is no client serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientSerialError {
    /// Empty or longer than [`CLIENT_SERIAL_LEN_MAX`].
    #[error("a client serial number has 1 to {CLIENT_SERIAL_LEN_MAX} characters")]
    Length,
    /// A blank at either end.
    #[error("a client serial number has no blank at either end")]
    OuterBlank,
    /// A character that may not stand in file names of an export.
    #[error("a client serial number may not contain {0:?}")]
    Character(char),
}

impl ClientSerial {
    /// The text as signed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ClientSerial {
    type Error = ClientSerialError;

    fn try_from(text: &str) -> Result<Self, ClientSerialError> {
        if let Some(bad) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(ClientSerialError::Character(bad));
        }
        if text.is_empty() || text.len() > CLIENT_SERIAL_LEN_MAX {
            return Err(ClientSerialError::Length);
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(ClientSerialError::OuterBlank);
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+-,.=".contains(c)
}

impl fmt::Display for ClientSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
