//! Certificates: trust, validity at signing time, chains.

use super::maker::message::Message;
use super::maker::pki::{Digest, Plan, curve};
use super::maker::{Device, T0};
use super::{check, check_with, found, noted, only_finding, settings};
use crate::verify::{FindingCode as F, NoteCode as N, TrustError};
use openssl::hash::MessageDigest;
use std::collections::BTreeSet;

const AUDIT: fn() -> [Message; 1] = || [Message::audit(1, T0)];

#[test]
fn any_certificate_of_the_chain_may_be_the_trusted_one_in_pem_or_der() {
    let device = Device::new();
    let bytes = device.archive(&AUDIT());
    for issued in &device.chain {
        for trusted in [issued.der(), issued.certificate.to_pem().unwrap()] {
            let mut settings = settings();
            settings.trust("root", &trusted).unwrap();
            let report = check_with(&bytes, &settings);
            assert_eq!(report.findings, [], "{}", issued.subject);
            assert!(!noted(&report).contains(&N::ChainUnanchored));
        }
    }
}

#[test]
fn a_trusted_root_need_not_stand_in_the_archive() {
    let device = Device::new();
    let root = &device.chain[2];
    let files = device
        .files(&AUDIT())
        .without(|name| name.starts_with(&root.serial()));
    assert_eq!(only_finding(&check(&files.tar())).0, F::ChainIncomplete);
    let mut settings = settings();
    settings.trust("root", &root.der()).unwrap();
    assert_eq!(check_with(&files.tar(), &settings).findings, []);
}

#[test]
fn a_wrong_root_is_found_even_with_the_right_name() {
    let device = Device::new();
    let bytes = device.archive(&AUDIT());
    for name in ["Root TEST", "Another"] {
        let wrong = Plan::authority(name).issue(curve("secp384r1"), None);
        let mut settings = settings();
        settings.trust("root", &wrong.der()).unwrap();
        let (code, text) = {
            let report = check_with(&bytes, &settings);
            let (code, text) = only_finding(&report);
            (code, text.to_owned())
        };
        assert_eq!(code, F::ChainUntrusted);
        assert!(text.contains("Root TEST"), "{text}");
        // One right root among others is enough.
        settings.trust("root", &device.chain[2].der()).unwrap();
        assert_eq!(check_with(&bytes, &settings).findings, []);
    }
}

#[test]
fn what_is_no_certificate_cannot_be_trusted() {
    let der = Device::new().chain[0].der();
    for bytes in [
        &b""[..],
        b"x",
        b"-----BEGIN CERTIFICATE-----\n",
        &der[..der.len() - 1],
    ] {
        assert_eq!(settings().trust("root", bytes), Err(TrustError));
    }
}

#[test]
fn validity_is_judged_at_signing_time_to_the_second() {
    let valid = (T0 - 10, T0 + 10);
    let leaf = Plan {
        valid,
        ..Plan::device()
    };
    let root = Plan {
        valid,
        ..Plan::authority("Root TEST")
    };
    let long = (Plan::device(), Plan::authority("Root TEST"));
    // Long expired today, whichever of the two it is.
    for (leaf, root) in [(&leaf, &long.1), (&long.0, &root), (&leaf, &root)] {
        let device = Device::planned(leaf, root);
        for (time, is_valid) in [
            (-11, false),
            (-10, true),
            (0, true),
            (10, true),
            (11, false),
        ] {
            let report = check(&device.archive(&[Message::audit(1, T0 + time)]));
            assert_eq!(report.findings.is_empty(), is_valid, "{time}");
            let codes = found(&report);
            assert!(codes.iter().all(|code| *code == F::CertificateNotValid));
            assert_eq!(report.signatures_valid, 1);
        }
    }
}

#[test]
fn an_issuer_must_be_allowed_to_issue() {
    let device = |root: Plan| Device::planned(&Plan::device(), &root);
    let root = || Plan::authority("Root TEST");
    let not_ca = Plan {
        is_ca: false,
        usage: None,
        ..root()
    };
    let wrong_usage = Plan {
        usage: Some((true, false)),
        ..root()
    };
    for bad in [not_ca, wrong_usage] {
        let report = check(&device(bad).archive(&AUDIT()));
        assert!(found(&report).contains(&F::CertificateUsage));
    }
    let without_usage = Plan {
        usage: None,
        ..root()
    };
    assert_eq!(check(&device(without_usage).archive(&AUDIT())).findings, []);
}

#[test]
fn a_chain_may_not_be_longer_than_its_root_allows() {
    for (longest, is_allowed) in [(0, false), (1, true)] {
        let root = Plan {
            path_len_max: Some(longest),
            ..Plan::authority("Root TEST")
        };
        let root = root.issue(curve("secp384r1"), None);
        let issuing = Plan::authority("Issuing TEST").issue(curve("secp384r1"), Some(&root));
        let leaf = Plan::device().issue(curve("secp256r1"), Some(&issuing));
        let report = check(&Device::of(leaf, Digest::Sha256).archive(&AUDIT()));
        assert_eq!(report.findings.is_empty(), is_allowed, "{longest}");
    }
}

#[test]
fn certificates_may_be_signed_with_every_long_hash_and_with_no_short_one() {
    let digests: [(fn() -> MessageDigest, bool); 4] = [
        (MessageDigest::sha256, true),
        (MessageDigest::sha384, true),
        (MessageDigest::sha512, true),
        (MessageDigest::sha1, false),
    ];
    for (digest, is_allowed) in digests {
        let leaf = Plan {
            digest,
            ..Plan::device()
        };
        let report = check(&Device::planned(&leaf, &Plan::authority("R")).archive(&AUDIT()));
        let expected = if is_allowed {
            None
        } else {
            Some(F::CertificateSignature)
        };
        assert_eq!(
            found(&report),
            expected.into_iter().collect::<BTreeSet<_>>()
        );
    }
}

#[test]
fn of_two_certificates_of_one_key_the_better_one_counts() {
    let root = Plan::authority("Root TEST").issue(curve("secp384r1"), None);
    let short = Plan {
        valid: (T0 - 100, T0 - 50),
        ..Plan::device()
    };
    let old = short.issue(curve("secp256r1"), Some(&root));
    let renewed = Plan::device().issue_for(old.key.clone(), Some(&root));
    let device = Device::of(renewed, Digest::Sha256);
    let (name, content) = old.file();
    let name = name.replace(".cer", "_Fc-1.cer");
    for first in [true, false] {
        let mut files = device.files(&AUDIT());
        let at = if first { 0 } else { files.0.len() };
        files.0.insert(at, (name.clone(), content.clone()));
        assert_eq!(check(&files.tar()).findings, [], "{first}");
    }
}

#[test]
fn issuers_that_issue_each_other_do_not_go_round_for_ever() {
    let one = Plan::authority("One").issue(curve("secp384r1"), None);
    let two = Plan::authority("Two").issue(curve("secp384r1"), Some(&one));
    let round = Plan::authority("One").issue_for(one.key.clone(), Some(&two));
    let leaf = Plan::device().issue(curve("secp256r1"), Some(&round));
    let device = Device::of(leaf, Digest::Sha256);
    let mut files = device.files(&AUDIT());
    // Without the root that began it, the chain is a circle.
    files.0.retain(|(_, content)| *content != one.der());
    let report = check(&files.tar());
    assert_eq!(report.signatures_valid, 1);
    assert!(!report.findings.is_empty(), "a circle has no root");
}
