//! Copies of keys on the token as objects of a session, which sign faster in some modules (PKCS#11 digest §6).
//!
//! Invariant: a copy is sensitive, not extractable, never on the token, and does nothing but sign as far as the module
//! tells. Nothing fails because a token does not copy: then the key signs by itself. The first signature of each copy is
//! checked in software, like that of every handle that was just resolved.

use super::attachment::Attachment;
use super::curves;
use super::entry::KeyEntry;
use super::errors::{Known, Trouble};
use super::gate::try_lock;
use super::keys;
use super::pool::Pool;
use crate::csp::{KeyId, PublicKey, check};
use crate::terms::{Clock, Entropy};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Most signatures of each kind when it is tried what they cost …
const ROUNDS_MAX: u32 = 32;
/// … which ends before that on a token that has taken this long for them, in microseconds.
const ROUNDS_US_MAX: u64 = 200_000;

/// What a signature costs in microseconds: the middle one of a few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub(super) key_us: u64,
    pub(super) copy_us: u64,
}

impl Costs {
    /// By a tenth at least: less may be chance.
    pub(super) const fn copy_is_faster(self) -> bool {
        self.copy_us.saturating_mul(10) < self.key_us.saturating_mul(9)
    }
}

/// The key that copying is tried with.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) handle: ObjectHandle,
    pub(super) public_key: &'a PublicKey,
}

/// Copies a key for the life of the session. What is not known to live no longer is not destroyed either: it might be
/// the key itself.
fn copy(session: &Session, key: ObjectHandle) -> Result<ObjectHandle, Trouble> {
    // A copy would be as lasting, and another one be made whenever its turn comes again.
    if keys::is_indestructible(session, key)? {
        return Err(unfit("destroy a copy of this key"));
    }
    let copy = session.copy_object(key, &[Attribute::Token(false)])?;
    let read = session.get_attributes(copy, &[AttributeType::Token])?;
    if copy == key || !matches!(read.first(), Some(Attribute::Token(false))) {
        return Err(unfit("copy a key for the life of a session only"));
    }
    let read = keys::protection(session, copy);
    if read.as_ref().is_ok_and(|read| read.holds_for_session()) {
        return Ok(copy);
    }
    let destroyed = session.destroy_object(copy);
    read?;
    destroyed?;
    Err(unfit(
        "keep a copy sensitive, unextractable and with no more than signatures to do",
    ))
}

const fn unfit(action: &'static str) -> Trouble {
    Trouble::Known(Known::Unfit { action })
}

/// Copies a key, signs with both in turns, and destroys the copy again. Signs in another session than that of the copy,
/// as it will be later.
pub(super) fn try_out(
    owner: &Session,
    (signers, wait): (&Pool, Duration),
    key: Candidate<'_>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Costs, Trouble> {
    let copy = copy(owner, key.handle)?;
    let tried = signers
        .take(wait)
        .and_then(|lease| lease.run(|session| compare(session, key, copy, clock, entropy)));
    let destroyed = owner.destroy_object(copy);
    let costs = tried?;
    destroyed?;
    Ok(costs)
}

