//! The promises of the CSP port, proven for each PKCS#11 module we test with.

use crate::support::elsewhere::{job, lines};
use crate::support::token::{self, TestClock, TestEntropy, TestToken};
use siegel::csp::pkcs11::{Pkcs11Token, ProbeOptions, Selector, Verdict, probe, report, suffices};
use siegel::csp::{Csp, CspError, KeyPair, check};
use siegel::terms::{Clock, Curve, Entropy, Hash, Secret};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs each promise over SoftHSM and over Kryoptic.
macro_rules! suite {
    ($($promise:ident,)*) => {
        mod softhsm {
            $(#[test] fn $promise() { super::$promise(&crate::support::token::softhsm()); })*
        }
        mod kryoptic {
            $(#[test] fn $promise() {
                if let Some(token) = crate::support::token::kryoptic() { super::$promise(&token); }
            })*
        }
    };
}
pub(super) use suite;

/// The same where copies of keys sign.
macro_rules! copies_suite {
    ($($promise:ident,)*) => {
        mod softhsm_with_copies {
            $(#[test] fn $promise() {
                super::$promise(&crate::support::token::softhsm().with_copies());
            })*
        }
        mod kryoptic_with_copies {
            $(#[test] fn $promise() {
                if let Some(token) = crate::support::token::kryoptic() {
                    super::$promise(&token.with_copies());
                }
            })*
        }
    };
}
pub(super) use copies_suite;

suite! {
    what_the_module_can_do_is_what_its_folder_says,
    each_curve_signs_or_is_listed_as_missing,
    signatures_are_plain_and_of_fixed_length,
    a_digest_of_another_length_is_refused,
    a_signature_of_another_key_is_not_released,
    a_private_key_never_leaves_the_token,
    eight_threads_share_two_sessions,
    a_caller_who_does_not_wait_is_served_or_told_so,
    keys_are_found_again_after_a_restart,
    the_canary_is_made_once_and_is_no_key_of_ours,
    an_identifier_is_used_once,
    a_token_is_chosen_by_label_or_serial_number,
    two_tokens_of_one_module_do_not_see_each_other,
}

copies_suite! {
    what_the_module_can_do_is_what_its_folder_says,
    each_curve_signs_or_is_listed_as_missing,
    signatures_are_plain_and_of_fixed_length,
    a_signature_of_another_key_is_not_released,
    a_private_key_never_leaves_the_token,
    eight_threads_share_two_sessions,
    a_caller_who_does_not_wait_is_served_or_told_so,
    keys_are_found_again_after_a_restart,
    the_canary_is_made_once_and_is_no_key_of_ours,
    an_identifier_is_used_once,
}

pub(super) fn digest(curve: Curve) -> Vec<u8> {
    let length = match curve.default_hash() {
        Hash::Sha256 | Hash::Sha3_256 => 32,
        Hash::Sha384 | Hash::Sha3_384 => 48,
        Hash::Sha512 | Hash::Sha3_512 => 64,
    };
    let mut digest = vec![0; length];
    TestEntropy.fill(&mut digest);
    digest
}

pub(super) fn key(token: &dyn Csp) -> KeyPair {
    token
        .generate_key_pair(token::key_id(), Curve::Secp256r1)
        .unwrap()
}

/// Signs once and verifies in software.
#[track_caller]
pub(super) fn sign(token: &dyn Csp, key: &KeyPair) {
    let digest = digest(key.public_key.curve);
    let signature = token.sign(key, &digest).unwrap();
    check::verify(&key.public_key, &digest, &signature).unwrap();
}

/// What the folder of the module says that it cannot do.
fn cannot(token: &TestToken) -> BTreeSet<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Capabilities {
        module: String,
        cannot: BTreeSet<String>,
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("hsm-config")
        .join(token.kind.folder())
        .join("capabilities.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let capabilities: Capabilities = toml::from_str(&text).unwrap();
    assert!(!capabilities.module.is_empty());
    capabilities.cannot
}

fn what_the_module_can_do_is_what_its_folder_says(token: &TestToken) {
    let open = token.open();
    let findings = probe(
        &open,
        ProbeOptions {
            rate_ms: 20,
            sessions_max: 16,
            tidy: false,
        },
    );
    for finding in &findings {
        println!("{finding:?}");
    }
    let fails: BTreeSet<String> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fails)
        .map(|finding| finding.line.clone())
        .collect();
    assert_eq!(fails, cannot(token));
    assert!(suffices(&findings));
    // 32 lines, so that a probe which gives up half-way does not pass.
    assert_eq!(findings.len(), 32, "lines of the table");
    assert_eq!(open.key_ids().unwrap(), [], "nothing is left behind");
    assert_eq!(probes_left(token), "[0, 0, 0]");
}

