//! What we hold of a token in one generation of its module: login, sessions, handles.
//!
//! Invariant: everything in here is dropped before the module is finalized.

use super::config::TokenConfig;
use super::copies::{self, Candidate, Costs};
use super::curves;
use super::entry::KeyEntry;
use super::errors::{Known, Trouble};
use super::gate::lock;
use super::keys::{self, Found, Purpose};
use super::pool::Pool;
use super::session_keys::SessionKeys;
use super::slots;
use super::wrapping::{self, Wrapper};
use crate::csp::{Anchor, KeyId, KeyPair, check};
use crate::terms::{Clock, Curve, Entropy};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Milliseconds between two searches for a key that is not among the known handles.
const SEARCH_PAUSE_MS: u64 = 200;

/// Curves for the canary, the first that the token can.
const CANARY_CURVES: [Curve; 4] = [
    Curve::Secp256r1,
    Curve::BrainpoolP256r1,
    Curve::Secp384r1,
    Curve::BrainpoolP384r1,
];

/// See the module comment.
pub(super) struct Attachment {
    pub(super) generation: u64,
    pub(super) slot: Slot,
    pub(super) api: Pkcs11,
    pub(super) pool: Pool,
    pub(super) keys: RwLock<HashMap<KeyId, Arc<KeyEntry>>>,
    canary: (KeyPair, ObjectHandle),
    /// Whether copies sign for the keys on the token.
    pub(super) makes_copies: bool,
    /// Whether the log says that a key was not copied.
    pub(super) told_refusal: AtomicBool,
    /// What wraps new keys, where the settings say so.
    pub(super) wrapper: Option<Wrapper>,
    pub(super) session_keys: SessionKeys,
    /// Anchors as far as they were read or written; see `anchor`.
    pub(super) anchors: Mutex<Vec<(ObjectHandle, Anchor)>>,
    /// Searches for missing keys that have begun.
    searches: AtomicU64,
    searched: Mutex<Searched>,
    /// Keeps the login: closing the last session would log out. Last field, so dropped last.
    pub(super) anchor: Mutex<Session>,
}

/// The last search for a missing key.
#[derive(Default)]
struct Searched {
    /// Number of the last one that went well; 0: none has.
    done: u64,
    /// When the last one ended.
    ended_ms: Option<u64>,
}

/// Whether the canary may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The token is opened: a missing canary is made.
    Opening,
    /// The token was known before: the canary was there before, so an absent one means that the
    /// storage is not what it was.
    Recovery,
    /// The token is only being probed: where it has no canary, one is made that lives no longer than its
    /// session, so that nothing stays behind.
    Trial,
}

impl Attachment {
    /// Finds the token, logs in, learns the handles and signs with the canary. Returns the token's
    /// label with it.
    pub(super) fn open(
        api: &Pkcs11,
        config: &TokenConfig,
        generation: u64,
        occasion: Occasion,
        (clock, entropy): (&dyn Clock, &dyn Entropy),
    ) -> Result<(Self, String), Trouble> {
        let (slot, label) = slots::find(api, &config.token)?;
        let attachment = Self::open_in(slot, api, config, generation, occasion, (clock, entropy))?;
        Ok((attachment, label))
    }

