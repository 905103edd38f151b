//! Any single changed bit of an export is found.

use super::maker::message::Message;
use super::maker::pki::{Digest, Plan, curve};
use super::maker::tar::BLOCK;
use super::maker::{Device, INFO_V2, T0};
use super::{Chance, is_long, settings};
use crate::verify::verify_archive;
use std::collections::BTreeMap;
use std::io::Cursor;

/// Looks at one bit in so many, unless all are asked for.
const STRIDE: usize = 40;

/// Files of a small archive: description, certificate, a transaction, an audit message.
fn archive() -> (Device, Vec<u8>) {
    let leaf = Plan::device().issue(curve("secp256r1"), None);
    let device = Device::of(leaf, Digest::Sha256);
    let messages = [
        Message::start(1, T0, 1),
        Message::finish(2, T0 + 1, 1),
        Message::audit(3, T0 + 1),
    ];
    let bytes = device.archive(&messages);
    (device, bytes)
}

/// Places whose bits may change without a finding, each with the reason. There are no others.
fn reason_to_overlook(bytes: &[u8], changed: &[u8], at: usize) -> Option<&'static str> {
    let info = BLOCK..BLOCK + INFO_V2.len();
    if info.contains(&at) {
        return Some(
            "nothing signs the values of info.csv, and a note tells when its form is lost",
        );
    }
    let is_header = bytes[at / BLOCK * BLOCK..][257..262] == *b"ustar";
    let in_sum = (148..156).contains(&(at % BLOCK));
    let digits = |bytes: &[u8]| -> String {
        let sum = &bytes[at / BLOCK * BLOCK..][148..156];
        let digits = sum.iter().map(|byte| char::from(*byte));
        let text: String = digits.collect();
        text.trim_matches(['\0', ' ', '0']).to_owned()
    };
    (is_header && in_sum && digits(bytes) == digits(changed))
        .then_some("blanks, NULs and zeros around the digits of a header's checksum")
}

/// Checks the archive with each of these bits changed; what was overlooked, by reason.
fn overlooked(bytes: &[u8], bits: impl Iterator<Item = usize>) -> BTreeMap<&'static str, usize> {
    let settings = settings();
    let mut changed = bytes.to_vec();
    let mut reasons = BTreeMap::new();
    let mut missed = Vec::new();
    for bit in bits {
        let (at, mask) = (bit / 8, 1_u8 << (bit % 8));
        changed[at] ^= mask;
        let outcome = verify_archive(Cursor::new(&changed), &settings);
        if outcome.is_ok_and(|report| report.findings.is_empty()) {
            match reason_to_overlook(bytes, &changed, at) {
                Some(reason) => *reasons.entry(reason).or_default() += 1,
                None => missed.push((at / BLOCK, at % BLOCK, mask)),
            }
        }
        changed[at] ^= mask;
    }
    assert!(missed.is_empty(), "block, byte, mask: {missed:?}");
    reasons
}

#[test]
fn any_single_changed_bit_is_found() {
    let (_, bytes) = archive();
    let stride = if is_long() { 1 } else { STRIDE };
    let first = Chance::new("bits").below(stride);
    let bits = bytes.len() * 8;
    let reasons = overlooked(&bytes, (first..bits).step_by(stride));
    println!(
        "{} of {bits} bits changed; not found: {reasons:?}",
        bits / stride
    );
}

#[test]
fn every_single_changed_bit_of_a_message_is_found() {
    let (device, bytes) = archive();
    let (_, message) = Message::audit(3, T0 + 1).file(&device.signer);
    // Signatures differ each time, what stands before them does not.
    let head = &message[..message.len() - 64];
    let at = bytes.windows(head.len()).position(|w| w == head).unwrap();
    assert_eq!(at % BLOCK, 0);
    let reasons = overlooked(&bytes, at * 8..(at + message.len()) * 8);
    assert!(reasons.is_empty(), "{reasons:?}");
}

#[test]
fn every_single_changed_bit_around_a_certificate_is_found() {
    let (device, bytes) = archive();
    let der = device.chain[0].der();
    let at = bytes.windows(der.len()).position(|w| w == der).unwrap();
    // What the issuer has not signed: the outer header, and algorithm and signature at the end.
    let ends = (at..at + 8).chain(at + der.len() - 90..at + der.len());
    let reasons = overlooked(&bytes, ends.flat_map(|at| at * 8..at * 8 + 8));
    assert!(reasons.is_empty(), "{reasons:?}");
}

#[test]
fn a_changed_bit_of_a_pem_certificate_is_found_but_for_the_last_label() {
    // With each number of padding signs, which the random length of the signature decides.
    for padding in 0..3 {
        let device = loop {
            let (device, _) = archive();
            if (device.chain[0].der().len() + padding).is_multiple_of(3) {
                break device;
            }
        };
        let pem = device.chain[0].certificate.to_pem().unwrap();
        let missed = overlooked_in_pem(&device, &pem);
        assert!(missed.is_empty(), "{padding} padding signs: {missed:?}");
    }
}

/// Changed places of this certificate of the device, before the label at its end, that went unseen.
fn overlooked_in_pem(device: &Device, pem: &[u8]) -> Vec<(usize, char, char)> {
    let mut files = device.files(&[Message::audit(1, T0)]);
    let (name, content) = files.first(|name| name.ends_with(".cer"));
    *name = name.replace(".cer", ".pem");
    pem.clone_into(content);
    let bytes = files.tar();
    let start = bytes.windows(pem.len()).position(|w| w == pem).unwrap();
    // What ends after the last dashes before it needs no name.
    let label = pem.windows(9).position(|w| w == b"-----END ").unwrap() + 9;
    let stride = if is_long() { 1 } else { 17 };
    let first = Chance::new("PEM").below(stride);
    // The padding is where readers differ, so it is looked at whole.
    let end = (label - 12) * 8..label * 8;
    let bits = (first..end.start).step_by(stride).chain(end);
    let settings = settings();
    let mut changed = bytes.clone();
    let mut missed = Vec::new();
    for bit in bits {
        let (at, mask) = (start + bit / 8, 1 << (bit % 8));
        changed[at] ^= mask;
        let outcome = verify_archive(Cursor::new(&changed), &settings);
        if outcome.is_ok_and(|report| report.findings.is_empty()) {
            missed.push((bit / 8, char::from(bytes[at]), char::from(changed[at])));
        }
        changed[at] ^= mask;
    }
    missed
}