/// Private keys, public keys and data objects of probes on the token.
pub(super) fn probes_left(token: &TestToken) -> String {
    lines(&token.elsewhere("objects siegel-probe")).concat()
}

fn each_curve_signs_or_is_listed_as_missing(token: &TestToken) {
    let cannot = cannot(token);
    let open = token.open();
    for curve in Curve::ALL {
        let made = open.generate_key_pair(token::key_id(), curve);
        if cannot.contains(&format!("curve {}", curve.name())) {
            let error = made.unwrap_err();
            assert!(
                matches!(
                    error,
                    CspError::NotSupported { .. } | CspError::Failed { .. }
                ),
                "{curve:?}: {error:?}"
            );
            open.check_health().unwrap();
            continue;
        }
        let key = made.unwrap();
        assert_eq!(key.public_key.curve, curve);
        assert_eq!(key.public_key.point.len(), curve.point_len());
        for _ in 0..3 {
            sign(&open, &key);
        }
    }
}

fn signatures_are_plain_and_of_fixed_length(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    // One in 128 has a leading zero in r or s, which must not shorten it.
    for _ in 0..600 {
        let digest = digest(Curve::Secp256r1);
        let signature = open.sign(&key, &digest).unwrap();
        assert_eq!(signature.len(), 64);
        check::verify(&key.public_key, &digest, &signature).unwrap();
    }
}

fn a_digest_of_another_length_is_refused(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    for length in [0, 1, 31, 33, 48, 64, 300] {
        let error = open.sign(&key, &vec![1; length]).unwrap_err();
        assert!(
            matches!(error, CspError::NotSupported { source: None, .. }),
            "{length}: {error:?}"
        );
    }
    sign(&open, &key);
}

fn a_signature_of_another_key_is_not_released(token: &TestToken) {
    let open = token.open();
    let (one, other) = (key(&open), key(&open));
    let mixed = KeyPair {
        id: one.id,
        public_key: other.public_key.clone(),
    };
    for _ in 0..2 {
        let error = open.sign(&mixed, &digest(Curve::Secp256r1)).unwrap_err();
        assert!(matches!(error, CspError::WrongKey { key, .. } if key == one.id));
    }
    sign(&open, &one);
    // The handle has been proven for its own public key, which says nothing about another.
    let error = open.sign(&mixed, &digest(Curve::Secp256r1)).unwrap_err();
    assert!(matches!(error, CspError::WrongKey { .. }), "{error:?}");
    sign(&open, &other);
}

fn a_private_key_never_leaves_the_token(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    let seen = token.elsewhere(&job("inspect", key.id));
    assert_eq!(
        lines(&seen),
        [
            "[Token(true)]",
            "[Private(true)]",
            "[Sensitive(true)]",
            "[Extractable(false)]",
            "[AlwaysSensitive(true)]",
            "[NeverExtractable(true)]",
            "[Local(true)]",
            "[Sign(true)]",
            "[Derive(false)]",
            "[Decrypt(false)]",
            "[Unwrap(false)]",
            // CKR_ATTRIBUTE_SENSITIVE: the module has a value and does not give it.
            "value Sensitive []",
            "set Extractable(true): false",
            "copy with Extractable(true): false",
            "set Sensitive(false): false",
            "copy with Sensitive(false): false",
            "value Sensitive []",
            "wraps an extractable key: true",
            "wraps the key: []",
        ]
    );
    sign(&open, &key);
}

fn eight_threads_share_two_sessions(token: &TestToken) {
    let mut config = token.config();
    config.sessions_max = 2;
    let open = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start()).unwrap();
    let keys: Vec<KeyPair> = (0..4).map(|_| key(&open)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (open, key) = (&open, &keys[thread % 4]);
            scope.spawn(move || {
                for _ in 0..50 {
                    sign(open, key);
                }
            });
        }
    });
}