    /// The same where the slot is known. Lists no slots, so others may call into the module meanwhile.
    pub(super) fn open_in(
        slot: Slot,
        api: &Pkcs11,
        config: &TokenConfig,
        generation: u64,
        occasion: Occasion,
        (clock, entropy): (&dyn Clock, &dyn Entropy),
    ) -> Result<Self, Trouble> {
        slots::spare_pin(api, slot)?;
        let anchor = api.open_ro_session(slot)?;
        let pin = AuthPin::from(config.pin.expose().to_owned());
        match anchor.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let found = keys::all(&anchor)?;
        let known = known_canary(&anchor, &found)?;
        let is_canary_kept = known.is_some() || occasion != Occasion::Trial;
        let canary = match known {
            Some(canary) => canary,
            None => match occasion {
                Occasion::Opening => make_canary(Purpose::Canary, entropy, |make| {
                    // A session of its own for each try: a failed one is not used again.
                    make(&api.open_rw_session(slot)?)
                })?,
                Occasion::Trial => make_canary(Purpose::Trial, entropy, |make| make(&anchor))?,
                Occasion::Recovery => return Err(Trouble::Known(Known::CanaryMissing)),
            },
        };
        let mut keks = match &config.wrapping {
            Some(_) => wrapping::keks(&anchor)?,
            None => BTreeMap::new(),
        };
        let wrapper = match &config.wrapping {
            Some(wanted) if wanted.is_for_new_keys => {
                let may_make = occasion == Occasion::Opening;
                Some(wrapping::wrapper(api, slot, &mut keks, may_make, entropy)?)
            }
            Some(_) | None => None,
        };
        let mut attachment = Self {
            makes_copies: false,
            told_refusal: AtomicBool::new(false),
            wrapper,
            session_keys: SessionKeys::new(keks, config.session_keys_max),
            generation,
            slot,
            api: api.clone(),
            pool: Pool::new(api.clone(), slot, config.sessions_max),
            keys: RwLock::default(),
            canary,
            anchors: Mutex::default(),
            searches: AtomicU64::new(0),
            searched: Mutex::default(),
            anchor: Mutex::new(anchor),
        };
        attachment.learn(&found);
        attachment.check_canary(entropy)?;
        if config.key_copies {
            let wait = Duration::from_millis(config.session_wait_ms);
            let tried = attachment.try_copies(wait, clock, entropy);
            attachment.makes_copies = copies::are_worth_it(&config.name, tried, is_canary_kept);
        }
        Ok(attachment)
    }

    /// The known handle of a key.
    pub(super) fn key(&self, id: KeyId) -> Option<Arc<KeyEntry>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.get(&id).cloned()?;
        if let Some(used) = entry.used() {
            used.store(self.session_keys.next_use(), Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Remembers the handle of a key just made.
    pub(super) fn remember(&self, id: KeyId, handle: ObjectHandle) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Arc::new(KeyEntry::on_token(handle)));
    }

    /// Forgets a handle that did not work, unless it has been replaced meanwhile. The key of a copy signs by itself
    /// from then on.
    pub(super) fn forget(&self, id: KeyId, entry: &Arc<KeyEntry>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys
            .get(&id)
            .is_some_and(|present| Arc::ptr_eq(present, entry))
        {
            let Some(entry) = keys.remove(&id) else {
                return;
            };
            if entry.used().is_some() {
                let original = entry.original().map(KeyEntry::on_token);
                if let Some(original) = original {
                    original.refuse_copies();
                    keys.insert(id, Arc::new(original));
                }
                self.session_keys.let_go(entry);
            }
        }
    }

    /// Takes over what a search found. Handles that stayed the same stay proven, and keys made since the
    /// search began stay known; a handle that has died shows at its next use.
    fn learn(&self, found: &[Found]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Two keys under one identifier: the first found counts, hence backwards, and its first
        // signature shows whether it is the right one.
        for key in found.iter().rev() {
            let same = keys
                .get(&key.id)
                .is_some_and(|entry| entry.original() == Some(key.handle));
            if !same {
                let replaced = keys.insert(key.id, Arc::new(KeyEntry::on_token(key.handle)));
                replaced
                    .filter(|entry| entry.used().is_some())
                    .into_iter()
                    .for_each(|entry| self.session_keys.let_go(entry));
            }
        }
    }

