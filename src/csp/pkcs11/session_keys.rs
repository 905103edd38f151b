//! Keys in the token that live no longer than a session: no more at a time than it has room for, and none that nobody
//! knows any more.
//!
//! Invariant: whoever signs with a known handle waits for no lock that is held while one is made or destroyed.

use super::attachment::Attachment;
use super::entry::KeyEntry;
use super::errors::{Known, Trouble, describe};
use super::gate::lock;
use super::wrapping;
use crate::csp::{KeyId, WrappedKey};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What an attachment knows of them.
pub(super) struct SessionKeys {
    /// What unwraps keys, as listed last.
    keks: Mutex<BTreeMap<KeyId, ObjectHandle>>,
    /// How many there may be at a time.
    count_max: usize,
    /// Counts uses.
    uses: AtomicU64,
    /// Out of use, to be destroyed as soon as nobody signs with them.
    let_go: Mutex<Vec<Arc<KeyEntry>>>,
}

impl SessionKeys {
    pub(super) const fn new(keks: BTreeMap<KeyId, ObjectHandle>, count_max: usize) -> Self {
        Self {
            keks: Mutex::new(keks),
            count_max,
            uses: AtomicU64::new(0),
            let_go: Mutex::new(Vec::new()),
        }
    }

    /// The number of a use, higher than those before.
    pub(super) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Has an entry destroyed that was taken out of the known ones.
    pub(super) fn let_go(&self, entry: Arc<KeyEntry>) {
        lock(&self.let_go).push(entry);
    }

    fn kek(&self, session: &Session, id: KeyId) -> Result<ObjectHandle, Trouble> {
        if let Some(kek) = lock(&self.keks).get(&id) {
            return Ok(*kek);
        }
        // Another node may have made it since.
        let listed = wrapping::keks(session)?;
        let kek = listed.get(&id).copied();
        *lock(&self.keks) = listed;
        kek.ok_or(Trouble::Known(Known::KekMissing))
    }

    /// Whether as many wait to be destroyed as there may be at a time.
    pub(super) fn is_cluttered(&self) -> bool {
        lock(&self.let_go).len() >= self.count_max
    }

    /// Destroys what nobody signs with any more, until a try fails: the next ones may fail just so.
    pub(super) fn destroy_let_go(&self, session: &Session) {
        let idle: Vec<_> = lock(&self.let_go)
            .extract_if(.., |entry| Arc::strong_count(entry) == 1)
            .collect();
        let mut idle = idle.into_iter();
        while let Some(entry) = idle.next() {
            match session.destroy_object(entry.handle) {
                // Handles that do not work any more are let go, too.
                Ok(()) | Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => {}
                Err(error) => {
                    let answer = describe(&error);
                    tracing::debug!(%answer, "a key of the session could not be destroyed yet");
                    // Behind the others, which come first the next time.
                    lock(&self.let_go).extend(idle.chain([entry]));
                    return;
                }
            }
        }
    }
}

impl Attachment {
    /// Unwraps a key, and lets go of those whose last use is longest ago where there are as many as may be.
    pub(super) fn unwrap(&self, id: KeyId, wrapped: &WrappedKey) -> Result<Arc<KeyEntry>, Trouble> {
        // Unwrapped keys belong to the session that keeps the login.
        let anchor = lock(&self.anchor);
        if let Some(entry) = self.key(id) {
            return Ok(entry);
        }
        let kek = self.session_keys.kek(&anchor, wrapped.kek)?;
        self.make_room();
        self.session_keys.destroy_let_go(&anchor);
        let handle = wrapping::unwrap(&anchor, kek, id, wrapped)?;
        let entry = Arc::new(KeyEntry::unwrapped(handle, self.session_keys.next_use()));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(id, Arc::clone(&entry));
        Ok(entry)
    }

    /// Makes room for one more. A key that signs at this moment stays, so there may be a few more than wanted.
    pub(super) fn make_room(&self) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |entry: &Arc<KeyEntry>| Arc::strong_count(entry) == 1;
        let present = keys.iter().filter_map(|(id, entry)| {
            let used = entry.used()?.load(Ordering::Relaxed);
            Some((used, *id, is_idle(entry)))
        });
        let mut present: Vec<_> = present.collect();
        let surplus = (present.len() + 1).saturating_sub(self.session_keys.count_max);
        if surplus == 0 {
            return;
        }
        present.sort_unstable();
        let idle = present.into_iter().filter(|(_, _, is_idle)| *is_idle);
        for (_, id, _) in idle.take(surplus) {
            let Some(entry) = keys.remove(&id) else {
                continue;
            };
            if let Some(original) = entry.original() {
                keys.insert(id, Arc::new(KeyEntry::on_token(original)));
            }
            self.session_keys.let_go(entry);
        }
    }
}
