//! Keys that are wrapped and kept in the ledger, in the token only while they are used.

use crate::http::client::{Till, wait_for};
use crate::support::elsewhere::{job, lines};
use crate::support::ledger::{Place, postgres, sqlite};
use crate::support::server::TestServer;
use crate::support::token::{self, TestClock, TestEntropy, TestToken};
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::slot::Slot;
use siegel::csp::pkcs11::Pkcs11Token;
use siegel::csp::{Csp as _, CspError, KeyId, KeyPair, KeyVault, Wrapping, check};
use siegel::ledger::Store;
use siegel::terms::{Curve, Entropy as _};
use std::sync::Arc;

const HANDLES_MAX: usize = 20;

fn open(token: &TestToken, store: &Store) -> Result<Pkcs11Token, CspError> {
    open_with(token, store, HANDLES_MAX)
}

fn open_with(
    token: &TestToken,
    store: &Store,
    handles_max: usize,
) -> Result<Pkcs11Token, CspError> {
    let mut config = token.config();
    config.wrapping = Some(Wrapping {
        vault: Arc::new(store.clone()),
        is_for_new_keys: true,
    });
    config.session_keys_max = handles_max;
    Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
}

fn sign(open: &Pkcs11Token, key: &KeyPair) -> Result<(), CspError> {
    let mut digest = [0; 32];
    TestEntropy.fill(&mut digest);
    let signature = open.sign(key, &digest)?;
    check::verify(&key.public_key, &digest, &signature).unwrap();
    Ok(())
}

fn make(open: &Pkcs11Token) -> KeyPair {
    open.generate_device_key(token::key_id(), Curve::Secp256r1)
        .unwrap()
}

/// Everybody signs with everything, in several threads, with room for few.
fn use_all(open: &Pkcs11Token, keys: &[KeyPair]) {
    std::thread::scope(|scope| {
        for start in 0..4 {
            scope.spawn(move || {
                for key in keys.iter().cycle().skip(start * 70).take(keys.len()) {
                    sign(open, key).unwrap();
                }
            });
        }
    });
}

fn three_hundred_keys_in_a_token_with_room_for_twenty(place: &Place) {
    let (token, store) = (token::softhsm(), place.open());
    let first = open(&token, &store).unwrap();
    let keys: Vec<_> = (0..300).map(|_| make(&first)).collect();
    use_all(&first, &keys);
    assert_eq!(first.key_ids().unwrap(), [], "none of them is on the token");
    token.initialise_anew();
    use_all(&first, &keys[..60]);
    drop(first);
    // After a restart with other settings too: those that are there can be used.
    let mut config = token.config();
    config.wrapping = Some(Wrapping {
        vault: Arc::new(store.clone()),
        is_for_new_keys: false,
    });
    config.session_keys_max = 1;
    let again = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start()).unwrap();
    use_all(&again, &keys[..60]);
    let plain = make(&again);
    assert_eq!(
        again.key_ids().unwrap(),
        [plain.id],
        "and new ones are not wrapped"
    );
    assert_eq!(KeyVault::find(&store, plain.id).unwrap(), None);
}

#[test]
fn three_hundred_keys_use_a_token_with_room_for_twenty() {
    three_hundred_keys_in_a_token_with_room_for_twenty(&sqlite());
    if let Some(place) = postgres() {
        three_hundred_keys_in_a_token_with_room_for_twenty(&place);
    }
}

#[test]
fn a_blob_in_another_ones_place_or_with_another_byte_signs_nothing() {
    let (token, place) = (token::softhsm(), sqlite());
    let store = place.open();
    let first = open(&token, &store).unwrap();
    let [one, two, bad] = [make(&first), make(&first), make(&first)];
    sign(&first, &one).unwrap();
    drop(first);
    let (a, b) = (one.id, two.id);
    let blob = |id| KeyVault::find(&store, id).unwrap().unwrap().blob;
    let (of_a, of_b) = (hex::encode(blob(a)), hex::encode(blob(b)));
    let mut changed = blob(bad.id);
    changed[20] ^= 1;
    for (id, blob) in [(a, of_b), (b, of_a), (bad.id, hex::encode(changed))] {
        let sql = format!("UPDATE wrapped_key SET blob = x'{blob}' WHERE key_id = '{id}'");
        place.execute(&sql).unwrap();
    }
    let again = open(&token, &store).unwrap();
    for key in [&one, &two] {
        for _ in 0..2 {
            let error = sign(&again, key).unwrap_err();
            assert!(matches!(error, CspError::WrongKey { .. }), "{error:?}");
        }
    }
    let error = sign(&again, &bad).unwrap_err();
    assert!(matches!(error, CspError::Failed { .. }), "{error:?}");
    again.check_health().unwrap();
}

