//! The one template that keys for signing are made by.

use super::curves;
use super::errors::Trouble;
use crate::csp::KeyId;
use crate::terms::Curve;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;

/// How the two halves of a pair are made.
pub(super) struct Halves {
    pub(super) label: String,
    /// On the token; otherwise they live no longer than the session.
    pub(super) is_kept: bool,
    /// Only for what is wrapped and destroyed at once.
    pub(super) is_extractable: bool,
}

/// Makes a pair that only signs; the public half first.
pub(super) fn generate_halves(
    session: &Session,
    id: KeyId,
    curve: Curve,
    halves: Halves,
) -> Result<(ObjectHandle, ObjectHandle), Trouble> {
    let shared = [
        Attribute::Token(halves.is_kept),
        Attribute::KeyType(KeyType::EC),
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::Label(halves.label.into_bytes()),
    ];
    let public = [
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curves::parameters(curve)),
    ];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(halves.is_extractable),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    let with_shared = |own: &[Attribute]| [shared.as_slice(), own].concat();
    Ok(session.generate_key_pair(
        &Mechanism::EccKeyPairGen,
        &with_shared(&public),
        &with_shared(&private),
    )?)
}
