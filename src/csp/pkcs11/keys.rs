//! Key objects: making pairs, reading them back, finding them.

use super::curves;
use super::errors::{Known, Trouble};
use super::making::{Halves, generate_halves};
use crate::csp::{KeyId, KeyPair, PublicKey, check};
use crate::terms::{Curve, Entropy};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Label of the key that health checks sign with; never a TSS's.
pub(super) const CANARY: &str = "siegel-canary";
/// Label of throw-away keys and objects.
pub(super) const PROBE: &str = "siegel-probe";
/// First bytes of the identifier of a throw-away key, beside its label a second mark: a label is easily
/// changed, and nothing without both marks is ever destroyed.
const PROBE_ID: &[u8; 8] = b"sglprobe";

/// What a key is for; becomes its `CKA_LABEL`. Anyone with the PIN can change a label, so it serves
/// people and the search for the canary, never a decision about a TSS key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A TSS or a CA.
    Use,
    /// Health checks.
    Canary,
    /// Probes; destroyed after use.
    Probe,
    /// Health checks of a token that is only being probed; lives no longer than its session.
    Trial,
}

impl Purpose {
    pub(super) fn label(self, id: KeyId) -> String {
        match self {
            Self::Use => format!("siegel-{id}"),
            Self::Canary => CANARY.to_owned(),
            Self::Probe | Self::Trial => PROBE.to_owned(),
        }
    }

    fn of(label: &[u8]) -> Self {
        if label == CANARY.as_bytes() {
            Self::Canary
        } else if label == PROBE.as_bytes() {
            Self::Probe
        } else {
            Self::Use
        }
    }
}

/// A private key found on the token.
pub(super) struct Found {
    pub(super) id: KeyId,
    pub(super) handle: ObjectHandle,
    pub(super) purpose: Purpose,
}

/// What the token says about a private key; `None` where it does not report the attribute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Protection {
    pub(super) sensitive: Option<bool>,
    pub(super) extractable: Option<bool>,
    pub(super) always_sensitive: Option<bool>,
    pub(super) never_extractable: Option<bool>,
    pub(super) local: Option<bool>,
    /// Whether it may do more than sign: decrypt, unwrap or derive.
    pub(super) more_than_sign: Option<bool>,
}

impl Protection {
    /// Sensitive and not extractable must be reported; what is reported beyond must not contradict.
    fn holds(self) -> bool {
        self.sensitive == Some(true)
            && self.extractable == Some(false)
            && self.always_sensitive != Some(false)
            && self.never_extractable != Some(false)
            && self.local != Some(false)
    }

    /// The same for a key that lives no longer than a session: sensitive, not extractable, and only signing.
    pub(super) fn holds_for_session(self) -> bool {
        self.sensitive == Some(true)
            && self.extractable == Some(false)
            && self.more_than_sign != Some(true)
    }
}

/// Makes a pair on the token and reads it back. The pair is destroyed again if it is not what was
/// asked for.
pub(super) fn generate(
    session: &Session,
    id: KeyId,
    curve: Curve,
    purpose: Purpose,
) -> Result<(ObjectHandle, KeyPair), Trouble> {
    let halves = Halves {
        label: purpose.label(id),
        is_kept: purpose != Purpose::Trial,
        is_extractable: false,
    };
    let (public, private) = generate_halves(session, id, curve, halves)?;
    match read_back(session, (id, purpose), curve, public, private) {
        Ok(pair) => Ok((private, pair)),
        Err(trouble) => {
            for half in [private, public] {
                if let Err(error) = session.destroy_object(half) {
                    tracing::warn!(%error, "key {id}: an unfit half of the pair could not be destroyed");
                }
            }
            Err(trouble)
        }
    }
}

