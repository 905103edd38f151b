//! Every note there is, each provoked by a smallest input in which nothing is wrong.

use super::maker::der::tlv;
use super::maker::message::Message;
use super::maker::pki::{Plan, curve};
use super::maker::tar::Header;
use super::maker::{Device, T0, qr};
use super::{check_with, noted, settings};
use crate::verify::{NoteCode, verify_qr};
use std::collections::BTreeSet;

use NoteCode as N;

struct Case {
    code: NoteCode,
    bytes: Vec<u8>,
    is_partial: bool,
    also: &'static [NoteCode],
}

fn case(code: NoteCode, bytes: Vec<u8>) -> Case {
    Case {
        code,
        bytes,
        is_partial: false,
        also: &[],
    }
}

fn of(code: NoteCode, messages: &[Message]) -> Case {
    case(code, Device::new().archive(messages))
}

fn partial(code: NoteCode, messages: &[Message], also: &'static [NoteCode]) -> Case {
    Case {
        is_partial: true,
        also,
        ..of(code, messages)
    }
}

fn sequences() -> Vec<Case> {
    let [start, finish] = [Message::start(1, T0, 1), Message::finish(2, T0, 1)];
    vec![
        partial(
            N::CounterGap,
            &[Message::audit(1, T0), Message::audit(3, T0)],
            &[],
        ),
        of(N::LateStart, &[Message::audit(3, T0)]),
        of(N::OpenTransactions, std::slice::from_ref(&start)),
        partial(N::StartOutside, &[Message::finish(1, T0, 7)], &[]),
        of(
            N::StartsOvertaken,
            &[
                Message::start(1, T0, 2),
                Message::start(2, T0, 1),
                Message::finish(3, T0, 1),
                Message::finish(4, T0, 2),
            ],
        ),
        of(
            N::TransactionNumbersSkipped,
            &[
                start,
                finish,
                Message::start(3, T0, 3),
                Message::finish(4, T0, 3),
            ],
        ),
        of(
            N::TimeUnset,
            &[Message::start_audit(1, 0), Message::update_time(2, 0, T0)],
        ),
        partial(
            N::TimeBackwardsAcrossGap,
            &[Message::audit(1, T0), Message::audit(3, T0 - 1)],
            &[N::CounterGap],
        ),
    ]
}

fn archives() -> Vec<Case> {
    let audit = [Message::audit(1, T0)];
    let files = || Device::new().files(&audit);
    let stranger = Plan::authority("Stranger").issue(curve("secp384r1"), None);
    let (stranger_name, stranger_bytes) = stranger.file();
    let device = Device::new();
    let mut misnamed = device.files(&audit);
    misnamed
        .first(|name| name.starts_with(&device.chain[2].serial()))
        .0 = "CA_X509.cer".to_owned();
    let mut unquoted = files();
    unquoted.first(|name| name == "info.csv").1 = b"\"description:\", x\n".to_vec();
    let in_a_folder = |name: &str, size| Header::file(&format!("export/{name}"), size);
    let one_part = [&[0xA2, 0x80][..], &tlv(0x04, b"x"), &[0, 0]].concat();
    let start = Message {
        process_data: Some(one_part),
        ..Message::start(1, T0, 1)
    };
    let external = Message {
        external: tlv(0x84, b"x"),
        ..Message::start(1, T0, 1)
    };
    let finish = Message::finish(2, T0, 1);
    vec![
        of(
            N::ClientUnregistered,
            &[Message::start(1, T0, 1), Message::finish(2, T0, 1)],
        ),
        of(
            N::EventAfterDisable,
            &[
                Message::disable(1, T0),
                Message::system(2, T0, "exitSecureState", Vec::new()),
            ],
        ),
        of(N::ChainUnanchored, &audit),
        of(N::RevocationUnchecked, &audit),
        case(
            N::CertificateUnused,
            files().with(&stranger_name, &stranger_bytes).tar(),
        ),
        case(N::IssuerFileName, misnamed.tar()),
        case(N::InfoForm, unquoted.tar()),
        case(N::Repacked, files().tar_with(in_a_folder)),
        of(N::Deviation, &[start, finish.clone()]),
        of(N::AdditionalData, &[external, finish]),
        of(
            N::EventUnknown,
            &[Message::system(1, T0, "addClients", Vec::new())],
        ),
    ]
}

/// Notes whose smallest input has transactions from the beginning, of a client that nothing registers.
const TRANSACTIONS: [NoteCode; 6] = [
    N::OpenTransactions,
    N::StartsOvertaken,
    N::TransactionNumbersSkipped,
    N::Deviation,
    N::AdditionalData,
    N::ClientUnregistered,
];
/// Notes that every archive has while nobody is trusted.
const ALWAYS: [NoteCode; 2] = [N::ChainUnanchored, N::RevocationUnchecked];
/// Notes that every code has whose signature is good.
const ALWAYS_QR: [NoteCode; 3] = [N::KeyUnconfirmed, N::StartNotSigned, N::SignedAs];

#[test]
fn every_note_is_provoked_by_a_smallest_input() {
    let mut provoked = BTreeSet::from(ALWAYS_QR);
    for case in sequences().into_iter().chain(archives()) {
        let report = check_with(&case.bytes, &settings().partial(case.is_partial));
        assert_eq!(report.findings, [], "{:?}", case.code);
        assert_eq!(report.signatures_valid, report.logs);
        // Few of these archives have room for a registration.
        let unregistered = noted(&report).contains(&N::ClientUnregistered);
        let has_transactions = TRANSACTIONS.contains(&case.code);
        assert_eq!(unregistered, has_transactions, "{:?}", case.code);
        let own = has_transactions.then_some(N::ClientUnregistered);
        let also = case.also.iter().copied().chain(own);
        let expected: BTreeSet<_> = also.chain(ALWAYS).chain([case.code]).collect();
        assert_eq!(noted(&report), expected, "{:?}", case.code);
        provoked.insert(case.code);
    }
    for (data, extra) in [
        ("Beleg^1.19_0.00_0.00_0.00_0.00^1.19:Bar", None),
        ("Beleg^1.19", Some(N::ProcessData)),
    ] {
        let text = qr::receipt(&Device::new().signer, data, T0, T0);
        let report = verify_qr(&text).unwrap();
        assert!(report.signature_valid);
        assert_eq!(report.findings, []);
        let notes: BTreeSet<_> = report.notes.iter().map(|note| note.code).collect();
        let expected: BTreeSet<_> = ALWAYS_QR.into_iter().chain(extra).collect();
        assert_eq!(notes, expected);
        provoked.extend(extra);
    }
    assert_eq!(provoked, NoteCode::ALL.iter().copied().collect());
}

#[test]
fn codes_are_written_once() {
    let codes: BTreeSet<_> = NoteCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes.len(), NoteCode::ALL.len());
}
