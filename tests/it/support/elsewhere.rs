//! Another process that uses a token at the same time: this test binary again, told by environment
//! variables what to do. It talks to the module directly, not through our adapter.

use super::token;
use crate::tokens::{copies, wrapped};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{
    Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle,
};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use siegel::csp::pkcs11::Pkcs11Token;
use siegel::csp::{Csp as _, CspError, KeyId};
use siegel::terms::Curve;
use std::path::PathBuf;
use std::time::Duration;

/// Name of the test that acts as the other process.
pub const TEST: &str =
    "support::elsewhere::a_key_made_by_another_process_is_seen_without_a_new_login";
/// What to do: a word, then a key identifier where one is needed.
pub const JOB: &str = "SIEGEL_TEST_JOB";
/// Path of the module.
pub const MODULE: &str = "SIEGEL_TEST_JOB_MODULE";
/// Label of the token.
pub const LABEL: &str = "SIEGEL_TEST_JOB_LABEL";

#[test]
fn a_key_made_by_another_process_is_seen_without_a_new_login() {
    if let Ok(job) = std::env::var(JOB) {
        return act(&job);
    }
    let token = token::softhsm();
    let open = token.open();
    assert_eq!(open.key_ids().unwrap(), []);
    let id = token::key_id();
    token.elsewhere(&format!("make {id}"));
    assert_eq!(open.key_ids().unwrap(), [id]);
}

fn act(job: &str) {
    let module = PathBuf::from(std::env::var(MODULE).unwrap());
    let labels = std::env::var(LABEL).unwrap();
    let token = |label: &str| token::TestToken::of_job(module.clone(), label);
    match job {
        "lose the login" => return lose_the_login(labels.split(' ').map(token)),
        "lose the login with copies" => {
            let with_copies = |label| token(label).with_copies();
            return lose_the_login(labels.split(' ').map(with_copies));
        }
        wrapped::LET_GO => return wrapped::let_go(&token(&labels)),
        copies::BOUNDED => return copies::bounded(&token(&labels)),
        copies::REFUSED => return copies::refused(&token(&labels)),
        _ => {}
    }
    let api = Pkcs11::new(&module).unwrap();
    api.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = api
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| {
            api.get_token_info(*slot)
                .is_ok_and(|info| info.label() == labels)
        })
        .unwrap();
    let session = api.open_rw_session(slot).unwrap();
    if job == "lock" {
        return lock_pin(&session);
    }
    let pin = AuthPin::from(token::PIN.to_owned());
    session.login(UserType::User, Some(&pin)).unwrap();
    match job.split_once(' ') {
        None => panic!("unknown job {job}"),
        Some(("count", label)) => count(&session, label),
        Some(("objects", label)) => objects(&session, label),
        Some(("make", id)) => make(&session, &bytes(id)),
        Some(("remain", marks)) => remain(&session, marks),
        Some(("kek", id)) => wrapping_key(&session, &bytes(id), true),
        Some(("useless-kek", id)) => wrapping_key(&session, &bytes(id), false),
        Some(("destroy", id)) => destroy(&session, &bytes(id)),
        Some(("inspect", id)) => inspect(&session, &bytes(id)),
        Some((word, _)) => panic!("unknown job {word}"),
    }
}

/// Two tokens of one module in a process of their own; the login at the first is ended behind our back, as
/// an HSM may do.
fn lose_the_login(tokens: impl Iterator<Item = token::TestToken>) {
    let [one, other] = tokens.collect::<Vec<_>>().try_into().unwrap();
    let (lost, well) = (one.open(), other.open());
    let key = |token: &Pkcs11Token| token.generate_key_pair(token::key_id(), Curve::Secp256r1);
    let (key, other_key) = (key(&lost).unwrap(), key(&well).unwrap());
    let api = Pkcs11::new(&one.module).unwrap();
    let slots = api.get_slots_with_token().unwrap();
    let is_ours = |slot: &Slot| api.get_token_info(*slot).unwrap().label() == one.label;
    let slot = slots.into_iter().find(is_ours).unwrap();
    for round in 1..=3 {
        assert_eq!((lost.generation(), well.generation()), (round, 1));
        lost.sign(&key, &[1; 32]).unwrap();
        api.open_ro_session(slot).unwrap().logout().unwrap();
        let error = lost.sign(&key, &[1; 32]).unwrap_err();
        assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
        assert!(lost.wait_until_ready(Duration::from_secs(60)));
        well.sign(&other_key, &[1; 32]).unwrap();
    }
    let generations = (lost.generation(), well.generation());
    // At once, whatever the repair still does: the process may end now, and the module with it.
    drop(lost);
    let beside = api.open_ro_session(slot).unwrap();
    let state = beside.get_session_info().unwrap().session_state();
    assert_eq!(
        state,
        SessionState::RoPublic,
        "its sessions are closed, the login is over"
    );
    // Were the module initialised anew, the other token would have been attached to again.
    println!("job: {} {}", generations.0, generations.1);
}

fn bytes(id: &str) -> Vec<u8> {
    hex::decode(id).unwrap()
}

/// Gives wrong PINs until the token locks.
fn lock_pin(session: &Session) {
    let wrong = AuthPin::from("wrong-pin-0000".to_owned());
    for _ in 0..20 {
        let error = session.login(UserType::User, Some(&wrong)).unwrap_err();
        if error.to_string().contains("locked") {
            println!("job: locked");
            return;
        }
    }
    panic!("20 wrong PINs did not lock the token");
}

