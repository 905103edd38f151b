//! Another process that uses a token at the same time: this test binary again, told by environment
//! variables what to do. It talks to the module directly, not through our adapter.

use super::token;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use siegel::csp::KeyId;

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
    let api = Pkcs11::new(std::env::var(MODULE).unwrap()).unwrap();
    api.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let label = std::env::var(LABEL).unwrap();
    let slot = api
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| {
            api.get_token_info(*slot)
                .is_ok_and(|info| info.label() == label)
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
        Some(("make", id)) => make(&session, &bytes(id)),
        Some(("destroy", id)) => destroy(&session, &bytes(id)),
        Some(("inspect", id)) => inspect(&session, &bytes(id)),
        Some((word, _)) => panic!("unknown job {word}"),
    }
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

fn make(session: &Session, id: &[u8]) {
    let id = Attribute::Id(id.to_vec());
    let parameters = hex::decode("06082a8648ce3d030107").unwrap();
    session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::KeyType(KeyType::EC),
                Attribute::EcParams(parameters),
                Attribute::Verify(true),
                id.clone(),
            ],
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                id,
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
    let read = |attribute| {
        session
            .get_attributes(key, &[attribute])
            .unwrap_or_default()
    };
    for attribute in [
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Sign,
        AttributeType::Derive,
        AttributeType::Decrypt,
        AttributeType::Unwrap,
        AttributeType::Value,
    ] {
        println!("job: {attribute:?} {:?}", read(attribute));
    }
    for forbidden in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
        let refused = session
            .update_attributes(key, std::slice::from_ref(&forbidden))
            .is_err();
        println!("job: {forbidden:?} refused {refused}");
    }
    println!("job: Value {:?}", read(AttributeType::Value));
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
