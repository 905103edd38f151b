//! Keys that the token does not hold, but only it can use: wrapped by a key of the token, kept elsewhere.

use super::KeyId;
use std::fmt;
use std::sync::Arc;

/// How a key was wrapped. Only mechanisms that notice a changed blob: another would need a check of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrapMechanism {
    /// `CKM_AES_KEY_WRAP_PAD`, RFC 5649 as the older modules call it.
    AesKeyWrapPad,
    /// `CKM_AES_KEY_WRAP`, RFC 3394.
    AesKeyWrap,
}

impl WrapMechanism {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 2] = [Self::AesKeyWrapPad, Self::AesKeyWrap];

    /// Its name, for people and for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AesKeyWrapPad => "AES_KEY_WRAP_PAD",
            Self::AesKeyWrap => "AES_KEY_WRAP",
        }
    }
}

/// A private key that only the token can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The key of the token that it was wrapped with.
    pub kek: KeyId,
    /// How.
    pub mechanism: WrapMechanism,
    /// The wrapped key. It does not say whose key it is.
    pub blob: Vec<u8>,
}

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the place where wrapped keys are kept did not do it")]
pub struct VaultError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where wrapped keys are kept.
///
/// Contract: after `Ok` of `keep` the key survives a power cut, and it is never replaced by another one.
pub trait KeyVault: Send + Sync {
    /// Keeps a new key. `token` is for people.
    fn keep(&self, token: &str, key: KeyId, wrapped: &WrappedKey) -> Result<(), VaultError>;

    /// The wrapped key of this identifier, if it is a wrapped one.
    fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, VaultError>;
}

/// How a token deals with wrapped keys.
#[derive(Clone)]
pub struct Wrapping {
    /// Where they are.
    pub vault: Arc<dyn KeyVault>,
    /// Whether new keys of devices are wrapped. Those that are can be used in any case.
    pub is_for_new_keys: bool,
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapping")
            .field("is_for_new_keys", &self.is_for_new_keys)
            .finish_non_exhaustive()
    }
}
