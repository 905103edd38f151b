//! The modules in `schema/asn1` and what we write say the same.

mod notation;

use super::properties::{audit_records, contents, has_a_form, headers};
use super::{tlv, vectors, written};
use crate::asn1::{Content, ReadEvent, ReadKind, SystemEvent, assemble, read};
use crate::terms::{LogFormat, Role, SignatureAlgorithm};
use notation::{Schema, take};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::OnceLock;

fn modules(names: &[&str]) -> Schema {
    let mut schema = Schema::default();
    for name in names {
        let path = format!("{}/schema/asn1/{name}.asn", env!("CARGO_MANIFEST_DIR"));
        schema.add(&std::fs::read_to_string(path).unwrap());
    }
    schema
}

fn schema(format: LogFormat) -> &'static Schema {
    static V2: OnceLock<Schema> = OnceLock::new();
    static V3: OnceLock<Schema> = OnceLock::new();
    match format {
        LogFormat::V2 => V2.get_or_init(|| modules(&["LogMessageCommon", "LogMessageV2"])),
        LogFormat::V3 => V3.get_or_init(|| modules(&["LogMessageCommon", "LogMessageV3"])),
    }
}

/// How the type of an event's content is named after the event.
fn content_type(format: LogFormat, event: &str) -> String {
    let (first, rest) = event.split_at(1);
    let ending = match format {
        LogFormat::V2 => "OperationData",
        LogFormat::V3 => "EventData",
    };
    format!("{}{rest}{ending}", first.to_ascii_uppercase())
}

/// Holds a message against the module of its format, and a system event against the type of its name.
fn check(format: LogFormat, message: &[u8]) -> Result<(), String> {
    let schema = schema(format);
    let (_, mut rest, _) = take(message)?;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (tag, content, after) = take(rest)?;
        elements.push((tag, content));
        rest = after;
    }
    let kind = match elements.get(1).and_then(|(_, oid)| oid.last()) {
        Some(1) => "TransactionLogMessage",
        Some(2) => "SystemLogMessage",
        Some(3) => "AuditLogMessage",
        other => return Err(format!("certifiedDataType {other:?}")),
    };
    schema.check(kind, message)?;
    if kind != "SystemLogMessage" {
        return Ok(());
    }
    let content = |wanted: u8| {
        let found = elements.iter().find(|(tag, _)| *tag == wanted);
        found.map(|(_, content)| *content).unwrap()
    };
    let event = std::str::from_utf8(content(0x80)).unwrap();
    let data = match format {
        LogFormat::V2 => content(0x81),
        LogFormat::V3 => content(0xA3),
    };
    let name = content_type(format, event);
    if !schema.types.contains_key(&name) {
        return Err(format!("no type {name}"));
    }
    schema.check(&name, &tlv(0x30, data))
}

#[test]
fn every_vector_follows_the_schema() {
    let mut events = BTreeSet::new();
    for vector in vectors::ours() {
        let Some(signed) = &vector.signed else {
            continue;
        };
        let format = vector.header.format;
        let message = assemble(signed, &[0x5A; 64]).unwrap();
        check(format, &message).unwrap_or_else(|problem| panic!("{}: {problem}", vector.id));
        if let Content::System { event, .. } = &vector.content {
            events.insert((format.as_str(), event.name(format).unwrap()));
        }
    }
    // 16 events in version 2 and one more in version 3.
    assert_eq!(events.len(), 33, "{events:?}");
}

