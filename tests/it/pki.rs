//! The test CA on a real token, its certificates read by libraries that did not write them.

mod bench;
mod foreign;
mod foreign_faults;
mod pool;

use crate::support::token::{self, TestEntropy};
use bench::{Bench, START, YEAR_S};
use openssl::hash::{MessageDigest, hash};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext};
use siegel::csp::{Csp, check};
use siegel::ledger::{Store, StoreConfig};
use siegel::pki::{CaRole, NewCa, PkiError, TestCa};
use siegel::terms::{Curve, Environment};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_SIG_ECDSA_WITH_SHA384, OID_X509_COMMON_NAME};
use x509_parser::prelude::FromDer as _;

fn parsed(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

/// The parsed extension with this OID, and whether it is critical.
fn extension<'a>(
    certificate: &'a X509Certificate<'_>,
    oid: &str,
) -> (bool, &'a ParsedExtension<'a>) {
    let found = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == oid)
        .unwrap_or_else(|| panic!("extension {oid} is missing"));
    (found.critical, found.parsed_extension())
}

fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    let validity = certificate.validity();
    (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    )
}

fn trusting(root: &[u8], at: i64) -> X509Store {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(root).unwrap()).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_time(at);
    // Strict: whatever RFC 5280 asks for and openssl usually forgives is an error.
    param
        .set_flags(X509VerifyFlags::X509_STRICT | X509VerifyFlags::CHECK_SS_SIGNATURE)
        .unwrap();
    store.set_param(&param).unwrap();
    store.build()
}

/// What openssl says about a leaf below this issuing CA, for someone who trusts this root.
fn openssl_says(root: &[u8], issuing: &[u8], leaf: &[u8], at: i64) -> Result<(), String> {
    let store = trusting(root, at);
    let mut between = Stack::new().unwrap();
    between.push(X509::from_der(issuing).unwrap()).unwrap();
    let leaf = X509::from_der(leaf).unwrap();
    let mut context = X509StoreContext::new().unwrap();
    let (valid, error) = context
        .init(&store, &leaf, &between, |context| {
            Ok((context.verify_cert()?, context.error()))
        })
        .unwrap();
    if valid {
        Ok(())
    } else {
        Err(error.error_string().to_owned())
    }
}

#[test]
fn openssl_verifies_the_chain_of_each_curve_a_tss_can_have() {
    let bench = Bench::new();
    let root = &bench.ca(CaRole::Root).certificate;
    let issuing = &bench.ca(CaRole::Issuing).certificate;
    for curve in [
        Curve::Secp256r1,
        Curve::Secp384r1,
        Curve::BrainpoolP256r1,
        Curve::BrainpoolP384r1,
    ] {
        let device = bench.prepare(curve);
        let end = device.certificate_not_after.unix_seconds();
        let says = |at| openssl_says(root, issuing, &device.certificate, at);
        assert_eq!(says(START), Ok(()), "{curve:?}");
        // RFC 5280 includes the last second, openssl does not.
        assert_eq!(says(end - 1), Ok(()), "{curve:?}");
        assert!(says(end + 1).unwrap_err().contains("expired"), "{curve:?}");
        assert!(says(START - 3600).unwrap_err().contains("not yet valid"));
    }
}

#[test]
fn a_chain_does_not_verify_under_another_ca_or_with_a_changed_byte() {
    let (bench, other) = (Bench::new(), Bench::new());
    let root = &bench.ca(CaRole::Root).certificate;
    let issuing = &bench.ca(CaRole::Issuing).certificate;
    let device = bench.prepare(Curve::Secp256r1);
    let elsewhere = &other.ca(CaRole::Root).certificate;
    assert!(openssl_says(elsewhere, issuing, &device.certificate, START).is_err());
    let foreign = other.prepare(Curve::Secp256r1);
    assert!(openssl_says(root, issuing, &foreign.certificate, START).is_err());
    // The public key ends somewhere inside; whatever is changed there, the signature does not fit.
    let mut changed = device.certificate.clone();
    let at = changed
        .windows(device.key.public_key.point.len())
        .position(|window| window == device.key.public_key.point)
        .expect("a certificate holds its key");
    changed.swap(at + 1, at + 2);
    assert_ne!(changed, device.certificate);
    assert!(openssl_says(root, issuing, &changed, START).is_err());
}

