//! What the CSP port promises when keys, PINs, storage or the module itself let it down.

use super::csp::{copies_suite, digest, key, sign, suite};
use crate::support::elsewhere::{job, lines};
use crate::support::token::{self, TestClock, TestEntropy, TestToken};
use siegel::csp::pkcs11::Pkcs11Token;
use siegel::csp::{Csp, CspError, TokenState};
use siegel::terms::{Curve, Secret};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

suite! {
    a_wrong_pin_is_tried_once,
    a_key_deleted_elsewhere_is_missing_and_the_token_stays_well,
    a_key_replaced_elsewhere_is_not_taken_for_the_old_one,
    a_key_that_was_just_made_elsewhere_is_found_right_after_a_search_for_another,
    a_new_initialisation_of_the_module_is_not_noticed_by_those_who_sign,
    no_handle_is_used_after_the_module_was_initialised_anew,
}

copies_suite! {
    a_key_that_was_just_made_elsewhere_is_found_right_after_a_search_for_another,
    a_new_initialisation_of_the_module_is_not_noticed_by_those_who_sign,
    no_handle_is_used_after_the_module_was_initialised_anew,
}

const HEALING_MAX: Duration = Duration::from_secs(60);

fn open_with_pin(token: &TestToken, pin: &str) -> Result<Pkcs11Token, CspError> {
    let mut config = token.config();
    config.pin = Secret::new(pin.to_owned());
    Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
}

fn a_wrong_pin_is_tried_once(token: &TestToken) {
    // Kryoptic locks at the tenth wrong PIN: were each of these a try, the right one came too late.
    for _ in 0..15 {
        let error = open_with_pin(token, "wrong-pin-0000").err().unwrap();
        assert!(matches!(error, CspError::PinRefused { .. }), "{error:?}");
    }
    // A changed configuration is a person's doing and is tried.
    open_with_pin(token, token::PIN)
        .unwrap()
        .check_health()
        .unwrap();
}

#[test]
fn a_locked_pin_is_refused_and_stays_so() {
    let Some(token) = token::kryoptic() else {
        return;
    };
    drop(token.open());
    assert_eq!(lines(&token.elsewhere("lock")), ["locked"]);
    for _ in 0..3 {
        let error = open_with_pin(&token, token::PIN).err().unwrap();
        let CspError::PinRefused { source, .. } = error else {
            panic!("{error:?}");
        };
        // Kryoptic reads the flags of a token when it is initialised, so this process has not seen them.
        assert_eq!(source.0, "C_Login: PinLocked");
    }
}

fn a_key_deleted_elsewhere_is_missing_and_the_token_stays_well(token: &TestToken) {
    let open = token.open();
    let (lost, kept) = (key(&open), key(&open));
    sign(&open, &lost);
    sign(&open, &kept);
    token.elsewhere(&job("destroy", lost.id));
    for _ in 0..3 {
        let error = open.sign(&lost, &digest(Curve::Secp256r1)).unwrap_err();
        assert!(
            matches!(error, CspError::KeyMissing { key, .. } if key == lost.id),
            "{error:?}"
        );
    }
    sign(&open, &kept);
    open.check_health().unwrap();
    assert_eq!(open.key_ids().unwrap(), [kept.id]);
}

fn a_key_that_was_just_made_elsewhere_is_found_right_after_a_search_for_another(token: &TestToken) {
    let (open, elsewhere) = (token.open(), token.open());
    let nowhere = siegel::csp::KeyPair {
        id: token::key_id(),
        ..key(&open)
    };
    for _ in 0..5 {
        let error = open.sign(&nowhere, &digest(Curve::Secp256r1)).unwrap_err();
        assert!(matches!(error, CspError::KeyMissing { .. }), "{error:?}");
        sign(&open, &key(&elsewhere));
    }
}

fn a_key_replaced_elsewhere_is_not_taken_for_the_old_one(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    sign(&open, &key);
    token.elsewhere(&job("destroy", key.id));
    token.elsewhere(&job("make", key.id));
    for _ in 0..3 {
        let error = open.sign(&key, &digest(Curve::Secp256r1)).unwrap_err();
        assert!(matches!(error, CspError::WrongKey { .. }), "{error:?}");
    }
    open.check_health().unwrap();
}

