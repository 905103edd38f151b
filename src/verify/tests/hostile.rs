//! Input that was never meant well: a finding or an error, never a panic, in bounded time and memory.

use super::maker::der::tlv;
use super::maker::message::{Message, sealed};
use super::maker::pki::Digest;
use super::maker::tar::{BLOCK, Header, Tar, record};
use super::maker::{Device, T0};
use super::{Chance, check, found, is_long, only_finding, settings};
use crate::verify::{ArchiveReport, FindingCode as F, VerifyError, verify_archive};
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

fn outcome(bytes: &[u8]) -> Result<ArchiveReport, VerifyError> {
    verify_archive(Cursor::new(bytes), &settings())
}

/// Whether the input was refused, or something was found.
fn is_told(bytes: &[u8]) -> bool {
    outcome(bytes).map_or(true, |report| !report.findings.is_empty())
}

fn small() -> Vec<u8> {
    let device = Device::on("secp256r1", Digest::Sha256, 1);
    device.archive(&[Message::start(1, T0, 1), Message::finish(2, T0, 1)])
}

/// A good entry, and then this one without its content.
fn ending_in(header: &Header) -> Vec<u8> {
    let mut tar = Tar(small());
    tar.0.truncate(tar.0.len() - 2 * BLOCK);
    tar.0.extend(header.bytes());
    tar.end()
}

#[test]
fn a_truncated_archive_is_found_wherever_it_was_cut() {
    let whole = small();
    let mut chance = Chance::new("cuts");
    let odd = (0..200).map(|_| chance.below(whole.len()));
    let blocks = (0..whole.len()).step_by(BLOCK);
    let edges = blocks.clone().flat_map(|at| [at + 1, at + BLOCK - 1]);
    for len in blocks.chain(edges).chain(odd) {
        assert!(is_told(&whole[..len]), "cut at {len}");
    }
    assert!(!is_told(&whole));
}

#[test]
fn what_is_no_archive_is_refused() {
    let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".repeat(1000);
    let zeros = vec![0; BLOCK];
    let text = "no archive\n".repeat(1000);
    for bytes in [
        &b""[..],
        b"x",
        &packed,
        &zeros,
        text.as_bytes(),
        &[0xFF; 4096],
    ] {
        assert!(matches!(outcome(bytes), Err(VerifyError::NotAnArchive)));
    }
    // An archive without a file is one.
    let codes = found(&check(&[0; 2 * BLOCK]));
    assert_eq!(codes, BTreeSet::from([F::InfoMissing, F::NoMessages]));
}

#[test]
fn sizes_beyond_the_end_are_not_believed() {
    let base256 = |top: u8, size: u64| {
        let mut field = [0; 12];
        field[0] = top;
        field[4..].copy_from_slice(&size.to_be_bytes());
        field
    };
    let mut negative = [0xFF; 12];
    for (field, expected) in [
        (*b"77777777777\0", F::ArchiveTruncated),
        (*b"777777777777", F::ArchiveTruncated),
        (base256(0x80, 1 << 62), F::ArchiveTruncated),
        (base256(0x80, i64::MAX.unsigned_abs()), F::ArchiveTruncated),
        (base256(0x80, 1 << 63), F::ArchiveTruncated),
        (base256(0x80, u64::MAX), F::ArchiveTruncated),
        (base256(0x80, u64::MAX - 511), F::ArchiveTruncated),
        (base256(0xFF, 1), F::ArchiveDamaged),
        (negative, F::ArchiveDamaged),
        (*b"-0000000001\0", F::ArchiveDamaged),
        (*b"0000000008\0\0", F::ArchiveDamaged),
        (*b"00 00000001\0", F::ArchiveDamaged),
    ] {
        for name in ["x.log", "x.cer", "x.txt", "info.csv"] {
            let report = check(&ending_in(&Header::file(name, 0).with(124, &field)));
            assert_eq!(only_finding(&report).0, expected, "{field:?} {name}");
        }
    }
    negative[11] = 0;
    let report = check(&ending_in(&Header::file("x", 0).with(124, &negative)));
    assert_eq!(only_finding(&report).0, F::ArchiveDamaged);
}

#[test]
fn headers_with_a_wrong_sum_end_the_reading() {
    for error in [1, 256, 100_000] {
        let header = Header {
            sum_error: error,
            ..Header::file("x.log", 0)
        };
        let report = check(&ending_in(&header));
        let (code, text) = only_finding(&report);
        assert_eq!(code, F::ArchiveDamaged);
        assert!(text.contains("checksum"), "{text}");
        assert_eq!(report.logs, 2, "what stood before it was read");
    }
}

