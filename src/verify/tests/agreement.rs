//! What is right is found right, whatever its form.

use super::maker::der::tlv;
use super::maker::message::{Body, Message, Time};
use super::maker::pki::{CURVES, Digest, Plan};
use super::maker::tar::{Header, LongNames};
use super::maker::{Device, INFO_V2, T0};
use super::{Chance, check, check_with, noted, settings};
use crate::verify::{NoteCode, Settings, verify_archive};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::num::NonZeroUsize;

/// One message of each kind, in one form of time: 0 for unix time, 1 for UTCTime, 2 for GeneralizedTime.
fn one_of_each(version: u8, time_form: usize) -> Vec<Message> {
    let client = [0x13, 7];
    let registered = match version {
        2 => tlv(0x81, b"KASSE 1"),
        _ => [&client[..], b"KASSE 1"].concat(),
    };
    let parts = [tlv(0x04, b"one"), tlv(0x04, b" two")].concat();
    let mut finish = Message::finish(6, T0, 1);
    finish.process_data = Some([&[0xA2, 0x80][..], &parts, &[0, 0]].concat());
    let messages = vec![
        Message::start_audit(1, T0),
        Message::system(2, T0, "registerClient", registered),
        Message::start(3, T0, 1),
        Message::update(4, T0, 1),
        Message::audit(5, T0),
        finish,
    ];
    let form = |mut message: Message| {
        message.version = version;
        match time_form {
            1 => message.at(Time::Utc("231114221320Z".to_owned())),
            2 => message.at(Time::Generalized("20231114221320.250Z".to_owned())),
            _ => message,
        }
    };
    messages.into_iter().map(form).collect()
}

#[track_caller]
fn is_clean(bytes: &[u8], logs: u64) {
    let report = check(bytes);
    assert_eq!(report.findings, []);
    assert_eq!((report.logs, report.signatures_valid), (logs, logs));
    let expected = [NoteCode::ChainUnanchored, NoteCode::RevocationUnchecked];
    assert_eq!(noted(&report), BTreeSet::from(expected));
}

#[test]
fn every_curve_and_hash_both_versions_and_all_forms_of_time_verify() {
    let mut combination = 0;
    for (curve, _) in CURVES {
        for digest in Digest::ALL {
            // Chains of one, two and three certificates.
            let device = Device::on(curve, digest, 1 + combination % 3);
            let time_form = combination / 3 % 3;
            for version in [2, 3] {
                is_clean(&device.archive(&one_of_each(version, time_form)), 6);
            }
            combination += 1;
        }
    }
    assert_eq!(combination, 36);
}

#[test]
fn certificates_may_be_pem_in_one_file_or_in_several() {
    let device = Device::new();
    let messages = one_of_each(2, 0);
    let pem = |at: usize| device.chain[at].certificate.to_pem().unwrap();
    let mut several = device.files(&messages);
    for (at, issued) in device.chain.iter().enumerate() {
        let (name, content) = several.first(|name| name.starts_with(&issued.serial()));
        *name = format!("{}_X509.crt", issued.serial().to_uppercase());
        *content = pem(at);
    }
    is_clean(&several.tar(), 6);
    // The file of a bundle is named after the first of them, so the notes tell of the others.
    let one = device
        .files(&messages)
        .without(|name| name.ends_with(".cer"));
    let name = format!("{}_X509.pem", device.chain[0].serial());
    let bundle: Vec<_> = (0..3).flat_map(pem).collect();
    let report = check(&one.with(&name, &bundle).tar());
    assert_eq!(report.findings, []);
    assert_eq!(report.signatures_valid, 6);
}

#[test]
fn headers_of_other_writers_are_read() {
    let device = Device::new();
    let files = device.files(&one_of_each(2, 0));
    is_clean(
        &files.tar_with(|name, size| Header::file(name, size).gnu()),
        6,
    );
    is_clean(
        &files.tar_with(|name, size| Header::file(name, size).blanks(size)),
        6,
    );
    is_clean(
        &files.tar_with(|name, size| Header::file(&format!("./{name}"), size)),
        6,
    );
    // Regular files of old writers have the flag NUL; sizes may be binary, names unended.
    is_clean(
        &files.tar_with(|name, size| Header::file(name, size).flag(0)),
        6,
    );
    let binary = |name: &str, size: usize| {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[8..].copy_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
        Header::file(name, size).gnu().with(124, &field)
    };
    is_clean(&files.tar_with(binary), 6);
    let mut shuffled = files;
    shuffled.0.reverse();
    is_clean(&shuffled.tar(), 6);
    // Records of 10240 bytes, as GNU tar writes them.
    let mut bytes = shuffled.tar();
    bytes.resize(bytes.len().next_multiple_of(10_240), 0);
    is_clean(&bytes, 6);
}

