//! Keys beyond the token's capacity (PKCS#11 digest §6): made in the token, wrapped by a key of the token that
//! never leaves it, and unwrapped for use.
//!
//! Invariant: a private key may leave the token only between its making and its wrapping, and only wrapped; what is
//! unwrapped may not leave it any more. A blob does not say whose key it is: the first signature after each
//! unwrapping is checked in software, like that of every handle that was just resolved.

use super::curves;
use super::errors::{Known, Trouble};
use super::keys::{self, Purpose};
use super::making::{Halves, generate_halves};
use crate::csp::{KeyId, KeyPair, WrapMechanism, WrappedKey, check};
use crate::terms::{Curve, Entropy};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::collections::BTreeMap;

/// Label of the keys that wrap others.
const KEK: &str = "siegel-kek";
/// Bytes of such a key: AES-256.
const KEK_LEN: u64 = 32;

/// What a token without a fitting mechanism cannot do.
const CANNOT: &str = "wrap keys by a mechanism that notices changes; set pki.keys = \"token\", \
                      which then holds for all tokens";

/// What wraps new keys.
#[derive(Clone, Copy)]
pub(super) struct Wrapper {
    pub(super) kek: KeyId,
    pub(super) handle: ObjectHandle,
    pub(super) mechanism: WrapMechanism,
}

const fn mechanism(wanted: WrapMechanism) -> Mechanism<'static> {
    match wanted {
        WrapMechanism::AesKeyWrapPad => Mechanism::AesKeyWrapPad,
        WrapMechanism::AesKeyWrap => Mechanism::AesKeyWrap,
    }
}

/// The wrapping keys on the token, by identifier.
pub(super) fn keks(session: &Session) -> Result<BTreeMap<KeyId, ObjectHandle>, Trouble> {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Token(true),
        Attribute::Label(KEK.as_bytes().to_vec()),
    ])?;
    let mut keks = BTreeMap::new();
    for handle in found {
        if let Some(id) = keys::key_id(session, handle)? {
            keks.insert(id, handle);
        }
    }
    Ok(keks)
}

/// Makes a wrapping key, on the token or for the life of the session, and reads it back.
fn make_kek(session: &Session, id: KeyId, on_token: bool) -> Result<ObjectHandle, Trouble> {
    let handle = session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(on_token),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(KEK_LEN.into()),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Id(id.as_bytes().to_vec()),
            Attribute::Label(KEK.as_bytes().to_vec()),
        ],
    )?;
    for attribute in [AttributeType::Sensitive, AttributeType::Extractable] {
        let read = session.get_attributes(handle, &[attribute])?;
        let holds = match read.first() {
            Some(Attribute::Sensitive(sensitive)) => *sensitive,
            Some(Attribute::Extractable(extractable)) => !*extractable,
            Some(_) | None => false,
        };
        if !holds {
            return Err(unfit("keep a wrapping key sensitive and unextractable"));
        }
    }
    Ok(handle)
}

const fn unfit(action: &'static str) -> Trouble {
    Trouble::Known(Known::Unfit { action })
}

/// What wraps new keys of this token: its wrapping key, made where there is none and `may_make` says so, and the
/// first mechanism that it can.
pub(super) fn wrapper(
    api: &Pkcs11,
    slot: Slot,
    keks: &mut BTreeMap<KeyId, ObjectHandle>,
    may_make: bool,
    entropy: &dyn Entropy,
) -> Result<Wrapper, Trouble> {
    if keks.is_empty() {
        if !may_make {
            // As with the canary: the storage is not what it was.
            return Err(Trouble::Known(Known::CanaryMissing));
        }
        // First without leaving anything behind, for a token that cannot.
        try_out(&api.open_ro_session(slot)?, entropy)?;
        let id = random_id(entropy);
        let session = api.open_rw_session(slot)?;
        let handle = make_kek(&session, id, true)?;
        *keks = self::keks(&session)?;
        keks.entry(id).or_insert(handle);
    }
    // Two nodes that open a new token at once may each make one; all of them then take the smallest.
    let Some((kek, handle)) = keks.first_key_value() else {
        return Err(unfit(CANNOT));
    };
    let mechanism = fitting(&api.open_ro_session(slot)?, *handle, entropy)?;
    Ok(Wrapper {
        kek: *kek,
        handle: *handle,
        mechanism,
    })
}