fn read_back(
    session: &Session,
    (id, purpose): (KeyId, Purpose),
    curve: Curve,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<KeyPair, Trouble> {
    if !protection(session, private)?.holds() {
        return Err(unfit("keep a private key sensitive and unextractable"));
    }
    if key_id(session, private)? != Some(id) || key_id(session, public)? != Some(id) {
        return Err(unfit("keep the identifier of a key"));
    }
    // Canaries and throw-away keys are known by it.
    if label(session, private)?.as_deref() != Some(purpose.label(id).as_bytes()) {
        return Err(unfit("keep the label of a key"));
    }
    let public_key = public_key(session, public)?;
    if public_key.curve != curve {
        return Err(unfit("make a key on this curve"));
    }
    Ok(KeyPair { id, public_key })
}

fn unfit(action: &'static str) -> Trouble {
    Trouble::Known(Known::Unfit { action })
}

pub(super) fn key_id(session: &Session, object: ObjectHandle) -> Result<Option<KeyId>, Trouble> {
    for attribute in session.get_attributes(object, &[AttributeType::Id])? {
        if let Attribute::Id(bytes) = attribute {
            return Ok(<[u8; 16]>::try_from(bytes).ok().map(KeyId::new));
        }
    }
    Ok(None)
}

fn label(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, Trouble> {
    for attribute in session.get_attributes(object, &[AttributeType::Label])? {
        if let Attribute::Label(bytes) = attribute {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Reads what the token says about a private key, one attribute at a time: some modules refuse the
/// whole list for one they do not know.
pub(super) fn protection(session: &Session, key: ObjectHandle) -> Result<Protection, Trouble> {
    let read = |attribute| flag(session, key, attribute);
    let more = [
        read(AttributeType::Decrypt)?,
        read(AttributeType::Unwrap)?,
        read(AttributeType::Derive)?,
    ];
    Ok(Protection {
        sensitive: read(AttributeType::Sensitive)?,
        extractable: read(AttributeType::Extractable)?,
        always_sensitive: read(AttributeType::AlwaysSensitive)?,
        never_extractable: read(AttributeType::NeverExtractable)?,
        local: read(AttributeType::Local)?,
        more_than_sign: more.iter().flatten().copied().reduce(|any, one| any || one),
    })
}

/// Whether a copy of the key could not be destroyed, as far as the token says so.
pub(super) fn is_indestructible(session: &Session, key: ObjectHandle) -> Result<bool, Trouble> {
    let may_be_destroyed = flag(session, key, AttributeType::Destroyable)?;
    Ok(may_be_destroyed == Some(false))
}

fn flag(
    session: &Session,
    key: ObjectHandle,
    attribute: AttributeType,
) -> Result<Option<bool>, Trouble> {
    let read = match session.get_attributes(key, &[attribute]) {
        Ok(read) => read,
        Err(Error::Pkcs11(RvError::AttributeTypeInvalid, _)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(read.first().and_then(boolean))
}

fn boolean(attribute: &Attribute) -> Option<bool> {
    if let Attribute::Sensitive(value)
    | Attribute::Extractable(value)
    | Attribute::AlwaysSensitive(value)
    | Attribute::NeverExtractable(value)
    | Attribute::Local(value)
    | Attribute::Decrypt(value)
    | Attribute::Unwrap(value)
    | Attribute::Derive(value)
    | Attribute::Destroyable(value) = attribute
    {
        Some(*value)
    } else {
        None
    }
}

/// Reads a public key object and checks that it is a point of its curve.
pub(super) fn public_key(session: &Session, object: ObjectHandle) -> Result<PublicKey, Trouble> {
    let mut curve = None;
    let mut encoded = None;
    for attribute in
        session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint])?
    {
        if let Attribute::EcParams(value) = attribute {
            curve = curves::from_parameters(&value);
        } else if let Attribute::EcPoint(value) = attribute {
            encoded = Some(value);
        }
    }
    let key = curve.zip(encoded).and_then(|(curve, encoded)| {
        let point = curves::point(curve, &encoded)?.to_vec();
        let key = PublicKey { curve, point };
        check::public_key(&key).is_ok().then_some(key)
    });
    key.ok_or_else(|| unfit("show the public key of a pair"))
}

/// All private keys with an identifier as we choose them. One search: SoftHSM reads every object for
/// each. The class is always given, since a search without may show objects that are no keys.
pub(super) fn all(session: &Session) -> Result<Vec<Found>, Trouble> {
    let handles = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
    ])?;
    let mut found = Vec::with_capacity(handles.len());
    for handle in handles {
        let attributes =
            match session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label]) {
                Ok(attributes) => attributes,
                // Destroyed by someone else since the search.
                Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => continue,
                Err(error) => return Err(error.into()),
            };
        let mut id = None;
        let mut purpose = Purpose::Use;
        for attribute in attributes {
            if let Attribute::Id(bytes) = attribute {
                // Another length is not ours, or is what a crash during generation left behind.
                id = <[u8; 16]>::try_from(bytes).ok().map(KeyId::new);
            } else if let Attribute::Label(label) = attribute {
                purpose = Purpose::of(&label);
            }
        }
        if let Some(id) = id {
            found.push(Found {
                id,
                handle,
                purpose,
            });
        }
    }
    Ok(found)
}

/// The public half of a pair; the private half does not carry the point.
pub(super) fn public_half(session: &Session, id: KeyId) -> Result<Option<PublicKey>, Trouble> {
    let halves = session.find_objects(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Id(id.as_bytes().to_vec()),
    ])?;
    match halves.first() {
        Some(half) => public_key(session, *half).map(Some),
        None => Ok(None),
    }
}