#[test]
fn long_names_are_read_in_pax_in_gnu_and_in_prefix_form() {
    let device = Device::new();
    let client = "K".repeat(120);
    let mut message = Message::start(2, T0, 1);
    message.body = Body::Transaction {
        phase: "Start",
        number: 1,
        client,
    };
    let mut finish = message.clone();
    finish.counter = 3;
    if let Body::Transaction { phase, .. } = &mut finish.body {
        *phase = "Finish";
    }
    let registered = tlv(0x81, "K".repeat(120).as_bytes());
    let register = Message::system(1, T0, "registerClient", registered);
    let files = device.files(&[register, message, finish]);
    is_clean(&files.tar(), 3);
    let gnu = |name: &str, size| Header {
        long_names: LongNames::Gnu,
        ..Header::file(name, size).gnu()
    };
    is_clean(&files.tar_with(gnu), 3);
    // A prefix stands for a folder, which an export has none of.
    let prefix = |name: &str, size| Header::file(name, size).with(345, b"folder");
    let report = check(&files.tar_with(prefix));
    assert_eq!(report.findings, []);
    assert!(noted(&report).contains(&NoteCode::Repacked));
}

#[test]
fn the_description_of_either_version_is_in_form() {
    let device = Device::new();
    let component = "\"component:\",\"CSP\",\"manufacturer:\",\"n\",\"model:\",\"o\",\"version:\",\"1\",\
         \"certification-id:\",\"\"\n";
    let v3 = format!("{component}\"description:\",\"a \"\"b\"\"\",,,,,,,,\n");
    for good in [INFO_V2.trim_end(), INFO_V2, v3.trim_end(), &v3] {
        let mut files = device.files(&one_of_each(2, 0));
        files.first(|name| name == "info.csv").1 = good.as_bytes().to_vec();
        is_clean(&files.tar(), 6);
    }
    for bad in [
        "",
        "\n",
        "x",
        INFO_V2.strip_prefix('"').unwrap(),
        &format!("{INFO_V2}x\n"),
    ] {
        let mut files = device.files(&one_of_each(2, 0));
        files.first(|name| name == "info.csv").1 = bad.as_bytes().to_vec();
        let report = check(&files.tar());
        assert_eq!(report.findings, []);
        assert!(noted(&report).contains(&NoteCode::InfoForm), "{bad:?}");
    }
}

/// A history by chance: transactions side by side, events between them.
fn history(chance: &mut Chance, len: u64) -> Vec<Message> {
    let (mut messages, mut open, mut last) = (Vec::new(), Vec::new(), 0);
    let mut time = T0;
    for counter in 1..=len {
        time += i64::from(chance.below(3) == 0);
        messages.push(match chance.below(5) {
            0 | 1 => {
                last += 1;
                open.push(last);
                Message::start(counter, time, last)
            }
            2 if !open.is_empty() => {
                let number = open[chance.below(open.len())];
                Message::update(counter, time, number)
            }
            3 if !open.is_empty() => {
                let number = open.swap_remove(chance.below(open.len()));
                Message::finish(counter, time, number)
            }
            4 => {
                let before = time;
                time -= 1000;
                Message::update_time(counter, before, time)
            }
            _ => Message::audit(counter, time),
        });
    }
    messages
}

#[test]
fn any_lawful_history_verifies_and_the_report_does_not_depend_on_the_order_or_the_threads() {
    let mut chance = Chance::new("histories");
    let plan = Plan {
        valid: (T0 - 1_000_000, T0 + 1_000_000),
        ..Plan::device()
    };
    for _ in 0..5 {
        let device = Device::planned(&plan, &Plan::authority("Root TEST"));
        let mut files = device.files(&history(&mut chance, 150));
        let report = check(&files.tar());
        assert_eq!(report.findings, []);
        assert_eq!(report.signatures_valid, 150);
        for at in (1..files.0.len()).rev() {
            files.0.swap(at, chance.below(at + 1));
        }
        assert_eq!(check(&files.tar()), report);
    }
}

#[test]
fn many_keys_and_unknown_events_give_the_same_report_with_any_number_of_threads() {
    let mut device = Device::new();
    let mut files = device.files(&[]);
    for number in 0..600_u64 {
        // Seventy keys, and a name for each message.
        device.signer.serial[0] = u8::try_from(number % 70).unwrap();
        let name = format!("e{}", char::from(b'a' + u8::try_from(number % 26).unwrap()));
        let name = format!(
            "{name}{}",
            "x".repeat(usize::try_from(number % 27).unwrap())
        );
        let message = Message::system(number / 70 + 1, T0, &name, Vec::new());
        files.0.push(message.file(&device.signer));
    }
    let bytes = files.tar();
    let report = check_with(&bytes, &Settings::new(NonZeroUsize::MIN));
    assert_eq!(report.keys.len(), 64);
    let events = report
        .notes
        .iter()
        .filter(|note| note.code == NoteCode::EventUnknown);
    assert_eq!(events.count(), 20, "only so many names are remembered");
    let several = report.findings.first().unwrap();
    assert_eq!(
        several.text,
        "the messages are of more than 64 different keys"
    );
    for threads in [2, 3, 8] {
        let settings = Settings::new(NonZeroUsize::new(threads).unwrap());
        let again = verify_archive(Cursor::new(&bytes), &settings).unwrap();
        assert_eq!(again, report, "{threads} threads");
    }
    assert_eq!(check_with(&bytes, &settings()), report);
}