fn random_id(entropy: &dyn Entropy) -> KeyId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    KeyId::new(id)
}

/// Tries it with keys that live no longer than the session; the mechanism that works.
pub(super) fn try_out(session: &Session, entropy: &dyn Entropy) -> Result<WrapMechanism, Trouble> {
    let kek = make_kek(session, random_id(entropy), false)?;
    fitting(session, kek, entropy)
}

/// The first mechanism by which a key comes back as it was, and does not come back when its blob was changed.
fn fitting(
    session: &Session,
    kek: ObjectHandle,
    entropy: &dyn Entropy,
) -> Result<WrapMechanism, Trouble> {
    let comes_back = |wanted: WrapMechanism| -> Result<bool, Trouble> {
        let curve = Curve::Secp256r1;
        let wrapper = Wrapper {
            kek: random_id(entropy),
            handle: kek,
            mechanism: wanted,
        };
        let id = random_id(entropy);
        let (pair, mut wrapped) = make(session, id, curve, wrapper)?;
        let handle = unwrap(session, kek, id, &wrapped)?;
        let mut digest = vec![0; curves::digest_len(curve)];
        entropy.fill(&mut digest);
        let signature = session.sign(&Mechanism::Ecdsa, handle, &digest)?;
        session.destroy_object(handle)?;
        let is_same = check::verify(&pair.public_key, &digest, &signature).is_ok();
        let middle = wrapped.blob.len() / 2;
        if let Some(byte) = wrapped.blob.get_mut(middle) {
            *byte ^= 1;
        }
        Ok(is_same && unwrap(session, kek, id, &wrapped).is_err())
    };
    for wanted in WrapMechanism::ALL {
        match comes_back(wanted) {
            Ok(true) => return Ok(wanted),
            Ok(false) => {}
            Err(trouble) if trouble.is_inability() => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Err(unfit(CANNOT))
}

/// Makes a pair that lives no longer than the session, and wraps its private half.
pub(super) fn make(
    session: &Session,
    id: KeyId,
    curve: Curve,
    wrapper: Wrapper,
) -> Result<(KeyPair, WrappedKey), Trouble> {
    let halves = Halves {
        label: Purpose::Use.label(id),
        is_kept: false,
        is_extractable: true,
    };
    let (public, private) = generate_halves(session, id, curve, halves)?;
    let made = || -> Result<(KeyPair, WrappedKey), Trouble> {
        let public_key = keys::public_key(session, public)?;
        if public_key.curve != curve {
            return Err(unfit("make a key on this curve"));
        }
        let blob = session.wrap_key(&mechanism(wrapper.mechanism), wrapper.handle, private)?;
        let wrapped = WrappedKey {
            kek: wrapper.kek,
            mechanism: wrapper.mechanism,
            blob,
        };
        Ok((KeyPair { id, public_key }, wrapped))
    };
    let made = made();
    // The one that could leave the token goes first.
    let gone = session.destroy_object(private);
    let public_gone = session.destroy_object(public);
    let made = made?;
    gone?;
    public_gone?;
    Ok(made)
}

/// Unwraps a key for the life of the session. It cannot leave the token, and only signs.
pub(super) fn unwrap(
    session: &Session,
    kek: ObjectHandle,
    id: KeyId,
    wrapped: &WrappedKey,
) -> Result<ObjectHandle, Trouble> {
    let handle = session.unwrap_key(
        &mechanism(wrapped.mechanism),
        kek,
        &wrapped.blob,
        &[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::Id(id.as_bytes().to_vec()),
        ],
    )?;
    let read = keys::protection(session, handle);
    if read.as_ref().is_ok_and(|read| read.holds_for_session()) {
        return Ok(handle);
    }
    let destroyed = session.destroy_object(handle);
    read?;
    destroyed?;
    Err(unfit("keep an unwrapped key sensitive and unextractable"))
}
