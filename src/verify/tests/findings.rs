//! Every finding there is, each provoked by a smallest input.

use super::maker::der::tlv;
use super::maker::message::{Message, Time};
use super::maker::pki::{Digest, Plan, curve, new_key};
use super::maker::tar::{BLOCK, Header, Tar, record};
use super::maker::{Device, Files, INFO_V2, T0, qr};
use super::{check, check_with, found, only_finding, settings};
use crate::verify::{FINDINGS_MAX, FindingCode, verify_archive, verify_qr};
use openssl::nid::Nid;
use std::collections::BTreeSet;
use std::io::Cursor;

use FindingCode as F;

/// What is checked.
enum Input {
    Archive(Vec<u8>),
    /// An archive and a certificate to be trusted.
    Trusting(Vec<u8>, Vec<u8>),
    Qr(String),
    /// Bytes that are no archive.
    NoArchive(&'static [u8]),
    /// A certificate to be trusted that is none.
    NoCertificate(&'static [u8]),
    /// Text that is no QR code.
    NoQr(&'static str),
}

use Input::{Archive, NoArchive, NoCertificate, NoQr, Qr, Trusting};

struct Case {
    code: FindingCode,
    input: Input,
    /// What is found beside it.
    also: &'static [FindingCode],
}

const fn case(code: FindingCode, input: Input) -> Case {
    Case {
        code,
        input,
        also: &[],
    }
}

/// One transaction.
fn sale() -> [Message; 2] {
    [Message::start(1, T0, 1), Message::finish(2, T0 + 1, 1)]
}

/// The files of one transaction.
fn files() -> Files {
    Device::new().files(&sale())
}

/// An archive of these messages.
fn of(messages: &[Message]) -> Input {
    Archive(Device::new().archive(messages))
}

fn is_log(name: &str) -> bool {
    name.ends_with(".log")
}

/// An archive with a pax header that has this keyword before its last file.
fn with_pax(flag: u8, keyword: &str) -> Vec<u8> {
    let mut files = files();
    let (name, content) = files.0.pop().unwrap();
    let mut bytes = files.tar();
    bytes.truncate(bytes.len() - 2 * BLOCK);
    let mut tar = Tar(bytes);
    let record = record(keyword, "another.log");
    tar.add(
        &Header::file("pax", record.len()).flag(flag),
        record.as_bytes(),
    );
    tar.add(&Header::file(&name, content.len()), &content);
    tar.end()
}

/// The archive as such.
fn container() -> Vec<Case> {
    let whole = files().tar();
    let without_end = &whole[..whole.len() - 2 * BLOCK];
    let link = Header::file("link", 0).flag(b'2').bytes();
    let end = [0; 2 * BLOCK];
    let mut stained = whole.clone();
    // The first file is info.csv; right behind its content.
    stained[BLOCK + INFO_V2.len()] = 1;
    let mut many = Files(Vec::new());
    for number in 0..=FINDINGS_MAX {
        many = many.with(&format!("{number}.txt"), b"");
    }
    let certificate = Device::new().chain[0].file().1;
    let mut certificates = files();
    for number in 0..65 {
        certificates = certificates.with(&format!("{number}.cer"), &certificate);
    }
    vec![
        case(F::NotReadable, NoArchive(b"\x1f\x8b\x08 packed")),
        case(F::TrustNotReadable, NoCertificate(b"none")),
        case(F::ArchiveTruncated, Archive(without_end.to_vec())),
        case(
            F::ArchiveDamaged,
            Archive([without_end, &[b'x'; 3 * BLOCK]].concat()),
        ),
        case(F::DataAfterEnd, Archive([&whole[..], b"more"].concat())),
        case(F::PaddingNotZero, Archive(stained)),
        case(
            F::EntryNotAFile,
            Archive([without_end, &link, &end].concat()),
        ),
        case(F::PaxGlobalHeader, Archive(with_pax(b'g', "path"))),
        case(F::PaxKeyword, Archive(with_pax(b'x', "GNU.sparse.name"))),
        case(
            F::FileTooLarge,
            Archive(files().with("x.cer", &[0; 65_537]).tar()),
        ),
        case(F::TooManyCertificates, Archive(certificates.tar())),
        case(F::ForeignFile, Archive(files().with("x.txt", b"").tar())),
        case(
            F::InfoMissing,
            Archive(files().without(|name| name == "info.csv").tar()),
        ),
        case(F::NoMessages, Archive(files().without(is_log).tar())),
        Case {
            code: F::FindingsCut,
            input: Archive(many.tar()),
            also: &[F::ForeignFile, F::InfoMissing, F::NoMessages],
        },
    ]
}

/// Certificates.
fn certificates() -> Vec<Case> {
    let device = Device::new();
    let sales =
        |leaf: Plan| Archive(Device::planned(&leaf, &Plan::authority("Root")).archive(&sale()));
    let foreign = Device::of(Plan::device().issue(Nid::SECP256K1, None), Digest::Sha256);
    let mut misnamed = device.files(&sale());
    misnamed
        .first(|name| name.starts_with(&device.chain[0].serial()))
        .0 = format!("{}_X509.cer", device.chain[1].serial());
    let other = Plan::authority("Issuing TEST").issue(curve("secp384r1"), Some(&device.chain[2]));
    let without = |at: usize| {
        let serial = device.chain[at].serial();
        device
            .files(&sale())
            .without(move |name| name.starts_with(&serial))
    };
    let stranger = Plan::authority("Stranger").issue(curve("secp384r1"), None);
    let (other_name, other_bytes) = other.file();
    vec![
        case(
            F::CertificateUnreadable,
            Archive(files().with("x.cer", b"x").tar()),
        ),
        case(
            F::CertificateUnsupported,
            Archive(files().with("x.cer", &foreign.chain[0].der()).tar()),
        ),
        case(F::CertificateName, Archive(misnamed.tar())),
        case(F::CertificateMissing, Archive(without(0).tar())),
        case(
            F::CertificateSignature,
            Archive(without(1).with(&other_name, &other_bytes).tar()),
        ),
        case(
            F::CertificateUsage,
            sales(Plan {
                usage: Some((false, true)),
                ..Plan::device()
            }),
        ),
        case(
            F::CriticalExtension,
            sales(Plan {
                extensions: vec![("1.2.3.4", true, tlv(0x05, b""))],
                ..Plan::device()
            }),
        ),
        case(
            F::AuthorityKey,
            Archive(
                Device::planned(
                    &Plan {
                        extensions: vec![("2.5.29.35", false, tlv(0x30, &tlv(0x80, b"other")))],
                        ..Plan::device()
                    },
                    &Plan {
                        extensions: vec![("2.5.29.14", false, tlv(0x04, b"own"))],
                        ..Plan::authority("Root")
                    },
                )
                .archive(&sale()),
            ),
        ),
        case(
            F::IssuerName,
            sales(Plan {
                issuer: Some("Somebody".to_owned()),
                ..Plan::device()
            }),
        ),
        case(F::ChainIncomplete, Archive(without(2).tar())),
        case(
            F::ChainUntrusted,
            Trusting(device.archive(&sale()), stranger.der()),
        ),
        case(
            F::CertificateNotValid,
            sales(Plan {
                valid: (T0 - 10, T0 - 1),
                ..Plan::device()
            }),
        ),
    ]
}

/// Messages by themselves.
fn messages() -> Vec<Case> {
    let [start, finish] = sale();
    let audit = Message::start_audit(1, T0);
    let mut flipped = files();
    let last = flipped.first(is_log).1.last_mut().unwrap();
    *last ^= 1;
    let changed = |change: fn(&mut Message)| {
        let mut message = Message::start_audit(1, T0);
        change(&mut message);
        of(&[message])
    };
    vec![
        case(
            F::MessageUnreadable,
            Archive(files().with("Unixt_1_Sig-3_Log-Aud.log", b"x").tar()),
        ),
        case(
            F::NameContent,
            changed(|m| m.name = Some("Unixt_1_Sig-1_Log-Aud.log".to_owned())),
        ),
        case(
            F::AlgorithmUnsupported,
            changed(|m| m.algorithm = Some("1.2.840.10045.4.3.2")),
        ),
        case(
            F::AlgorithmParameters,
            changed(|m| m.parameters = tlv(0x05, b"")),
        ),
        case(F::SignatureInvalid, Archive(flipped.tar())),
        case(F::SignatureForm, changed(|m| m.signature_is_der = true)),
        case(
            F::OperationType,
            of(&[
                Message {
                    operation: Some("startTransaction"),
                    ..start
                },
                finish,
            ]),
        ),
        case(
            F::EventMalformed,
            of(&[Message::system(1, T0, "registerClient", tlv(0x82, b"x"))]),
        ),
        case(
            F::TimeUnreadable,
            of(&[audit.clone().at(Time::Utc("231399000000Z".to_owned()))]),
        ),
        case(
            F::TimeFormMixed,
            of(&[
                audit,
                Message::audit(2, T0).at(Time::Utc("240101000000Z".to_owned())),
            ]),
        ),
    ]
}

/// Messages among each other, and QR codes.
fn sequences() -> Vec<Case> {
    let (one, other) = (Device::new(), Device::new());
    let mut two = one.files(&[Message::start_audit(1, T0)]);
    two.0.extend(other.chain.iter().map(|issued| issued.file()));
    two.0.push(Message::audit(1, T0).file(&other.signer));
    let [start, finish] = sale();
    let data = "Beleg^1.19_0.00_0.00_0.00_0.00^1.19:Bar";
    let good = qr::receipt(&one.signer, data, T0, T0 + 1);
    let key = good.rsplit_once(';').unwrap().0;
    vec![
        case(
            F::LogVersionMixed,
            of(&[Message::audit(1, T0), Message::audit(2, T0).v3()]),
        ),
        case(
            F::MessageAfterDisable,
            of(&[Message::disable(1, T0), Message::start(2, T0, 1)]),
        ),
        case(
            F::TimeBackwards,
            of(&[Message::audit(1, T0), Message::audit(2, T0 - 1)]),
        ),
        case(F::SeveralKeys, Archive(two.tar())),
        case(
            F::CounterZero,
            of(&[Message::audit(0, T0), Message::audit(1, T0)]),
        ),
        case(
            F::CounterMissing,
            of(&[Message::audit(1, T0), Message::audit(3, T0)]),
        ),
        case(
            F::CounterRepeated,
            of(&[Message::audit(1, T0), Message::start_audit(1, T0)]),
        ),
        case(F::TransactionNotStarted, of(&[Message::finish(1, T0, 1)])),
        case(
            F::TransactionRepeated,
            of(&[start.clone(), Message::start(2, T0, 1)]),
        ),
        case(
            F::TransactionAfterFinish,
            of(&[start, finish, Message::update(3, T0 + 1, 1)]),
        ),
        case(F::QrUnreadable, NoQr("V0;a;b;c")),
        case(F::PublicKeyUnusable, Qr(format!("{key};BAAA"))),
        case(
            F::StartAfterEnd,
            Qr(qr::receipt(&one.signer, data, T0 + 2, T0 + 1)),
        ),
    ]
}

#[test]
fn every_finding_is_provoked_by_a_smallest_input() {
    let groups = [container(), certificates(), messages(), sequences()];
    let cases: Vec<_> = groups.into_iter().flatten().collect();
    let provoked: Vec<_> = cases.iter().map(|case| case.code).collect();
    let of_all: BTreeSet<_> = FindingCode::ALL.iter().copied().collect();
    assert_eq!(provoked.iter().copied().collect::<BTreeSet<_>>(), of_all);
    assert_eq!(provoked.len(), of_all.len(), "a code has two cases");
    for Case { code, input, also } in cases {
        let codes: BTreeSet<_> = match input {
            Archive(bytes) => found(&check(&bytes)),
            Trusting(bytes, root) => {
                let mut settings = settings();
                settings.trust("root", &root).unwrap();
                found(&check_with(&bytes, &settings))
            }
            Qr(text) => {
                let report = verify_qr(&text).unwrap();
                report.findings.iter().map(|finding| finding.code).collect()
            }
            // The command line says these three in place of the error.
            NoArchive(bytes) => {
                verify_archive(Cursor::new(bytes), &settings()).unwrap_err();
                BTreeSet::from([F::NotReadable])
            }
            NoCertificate(bytes) => {
                settings().trust("root", bytes).unwrap_err();
                BTreeSet::from([F::TrustNotReadable])
            }
            NoQr(text) => {
                verify_qr(text).unwrap_err();
                BTreeSet::from([F::QrUnreadable])
            }
        };
        let expected: BTreeSet<_> = also.iter().copied().chain([code]).collect();
        assert_eq!(codes, expected, "{code:?}");
    }
}

#[test]
fn codes_are_written_once_and_alike() {
    let codes: BTreeSet<_> = FindingCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes.len(), FindingCode::ALL.len());
    let fits = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    assert!(codes.iter().all(|code| code.chars().all(fits)), "{codes:?}");
}

#[test]
fn what_is_not_listed_is_counted() {
    let mut many = Files(Vec::new());
    let extra = 7;
    for number in 0..FINDINGS_MAX + extra {
        many.0.push((format!("{number}.txt"), Vec::new()));
    }
    let report = check(&many.tar());
    // Two findings about the whole archive stand before those about files.
    let last = report.findings.last().unwrap();
    assert_eq!(last.code, F::FindingsCut);
    assert_eq!(last.text, format!("{} more of foreign-file", extra + 2));
    assert_eq!(report.findings.len(), FINDINGS_MAX + 1);
}

#[test]
fn a_folder_with_content_is_found() {
    let device = Device::new();
    let message = Message::audit(1, T0);
    let tar = |header: Header, content: &[u8]| {
        let mut bytes = device.archive(std::slice::from_ref(&message));
        bytes.truncate(bytes.len() - 2 * BLOCK);
        bytes.extend(header.bytes());
        bytes.extend(content);
        bytes.extend([0; 2 * BLOCK]);
        bytes
    };
    let hidden = [b'x'; BLOCK];
    for header in [
        Header::file("folder/", BLOCK),
        Header::file("folder", BLOCK).flag(b'5'),
    ] {
        let report = check(&tar(header, &hidden));
        let (code, text) = only_finding(&report);
        assert_eq!((code, text), (F::EntryNotAFile, "a folder has content"));
    }
    assert!(found(&check(&tar(Header::file("folder/", 0), b""))).is_empty());
}

#[test]
fn no_key_on_another_curve_may_sign() {
    for nid in [Nid::SECP256K1, Nid::SECP224R1, Nid::BRAINPOOL_P256T1] {
        let key = openssl::pkey::PKey::from_ec_key(new_key(nid)).unwrap();
        let device = Device::of(Plan::device().issue_for(key, None), Digest::Sha256);
        let report = check(&device.archive(&[Message::audit(1, T0)]));
        let expected = BTreeSet::from([F::CertificateUnsupported, F::CertificateMissing]);
        assert_eq!(found(&report), expected, "{nid:?}");
        assert_eq!(report.signatures_valid, 0);
    }
}

#[test]
fn only_the_plain_algorithms_with_a_long_hash_may_sign() {
    for algorithm in [
        // ANSI X9.62 with SHA-256 to SHA-512.
        "1.2.840.10045.4.3.2",
        "1.2.840.10045.4.3.3",
        "1.2.840.10045.4.3.4",
        // Plain with SHA-1, SHA-224, RIPEMD-160 and SHA3-224.
        "0.4.0.127.0.7.1.1.4.1.1",
        "0.4.0.127.0.7.1.1.4.1.2",
        "0.4.0.127.0.7.1.1.4.1.6",
        "0.4.0.127.0.7.1.1.4.1.8",
    ] {
        let mut message = Message::audit(1, T0);
        message.algorithm = Some(algorithm);
        let report = check(&Device::new().archive(&[message]));
        let (code, text) = only_finding(&report);
        assert_eq!(code, F::AlgorithmUnsupported);
        assert!(text.contains(algorithm), "{text}");
        assert_eq!(report.signatures_valid, 0);
    }
    // The hash that the message names is the one that counts.
    let mut message = Message::audit(1, T0);
    message.algorithm = Some(Digest::Sha384.oid());
    let report = check(&Device::new().archive(&[message]));
    assert_eq!(only_finding(&report).0, F::SignatureInvalid);
}

#[test]
fn each_part_of_a_name_is_compared_with_the_content() {
    let device = Device::new();
    let right = "Unixt_1700000000_Sig-1_Log-Tra_No-1_Start_Client-KASSE 1.log";
    let verdict = |name: &str| {
        let mut message = Message::start(1, T0, 1);
        message.name = Some(name.to_owned());
        found(&check(&device.archive(&[message])))
    };
    assert_eq!(Message::start(1, T0, 1).file(&device.signer).0, right);
    for good in [right.to_owned(), right.replace(".log", "_Fc-1.log")] {
        assert!(verdict(&good).is_empty(), "{good}");
    }
    for (from, to) in [
        ("Unixt_", "Gent_"),
        ("1700000000", "1700000001"),
        ("Sig-1", "Sig-2"),
        ("Sig-1", "Sig-01"),
        ("No-1", "No-2"),
        ("Start", "Finish"),
        ("KASSE 1", "KASSE 2"),
        ("KASSE 1", "kasse 1"),
        ("KASSE 1", "KASSE 1 "),
        (".log", ".LOG"),
        (".log", "_Fc-x.log"),
        (".log", "_Fc-.log"),
        ("Tra_No-1_Start_Client-KASSE 1", "Sys_startTransaction"),
        ("Tra_No-1_Start_Client-KASSE 1", "Aud"),
    ] {
        let bad = right.replacen(from, to, 1);
        assert_eq!(verdict(&bad), BTreeSet::from([F::NameContent]), "{bad}");
    }
}
