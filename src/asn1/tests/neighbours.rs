//! Bad neighbours of good messages: nothing panics, and nothing reads as the good one.

use super::tlv;
use super::vectors::messages;
use crate::asn1::{ReadLogMessage, Tolerated, read};
use asn1_rs::{Any, FromBer};

/// The elements of a message, header bytes included.
fn elements(message: &[u8]) -> Vec<&[u8]> {
    let (_, sequence) = Any::from_ber(message).unwrap();
    let mut rest = sequence.data;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (after, _) = Any::from_ber(rest).unwrap();
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    found
}

fn each(mut check: impl FnMut(&str, &[u8], &ReadLogMessage)) {
    let messages = messages();
    assert!(messages.len() > 100);
    for (id, message) in &messages {
        check(id, message, &read(message).unwrap());
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    each(|id, message, _| {
        for cut in 0..message.len() {
            assert!(read(&message[..cut]).is_err(), "{id}, {cut} bytes");
        }
    });
}

#[test]
fn a_body_cut_anywhere_is_refused() {
    each(|id, message, _| {
        let (_, sequence) = Any::from_ber(message).unwrap();
        for cut in 0..sequence.data.len() {
            let shorter = tlv(0x30, &sequence.data[..cut]);
            assert!(read(&shorter).is_err(), "{id}, {cut} bytes");
        }
    });
}

#[test]
fn an_appended_byte_is_refused_outside_and_inside() {
    each(|id, message, _| {
        let (_, sequence) = Any::from_ber(message).unwrap();
        for byte in [0x00, 0x04, 0x30, 0xFF] {
            assert!(read(&[message, &[byte]].concat()).is_err(), "{id}");
            let inside = tlv(0x30, &[sequence.data, &[byte]].concat());
            assert!(read(&inside).is_err(), "{id}");
        }
    });
}

#[test]
fn no_flipped_bit_goes_unseen() {
    each(|id, message, good| {
        let mut changed = message.to_vec();
        for at in 0..message.len() {
            // One bit of each kind: number, class or constructed, sign or long form.
            for bit in [0x01, 0x02, 0x20, 0x80] {
                changed[at] ^= bit;
                assert_ne!(read(&changed).as_ref(), Ok(good), "{id}, byte {at}");
                changed[at] ^= bit;
            }
        }
    });
}

#[test]
fn no_lengthened_or_shortened_length_goes_unseen() {
    each(|id, message, good| {
        let mut changed = message.to_vec();
        for at in 0..message.len() {
            for new in [
                message[at].wrapping_add(1),
                message[at].wrapping_sub(1),
                0x84,
                0xFF,
            ] {
                if new != message[at] {
                    changed[at] = new;
                    assert_ne!(read(&changed).as_ref(), Ok(good), "{id}, byte {at}");
                }
            }
            changed[at] = message[at];
        }
    });
}

#[test]
fn no_dropped_doubled_or_swapped_element_goes_unseen() {
    each(|id, message, good| {
        let elements = elements(message);
        let mut neighbours = Vec::new();
        for at in 0..elements.len() {
            let mut dropped = elements.clone();
            dropped.remove(at);
            neighbours.push(dropped);
            let mut doubled = elements.clone();
            doubled.insert(at, elements[at]);
            neighbours.push(doubled);
            for other in 0..at {
                if elements[other] != elements[at] {
                    let mut swapped = elements.clone();
                    swapped.swap(at, other);
                    neighbours.push(swapped);
                }
            }
        }
        for neighbour in neighbours {
            let message = tlv(0x30, &neighbour.concat());
            assert_ne!(read(&message).as_ref(), Ok(good), "{id}");
        }
    });
}

/// A length in long form is read and reported, so a checker can tell; the bytes that were signed
/// are still the bytes that stand there.
#[test]
fn a_length_that_is_too_long_is_tolerated_and_reported() {
    each(|id, message, good| {
        let elements = elements(message);
        for at in 0..elements.len() {
            let (_, element) = Any::from_ber(elements[at]).unwrap();
            let length = u32::try_from(element.data.len()).unwrap().to_be_bytes();
            let longer = [&[elements[at][0], 0x84], &length[..], element.data].concat();
            let mut changed = elements.clone();
            changed[at] = &longer;
            let message = tlv(0x30, &changed.concat());
            let found = read(&message).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert!(found.tolerated.contains(&Tolerated::NotMinimal), "{id}");
            let before_signature = &changed[..changed.len() - 1];
            let signed = &message[found.signed_range.clone()];
            assert_eq!(signed, before_signature.concat(), "{id}");
            assert_eq!((&found.kind, &found.time), (&good.kind, &good.time), "{id}");
        }
    });
}