#[test]
fn a_key_that_another_node_has_wrapped_with_a_key_of_its_own_making_signs_here_too() {
    let (token, place) = (token::softhsm(), sqlite());
    let store = place.open();
    let here = open(&token, &store).unwrap();
    sign(&here, &make(&here)).unwrap();
    // Two nodes that open a new token at once each make a key that wraps; the smaller counts from then on.
    token.elsewhere(&job("kek", KeyId::new([0; 16])));
    let there = open(&token, &store).unwrap();
    let key = make(&there);
    let wrapped = KeyVault::find(&store, key.id).unwrap().unwrap();
    assert_eq!(wrapped.kek, KeyId::new([0; 16]));
    sign(&here, &key).unwrap();
    // One that is not there, or does not unwrap here, says nothing about the device.
    let useless = KeyId::new([2; 16]);
    token.elsewhere(&job("useless-kek", useless));
    for (kek, says) in [
        (KeyId::new([1; 16]), "wrapped it is not there"),
        (useless, "C_UnwrapKey: KeyFunctionNotPermitted"),
    ] {
        let sql = format!(
            "UPDATE wrapped_key SET kek_id = '{kek}' WHERE key_id = '{}'",
            key.id
        );
        place.execute(&sql).unwrap();
        let error = sign(&open(&token, &store).unwrap(), &key).unwrap_err();
        assert!(
            matches!(&error, CspError::Failed { source, .. } if source.0.contains(says)),
            "{error:?}"
        );
    }
    here.check_health().unwrap();
}

#[test]
fn a_handle_that_is_gone_already_does_not_keep_the_next_key_from_being_unwrapped() {
    // In a process of its own: nobody else may list slots there.
    let told = token::softhsm().elsewhere(LET_GO);
    assert_eq!(lines(&told), ["one handle at a time"]);
}

/// Job of another process: room for one unwrapped key, which somebody else destroys.
pub const LET_GO: &str = "let go";

/// Does [`LET_GO`].
pub fn let_go(token: &TestToken) {
    one_at_a_time(token);
    // An unwrapped key belongs to a session already: no copy beside it.
    one_at_a_time(&token.clone().with_copies());
    println!("job: one handle at a time");
}

fn one_at_a_time(token: &TestToken) {
    let place = sqlite();
    let open = open_with(token, &place.open(), 1).unwrap();
    let api = Pkcs11::new(&token.module).unwrap();
    let is_ours = |slot: &Slot| api.get_token_info(*slot).unwrap().label() == token.label;
    let mut slots = api.get_slots_with_token().unwrap().into_iter();
    let session = api.open_ro_session(slots.find(is_ours).unwrap()).unwrap();
    let unwrapped = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(false),
    ];
    let [one, other] = [make(&open), make(&open)];
    for _ in 0..2 {
        for key in [&one, &other, &one, &other] {
            sign(&open, key).unwrap();
            assert_eq!(session.find_objects(&unwrapped).unwrap().len(), 1);
        }
        for key in session.find_objects(&unwrapped).unwrap() {
            session.destroy_object(key).unwrap();
        }
    }
}

#[test]
fn a_module_that_cannot_is_refused_with_a_sentence_and_nothing_is_left_on_it() {
    let Some(token) = token::kryoptic() else {
        return;
    };
    let place = sqlite();
    let error = open(&token, &place.open()).err().unwrap();
    assert!(matches!(error, CspError::NotSupported { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("set pki.keys = \"token\""), "{told}");
    // Without it, the token is as good as before.
    token.open().check_health().unwrap();
}

#[test]
fn a_server_with_wrapped_keys_sells_and_goes_on_after_a_restart() {
    let mut server = TestServer::builder()
        .pki("keys = \"wrapped\"\nwrapped_handles_max = 2")
        .pool_target(2)
        .start();
    let tills: Vec<_> = (0..5).map(|_| Till::new(&server)).collect();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for till in &tills {
                scope.spawn(|| till.sell());
            }
        });
    }
    server.restart();
    for till in &tills {
        assert_eq!(till.sell()["number"], 3);
    }
    // Only the CA's.
    let on_token = || server.token.open().key_ids().unwrap().len();
    wait_for("the keys of the CA", || (on_token() == 2).then_some(()));
}