#[test]
fn a_tss_certificate_follows_the_profile() {
    let bench = Bench::new();
    let device = bench.prepare(Curve::Secp256r1);
    let certificate = parsed(&device.certificate);
    let issuing_der = &bench.ca(CaRole::Issuing).certificate;
    let issuing = parsed(issuing_der);

    // TR-03153-1 §9.3.2: the serial number of the TSS is the hash of its public point.
    let point = &certificate.public_key().subject_public_key.data;
    assert_eq!(**point, *device.key.public_key.point);
    let serial = hex::encode(hash(MessageDigest::sha256(), point).unwrap());
    assert_eq!(device.serial_number.to_string(), serial);
    assert_eq!(
        certificate.subject().to_string(),
        format!("C=DE, CN={serial}")
    );

    assert_eq!(certificate.issuer().as_raw(), issuing.subject().as_raw());
    assert_eq!(
        certificate.signature_algorithm.algorithm,
        OID_SIG_ECDSA_WITH_SHA384
    );

    let (critical, constraints) = extension(&certificate, "2.5.29.19");
    let ParsedExtension::BasicConstraints(constraints) = constraints else {
        panic!("{constraints:?}")
    };
    assert!(critical && !constraints.ca);
    let (critical, usage) = extension(&certificate, "2.5.29.15");
    let ParsedExtension::KeyUsage(usage) = usage else {
        panic!("{usage:?}")
    };
    assert!(critical);
    assert_eq!(usage.flags, 1, "digitalSignature and nothing else");
    assert_eq!(
        key_identifiers(&certificate).1,
        key_identifiers(&issuing).0,
        "the authority's key is the issuer's"
    );
    assert!(!extension(&certificate, "2.5.29.35").0);
    extension(&certificate, "2.5.29.16");
    let known = [
        "2.5.29.14",
        "2.5.29.15",
        "2.5.29.16",
        "2.5.29.19",
        "2.5.29.35",
    ];
    for extension in certificate.extensions() {
        assert!(known.contains(&extension.oid.to_id_string().as_str()));
    }
    assert!(certificate.serial.bits() <= 159, "20 octets at most");
}

/// Subject and authority key identifier.
fn key_identifiers(certificate: &X509Certificate<'_>) -> (Vec<u8>, Vec<u8>) {
    let (_, subject) = extension(certificate, "2.5.29.14");
    let ParsedExtension::SubjectKeyIdentifier(subject) = subject else {
        panic!("{subject:?}")
    };
    let (_, authority) = extension(certificate, "2.5.29.35");
    let ParsedExtension::AuthorityKeyIdentifier(authority) = authority else {
        panic!("{authority:?}")
    };
    let authority = authority.key_identifier.as_ref().unwrap();
    (subject.0.to_vec(), authority.0.to_vec())
}

#[test]
fn both_cas_are_cas_on_p384_that_say_test() {
    let bench = Bench::new();
    let root_der = &bench.ca(CaRole::Root).certificate;
    let issuing_der = &bench.ca(CaRole::Issuing).certificate;
    for (der, path_len) in [(root_der, 1), (issuing_der, 0)] {
        let certificate = parsed(der);
        for name in [certificate.subject(), certificate.issuer()] {
            let common_name = name.iter_by_oid(&OID_X509_COMMON_NAME).next().unwrap();
            assert!(common_name.as_str().unwrap().contains("TEST"), "{name}");
        }
        assert_eq!(
            certificate.signature_algorithm.algorithm,
            OID_SIG_ECDSA_WITH_SHA384
        );
        let parameters = certificate.public_key().algorithm.parameters.as_ref();
        let curve = parameters.unwrap().clone().oid().unwrap();
        assert_eq!(curve.to_id_string(), Curve::Secp384r1.oid());
        let (critical, constraints) = extension(&certificate, "2.5.29.19");
        let ParsedExtension::BasicConstraints(constraints) = constraints else {
            panic!("{constraints:?}")
        };
        assert!(critical && constraints.ca);
        assert_eq!(constraints.path_len_constraint, Some(path_len));
        let (critical, usage) = extension(&certificate, "2.5.29.15");
        let ParsedExtension::KeyUsage(usage) = usage else {
            panic!("{usage:?}")
        };
        assert!(critical);
        assert_eq!(usage.flags, (1 << 5) | (1 << 6), "keyCertSign and cRLSign");
    }
    let root = parsed(root_der);
    assert_eq!(root.subject(), root.issuer());
    assert_ne!(root.subject(), parsed(issuing_der).subject());
    let root = X509::from_der(root_der).unwrap();
    assert!(root.verify(&root.public_key().unwrap()).unwrap());
    let issuing = X509::from_der(issuing_der).unwrap();
    assert!(issuing.verify(&root.public_key().unwrap()).unwrap());
    assert!(!issuing.verify(&issuing.public_key().unwrap()).unwrap());
}

#[test]
fn root_issuing_and_tss_certificates_live_15_13_and_8_years() {
    let bench = Bench::new();
    let device = bench.prepare(Curve::Secp256r1);
    for (der, years) in [
        (&bench.ca(CaRole::Root).certificate, 15),
        (&bench.ca(CaRole::Issuing).certificate, 13),
        (&device.certificate, 8),
    ] {
        let certificate = parsed(der);
        let (not_before, not_after) = validity(&certificate);
        assert!((1..=600).contains(&(START - not_before)));
        assert_eq!(not_after, START + years * YEAR_S);
        // RFC 5280 §4.1.2.5: years up to 2049 are UTCTime.
        assert!(certificate.validity().not_before.is_utctime());
        assert!(certificate.validity().not_after.is_utctime());
    }
    assert_eq!(device.time_creation.unix_seconds(), START);
}

