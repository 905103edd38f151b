//! Requests that are interrupted, tokens that lie, and our own test CA where it does not belong.

use super::bench::{Bench, START};
use crate::support::foreign_ca::{Authority, Wish, key_on};
use crate::support::ledger;
use crate::support::token::{self, TestEntropy};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::x509::X509;
use siegel::app::{ForeignCa, ForeignCaError};
use siegel::csp::{Csp, CspError, KeyId, KeyPair, ModuleError};
use siegel::ledger::DeviceState;
use siegel::pki::{CaRole, ForeignCertificate, PkiError};
use siegel::terms::{Curve, Environment, SeTime};
use std::sync::atomic::{AtomicU64, Ordering};
use x509_cert::der::asn1::{AnyRef, BitString};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag};

/// A token that fails at one of its signatures, or gives a wrong one.
struct Unreliable {
    token: Box<dyn Csp>,
    signatures: AtomicU64,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Fails,
    Lies,
}

impl Csp for Unreliable {
    fn token(&self) -> &str {
        self.token.token()
    }

    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        self.token.generate_key_pair(id, curve)
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        self.signatures.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::None => self.token.sign(key, digest),
            Fault::Fails => Err(CspError::Failed {
                token: self.token().to_owned(),
                action: "sign",
                source: ModuleError("power is gone".to_owned()),
            }),
            Fault::Lies => {
                let mut other = digest.to_vec();
                other[0] ^= 1;
                self.token.sign(key, &other)
            }
        }
    }

    fn check_health(&self) -> Result<(), CspError> {
        self.token.check_health()
    }

    fn generation(&self) -> u64 {
        self.token.generation()
    }
}

fn now() -> SeTime {
    SeTime::try_from(START).unwrap()
}

#[test]
fn a_request_is_kept_only_after_it_verifies() {
    let token = token::softhsm();
    let place = ledger::sqlite();
    let store = place.open();
    let foreign = ForeignCa::new(&store, &token.label, Environment::Live).unwrap();
    let request = |fault| {
        let csp = Unreliable {
            token: Box::new(token.open()),
            signatures: AtomicU64::new(0),
            fault,
        };
        let made = foreign.request(&csp, &TestEntropy, Curve::Secp256r1, now());
        let signatures = csp.signatures.load(Ordering::Relaxed);
        assert_eq!(signatures, 1, "one signature, and never a second try");
        made
    };
    assert!(matches!(
        request(Fault::Fails).map(drop),
        Err(ForeignCaError::Request(PkiError::Token(_)))
    ));
    assert!(matches!(
        request(Fault::Lies).map(drop),
        Err(ForeignCaError::Request(PkiError::Encoding(_)))
    ));
    assert!(store.devices().unwrap().is_empty(), "nothing half is kept");
    let made = request(Fault::None).unwrap();
    let waiting = store.waiting_devices(&token.label).unwrap();
    assert_eq!(waiting, std::slice::from_ref(&made));
    // The keys of the interrupted runs are there, and known to nobody.
    let known = store.known_keys(&token.label).unwrap();
    assert_eq!(known, [made.key.id]);
    assert_eq!(token.open().key_ids().unwrap().len(), 3);
}

#[test]
fn asked_again_for_a_request_no_key_signs() {
    let bench = Bench::new();
    let place = ledger::sqlite();
    let store = place.open();
    let foreign = ForeignCa::new(&store, &bench.token.label, Environment::Test).unwrap();
    let csp = bench.counting.as_ref();
    let made = foreign
        .request(csp, &TestEntropy, Curve::Secp384r1, now())
        .unwrap();
    assert_eq!(bench.counting.signatures(made.key.id), 1);
    let again = store.waiting_devices(&bench.token.label).unwrap();
    assert_eq!(again[0].request_pem().unwrap(), made.request_pem().unwrap());
    assert_eq!(bench.counting.signatures(made.key.id), 1);
}

/// A certificate that says what it likes, with the signature of our test CA.
fn signed_by_test_ca(bench: &Bench, draft: &X509) -> Vec<u8> {
    let der = draft.to_der().unwrap();
    let (_, key) = bench.ca(CaRole::Issuing).key.clone().unwrap();
    let mut parts = SliceReader::new(AnyRef::from_der(&der).unwrap().value()).unwrap();
    let (signed, algorithm) = (parts.tlv_bytes().unwrap(), parts.tlv_bytes().unwrap());
    let digest = hash(MessageDigest::sha384(), signed).unwrap();
    let plain = bench.csp.sign(&key, &digest).unwrap();
    let (r, s) = plain.split_at(plain.len() / 2);
    let number = |bytes| BigNum::from_slice(bytes).unwrap();
    let signature = EcdsaSig::from_private_components(number(r), number(s)).unwrap();
    let signature = BitString::from_bytes(&signature.to_der().unwrap()).unwrap();
    let content = [signed, algorithm, &signature.to_der().unwrap()].concat();
    let whole = AnyRef::new(Tag::Sequence, &content).unwrap();
    whole.to_der().unwrap()
}

#[test]
fn nothing_that_our_test_ca_signs_is_taken_for_live() {
    let bench = Bench::new();
    let place = ledger::sqlite();
    let store = place.open();
    let token = token::softhsm();
    let foreign = ForeignCa::new(&store, &token.label, Environment::Live).unwrap();
    let waiting = foreign
        .request(&token.open(), &TestEntropy, Curve::Secp256r1, now())
        .unwrap();
    // Somebody with the PIN of the TEST token has its CA sign for a LIVE key.
    let issuing = X509::from_der(&bench.ca(CaRole::Issuing).certificate).unwrap();
    let pretender = Authority {
        certificate: issuing.clone(),
        key: key_on(Nid::SECP384R1),
    };
    let draft = pretender.issue(&Wish::device(&waiting, START));
    let certificate = signed_by_test_ca(&bench, &draft);
    let signed = X509::from_der(&certificate).unwrap();
    assert!(signed.verify(&issuing.public_key().unwrap()).unwrap());

    let with_chain = |chain: &[CaRole]| {
        let mut given = ForeignCertificate::read(&certificate).unwrap();
        for role in chain {
            let file = &bench.ca(*role).certificate;
            given.extend(ForeignCertificate::read(file).unwrap());
        }
        let refused = foreign.import(&given, now());
        let Err(ForeignCaError::Refused(error)) = refused else {
            panic!("a certificate of the test CA was taken for LIVE")
        };
        assert_eq!(store.devices().unwrap()[0].state, DeviceState::Waiting);
        assert!(store.cas(Environment::Live).unwrap().is_empty());
        error.to_string()
    };
    let both = [CaRole::Root, CaRole::Issuing];
    // Where this ledger has never heard of that CA, its name tells.
    assert!(with_chain(&both).contains("is a test CA"));
    for ca in &bench.certificates {
        store.add_ca(ca).unwrap();
    }
    for chain in [both.as_slice(), &[]] {
        let told = with_chain(chain);
        assert!(told.contains("is one of the other environment"), "{told}");
    }
}