#[test]
fn a_message_that_was_tampered_with_does_not_follow_the_schema() {
    for vector in vectors::ours() {
        let Some(signed) = &vector.signed else {
            continue;
        };
        let format = vector.header.format;
        let other = match format {
            LogFormat::V2 => LogFormat::V3,
            LogFormat::V3 => LogFormat::V2,
        };
        let message = assemble(signed, &[0x5A; 64]).unwrap();
        assert!(check(other, &message).is_err(), "{}", vector.id);
        let mut longer = signed.clone();
        longer.extend([0x05, 0x00]);
        assert!(check(format, &assemble(&longer, &[]).unwrap()).is_err());
        // Without each of its elements in turn; only these may be missing.
        let (mut rest, mut before) = (signed.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (tag, _, after) = take(rest).unwrap();
            let without = [&before, after].concat();
            let outcome = check(format, &assemble(&without, &[]).unwrap());
            let is_optional = match (&vector.content, format) {
                (Content::Transaction(_), LogFormat::V2) => tag == 0x83,
                (Content::System { .. }, LogFormat::V3) => tag == 0x82,
                (
                    Content::Transaction(_) | Content::System { .. } | Content::Audit { .. },
                    LogFormat::V2 | LogFormat::V3,
                ) => false,
            };
            assert_eq!(outcome.is_ok(), is_optional, "{} {tag:02x}", vector.id);
            before.extend(&rest[..rest.len() - after.len()]);
            rest = after;
        }
    }
}

/// Long texts are refused before they get here.
fn is_short(content: &Content) -> bool {
    !matches!(
        content,
        Content::System { event: SystemEvent::SetDescription { description }, .. }
            if description.len() > 64
    )
}

proptest! {
    #[test]
    fn everything_we_write_follows_the_schema(header in headers(), content in contents()) {
        prop_assume!(has_a_form(&header, &content) && is_short(&content));
        let message = written(&header, &content);
        let outcome = check(header.format, &message);
        prop_assert!(outcome.is_ok(), "{outcome:?}");
    }

    #[test]
    fn our_audit_data_follows_the_schema(record in audit_records()) {
        let schema = modules(&["SiegelAuditData"]);
        let der = record.to_der().unwrap();
        prop_assert_eq!(schema.check("SiegelAuditData", &der), Ok(()));
        let mut newer = der.clone();
        let version = newer.iter().position(|byte| *byte == 0x01).unwrap();
        newer[version] = 0x02;
        prop_assert!(schema.check("SiegelAuditData", &newer).is_err());
    }
}

/// The events of the schema are those the reader knows, and the other way round.
#[test]
fn the_reader_knows_every_event_of_the_schema() {
    for format in [LogFormat::V2, LogFormat::V3] {
        let mut known = 0;
        let ending = content_type(format, "x").split_off(1);
        for name in schema(format).types.keys() {
            let Some(event) = name.strip_suffix(&ending).filter(|event| !event.is_empty()) else {
                continue;
            };
            let (first, rest) = event.split_at(1);
            let event = format!("{}{rest}", first.to_ascii_lowercase());
            assert!(
                !matches!(read_event(format, &event), ReadEvent::Unknown),
                "{event}"
            );
            known += 1;
        }
        assert_eq!(
            known,
            match format {
                LogFormat::V2 => 19,
                LogFormat::V3 => 20,
            }
        );
        assert!(matches!(
            read_event(format, "noSuchEvent"),
            ReadEvent::Unknown
        ));
    }
}

/// What the reader makes of an event of this name without content.
fn read_event(format: LogFormat, event: &str) -> ReadEvent {
    let header = super::a_header(format);
    let start = Content::System {
        event: SystemEvent::StartAudit,
        origin: crate::asn1::Origin::Sma,
        triggered_by: Some(Role::Admin),
    };
    let signed = crate::asn1::to_be_signed(&header, &start).unwrap();
    let named = tlv(0x80, b"startAudit");
    let at = signed
        .windows(named.len())
        .position(|window| window == named)
        .unwrap();
    let (before, after) = signed.split_at(at);
    let renamed = [before, &tlv(0x80, event.as_bytes()), &after[named.len()..]].concat();
    match read(&assemble(&renamed, &[0x5A; 64]).unwrap())
        .unwrap()
        .kind
    {
        ReadKind::System { event, .. } => event,
        other @ (ReadKind::Transaction { .. } | ReadKind::Audit { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn the_algorithms_of_the_schema_are_ours() {
    for format in [LogFormat::V2, LogFormat::V3] {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(schema(format).dotted(algorithm.name()), algorithm.oid());
        }
    }
}