/// An identifier for a throw-away key.
pub(super) fn probe_id(entropy: &dyn Entropy) -> KeyId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    for (byte, mark) in id.iter_mut().zip(PROBE_ID) {
        *byte = *mark;
    }
    KeyId::new(id)
}

/// Destroys both halves of a throw-away pair and tells whether anything was there. Tries both before it
/// reports a failure.
pub(super) fn destroy_probe(session: &Session, id: KeyId) -> Result<bool, Trouble> {
    let (mut found, mut outcome) = (false, Ok(()));
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for half in session.find_objects(&[
            Attribute::Class(class),
            Attribute::Id(id.as_bytes().to_vec()),
        ])? {
            found = true;
            let destroyed = destroy_marked(session, half);
            outcome = outcome.and(destroyed);
        }
    }
    outcome.map(|()| found)
}

/// Destroys a key if it bears both marks of a throw-away one.
fn destroy_marked(session: &Session, key: ObjectHandle) -> Result<(), Trouble> {
    let marked = key_id(session, key)?.is_some_and(|id| id.as_bytes().starts_with(PROBE_ID))
        && label(session, key)?.as_deref() == Some(PROBE.as_bytes());
    if !marked {
        return Err(unfit("keep the marks of a throw-away key"));
    }
    Ok(session.destroy_object(key)?)
}

/// Destroys throw-away data objects: those of one probe, or of all. Tries all before it reports a
/// failure; otherwise tells how many there were.
pub(super) fn destroy_probe_data(
    session: &Session,
    probe: Option<KeyId>,
) -> Result<usize, Trouble> {
    let mut template = vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Label(PROBE.as_bytes().to_vec()),
    ];
    template.extend(probe.map(|id| Attribute::Application(id.to_string().into_bytes())));
    let objects = session.find_objects(&template)?;
    let mut outcome = Ok(());
    for object in &objects {
        outcome = outcome.and(session.destroy_object(*object));
    }
    Ok(outcome.map(|()| objects.len())?)
}

/// Destroys all keys and data objects that probes have left behind, and tells how many there were.
pub(super) fn destroy_all_probes(session: &Session) -> Result<usize, Trouble> {
    let mut count = destroy_probe_data(session, None)?;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for key in session.find_objects(&[
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(PROBE.as_bytes().to_vec()),
        ])? {
            // A key that bears only one of the marks is somebody else's.
            if key_id(session, key)?.is_some_and(|id| id.as_bytes().starts_with(PROBE_ID)) {
                session.destroy_object(key)?;
                count = count.saturating_add(1);
            }
        }
    }
    Ok(count)
}
