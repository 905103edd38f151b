//! The CSP port: where keys live and signatures are made.
//!
//! Invariant: no database, no HTTP, no rules of a TSS. A key signs what it is told to; that TSS keys
//! sign nothing but log messages is the promise of `signing` and `pki`, which are the only callers.

pub mod check;
mod digest;
pub mod pkcs11;
mod vault;
mod vitals;

pub use digest::digest;

use crate::terms::Curve;
use std::fmt;
pub use vault::{KeyVault, VaultError, WrapMechanism, WrappedKey, Wrapping};
pub use vitals::{TokenState, TokenVitals};

/// Identifies a key pair within its token: the random `CKA_ID` we chose, the same on both halves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// Wraps 16 bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of `CKA_ID`.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key: curve and uncompressed point `04 || X || Y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its curve.
    pub curve: Curve,
    /// [`Curve::point_len`] bytes.
    pub point: Vec<u8>,
}

/// A key pair in the token, as the ledger remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// How to find it.
    pub id: KeyId,
    /// What its signatures must verify under.
    pub public_key: PublicKey,
}

/// Why the token did not do it. Classes say what the caller can do; the module's own code is in
/// `source`.
#[derive(Debug, thiserror::Error)]
pub enum CspError {
    /// The PIN was refused or is locked. Never tried again by itself: another try may lock the token.
    #[error("the token {token} refused the PIN")]
    PinRefused {
        /// Label of the token.
        token: String,
        /// The module's answer.
        source: ModuleError,
    },
    /// The session is gone; the next call opens another one.
    #[error("a session of the token {token} was lost")]
    SessionLost {
        /// Label of the token.
        token: String,
        /// The module's answer.
        source: ModuleError,
    },
    /// Device, link or storage is gone; it is being looked for, as far as it was there or is waited for.
    #[error("the token {token} is not reachable")]
    DeviceGone {
        /// Label of the token.
        token: String,
        /// The module's answer, where it gave one.
        source: Option<ModuleError>,
    },
    /// The token shows no such key. Never proof that the key was destroyed (pkcs11 digest §4).
    #[error("the token {token} shows no key {key}")]
    KeyMissing {
        /// Label of the token.
        token: String,
        /// The key.
        key: KeyId,
    },
    /// The key found under this id made a signature that does not verify under the expected public key.
    #[error("key {key} of the token {token} is not the expected key")]
    WrongKey {
        /// Label of the token.
        token: String,
        /// The key.
        key: KeyId,
    },
    /// The token cannot do this: mechanism, curve or attribute.
    #[error("the token {token} cannot {action}")]
    NotSupported {
        /// Label of the token.
        token: String,
        /// What was asked.
        action: &'static str,
        /// The module's answer, where it gave one.
        source: Option<ModuleError>,
    },
    /// All sessions were busy for too long.
    #[error("no session of the token {token} became free")]
    Busy {
        /// Label of the token.
        token: String,
    },
    /// Anything else the module said.
    #[error("the token {token} failed to {action}")]
    Failed {
        /// Label of the token.
        token: String,
        /// What was asked.
        action: &'static str,
        /// The module's answer.
        source: ModuleError,
    },
}

/// What a PKCS#11 module answered, as text (its type stays inside `csp::pkcs11`).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModuleError(pub String);

/// What a token remembers of a ledger, against a ledger that was put back to an older state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Identifier of the ledger.
    pub ledger: String,
    /// Numbers that the keys of this token had spent on messages of that ledger, at least.
    pub spent: u64,
}

/// One token that holds keys and signs.
///
/// Contract, proven for every adapter by `tests/it/contract/csp.rs`:
/// - every method may be called from many threads at once and blocks its caller; none may run on an
///   async worker;
/// - `sign` returns exactly [`Curve::signature_len`] bytes, plain `r || s`, over the digest as given,
///   and refuses a digest whose length is not that of the curve's default hash;
/// - the first signature of a key after its handle was resolved (each generation) has been checked in
///   software against `key.public_key`; `WrongKey` otherwise, and the signature is not released;
/// - after an `Err` of `sign` a signature may or may not have been made, but none left the CSP;
/// - a key pair is generated in the token: sensitive, never extractable, and read back before `Ok`;
/// - a wrapped key was extractable once, to be wrapped; it is kept before `Ok`, and its handle is one that was
///   just resolved each time it is unwrapped;
/// - a copy that signs for a key on the token is as closed as the key, and its handle is one that was just resolved;
/// - what `write_anchor` has written is found by `anchors`, also after the token was opened anew; where
///   several are found for one ledger the highest counts, and a lower one never takes its place. It
///   survives a power cut only where the module syncs what it writes.
///
/// A CSP that counts signatures by itself can stand behind this port: its counter is one more thing it
/// checks before `sign` answers (see `src/decisions/0001-counters.md`).
pub trait Csp: Send + Sync {
    /// Label of the token, for messages and for the ledger.
    fn token(&self) -> &str;

    /// Makes a key pair under `id`.
    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError>;

    /// Makes a key pair for a device under `id`. May keep its private half wrapped outside of the token, where
    /// the settings say so.
    fn generate_device_key(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.generate_key_pair(id, curve)
    }

    /// Signs a digest.
    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError>;

    /// Signs with the canary key, a key that is never a TSS's. `Ok` means: this token signs.
    fn check_health(&self) -> Result<(), CspError>;

    /// Counts up whenever login, sessions and handles were made anew; 0 before the first time.
    fn generation(&self) -> u64;

    /// How the token is as far as that is known; asks it nothing and does not block.
    fn vitals(&self) -> TokenVitals {
        TokenVitals {
            state: TokenState::Ready,
            generation: self.generation(),
            sessions_in_use: 0,
            sessions_max: 0,
        }
    }

    /// Everything that the token remembers, of all ledgers. May read every object of the token.
    /// `NotSupported` by a token without data objects.
    fn anchors(&self) -> Result<Vec<Anchor>, CspError> {
        Err(no_anchors(self.token()))
    }

    /// Makes the token remember it, beside what it remembers of other ledgers.
    fn write_anchor(&self, _anchor: &Anchor) -> Result<(), CspError> {
        Err(no_anchors(self.token()))
    }
}

fn no_anchors(token: &str) -> CspError {
    CspError::NotSupported {
        token: token.to_owned(),
        action: "keep data objects",
        source: None,
    }
}