fn a_caller_who_does_not_wait_is_served_or_told_so(token: &TestToken) {
    let mut config = token.config();
    config.sessions_max = 1;
    let open = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start()).unwrap();
    let key = key(&open);
    let mut impatient = token.config();
    impatient.sessions_max = 1;
    impatient.session_wait_ms = 0;
    let impatient =
        Pkcs11Token::open(impatient, Arc::new(TestEntropy), TestClock::start()).unwrap();
    sign(&open, &key);
    let served = AtomicU32::new(0);
    let deadline = TestClock::start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut tries = 0;
                // Other tests keep the module to themselves now and then: no try is sure to be served.
                while tries < 100 || served.load(Ordering::Relaxed) == 0 {
                    tries += 1;
                    match impatient.sign(&key, &digest(Curve::Secp256r1)) {
                        Ok(_) => _ = served.fetch_add(1, Ordering::Relaxed),
                        Err(CspError::Busy { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    assert!(deadline.monotonic_ms() < 60_000, "nobody was served");
                }
            });
        }
    });
}

fn keys_are_found_again_after_a_restart(token: &TestToken) {
    let open = token.open();
    let mut keys = [key(&open), key(&open)];
    keys.sort_by_key(|key| key.id);
    drop(open);
    let open = token.open();
    for key in &keys {
        sign(&open, key);
    }
    let mut ids = open.key_ids().unwrap();
    ids.sort();
    assert_eq!(ids, keys.map(|key| key.id));
}

fn the_canary_is_made_once_and_is_no_key_of_ours(token: &TestToken) {
    for _ in 0..3 {
        let open = token.open();
        open.check_health().unwrap();
        assert_eq!(open.key_ids().unwrap(), []);
    }
    let canaries = token.elsewhere("count siegel-canary");
    assert_eq!(lines(&canaries), ["1"]);
}

fn an_identifier_is_used_once(token: &TestToken) {
    let open = token.open();
    let key = key(&open);
    let error = open
        .generate_key_pair(key.id, Curve::Secp256r1)
        .unwrap_err();
    assert!(matches!(error, CspError::Failed { .. }), "{error:?}");
    sign(&open, &key);
}

fn a_token_is_chosen_by_label_or_serial_number(token: &TestToken) {
    let open = |selector| {
        let mut config = token.config();
        config.token = selector;
        Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
    };
    assert_eq!(token.open().token(), token.label);
    let serials = |label: &str| -> Vec<(String, u64)> {
        report(&token.module)
            .unwrap()
            .slots
            .into_iter()
            .filter_map(|slot| Some((slot.token.ok()?, slot.id)))
            .filter(|(found, _)| found.label == label)
            .map(|(found, slot)| (found.serial, slot))
            .collect()
    };
    let before = serials(&token.label);
    assert_eq!(before.len(), 1);
    let by_serial = open(Selector::Serial(before[0].0.clone())).unwrap();
    assert_eq!(by_serial.token(), token.label);
    drop(by_serial);

    // A second token under the same label: the label does not tell any more, the serial number does.
    token::twin(token);
    assert_eq!(serials(&token.label).len(), 2);
    let error = open(Selector::Label(token.label.clone())).err().unwrap();
    assert!(matches!(error, CspError::Failed { .. }), "{error:?}");
    open(Selector::Serial(before[0].0.clone())).unwrap();

    let error = open(Selector::Label("no such token".to_owned()))
        .err()
        .unwrap();
    assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
}

fn two_tokens_of_one_module_do_not_see_each_other(token: &TestToken) {
    let second = match token.kind {
        token::Module::SoftHsm => token::softhsm(),
        token::Module::Kryoptic => token::kryoptic().unwrap(),
    };
    let (one, two) = (token.open(), second.open());
    let key = key(&one);
    sign(&one, &key);
    assert_eq!(two.key_ids().unwrap(), []);
    let error = two.sign(&key, &digest(Curve::Secp256r1)).unwrap_err();
    assert!(matches!(error, CspError::KeyMissing { .. }), "{error:?}");
    drop(one);
    two.check_health().unwrap();
}

#[test]
fn a_pin_is_never_printed() {
    let mut config = token::softhsm().config();
    config.pin = Secret::new("very secret".to_owned());
    assert!(!format!("{config:?}").contains("very secret"));
}