/// An archive with this pax header and the file after it.
fn with_pax(content: &[u8]) -> Vec<u8> {
    let mut tar = Tar(small());
    tar.0.truncate(tar.0.len() - 2 * BLOCK);
    tar.add(&Header::file("pax", content.len()).flag(b'x'), content);
    tar.add(&Header::file("x.txt", 3), b"abc");
    tar.end()
}

#[test]
fn malformed_pax_headers_are_found() {
    for bad in [
        "x",
        "5",
        "9 path=x",
        "0 path=x\n",
        "-9 path=x\n",
        "99 path=x\n",
        "18446744073709551616 path=x\n",
        "8 path\nx",
        "  9 path=x\n",
        "12 size=-12\n",
        "13 size=ten1\n",
        "29 size=18446744073709551616\n",
    ] {
        let report = check(&with_pax(bad.as_bytes()));
        assert_eq!(only_finding(&report).0, F::ArchiveDamaged, "{bad:?}");
    }
    for size in [1 << 40, i64::MAX.unsigned_abs(), u64::MAX] {
        let report = check(&with_pax(record("size", &size.to_string()).as_bytes()));
        assert_eq!(only_finding(&report).0, F::ArchiveTruncated, "{size}");
    }
    // A good one renames the file.
    let report = check(&with_pax(record("path", "y.txt").as_bytes()));
    assert_eq!(report.findings[0].message_file.as_deref(), Some("y.txt"));
}

#[test]
fn extension_headers_without_end_end() {
    let long = Header::file("pax", 70_000).flag(b'x');
    let mut tar = Tar(small());
    tar.0.truncate(tar.0.len() - 2 * BLOCK);
    tar.add(&long, &[b' '; 70_000]);
    assert_eq!(only_finding(&check(&tar.end())).0, F::ArchiveDamaged);
    let content = record("comment", "x");
    for flag in [b'x', b'g', b'L', b'K'] {
        let mut tar = Tar::default();
        for _ in 0..2000 {
            let header = Header::file("ext", content.len()).flag(flag);
            tar.add(&header, content.as_bytes());
        }
        assert!(is_told(&tar.0), "{flag}");
        assert!(is_told(&tar.end()), "{flag}");
    }
}

#[test]
fn many_files_are_read_in_one_go() {
    let count: u32 = if is_long() { 300_000 } else { 100_000 };
    let block = Header::file("x.txt", 0).bytes();
    let mut bytes = small();
    bytes.truncate(bytes.len() - 2 * BLOCK);
    let len = bytes.len() + usize::try_from(count).unwrap() * BLOCK;
    while bytes.len() < len {
        bytes.extend(block);
    }
    bytes.extend([0; 2 * BLOCK]);
    let report = check(&bytes);
    assert_eq!((report.logs, report.signatures_valid), (2, 2));
    assert_eq!(
        found(&report),
        BTreeSet::from([F::FindingsCut, F::ForeignFile])
    );
}

#[test]
fn a_message_of_more_than_sixteen_megabytes_is_not_read() {
    let size = 16_777_217;
    let mut tar = Tar(small());
    tar.0.truncate(tar.0.len() - 2 * BLOCK);
    tar.add(
        &Header::file("Unixt_1_Sig-3_Log-Aud.log", size),
        &vec![0x30; size],
    );
    let report = check(&tar.end());
    assert_eq!(only_finding(&report).0, F::FileTooLarge);
    assert_eq!(report.logs, 3);
}

/// A log file of these bytes, and nothing else that is wrong.
fn verdict_on(name: &str, bytes: &[u8]) -> F {
    let device = Device::on("secp256r1", Digest::Sha256, 1);
    let files = device.files(&[Message::audit(1, T0)]).with(name, bytes);
    let report = check(&files.tar());
    assert_eq!(report.signatures_valid, 1);
    only_finding(&report).0
}