fn compare(
    session: &Session,
    key: Candidate<'_>,
    copy: ObjectHandle,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Costs, Trouble> {
    let mut digest = vec![0; curves::digest_len(key.public_key.curve)];
    entropy.fill(&mut digest);
    // The first of each kind, which may take longer, is not counted.
    for handle in [copy, key.handle] {
        let signature = session.sign(&Mechanism::Ecdsa, handle, &digest)?;
        check::verify(key.public_key, &digest, &signature)
            .map_err(|_| unfit("sign with a copy as with its key"))?;
    }
    let timed = |handle| -> Result<u64, Trouble> {
        let before_us = clock.monotonic_us();
        session.sign(&Mechanism::Ecdsa, handle, &digest)?;
        Ok(clock.monotonic_us().saturating_sub(before_us))
    };
    let (mut key_us, mut copy_us, mut spent_us) = (Vec::new(), Vec::new(), 0_u64);
    for _ in 0..ROUNDS_MAX {
        let (by_key, by_copy) = (timed(key.handle)?, timed(copy)?);
        key_us.push(by_key);
        copy_us.push(by_copy);
        spent_us = spent_us.saturating_add(by_key).saturating_add(by_copy);
        if spent_us > ROUNDS_US_MAX {
            break;
        }
    }
    Ok(Costs {
        key_us: middle(key_us),
        copy_us: middle(copy_us),
    })
}

fn middle(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Whether keys are copied in this generation, which the log tells. `is_on_token` is false for a key that lives no
/// longer than its session: with that nothing can be seen about the speed.
pub(super) fn are_worth_it(
    section: &str,
    tried: Result<Costs, Trouble>,
    is_on_token: bool,
) -> bool {
    match tried {
        Ok(Costs { key_us, copy_us }) if !is_on_token => {
            tracing::info!(
                token = section,
                key_us,
                copy_us,
                "token {section}: copies of its keys sign; whether they are faster was not tried"
            );
            true
        }
        Ok(costs) => {
            let Costs { key_us, copy_us } = costs;
            if costs.copy_is_faster() {
                tracing::info!(
                    token = section,
                    key_us,
                    copy_us,
                    "token {section}: copies of its keys sign, in {copy_us} us instead of {key_us} us"
                );
            } else {
                tracing::warn!(
                    token = section,
                    key_us,
                    copy_us,
                    "token {section}: its keys sign by themselves, in {key_us} us, since their copies are not faster \
                     ({copy_us} us); key_copies is of no use here"
                );
            }
            costs.copy_is_faster()
        }
        Err(trouble) => {
            let answer = trouble.describe();
            tracing::warn!(
                token = section, %answer,
                "token {section}: its keys sign by themselves, since it does not copy them ({answer})"
            );
            false
        }
    }
}

impl Attachment {
    /// What signs for a key: its copy, made now where there is none, or the key itself. One copy is made at a time;
    /// who comes meanwhile does not wait for its own, but signs with the key. `Err` if the session or the device may be
    /// lost, and with them all copies: then ask the canary.
    pub(super) fn copied(
        &self,
        id: KeyId,
        entry: &Arc<KeyEntry>,
    ) -> Result<Arc<KeyEntry>, Trouble> {
        let itself = || Ok(Arc::clone(entry));
        if !self.makes_copies || !entry.may_be_copied() {
            return itself();
        }
        // Copies, too, belong to the session that keeps the login.
        let Some(anchor) = try_lock(&self.anchor) else {
            return itself();
        };
        match self.key(id) {
            Some(present) if Arc::ptr_eq(&present, entry) => {}
            // Another caller was faster.
            Some(present) => return Ok(present),
            None => return itself(),
        }
        self.session_keys.destroy_let_go(&anchor);
        if self.session_keys.is_cluttered() {
            return itself();
        }
        self.make_room();
        self.session_keys.destroy_let_go(&anchor);
        let handle = match copy(&anchor, entry.handle) {
            Ok(handle) => handle,
            Err(trouble) if trouble.may_be_loss() => return Err(trouble),
            Err(trouble) => {
                entry.refuse_copies();
                let answer = trouble.describe();
                // Once: there may be thousands.
                if !self.told_refusal.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        key = %id, %answer,
                        "key {id} is not copied ({answer}) and signs by itself, as will others like it"
                    );
                }
                return itself();
            }
        };
        let copy = KeyEntry::copy(handle, entry.handle, self.session_keys.next_use());
        let copy = Arc::new(copy);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let is_known = |present: &Arc<KeyEntry>| Arc::ptr_eq(present, entry);
        if keys.get(&id).is_some_and(is_known) {
            keys.insert(id, Arc::clone(&copy));
            return Ok(copy);
        }
        // Forgotten meanwhile.
        self.session_keys.let_go(copy);
        itself()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};

    #[test]
    fn copies_are_worth_it_where_they_are_clearly_faster() {
        let costs = |key_us, copy_us| Ok(Costs { key_us, copy_us });
        for (tried, is_on_token, expected) in [
            (costs(47, 33), true, true),
            (costs(100, 90), true, false),
            (costs(33, 47), true, false),
            // A clock that does not move.
            (costs(0, 0), true, false),
            // Nothing was seen about the speed.
            (costs(33, 33), false, true),
            (Err(unfit("copy")), true, false),
            (Err(unfit("copy")), false, false),
        ] {
            let told = format!("{tried:?}, {is_on_token}");
            assert_eq!(
                are_worth_it("token", tried, is_on_token),
                expected,
                "{told}"
            );
        }
    }

    fn answer(code: RvError) -> Trouble {
        Trouble::Module(Error::Pkcs11(code, Function::Sign))
    }

    #[test]
    fn what_a_copy_does_wrong_is_not_held_against_its_key() {
        let wrong_key = Trouble::Known(Known::WrongKey(KeyId::new([1; 16])));
        for (trouble, spares_key, spares_original) in [
            (answer(RvError::KeyHandleInvalid), true, true),
            (answer(RvError::GeneralError), true, true),
            (answer(RvError::KeyFunctionNotPermitted), false, true),
            (wrong_key, false, true),
            (answer(RvError::SessionHandleInvalid), false, false),
            (answer(RvError::DeviceError), false, false),
            (Trouble::Busy, false, false),
        ] {
            let told = format!("{trouble:?}");
            let expected = (spares_key, spares_original);
            assert_eq!(
                (trouble.may_spare_key(false), trouble.may_spare_key(true)),
                expected,
                "{told}"
            );
        }
    }

    #[test]
    fn a_lost_session_or_device_does_not_mean_that_a_key_may_not_be_copied() {
        for (trouble, expected) in [
            (answer(RvError::SessionHandleInvalid), true),
            (answer(RvError::SessionClosed), true),
            (answer(RvError::DeviceError), true),
            (answer(RvError::UserNotLoggedIn), true),
            (answer(RvError::GeneralError), false),
            (answer(RvError::AttributeReadOnly), false),
            (unfit("copy"), false),
            (Trouble::Busy, false),
        ] {
            assert_eq!(trouble.may_be_loss(), expected, "{trouble:?}");
        }
    }

    #[test]
    fn one_slow_signature_does_not_decide() {
        assert_eq!(middle(vec![9_000, 30, 31, 29, 32]), 31);
        assert_eq!(middle(Vec::new()), 0);
    }
}