fn count(session: &Session, label: &str) {
    let found = session
        .find_objects(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(label.as_bytes().to_vec()),
        ])
        .unwrap();
    println!("job: {}", found.len());
}

/// Counts what bears a label: private keys, public keys, data objects.
fn objects(session: &Session, label: &str) {
    let counts = [
        ObjectClass::PRIVATE_KEY,
        ObjectClass::PUBLIC_KEY,
        ObjectClass::DATA,
    ]
    .map(|class| {
        session
            .find_objects(&[
                Attribute::Class(class),
                Attribute::Label(label.as_bytes().to_vec()),
            ])
            .unwrap()
            .len()
    });
    println!("job: {counts:?}");
}

fn make(session: &Session, id: &[u8]) {
    pair(session, &[Attribute::Id(id.to_vec())]);
}

/// Leaves a pair and a data object: the first bytes of the identifier, then the label.
fn remain(session: &Session, marks: &str) {
    let (start, label) = marks.split_once(' ').unwrap();
    let id = [start.as_bytes(), token::key_id().as_bytes()].concat();
    let label = Attribute::Label(label.as_bytes().to_vec());
    pair(session, &[Attribute::Id(id[..16].to_vec()), label.clone()]);
    session
        .create_object(&[
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            label,
        ])
        .unwrap();
}

fn pair(session: &Session, shared: &[Attribute]) {
    let parameters = hex::decode("06082a8648ce3d030107").unwrap();
    let public = [
        Attribute::Token(true),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(parameters),
        Attribute::Verify(true),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[&public, shared].concat(),
            &[&private, shared].concat(),
        )
        .unwrap();
}

/// Makes a key that wraps others, as another node does; useless to those who want to unwrap unless it may.
fn wrapping_key(session: &Session, id: &[u8], unwraps: bool) {
    session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::ValueLen(32.into()),
                Attribute::Wrap(true),
                Attribute::Unwrap(unwraps),
                Attribute::Id(id.to_vec()),
                Attribute::Label(b"siegel-kek".to_vec()),
            ],
        )
        .unwrap();
}

fn destroy(session: &Session, id: &[u8]) {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let halves = session
            .find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())])
            .unwrap();
        assert_eq!(halves.len(), 1);
        session.destroy_object(halves[0]).unwrap();
    }
}

/// Tries to get at the private key and prints how each try went.
fn inspect(session: &Session, id: &[u8]) {
    let keys = session
        .find_objects(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Id(id.to_vec()),
        ])
        .unwrap();
    let key = keys[0];
    for attribute in [
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
        AttributeType::Sign,
        AttributeType::Derive,
        AttributeType::Decrypt,
        AttributeType::Unwrap,
    ] {
        let read = session.get_attributes(key, &[attribute]).unwrap();
        println!("job: {read:?}");
    }
    value(session, key);
    for forbidden in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
        let changed = session.update_attributes(key, std::slice::from_ref(&forbidden));
        println!("job: set {forbidden:?}: {}", changed.is_ok());
        // A copy may be made, but it must be as closed as the key.
        let weaker = [Attribute::Token(false), forbidden.clone()];
        let copied = session.copy_object(key, &weaker);
        println!("job: copy with {forbidden:?}: {}", copied.is_ok());
    }
    value(session, key);
    wrap(session, key);
}

/// What the module says to a request for the value, and the value itself if it comes all the same.
fn value(session: &Session, key: ObjectHandle) {
    let info = session
        .get_attribute_info(key, &[AttributeType::Value])
        .unwrap();
    let read = session
        .get_attributes(key, &[AttributeType::Value])
        .unwrap();
    println!("job: value {:?} {read:?}", info[0]);
    assert!(matches!(info[0], AttributeInfo::Sensitive));
}

/// Wraps keys out with an AES key of our own, by each mechanism the module has for that. A key that may
/// leave shows which of them work at all; the key in question must not come out of one of those.
fn wrap(session: &Session, key: ObjectHandle) {
    let wrapping = session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(false),
                Attribute::ValueLen(32.into()),
                Attribute::Wrap(true),
                Attribute::Encrypt(true),
            ],
        )
        .unwrap();
    let parameters = hex::decode("06082a8648ce3d030107").unwrap();
    let (_, open) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::Token(false), Attribute::EcParams(parameters)],
            &[
                Attribute::Token(false),
                Attribute::Sensitive(true),
                Attribute::Extractable(true),
                Attribute::Sign(true),
            ],
        )
        .unwrap();
    let try_each = |wanted: ObjectHandle| -> Vec<String> {
        let mut iv = [7; 12];
        let gcm = GcmParams::new(&mut iv, &[], 128.into()).unwrap();
        [
            Mechanism::AesKeyWrapPad,
            Mechanism::AesKeyWrap,
            Mechanism::AesCbcPad([7; 16]),
            Mechanism::AesGcm(gcm),
        ]
        .iter()
        .filter(|mechanism| session.wrap_key(mechanism, wrapping, wanted).is_ok())
        .map(|mechanism| mechanism.mechanism_type().to_string())
        .collect()
    };
    println!(
        "job: wraps an extractable key: {}",
        !try_each(open).is_empty()
    );
    println!("job: wraps the key: {:?}", try_each(key));
}

/// The lines another process printed.
pub fn lines(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter_map(|line| Some(line.split_once("job: ")?.1))
        .collect()
}

/// The identifier as a job takes it.
pub fn job(word: &str, id: KeyId) -> String {
    format!("{word} {id}")
}
