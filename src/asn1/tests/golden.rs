//! Golden vectors both ways.

use super::vectors::{bytes, header, lines, optional_text, ours, text};
use crate::asn1::{
    Content, LogFileName, LogTime, ReadKind, SystemEvent, Tolerated, TransactionContent,
    TransactionPhase, WriteError, assemble, file_name, read, to_be_signed,
};
use crate::terms::{
    ClientSerial, LogFormat, ProcessData, ProcessType, SeTime, SerialNumber, TransactionNumber,
};
use openssl::{bn::BigNum, ec, ecdsa::EcdsaSig, hash, nid::Nid};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn our_messages_are_written_as_encoded_by_hand() {
    for vector in ours() {
        let id = &vector.id;
        let signed = to_be_signed(&vector.header, &vector.content);
        let Some(expected) = vector.signed else {
            let refusal = Err(WriteError::NotInFormat(vector.header.format));
            assert_eq!(signed, refusal, "{id}");
            continue;
        };
        assert_eq!(hex::encode(signed.unwrap()), hex::encode(&expected), "{id}");
        let name = file_name(&vector.header, &vector.content).unwrap();
        assert_eq!(Some(name.to_string()), vector.file_name, "{id}");
    }
}

#[test]
fn our_messages_are_read_without_anything_to_tolerate() {
    for vector in ours() {
        let Some(signed) = vector.signed else {
            continue;
        };
        let message = assemble(&signed, &[1; 96]).unwrap();
        let read = read(&message).unwrap();
        assert_eq!(read.tolerated, [], "{}", vector.id);
        assert_eq!(&message[read.signed_range.clone()], signed, "{}", vector.id);
        assert_eq!(read.signature, [1; 96]);
        assert_eq!(read.algorithm.known(), Some(vector.header.algorithm));
        assert!(!read.algorithm.has_parameters);
        let name = LogFileName::of_message(&read).unwrap();
        assert_eq!(Some(name.to_string()), vector.file_name, "{}", vector.id);
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

#[test]
fn there_is_a_vector_for_each_event_in_each_format() {
    let mut seen = BTreeSet::new();
    for vector in ours() {
        if let Content::System { event, .. } = &vector.content {
            let variant = format!("{event:?}");
            let variant = variant.split(' ').next().unwrap().to_owned();
            seen.insert((variant, vector.header.format));
        }
    }
    // 17 variants, counted in the enum, times two formats.
    assert_eq!(seen.len(), 34, "{seen:#?}");
}

#[test]
fn names_differ_between_formats_only_where_the_guidelines_do() {
    let both = |event: &SystemEvent| (event.name(LogFormat::V2), event.name(LogFormat::V3));
    let mut renamed = BTreeSet::new();
    for vector in ours() {
        if let Content::System { event, .. } = &vector.content {
            let (v2, v3) = both(event);
            if v2 != v3 {
                renamed.insert((v2, v3));
            }
        }
    }
    let expected = [
        (None, Some("setDescription")),
        (Some("deleteStoredData"), Some("deleteLogMessages")),
        (Some("unblockUser"), Some("unblockPin")),
    ];
    assert_eq!(renamed, BTreeSet::from(expected));
}

#[test]
fn messages_of_other_makers_are_read_as_printed() {
    let vectors = lines("foreign.jsonl");
    assert_eq!(vectors.len(), 8);
    for line in &vectors {
        let signed = bytes(&line["signed"]).unwrap();
        let signature = bytes(&line["signature"]).unwrap_or(vec![7; 96]);
        let message = assemble(&signed, &signature).unwrap();
        let read = read(&message).unwrap();
        let id = &line["id"];

        assert_eq!(read.version, 2, "{id}");
        assert_eq!(&message[read.signed_range.clone()], signed, "{id}");
        assert_eq!(read.signature, signature, "{id}");
        assert_eq!(
            read.serial_number.to_string(),
            text(&line["serial"]),
            "{id}"
        );
        assert_eq!(
            read.algorithm.known().unwrap().name(),
            text(&line["algorithm"])
        );
        assert_eq!(
            Some(read.signature_counter),
            line["signature_counter"].as_u64()
        );
        let time = match &line["time"]["utc"] {
            Value::String(utc) => LogTime::Utc(utc.clone()),
            _ => LogTime::Unix(line["time"]["unix"].as_i64().unwrap()),
        };
        assert_eq!(read.time, time, "{id}");
        check_content(&read.kind, &line["content"]);
        let left_out = line["content"]["transaction"]["process_type"].is_null()
            && line["content"]["transaction"].is_object();
        let tolerated: &[Tolerated] = if left_out {
            &[Tolerated::MissingProcessType]
        } else {
            &[]
        };
        assert_eq!(read.tolerated, tolerated, "{id}");

        let name = LogFileName::of_message(&read).unwrap();
        assert_eq!(name.to_string(), text(&line["file_name"]), "{id}");
        assert_eq!(text(&line["file_name"]).parse(), Ok(name), "{id}");
    }
}

#[track_caller]
fn check_content(kind: &ReadKind, expected: &Value) {
    match kind {
        ReadKind::Transaction {
            operation_type,
            client_id,
            process_data,
            process_type,
            additional_external_data,
            additional_internal_data,
            transaction_number,
        } => {
            let expected = &expected["transaction"];
            assert_eq!(*operation_type, text(&expected["operation_type"]));
            assert_eq!(*client_id, text(&expected["client_id"]));
            assert_eq!(hex::encode(process_data), text(&expected["process_data"]));
            assert_eq!(*process_type, optional_text(&expected["process_type"]));
            assert_eq!(
                (additional_external_data, additional_internal_data),
                (&None, &None)
            );
            assert_eq!(
                Some(*transaction_number),
                expected["transaction_number"].as_u64()
            );
        }
        ReadKind::System {
            event_type, data, ..
        } => {
            let expected = &expected["system"];
            assert_eq!(*event_type, text(&expected["event_type"]));
            assert_eq!(hex::encode(data), text(&expected["data"]));
        }
        ReadKind::Audit { .. } => panic!("no audit log among the vectors"),
    }
}

/// The receipts prove that what we sign is what others sign: the bytes come from our writer, the
/// signatures from their devices.
#[test]
fn signatures_of_other_makers_verify_over_what_we_write() {
    let mut verified = 0;
    for line in &lines("foreign.jsonl") {
        let id = &line["id"];
        let printed = bytes(&line["signed"]).unwrap();
        let writable = line["writable"].as_bool().unwrap();
        let signed = if writable {
            rewritten(line)
        } else {
            printed.clone()
        };
        assert_eq!(hex::encode(&signed), hex::encode(&printed), "{id}");
        if let Some(digest) = bytes(&line["signed_sha256"]) {
            assert_eq!(openssl::sha::sha256(&signed).to_vec(), digest, "{id}");
        }
        let Some(point) = bytes(&line["public_key"]) else {
            continue;
        };
        let serial = SerialNumber::of_public_point(&point);
        assert_eq!(serial.to_string(), text(&line["serial"]), "{id}");
        let (curve, signature) = (text(&line["curve"]), bytes(&line["signature"]).unwrap());
        let digest = match &*text(&line["algorithm"]) {
            "ecdsa-plain-SHA256" => hash::MessageDigest::sha256(),
            "ecdsa-plain-SHA384" => hash::MessageDigest::sha384(),
            other => panic!("{other}"),
        };
        assert!(
            verifies(&curve, &point, digest, &signed, &signature),
            "{id}"
        );
        let mut changed = signed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(
            !verifies(&curve, &point, digest, &changed, &signature),
            "{id}"
        );
        verified += 1;
    }
    assert_eq!(verified, 6);
}

fn rewritten(line: &Value) -> Vec<u8> {
    let header = header(line, LogFormat::V2, &line["time"]["unix"]);
    let facts = &line["content"]["transaction"];
    let content = if facts.is_object() {
        Content::Transaction(TransactionContent {
            phase: TransactionPhase::from_operation_type(&text(&facts["operation_type"])).unwrap(),
            client: ClientSerial::try_from(&*text(&facts["client_id"])).unwrap(),
            process_data: ProcessData::new(bytes(&facts["process_data"]).unwrap()),
            process_type: ProcessType::try_from(&*text(&facts["process_type"])).unwrap(),
            number: TransactionNumber::new(facts["transaction_number"].as_u64().unwrap()),
        })
    } else {
        // The printed data is `81 04 61 6E 92 9E`.
        Content::System {
            event: SystemEvent::DisableSecureElement {
                time_of_deactivation: SeTime::try_from(0x616E_929E).unwrap(),
            },
            origin: crate::asn1::Origin::IntegrationInterface,
            triggered_by: None,
        }
    };
    to_be_signed(&header, &content).unwrap()
}

pub fn verifies(
    curve: &str,
    point: &[u8],
    digest: hash::MessageDigest,
    signed: &[u8],
    signature: &[u8],
) -> bool {
    let nid = match curve {
        "secp256r1" => Nid::X9_62_PRIME256V1,
        "secp384r1" => Nid::SECP384R1,
        "brainpoolP384r1" => Nid::BRAINPOOL_P384R1,
        other => panic!("{other}"),
    };
    let group = ec::EcGroup::from_curve_name(nid).unwrap();
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let point = ec::EcPoint::from_bytes(&group, point, &mut context).unwrap();
    let key = ec::EcKey::from_public_key(&group, &point).unwrap();
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |half| BigNum::from_slice(half).unwrap();
    let signature = EcdsaSig::from_private_components(number(r), number(s)).unwrap();
    let digest = hash::hash(digest, signed).unwrap();
    signature.verify(&digest, &key).unwrap()
}
