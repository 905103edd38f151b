//! Copies of keys on a token, which live no longer than the session that keeps the login.

use crate::support::elsewhere::lines;
use crate::support::token::{self, TestClock, TestEntropy, TestToken};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use siegel::csp::pkcs11::Pkcs11Token;
use siegel::csp::{Csp as _, KeyPair, PublicKey, check};
use siegel::terms::{Clock, Curve, Entropy as _, SeTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for so many copies.
const COPIES_MAX: usize = 3;

/// Job of another process, where nobody else lists slots: more keys than copies.
pub const BOUNDED: &str = "bounded copies";
/// Job of another process: keys that may not be copied, or need not.
pub const REFUSED: &str = "refused copies";

/// A clock by which the second of any two measurements takes another time than the first.
struct Favours {
    key_us: u64,
    copy_us: u64,
    asked: AtomicU64,
    time: Arc<TestClock>,
}

impl Favours {
    fn start(key_us: u64, copy_us: u64) -> Arc<Self> {
        Arc::new(Self {
            key_us,
            copy_us,
            asked: AtomicU64::new(0),
            time: TestClock::start(),
        })
    }
}

impl Clock for Favours {
    fn now(&self) -> SeTime {
        self.time.now()
    }

    fn monotonic_ms(&self) -> u64 {
        self.time.monotonic_ms()
    }

    fn monotonic_us(&self) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let (pairs, at) = (asked / 4, asked % 4);
        let within = [0, self.key_us, self.key_us, self.key_us + self.copy_us];
        pairs * (self.key_us + self.copy_us) + within[usize::try_from(at).unwrap()]
    }
}

fn open(token: &TestToken, clock: Arc<Favours>) -> Pkcs11Token {
    let mut config = token.config();
    config.session_keys_max = COPIES_MAX;
    Pkcs11Token::open(config, Arc::new(TestEntropy), clock).unwrap()
}

fn copies_faster() -> Arc<Favours> {
    Favours::start(100, 50)
}

fn make(open: &Pkcs11Token) -> KeyPair {
    open.generate_key_pair(token::key_id(), Curve::Secp256r1)
        .unwrap()
}

#[track_caller]
fn sign(open: &Pkcs11Token, key: &KeyPair) {
    let mut digest = [0; 32];
    TestEntropy.fill(&mut digest);
    let signature = open.sign(key, &digest).unwrap();
    check::verify(&key.public_key, &digest, &signature).unwrap();
}

/// A session beside those of the adapter, which must be logged in.
fn beside(token: &TestToken) -> Session {
    let api = Pkcs11::new(&token.module).unwrap();
    let is_ours = |slot: &Slot| {
        let info = api.get_token_info(*slot);
        info.is_ok_and(|info| info.label() == token.label)
    };
    let mut slots = api.get_slots_with_token().unwrap().into_iter();
    api.open_rw_session(slots.find(is_ours).unwrap()).unwrap()
}

fn copies(token: &TestToken) -> Vec<ObjectHandle> {
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(false),
    ];
    beside(token).find_objects(&wanted).unwrap()
}

/// Checks in another process, for both modules.
fn everywhere(job: &str, says: &str) {
    let told = token::softhsm().elsewhere(job);
    assert_eq!(lines(&told), [says]);
    if let Some(token) = token::kryoptic() {
        assert_eq!(lines(&token.elsewhere(job)), [says]);
    }
}

#[test]
fn more_keys_than_copies_sign_and_each_generation_copies_anew() {
    everywhere(BOUNDED, "three copies at a time");
}

/// Does [`BOUNDED`].
pub fn bounded(token: &TestToken) {
    let token = &token.clone().with_copies();
    let open = open(token, copies_faster());
    assert_eq!(
        copies(token).len(),
        0,
        "what was tried at the login is gone"
    );
    let keys: Vec<_> = (0..8).map(|_| make(&open)).collect();
    for (turn, key) in keys.iter().chain(&keys).enumerate() {
        sign(&open, key);
        sign(&open, key);
        assert_eq!(copies(token).len(), COPIES_MAX.min(turn + 1));
    }
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (open, keys) = (&open, &keys);
            scope.spawn(move || {
                for key in keys.iter().cycle().skip(start * 2).take(100) {
                    sign(open, key);
                }
            });
        }
    });
    for key in &keys[..4] {
        sign(&open, key);
    }
    assert_eq!(copies(token).len(), COPIES_MAX);
    are_as_closed_as_their_keys(token);
    // A copy that is dead is no dead key, and is not made again.
    let beside = beside(token);
    for copy in copies(token) {
        beside.destroy_object(copy).unwrap();
    }
    drop(beside);
    for _ in 0..2 {
        keys[1..4].iter().for_each(|key| sign(&open, key));
        assert_eq!(copies(token), []);
    }
    token.initialise_anew();
    assert_eq!((open.generation(), copies(token).len()), (2, 0));
    keys[1..3].iter().for_each(|key| sign(&open, key));
    assert_eq!(copies(token).len(), 2);
    assert_eq!(
        open.key_ids().unwrap().len(),
        keys.len(),
        "no copy stays on the token"
    );
    println!("job: three copies at a time");
}