#[test]
fn deep_and_endless_structures_are_no_messages() {
    let name = "Unixt_1_Sig-2_Log-Aud.log";
    let mut deep = Vec::new();
    for _ in 0..10_000 {
        deep = tlv(0x30, &deep);
        if deep.len() > 60_000 {
            break;
        }
    }
    let indefinite = [0x30, 0x80].repeat(50_000);
    let nested = [0xA2, 0x80].repeat(50_000);
    let mut head = tlv(0x02, &[2]);
    head.extend(tlv(0x06, &super::maker::der::oid("0.4.0.127.0.7.3.7.1.1")));
    head.extend(tlv(0x80, b"StartTransaction"));
    head.extend(tlv(0x81, b"x"));
    let processed = |data: &[u8]| sealed(&[&head[..], data].concat(), &[0; 64]);
    let endless = [&[0xA2, 0x80][..], &[0x04, 0x00].repeat(100_000)].concat();
    for bytes in [
        deep.clone(),
        indefinite,
        processed(&nested),
        processed(&endless),
        processed(&tlv(0xA2, &deep)),
        vec![0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
        vec![0x30, 0x88, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        vec![0x30, 0xFF],
        [&[0x30, 0xFE][..], &[0xFF; 126]].concat(),
        vec![0x3F; 1000],
        Vec::new(),
    ] {
        assert_eq!(verdict_on(name, &bytes), F::MessageUnreadable);
    }
    assert_eq!(verdict_on("x.cer", &deep), F::CertificateUnreadable);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}", "MIIB\n".repeat(10_000));
    assert_eq!(
        verdict_on("x.pem", pem.as_bytes()),
        F::CertificateUnreadable
    );
}

#[test]
fn names_cannot_command_a_terminal() {
    let evil = "\u{1b}[2J\u{202e}\r\n\0\u{7f}\u{9b}";
    let device = Device::on("secp256r1", Digest::Sha256, 1);
    let mut message = Message::system(1, T0, evil, Vec::new());
    message.name = Some("x\u{1b}.log".to_owned());
    let files = device.files(&[message]).with("\u{1b}[31m.txt", b"");
    let report = check(&files.tar());
    assert_eq!(
        found(&report),
        BTreeSet::from([F::ForeignFile, F::NameContent])
    );
    let texts = report.findings.iter().map(|finding| &finding.text);
    for text in texts.chain(report.notes.iter().map(|note| &note.text)) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
}

#[test]
fn long_names_are_cut_in_the_report() {
    let long = format!("{}.txt", "x".repeat(60_000));
    let report = check(&with_pax(record("path", &long).as_bytes()));
    let name = report.findings[0].message_file.as_deref();
    assert_eq!(name, Some("x".repeat(1000).as_str()));
}

/// A file that fails after so many bytes have been read, all readings together.
struct Failing {
    inner: Cursor<Vec<u8>>,
    left: usize,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(256).min(self.left);
        if len == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the disk is broken"));
        }
        let read = self.inner.read(&mut buffer[..len])?;
        self.left -= read;
        Ok(read)
    }
}

impl Seek for Failing {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[test]
fn a_disk_that_fails_is_told_whichever_reading_it_strikes() {
    let mut bytes = small();
    bytes.truncate(bytes.len() - 2 * BLOCK);
    // A finding about a file, so that the archive is read a third time for its name.
    let mut tar = Tar(bytes);
    tar.add(&Header::file("x.txt", 3), b"abc");
    let bytes = tar.end();
    let run = |left| {
        let inner = Cursor::new(bytes.clone());
        verify_archive(Failing { inner, left }, &settings())
    };
    assert!(run(4 * bytes.len()).is_ok());
    for left in (0..2 * bytes.len())
        .step_by(700)
        .chain([2 * bytes.len() + 1])
    {
        let error = run(left).unwrap_err();
        assert!(matches!(error, VerifyError::Unreadable { .. }), "{left}");
    }
}

#[test]
fn bytes_changed_by_chance_never_end_in_a_panic() {
    let mut chance = Chance::new("changed bytes");
    let device = Device::on("secp256r1", Digest::Sha256, 1);
    let messages = [
        Message::update_time(1, T0, T0),
        Message::start(2, T0, 1),
        Message::finish(3, T0, 1),
        Message::audit(4, T0).v3(),
        Message::start_audit(5, T0).v3(),
    ];
    let files = device.files(&messages);
    for _ in 0..if is_long() { 20_000 } else { 500 } {
        // Contents change before they are packed, so that headers still fit them.
        let mut files = files.clone();
        for _ in 0..=chance.below(4) {
            let at = chance.below(files.0.len());
            let content = &mut files.0[at].1;
            let place = chance.below(content.len());
            match chance.below(4) {
                0 => content[place] = u8::try_from(chance.below(256)).unwrap(),
                1 => content.truncate(place.max(1)),
                2 => content.insert(place, u8::try_from(chance.below(256)).unwrap()),
                _ => {
                    let copy = content.clone();
                    content.extend_from_slice(&copy[place..]);
                }
            }
        }
        let mut bytes = files.tar();
        if chance.below(4) == 0 {
            let place = chance.below(bytes.len());
            bytes[place] = u8::try_from(chance.below(256)).unwrap();
        }
        // The very first header may be hit; then it is no archive.
        if let Ok(report) = outcome(&bytes) {
            assert!(report.signatures_valid <= report.logs);
        }
    }
}