    /// Searches the token for a key whose handle is not known. That it is not there is said only after a search
    /// that began later than this call: another node may have made it just before. A search may read every
    /// object of the token, so there is a pause of [`SEARCH_PAUSE_MS`] after each, which whoever comes meanwhile
    /// waits for.
    pub(super) fn search(
        &self,
        id: KeyId,
        clock: &dyn Clock,
        wait: Duration,
    ) -> Result<Option<Arc<KeyEntry>>, Trouble> {
        let begun_before = self.searches.load(Ordering::Acquire);
        let mut searched = lock(&self.searched);
        if searched.done <= begun_before && self.key(id).is_none() {
            if let Some(ended_ms) = searched.ended_ms {
                let next_ms = ended_ms.saturating_add(SEARCH_PAUSE_MS);
                let pause_ms = next_ms.saturating_sub(clock.monotonic_ms());
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
            let number = self.searches.fetch_add(1, Ordering::AcqRel) + 1;
            let found = self.list(wait);
            searched.ended_ms = Some(clock.monotonic_ms());
            self.learn(&found?);
            searched.done = number;
        }
        Ok(self.key(id))
    }

    /// All keys on the token at this moment.
    pub(super) fn list(&self, wait: Duration) -> Result<Vec<Found>, Trouble> {
        self.pool.take(wait)?.run(keys::all)
    }

    /// Signs and, the first time, checks in software that this handle is the key it is taken for.
    pub(super) fn sign(
        &self,
        key: &KeyPair,
        entry: &KeyEntry,
        digest: &[u8],
        wait: Duration,
    ) -> Result<Vec<u8>, Trouble> {
        let signature = self
            .pool
            .take(wait)?
            .run(|session| session.sign(&Mechanism::Ecdsa, entry.handle, digest))?;
        if signature.len() != key.public_key.curve.signature_len() {
            return Err(Trouble::Known(Known::WrongKey(key.id)));
        }
        if entry.proven.get() != Some(&key.public_key) {
            check::verify(&key.public_key, digest, &signature)
                .map_err(|_| Trouble::Known(Known::WrongKey(key.id)))?;
            // Set already means proven for another public key; then each signature is checked.
            let _ = entry.proven.set(key.public_key.clone());
        }
        Ok(signature)
    }

    /// Tries with the canary whether copies sign, and how fast.
    fn try_copies(
        &self,
        wait: Duration,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Costs, Trouble> {
        let (KeyPair { public_key, .. }, handle) = &self.canary;
        let candidate = Candidate {
            handle: *handle,
            public_key,
        };
        let anchor = lock(&self.anchor);
        copies::try_out(&anchor, (&self.pool, wait), candidate, clock, entropy)
    }

    /// Signs random bytes with the canary and verifies the signature in software.
    pub(super) fn check_canary(&self, entropy: &dyn Entropy) -> Result<(), Trouble> {
        let (canary, handle) = &self.canary;
        let mut digest = vec![0; curves::digest_len(canary.public_key.curve)];
        entropy.fill(&mut digest);
        let signature = lock(&self.anchor).sign(&Mechanism::Ecdsa, *handle, &digest)?;
        check::verify(&canary.public_key, &digest, &signature)
            .map_err(|_| Trouble::Known(Known::WrongKey(canary.id)))
    }
}

/// The canary and its handle. Two nodes that open a new token at once may each make one; all of them
/// then take the smallest identifier.
fn known_canary(
    session: &Session,
    found: &[Found],
) -> Result<Option<(KeyPair, ObjectHandle)>, Trouble> {
    let mut canaries: Vec<_> = found
        .iter()
        .filter(|key| key.purpose == Purpose::Canary)
        .collect();
    canaries.sort_by_key(|key| key.id);
    for canary in canaries {
        if let Some(public_key) = keys::public_half(session, canary.id)? {
            let id = canary.id;
            return Ok(Some((KeyPair { id, public_key }, canary.handle)));
        }
    }
    Ok(None)
}

type Canary = (ObjectHandle, KeyPair);

/// Makes a canary on the first curve the token can. `on_session` lends a session to each try.
fn make_canary(
    purpose: Purpose,
    entropy: &dyn Entropy,
    on_session: impl Fn(&dyn Fn(&Session) -> Result<Canary, Trouble>) -> Result<Canary, Trouble>,
) -> Result<(KeyPair, ObjectHandle), Trouble> {
    let mut last = Trouble::Known(Known::CanaryMissing);
    for curve in CANARY_CURVES {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let id = KeyId::new(id);
        match on_session(&|session| keys::generate(session, id, curve, purpose)) {
            Ok((handle, pair)) => return Ok((pair, handle)),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}