fn are_as_closed_as_their_keys(token: &TestToken) {
    let beside = beside(token);
    for copy in copies(token) {
        for (attribute, wanted) in [
            (AttributeType::Sensitive, Attribute::Sensitive(true)),
            (AttributeType::Extractable, Attribute::Extractable(false)),
            (AttributeType::Private, Attribute::Private(true)),
            (AttributeType::Sign, Attribute::Sign(true)),
            (AttributeType::Decrypt, Attribute::Decrypt(false)),
            (AttributeType::Unwrap, Attribute::Unwrap(false)),
            (AttributeType::Derive, Attribute::Derive(false)),
        ] {
            assert_eq!(beside.get_attributes(copy, &[attribute]).unwrap(), [wanted]);
        }
        let value = beside
            .get_attributes(copy, &[AttributeType::Value])
            .unwrap();
        assert_eq!(value, [], "its value is not given");
        let opened = beside.update_attributes(copy, &[Attribute::Extractable(true)]);
        opened.unwrap_err();
    }
}

#[test]
fn keys_sign_by_themselves_where_that_is_asked_for_or_a_copy_is_refused_or_not_faster() {
    everywhere(REFUSED, "no copies");
}

/// Does [`REFUSED`].
pub fn refused(token: &TestToken) {
    let with_copies = &token.clone().with_copies();
    {
        let off = open(token, copies_faster());
        let key = make(&off);
        sign(&off, &key);
        assert_eq!(copies(token), [], "off by default");
    }
    {
        // Faster by less than a tenth.
        let same = open(with_copies, Favours::start(100, 95));
        let key = make(&same);
        sign(&same, &key);
        assert_eq!(copies(token), [], "not faster");
    }
    let open_again = || open(with_copies, copies_faster());
    {
        let open = open_again();
        let (key, copyable) = (make(&open), Attribute::Copyable(false));
        let stubborn = make_as(token, b"siegel-stubborn", copyable.clone());
        // A copy of it is made, and does more than sign.
        let derives = make_as(token, b"siegel-derives", Attribute::Derive(true));
        // A copy of it could not be destroyed.
        let lasting = make_as(token, b"siegel-lasting", Attribute::Destroyable(false));
        for key in [&stubborn, &derives, &lasting, &stubborn, &derives, &lasting] {
            sign(&open, key);
            assert_eq!(copies(token), [], "a key that may not be copied");
        }
        sign(&open, &key);
        assert_eq!(copies(token).len(), 1, "which says nothing about others");
        refuses_all_at_once(token, &open, &key);
        // Now the one with which it is tried at the login.
        let canaries = [Attribute::Label(b"siegel-canary".to_vec())];
        let beside = beside(token);
        for canary in beside.find_objects(&canaries).unwrap() {
            beside.destroy_object(canary).unwrap();
        }
        make_as(token, b"siegel-canary", copyable);
    }
    let open = open_again();
    let key = make(&open);
    sign(&open, &key);
    open.check_health().unwrap();
    assert_eq!(copies(token), [], "a token that does not copy");
    println!("job: no copies");
}

/// The copy does no longer do what its key does, which is as good as before.
fn refuses_all_at_once(token: &TestToken, open: &Pkcs11Token, key: &KeyPair) {
    let [copy] = copies(token)[..] else {
        panic!("one copy");
    };
    beside(token)
        .update_attributes(copy, &[Attribute::Sign(false)])
        .unwrap();
    sign(open, key);
    let another = make(open);
    sign(open, &another);
    sign(open, key);
    let left = copies(token);
    assert_eq!(left.len(), 1, "the copy of another key alone");
    assert_ne!(left, [copy]);
}

/// A key on the token, as we would not make it.
fn make_as(token: &TestToken, label: &[u8], attribute: Attribute) -> KeyPair {
    let id = token::key_id();
    let shared = [
        Attribute::Token(true),
        Attribute::KeyType(KeyType::EC),
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::Label(label.to_vec()),
    ];
    let parameters = hex::decode("06082a8648ce3d030107").unwrap();
    let public = [Attribute::EcParams(parameters), Attribute::Verify(true)];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        attribute,
    ];
    let beside = beside(token);
    let with_shared = |own: &[Attribute]| [shared.as_slice(), own].concat();
    let (public, _) = beside
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &with_shared(&public),
            &with_shared(&private),
        )
        .unwrap();
    let read = beside.get_attributes(public, &[AttributeType::EcPoint]);
    let [Attribute::EcPoint(point)] = &read.unwrap()[..] else {
        panic!("a public key has a point");
    };
    let public_key = PublicKey {
        curve: Curve::Secp256r1,
        point: point[point.len() - 65..].to_vec(),
    };
    KeyPair { id, public_key }
}