fn a_new_initialisation_of_the_module_is_not_noticed_by_those_who_sign(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    let before = open.generation();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    sign(&open, &key);
                }
            });
        }
        for _ in 0..3 {
            // A token that the module does not show is looked for once more after a new initialisation.
            token.initialise_anew();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(open.generation() >= before + 3);
    sign(&open, &key);
    // Its handle is another one now; what it signs is still compared with the key we expect.
    let stranger = super::csp::key(&open);
    let mixed = siegel::csp::KeyPair {
        id: key.id,
        public_key: stranger.public_key,
    };
    let error = open.sign(&mixed, &digest(Curve::Secp256r1)).unwrap_err();
    assert!(matches!(error, CspError::WrongKey { .. }), "{error:?}");
}

/// The numbers of handles repeat, and name other keys once some of the keys are gone.
fn no_handle_is_used_after_the_module_was_initialised_anew(token: &TestToken) {
    let open = token.open();
    let keys: Vec<_> = (0..12).map(|_| key(&open)).collect();
    for key in &keys {
        sign(&open, key);
    }
    for round in 0..2 {
        let (gone, kept): (Vec<_>, Vec<_>) = keys
            .iter()
            .enumerate()
            .partition(|(number, _)| number % 4 <= round);
        for (_, key) in gone.iter().filter(|(number, _)| number % 4 == round) {
            token.elsewhere(&job("destroy", key.id));
        }
        let before = open.generation();
        token.initialise_anew();
        assert!(open.generation() > before);
        for (_, key) in &kept {
            sign(&open, key);
        }
        // With a handle of before it would be the signature of another key.
        for (_, key) in &gone {
            let error = open.sign(key, &digest(Curve::Secp256r1)).unwrap_err();
            assert!(matches!(error, CspError::KeyMissing { .. }), "{error:?}");
        }
        open.check_health().unwrap();
    }
}

#[test]
fn a_lost_login_is_made_again_and_no_other_token_of_the_module_notices() {
    let (token, bystander) = (token::softhsm(), token::softhsm());
    let labels = format!("{} {}", token.label, bystander.label);
    for job in ["lose the login", "lose the login with copies"] {
        let told = token.elsewhere_with(job, &labels);
        assert_eq!(lines(&told), ["4 1"], "{job}");
    }
}

#[test]
fn a_token_that_is_not_there_yet_is_waited_for_and_then_used() {
    let token = token::softhsm();
    let key = key(&token.open());
    let storage = token.storage();
    let away = token::home().join(storage.file_name().unwrap());
    fs::rename(&storage, &away).unwrap();
    let open = || Pkcs11Token::open(token.config(), Arc::new(TestEntropy), TestClock::start());
    let error = open().err().unwrap();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
    let label = token.label.clone();
    let clock = TestClock::start();
    let awaited =
        Pkcs11Token::await_return(token.config(), label, Arc::new(TestEntropy), clock).unwrap();
    assert_eq!(awaited.token(), token.label);
    assert_eq!(
        (awaited.vitals().state, awaited.generation()),
        (TokenState::Gone, 0)
    );
    awaited.seek();
    let error = awaited.sign(&key, &digest(Curve::Secp256r1)).unwrap_err();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
    fs::rename(&away, &storage).unwrap();
    assert!(awaited.wait_until_ready(HEALING_MAX));
    assert_eq!(
        (awaited.vitals().state, awaited.generation()),
        (TokenState::Ready, 1)
    );
    sign(&awaited, &key);
}

#[test]
fn a_refused_pin_is_not_tried_by_waiting_for_the_token() {
    let token = token::softhsm();
    let error = open_with_pin(&token, "wrong-pin-0000").err().unwrap();
    assert!(matches!(error, CspError::PinRefused { .. }), "{error:?}");
    let mut config = token.config();
    config.pin = Secret::new("wrong-pin-0000".to_owned());
    let label = token.label.clone();
    let clock = TestClock::start();
    let awaited = Pkcs11Token::await_return(config, label, Arc::new(TestEntropy), clock).unwrap();
    assert_eq!(awaited.vitals().state, TokenState::PinRefused);
    let error = awaited.check_health().unwrap_err();
    assert!(matches!(error, CspError::PinRefused { .. }), "{error:?}");
}

