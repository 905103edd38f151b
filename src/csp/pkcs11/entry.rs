//! The handle of a private key in one generation, and what is known about it.

use crate::csp::PublicKey;
use cryptoki::object::ObjectHandle;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A private key's handle in this generation.
pub(super) struct KeyEntry {
    pub(super) handle: ObjectHandle,
    /// The public key under which a signature of this handle has verified in software.
    pub(super) proven: OnceLock<PublicKey>,
    kind: Kind,
}

/// Where the key is. Those that live no longer than a session know when they were used last, as a number that only
/// grows.
enum Kind {
    OnToken {
        may_be_copied: AtomicBool,
    },
    Unwrapped {
        used: AtomicU64,
    },
    Copy {
        used: AtomicU64,
        original: ObjectHandle,
    },
}

impl KeyEntry {
    pub(super) const fn on_token(handle: ObjectHandle) -> Self {
        Self::of(
            handle,
            Kind::OnToken {
                may_be_copied: AtomicBool::new(true),
            },
        )
    }

    pub(super) const fn unwrapped(handle: ObjectHandle, now: u64) -> Self {
        let used = AtomicU64::new(now);
        Self::of(handle, Kind::Unwrapped { used })
    }

    pub(super) const fn copy(handle: ObjectHandle, original: ObjectHandle, now: u64) -> Self {
        let used = AtomicU64::new(now);
        Self::of(handle, Kind::Copy { used, original })
    }

    const fn of(handle: ObjectHandle, kind: Kind) -> Self {
        Self {
            handle,
            proven: OnceLock::new(),
            kind,
        }
    }

    /// When it was used last; `None` of a key on the token.
    pub(super) const fn used(&self) -> Option<&AtomicU64> {
        match &self.kind {
            Kind::OnToken { .. } => None,
            Kind::Unwrapped { used } | Kind::Copy { used, .. } => Some(used),
        }
    }

    /// The handle of the key on the token: itself, or what it is a copy of. `None` of an unwrapped one.
    pub(super) const fn original(&self) -> Option<ObjectHandle> {
        match &self.kind {
            Kind::OnToken { .. } => Some(self.handle),
            Kind::Unwrapped { .. } => None,
            Kind::Copy { original, .. } => Some(*original),
        }
    }

    pub(super) const fn is_copy(&self) -> bool {
        matches!(self.kind, Kind::Copy { .. })
    }

    /// Whether it is a key on the token that nobody has tried in vain to copy.
    pub(super) fn may_be_copied(&self) -> bool {
        match &self.kind {
            Kind::OnToken { may_be_copied } => may_be_copied.load(Ordering::Relaxed),
            Kind::Unwrapped { .. } | Kind::Copy { .. } => false,
        }
    }

    /// Has this key on the token sign by itself from now on.
    pub(super) fn refuse_copies(&self) {
        if let Kind::OnToken { may_be_copied } = &self.kind {
            may_be_copied.store(false, Ordering::Relaxed);
        }
    }
}
