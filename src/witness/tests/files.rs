//! Node files, whole and cut.

use super::{TOKEN, mark, tss};
use crate::ledger::lane::SignedKind;
use crate::ledger::{Fresh, ReleasedMessage, SignedMessage};
use crate::sma::TransactionState;
use crate::terms::{
    ClientId, ClientSerial, Revision, SeTime, SignatureCounter, TransactionId, TransactionNumber,
};
use crate::witness::file::{self, Content, FileError, NodeFile};
use std::collections::BTreeMap;
use std::fs;
use uuid::Uuid;

fn released(counter: u64) -> ReleasedMessage {
    ReleasedMessage {
        tss: tss(1),
        message: SignedMessage {
            signature_counter: SignatureCounter::new(counter),
            log_time: SeTime::try_from(1_800_000_000).unwrap(),
            file_name: format!("{counter}.log"),
            kind: SignedKind::Transaction {
                number: TransactionNumber::new(counter),
                revision: Revision::new(1),
                client: ClientId::new(Uuid::from_u128(5)),
                client_serial: ClientSerial::try_from("KASSE-1").unwrap(),
            },
            der: vec![0x30, 0, 255],
        },
        transaction: Some(TransactionId::new(Uuid::from_u128(6))),
        request_digest: Some([1; 32]),
        state: Some(TransactionState::Active),
        clients: Vec::new(),
    }
}

#[test]
fn a_node_file_comes_back_as_it_was_written_however_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.witness");
    assert_eq!(file::read(&path).unwrap(), None);
    let begun = Content {
        ledger: "one".to_owned(),
        node: "node".to_owned(),
        ..Content::default()
    };
    let lock = file::lock(&path).unwrap().expect("nobody has it");
    assert!(
        file::lock(&path).unwrap().is_none(),
        "one process at a time"
    );
    let mut kept = NodeFile::begin(&path, lock, &begun).unwrap();
    let totals = BTreeMap::from([(TOKEN.to_owned(), 9)]);
    for counter in 2..6 {
        let fresh = Fresh {
            marks: BTreeMap::from([(tss(1), mark(1, counter, 3))]),
            messages: vec![released(counter)],
        };
        kept.add(&fresh, &totals, BTreeMap::new).unwrap();
    }
    let whole = file::read(&path).unwrap().unwrap();
    assert_eq!(whole.marks[&tss(1)], mark(1, 5, 3));
    assert_eq!(whole.messages, (2..6).map(released).collect::<Vec<_>>());
    assert_eq!((&whole.totals, whole.lines_damaged), (&totals, 0));
    drop(kept);
    // Begun again, it says the same.
    let lock = file::lock(&path).unwrap().expect("it was let go");
    drop(NodeFile::begin(&path, lock, &whole).unwrap());
    assert_eq!(file::read(&path).unwrap().unwrap(), whole);

    let bytes = fs::read(&path).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    for length in first..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let cut = file::read(&path).unwrap().unwrap();
        assert!(cut.lines_damaged <= 1);
        assert!(whole.messages.starts_with(&cut.messages));
    }
    // A line that was touched does not count.
    let text = String::from_utf8(bytes).unwrap();
    fs::write(
        &path,
        text.replace("\"signature_counter\":5", "\"signature_counter\":6"),
    )
    .unwrap();
    let touched = file::read(&path).unwrap().unwrap();
    assert_eq!(touched.lines_damaged, 2);
    fs::write(&path, "nothing of ours").unwrap();
    file::read(&path).unwrap_err();
}

#[test]
fn what_is_no_node_file_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.tar");
    // Larger than any memory, and without a line.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(file::read(&path), Err(FileError::NoNodeFile)));
}