#[test]
fn copies_are_lost_with_their_token_and_made_anew_when_it_returns() {
    let token = token::softhsm().with_copies();
    let open = token.open();
    let keys = [key(&open), key(&open)];
    keys.iter().for_each(|key| sign(&open, key));
    let before = open.generation();
    let storage = token.storage();
    let away = token::home().join(storage.file_name().unwrap());
    fs::rename(&storage, &away).unwrap();
    // A copy needs no storage, so it is the canary that notices.
    let error = open.check_health().unwrap_err();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
    let error = open.sign(&keys[0], &digest(Curve::Secp256r1)).unwrap_err();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
    fs::rename(&away, &storage).unwrap();
    assert!(open.wait_until_ready(HEALING_MAX), "the token came back");
    assert!(open.generation() > before);
    keys.iter().for_each(|key| sign(&open, key));
    open.check_health().unwrap();
}

#[test]
fn vanished_storage_is_a_lost_device_and_heals_by_itself_when_it_returns() {
    let token = token::softhsm();
    let bystander = token::softhsm();
    let (open, well) = (token.open(), bystander.open());
    let (key, other) = (key(&open), key(&well));
    sign(&open, &key);
    let before = open.generation();

    let storage = token.storage();
    let away = storage.with_extension("away");
    // Outside the folder of tokens: SoftHSM takes every folder in there for one.
    let away = token::home().join(away.file_name().unwrap());
    fs::rename(&storage, &away).unwrap();
    for _ in 0..20 {
        let error = open.sign(&key, &digest(Curve::Secp256r1)).unwrap_err();
        assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
        let error = open.check_health().unwrap_err();
        assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
        // The other token of the same module goes on.
        sign(&well, &other);
    }
    assert!(!open.wait_until_ready(Duration::from_millis(300)));
    let error = open
        .generate_key_pair(token::key_id(), Curve::Secp256r1)
        .unwrap_err();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");

    fs::rename(&away, &storage).unwrap();
    assert!(open.wait_until_ready(HEALING_MAX), "the token came back");
    assert!(open.generation() > before);
    sign(&open, &key);
    open.check_health().unwrap();
    sign(&well, &other);
    assert_eq!(open.key_ids().unwrap(), [key.id]);
    assert_eq!(lines(&token.elsewhere("count siegel-canary")), ["1"]);
}

#[test]
fn a_lost_token_can_be_dropped_while_its_module_is_repaired() {
    let token = token::softhsm();
    let bystander = token::softhsm().open();
    let open = token.open();
    let key = key(&open);
    let storage = token.storage();
    let away = token::home().join(storage.file_name().unwrap());
    fs::rename(&storage, &away).unwrap();
    open.sign(&key, &digest(Curve::Secp256r1)).unwrap_err();
    drop(open);
    bystander.check_health().unwrap();
    fs::rename(&away, &storage).unwrap();
    // Opened anew: the module may still have been initialised without it.
    let open = token.open();
    sign(&open, &key);
    bystander.check_health().unwrap();
}

#[test]
fn a_missing_library_is_no_device_that_could_come_back() {
    let mut config = token::softhsm().config();
    config.module = "no-such-module.so".into();
    let error = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
        .err()
        .unwrap();
    assert!(matches!(error, CspError::Failed { .. }), "{error:?}");
}

#[test]
fn a_module_whose_variables_are_not_set_is_not_opened() {
    let token = token::softhsm();
    let mut config = token.config();
    config
        .module_env
        .insert("SOFTHSM2_CONF".to_owned(), "elsewhere.conf".to_owned());
    let error = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
        .err()
        .unwrap();
    assert!(matches!(error, CspError::Failed { .. }), "{error:?}");
    let mut config = token.config();
    let conf = token::home().join("softhsm2.conf");
    config.module_env.insert(
        "SOFTHSM2_CONF".to_owned(),
        conf.to_str().unwrap().to_owned(),
    );
    Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start()).unwrap();
}
