//! Certificates: trust, validity at signing time, chains.

use super::maker::der::tlv;
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

#[test]
fn a_critical_extension_that_is_not_known_is_found_wherever_in_the_chain() {
    let with = |plan: Plan, identifier, is_critical, content: &[u8]| Plan {
        extensions: vec![(identifier, is_critical, content.to_vec())],
        ..plan
    };
    let root = || Plan::authority("Root TEST");
    let null = tlv(0x05, b"");
    // anyPolicy
    let policies = tlv(0x30, &tlv(0x30, &tlv(0x06, &[0x55, 0x1D, 0x20, 0])));
    for (identifier, is_critical, content, is_found) in [
        ("1.2.3.4", true, &null, true),
        ("1.2.3.4", false, &null, false),
        ("2.5.29.32", true, &policies, false),
        // nameConstraints, which nobody here judges.
        ("2.5.29.30", true, &tlv(0x30, b""), true),
    ] {
        for (leaf, root) in [
            (
                with(Plan::device(), identifier, is_critical, content),
                root(),
            ),
            (
                Plan::device(),
                with(root(), identifier, is_critical, content),
            ),
        ] {
            let report = check(&Device::planned(&leaf, &root).archive(&AUDIT()));
            let expected = is_found.then_some(F::CriticalExtension);
            assert_eq!(
                found(&report),
                expected.into_iter().collect(),
                "{identifier}"
            );
        }
    }
}

#[test]
fn of_two_certificates_of_an_issuer_the_one_that_is_meant_counts() {
    let own = |identifier: &[u8]| vec![("2.5.29.14", false, tlv(0x04, identifier))];
    let plan = |identifier: &[u8]| Plan {
        extensions: own(identifier),
        ..Plan::authority("Root TEST")
    };
    let one = plan(b"one").issue(curve("secp384r1"), None);
    let two = plan(b"two").issue_for(one.key.clone(), None);
    let leaf = Plan {
        extensions: vec![("2.5.29.35", false, tlv(0x30, &tlv(0x80, b"two")))],
        ..Plan::device()
    };
    let device = Device::of(leaf.issue(curve("secp256r1"), Some(&two)), Digest::Sha256);
    let mut files = device.files(&AUDIT());
    files.0.insert(0, one.file());
    assert_eq!(check(&files.tar()).findings, []);
    files.0.retain(|(_, content)| *content != two.der());
    assert_eq!(only_finding(&check(&files.tar())).0, F::AuthorityKey);
}

#[test]
fn nothing_follows_the_signature_of_a_certificate_in_its_bit_string() {
    let device = Device::on("secp256r1", Digest::Sha256, 1);
    let der = device.chain[0].der();
    let signature = device.chain[0].certificate.signature().as_slice();
    let bits = |signature: &[u8]| tlv(0x03, &[&[0], signature].concat());
    let head = &der[4..der.len() - bits(signature).len()];
    let with = |signature: &[u8]| {
        let changed = tlv(0x30, &[head, &bits(signature)].concat());
        let mut files = device.files(&AUDIT());
        files.first(|name| name.ends_with(".cer")).1 = changed;
        check(&files.tar())
    };
    assert_eq!(
        with(signature).findings,
        [],
        "the certificate is put together rightly"
    );
    for more in 0..=255 {
        let report = with(&[signature, &[more]].concat());
        assert_eq!(only_finding(&report).0, F::CertificateSignature, "{more}");
    }
    // The same numbers, but not in their shortest form.
    let (r_len, numbers) = (signature[3], &signature[4..]);
    let padded = [&[0x02, r_len + 1, 0][..], numbers].concat();
    let report = with(&tlv(0x30, &padded));
    assert_eq!(only_finding(&report).0, F::CertificateSignature);
}