#[test]
fn no_tss_certificate_outlives_its_issuer() {
    let bench = Bench::new();
    let ca = bench.open().unwrap();
    let issuer_end = validity(&parsed(&bench.ca(CaRole::Issuing).certificate)).1;
    for (years, end) in [
        (4, START + 12 * YEAR_S),
        (5, START + 13 * YEAR_S),
        (6, issuer_end),
        (12, issuer_end),
    ] {
        bench.hand.set(START + years * YEAR_S);
        let device = ca.prepare(Curve::Secp256r1).unwrap();
        assert_eq!(device.certificate_not_after.unix_seconds(), end);
        assert_eq!(validity(&parsed(&device.certificate)).1, end);
        assert!(end <= issuer_end);
    }
}

#[test]
fn a_ca_at_its_end_issues_nothing_and_is_not_opened() {
    let bench = Bench::new();
    let ca = bench.open().unwrap();
    let end = validity(&parsed(&bench.ca(CaRole::Issuing).certificate)).1;
    for now in [end - 3600, end, end + YEAR_S] {
        bench.hand.set(now);
        let keys = bench.token.open().key_ids().unwrap();
        let refused = ca.prepare(Curve::Secp256r1);
        assert!(matches!(refused, Err(PkiError::CaExpired)));
        assert_eq!(
            bench.token.open().key_ids().unwrap(),
            keys,
            "no key is made for nothing"
        );
        assert!(bench.open().is_none());
    }
    // A younger one is taken instead.
    let new = NewCa::make(bench.csp.as_ref(), &TestEntropy, bench.clock.now()).unwrap();
    let mut known = bench.certificates.clone();
    known.extend(new.certificates.clone());
    let device = bench.open_of(known).unwrap().prepare(Curve::Secp256r1);
    assert_eq!(device.unwrap().issuer, new.certificates[1].serial_number);
}

#[test]
fn a_kept_certificate_that_cannot_be_read_is_told_with_its_cause() {
    let bench = Bench::new();
    let mut known = bench.certificates.clone();
    known[1].certificate.truncate(40);
    let refused = TestCa::open(known, &bench.csp, &bench.clock, &bench.entropy);
    let Err(error @ PkiError::Encoding(_)) = refused.map(drop) else {
        panic!("a certificate cut off was opened")
    };
    let cause = std::error::Error::source(&error).expect("there is a cause");
    assert!(!error.to_string().contains(&cause.to_string()));
}

#[test]
fn the_key_of_a_new_device_has_signed_once_and_is_in_the_token() {
    let bench = Bench::new();
    let device = bench.prepare(Curve::Secp256r1);
    // Rule L-12: the request for the certificate is signature 1.
    assert_eq!(device.signature_counter.value(), 1);
    assert_eq!(bench.counting.signatures(device.key.id), 1);
    assert_eq!(device.environment, Environment::Test);
    assert_eq!(device.token, bench.token.label);

    let mut expected: Vec<_> = bench
        .certificates
        .iter()
        .map(|ca| ca.key.as_ref().unwrap().1.id)
        .chain([device.key.id])
        .collect();
    let mut found = bench.token.open().key_ids().unwrap();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "each key is in the token, and no other");

    let digest = [7; 32];
    let signature = bench.csp.sign(&device.key, &digest).unwrap();
    check::verify(&device.key.public_key, &digest, &signature).unwrap();
}

#[test]
fn a_ca_kept_in_the_ledger_is_found_again_by_its_token_only() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::Sqlite {
        path: folder.path().join("ledger.db"),
    };
    let store = Store::open(&config, &TestEntropy).unwrap();
    assert!(
        bench
            .open_of(store.cas(Environment::Test).unwrap())
            .is_none()
    );
    for certificate in &bench.certificates {
        store.add_ca(certificate).unwrap();
    }
    drop(store);
    let store = Store::open(&config, &TestEntropy).unwrap();
    let known = store.cas(Environment::Test).unwrap();
    let device = bench
        .open_of(known.clone())
        .unwrap()
        .prepare(Curve::Secp256r1)
        .unwrap();
    assert_eq!(
        device.issuer,
        bench.ca(CaRole::Issuing).serial_number,
        "the same CA, not another one"
    );
    store.add_device(&device).unwrap();
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
    assert_eq!(store.free_devices(Environment::Live).unwrap(), 0);

    let elsewhere: Arc<dyn Csp> = Arc::new(token::softhsm().open());
    let opened = TestCa::open(known, &elsewhere, &bench.clock, &bench.entropy).unwrap();
    assert!(opened.is_none(), "its key is in another token");
    assert!(store.cas(Environment::Live).unwrap().is_empty());
}

#[test]
fn two_cas_and_two_devices_share_no_name_and_no_number() {
    let (one, other) = (Bench::new(), Bench::new());
    let name = |bench: &Bench, role| parsed(&bench.ca(role).certificate).subject().to_string();
    assert_ne!(name(&one, CaRole::Root), name(&other, CaRole::Root));
    assert_ne!(name(&one, CaRole::Issuing), name(&other, CaRole::Issuing));
    let (a, b) = (one.prepare(Curve::Secp256r1), one.prepare(Curve::Secp256r1));
    assert_ne!(a.serial_number, b.serial_number);
    assert_ne!(
        parsed(&a.certificate).raw_serial(),
        parsed(&b.certificate).raw_serial()
    );
}
