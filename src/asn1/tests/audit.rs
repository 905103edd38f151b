//! Our seAuditData.

use super::vectors::{audit_record, bytes, lines};
use crate::asn1::{AuditDetail, AuditRecord, ReadKind, WriteError, assemble, read};
use crate::terms::SeTime;

#[test]
fn audit_records_come_back_from_the_vectors() {
    let mut read_back = 0;
    for line in &lines("events.jsonl") {
        let expected = &line["content"]["audit"];
        if expected.is_null() {
            continue;
        }
        let message = assemble(&bytes(&line["signed"]).unwrap(), b"").unwrap();
        let ReadKind::Audit { se_audit_data } = read(&message).unwrap().kind else {
            panic!("{line}");
        };
        let record = AuditRecord::from_der(&se_audit_data);
        assert_eq!(record, Some(audit_record(expected)));
        read_back += 1;
    }
    assert_eq!(read_back, 4);
}

#[test]
fn audit_data_of_other_makers_is_nobodys_record() {
    let ours = record("x").to_der().unwrap();
    assert!(AuditRecord::from_der(&ours).is_some());
    for cut in 0..ours.len() {
        assert_eq!(AuditRecord::from_der(&ours[..cut]), None);
    }
    let mut next_version = ours.clone();
    next_version[4] = 2;
    assert_eq!(AuditRecord::from_der(&next_version), None);
    assert_eq!(AuditRecord::from_der(&[ours, vec![0]].concat()), None);
}

#[test]
fn audit_texts_that_are_not_printable_are_refused() {
    let refused = |field| Err(WriteError::NotPrintable { field });
    assert_eq!(record("a_b").to_der(), refused("event"));
    let mut bad_detail = record("x");
    bad_detail.details[0].name = "ä".into();
    assert_eq!(bad_detail.to_der(), refused("name"));
}

fn record(event: &str) -> AuditRecord {
    AuditRecord {
        event: event.into(),
        time_of_event: SeTime::UNSET,
        details: vec![AuditDetail {
            name: "slot".into(),
            value: "ä_;".into(),
        }],
    }
}
