//! Exports of other makers' devices. They may not be shipped, so the tests find them beside the
//! project and say so when they do not.

use super::decode::decode;
use super::golden::verifies;
use crate::asn1::{LogFileName, LogTime, ReadKind, ReadLogMessage, WriteError, read, to_be_signed};
use crate::terms::SerialNumber;
use openssl::{bn::BigNumContext, ec, hash::MessageDigest, nid::Nid, x509::X509};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `None` when the exports are not there and nobody insists.
fn archives() -> Option<Vec<PathBuf>> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/testdata/tse-exports"
    );
    let Ok(entries) = std::fs::read_dir(folder) else {
        let insists = std::env::var("SIEGEL_NEED_SHARED").is_ok_and(|value| value == "1");
        assert!(!insists, "no field exports at {folder}");
        println!("skipped: no field exports at {folder}");
        return None;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut archives: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "tar"))
        .collect();
    archives.sort();
    Some(archives)
}

/// Names and contents of regular files: ustar, `./` prefixes, pax `path` records.
fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0);
        String::from_utf8(bytes[..end.unwrap_or(bytes.len())].to_vec()).unwrap()
    };
    let mut found = Vec::new();
    let mut long_name = None;
    let mut at = 0;
    while let Some(header) = tar.get(at..at + 512) {
        if header[0] == 0 {
            break;
        }
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).unwrap();
        let content = &tar[at + 512..at + 512 + size];
        match header[156] {
            b'x' => {
                let record = text(content);
                let path = record.split_once(" path=").unwrap().1;
                long_name = Some(path.lines().next().unwrap().to_owned());
            }
            b'0' | 0 => {
                let name = long_name.take().unwrap_or_else(|| text(&header[..100]));
                let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                found.push((name, content.to_vec()));
            }
            _ => {}
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    found
}

/// The points of all keys that certificates in the archive name.
fn points(files: &[(String, Vec<u8>)]) -> BTreeMap<SerialNumber, (Nid, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for (_, content) in files.iter().filter(|(name, _)| name.contains("X509")) {
        let pem = content.starts_with(b"-----");
        let parse = if pem { X509::from_pem } else { X509::from_der };
        // One archive holds a certificate on a curve that openssl does not know.
        let key = parse(content).and_then(|certificate| certificate.public_key()?.ec_key());
        let Ok(key) = key else {
            continue;
        };
        let mut context = BigNumContext::new().unwrap();
        let form = ec::PointConversionForm::UNCOMPRESSED;
        let point = key.public_key().to_bytes(key.group(), form, &mut context);
        let (Ok(point), Some(curve)) = (point, key.group().curve_name()) else {
            continue;
        };
        found.insert(SerialNumber::of_public_point(&point), (curve, point));
    }
    found
}

fn is_signed(
    points: &BTreeMap<SerialNumber, (Nid, Vec<u8>)>,
    message: &ReadLogMessage,
    signed: &[u8],
) -> bool {
    let Some((curve, point)) = points.get(&message.serial_number) else {
        return false;
    };
    let curve = match *curve {
        Nid::X9_62_PRIME256V1 => "secp256r1",
        Nid::SECP384R1 => "secp384r1",
        Nid::BRAINPOOL_P384R1 => "brainpoolP384r1",
        other => panic!("{other:?}"),
    };
    let digest = match message.algorithm.known().unwrap().name() {
        "ecdsa-plain-SHA256" => MessageDigest::sha256(),
        "ecdsa-plain-SHA384" => MessageDigest::sha384(),
        other => panic!("{other}"),
    };
    verifies(curve, point, digest, signed, &message.signature)
}

/// Reads every log of the 13 archives. The first three figures were measured by others beforehand:
/// 1936 logs, of which 16 of one archive verify under no certificate there. The reasons why the other
/// messages are beyond our writer add up to the rest, so a form that gets lost shows here.
#[test]
fn every_log_of_the_field_exports_is_read_named_and_rewritten() {
    let Some(archives) = archives() else {
        return;
    };
    let (mut logs, mut verified) = (0, 0);
    let mut rewritten: BTreeMap<Result<(), &str>, usize> = BTreeMap::new();
    for archive in &archives {
        let files = files(&std::fs::read(archive).unwrap());
        let points = points(&files);
        for (file, bytes) in files.iter().filter(|(name, _)| name.ends_with(".log")) {
            let message = read(bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
            logs += 1;
            let name = LogFileName::of_message(&message).unwrap();
            assert_eq!(name.to_string(), *file);
            assert_eq!(file.parse(), Ok(name), "{file}");
            let signed = &bytes[message.signed_range.clone()];
            verified += usize::from(is_signed(&points, &message, signed));
            let outcome = rewrite(file, &message, signed);
            *rewritten.entry(outcome).or_default() += 1;
        }
    }
    println!(
        "read {logs} logs of {} archives, {verified} verify, rewritten: {rewritten:?}",
        archives.len()
    );
    assert_eq!((archives.len(), logs, verified), (13, 1936, 1920));
    let expected = [
        (Ok(()), 709),
        (Err("UTCTime"), 161),
        (Err("additionalExternalData"), 872),
        (Err("indefinite length"), 19),
        (Err("an event that is not ours"), 173),
        (Err("no PrintableString"), 2),
    ];
    assert_eq!(rewritten, BTreeMap::from(expected));
}

/// `Ok` when our writer gives the same bytes, else why it has no words for the message.
fn rewrite(file: &str, message: &ReadLogMessage, signed: &[u8]) -> Result<(), &'static str> {
    if !matches!(message.time, LogTime::Unix(_)) {
        return Err("UTCTime");
    }
    if let ReadKind::Transaction {
        additional_external_data,
        ..
    } = &message.kind
    {
        if additional_external_data.is_some() {
            return Err("additionalExternalData");
        }
        if signed.windows(2).any(|window| window == [0xA2, 0x80]) {
            return Err("indefinite length");
        }
    }
    let (header, content) = decode(message).ok_or("an event that is not ours")?;
    match to_be_signed(&header, &content) {
        Ok(again) => {
            assert_eq!(hex::encode(again), hex::encode(signed), "{file}");
            Ok(())
        }
        Err(WriteError::NotPrintable { .. }) => Err("no PrintableString"),
        Err(error) => panic!("{file}: {error}"),
    }
}
