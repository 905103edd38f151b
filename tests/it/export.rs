//! Exports of a real ledger: what is in them, which messages a filter takes, how the archive is built.

mod archive;
mod rig;

use openssl::hash::{MessageDigest, hash};
use rig::{DESCRIPTION, EXPIRY_S, Rig, START, Say, Till, till, time, wait_until};
use siegel::asn1;
use siegel::csp::check;
use siegel::export::{Archive, ExportError};
use siegel::ledger::ExportState;
use siegel::terms::{ExportId, LogFormat, SerialNumber};
use siegel::verify::{Settings, verify_archive};
use std::io::{Cursor, Read as _};
use std::num::NonZeroUsize;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: String,
    content: Vec<u8>,
    mtime: u64,
}

/// Reads an archive with a library.
pub fn members(bytes: &[u8]) -> Vec<Member> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        Member {
            name: String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
            content,
            mtime: entry.header().mtime().unwrap(),
        }
    };
    archive.entries().unwrap().map(read).collect()
}

/// Two tills, three transactions that overlap, system and audit messages between them:
///
/// | counter | message | seconds |
/// |---|---|---|
/// | 2 | system | 0 |
/// | 3 | start 1, A | 10 |
/// | 4 | start 2, B | 20 |
/// | 5 | audit | 30 |
/// | 6 | finish 1, A | 40 |
/// | 7 | system | 50 |
/// | 8 | update 2, B | 60 |
/// | 9 | start 3, A | 70 |
/// | 10 | finish 2, B | 80 |
/// | 11 | audit | 90 |
/// | 12 | finish 3, A | 100 |
/// | 13 | system | 110 |
pub fn two_tills() -> (Rig, Till, Till) {
    let mut rig = Rig::new(LogFormat::V2);
    let (a, b) = (till(0xa, "KASSE-A"), till(0xb, "KASSE-B"));
    for (step, say) in [
        Say::Start(&a, 1),
        Say::Start(&b, 2),
        Say::Audit,
        Say::Finish(&a, 1),
        Say::System,
        Say::Update(&b, 2),
        Say::Start(&a, 3),
        Say::Finish(&b, 2),
        Say::Audit,
        Say::Finish(&a, 3),
        Say::System,
    ]
    .iter()
    .enumerate()
    {
        rig.say(say, 10 * i64::try_from(step + 1).unwrap());
    }
    (rig, a, b)
}

#[test]
fn an_export_holds_info_chain_and_every_message_as_it_was_signed() {
    let (mut rig, ..) = two_tills();
    let row = rig.export("");
    let members = members(&rig.bytes(&row));
    assert_eq!(members[0].name, "info.csv");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(members[0].content.clone()).unwrap(),
        format!(
            "\"description:\",\"{}\",\"manufacturer:\",\"Siegel\",\"version:\",\
             \"{version} (nicht BSI-zertifiziert)\"",
            DESCRIPTION.replace('"', "\"\"")
        )
    );
    let chain = rig.store.chain(rig.tss).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[0].0, rig.serial_number);
    for (member, (serial, der)) in members[1..4].iter().zip(&chain) {
        // Each certificate is named by the hash of its own key (TR-03151-1 §2.5.4).
        let certificate = openssl::x509::X509::from_der(&member.content).unwrap();
        assert_eq!(member.name, format!("{}_X509.cer", of_key(&certificate)));
        assert_eq!((of_key(&certificate), &member.content), (*serial, der));
    }
    for (member, kept) in members[4..].iter().zip(&rig.kept) {
        assert_eq!(member.name, kept.name);
        assert_eq!(member.content, kept.der);
    }
    assert_eq!(members.len(), 4 + rig.kept.len());
    let asked_at = u64::try_from(START + 1000).unwrap();
    assert!(members.iter().all(|member| member.mtime == asked_at));
}

fn of_key(certificate: &openssl::x509::X509) -> SerialNumber {
    let key = certificate.public_key().unwrap().ec_key().unwrap();
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(key.group(), form, &mut context);
    SerialNumber::of_public_point(&point.unwrap())
}

#[test]
fn every_message_of_an_export_verifies_and_bears_its_own_name() {
    for format in [LogFormat::V2, LogFormat::V3] {
        let mut rig = Rig::new(format);
        let a = till(0xa, "KASSE 1 (links)");
        rig.say(&Say::Start(&a, 1), 1);
        rig.say(&Say::Audit, 2);
        rig.say(&Say::Finish(&a, 1), 3);
        let row = rig.export("");
        let logs: Vec<_> = members(&rig.bytes(&row)).split_off(4);
        assert_eq!(logs.len(), 4);
        for log in logs {
            let message = asn1::read(&log.content).unwrap();
            let name = asn1::LogFileName::of_message(&message).unwrap();
            assert_eq!(name.to_string(), log.name);
            let signed = &log.content[message.signed_range.clone()];
            let digest = hash(MessageDigest::sha256(), signed).unwrap();
            check::verify(&rig.key.public_key, &digest, &message.signature).unwrap();
        }
    }
}

#[test]
fn the_checker_finds_nothing_in_an_export_of_ours_and_something_in_a_changed_one() {
    let (mut rig, ..) = two_tills();
    let mut settings = Settings::new(NonZeroUsize::MIN);
    let chain = rig.store.chain(rig.tss).unwrap();
    settings.trust("root", &chain[2].1).unwrap();
    let row = rig.export("");
    let mut bytes = rig.bytes(&row);
    let report = verify_archive(Cursor::new(&bytes), &settings).unwrap();
    assert_eq!(report.findings, [], "{:?}", report.notes);
    assert_eq!((report.logs, report.signatures_valid), (12, 12));

    let row = rig.export("transaction_number=2");
    let partial = rig.bytes(&row);
    let settings = settings.partial(true);
    let report = verify_archive(Cursor::new(&partial), &settings).unwrap();
    assert_eq!(report.findings, [], "{:?}", report.notes);
    assert_eq!((report.logs, report.signatures_valid), (5, 5));

    let at = bytes
        .windows(3)
        .rposition(|window| window == b"Bar")
        .unwrap();
    bytes[at] = b'C';
    let report = verify_archive(Cursor::new(&bytes), &settings).unwrap();
    assert_eq!((report.logs, report.signatures_valid), (12, 11));
    assert!(!report.findings.is_empty());
}

#[test]
fn info_of_version_3_names_the_components() {
    let mut rig = Rig::new(LogFormat::V3);
    let row = rig.export("");
    let info = members(&rig.bytes(&row)).swap_remove(0).content;
    let info = String::from_utf8(info).unwrap();
    let components: Vec<_> = info
        .lines()
        .filter_map(|line| line.strip_prefix("\"component:\",\""))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    // Rule E-7: in this order.
    let expected = ["device", "storage", "integration-interface", "CSP", "SMA"];
    assert_eq!(components, expected);
    assert!(!info.contains('\r'));
}

#[test]
fn filters_take_the_messages_that_the_guideline_says() {
    let (mut rig, a, b) = two_tills();
    let (a, b) = (a.id, b.id);
    let all = (2..=13).collect::<Vec<u64>>();
    let cases: &[(String, &[u64])] = &[
        (String::new(), &all),
        // One transaction, and what is no transaction between its first and last message.
        ("transaction_number=1".into(), &[3, 5, 6]),
        ("transaction_number=2".into(), &[4, 5, 7, 8, 10]),
        (
            format!("client_id={b}&transaction_number=2"),
            &[4, 5, 7, 8, 10],
        ),
        // A range of numbers leaves no gap between its ends, ...
        (
            "start_transaction_number=1&end_transaction_number=2".into(),
            &[3, 4, 5, 6, 7, 8, 9, 10],
        ),
        ("start_transaction_number=3".into(), &[9, 10, 11, 12]),
        ("end_transaction_number=1".into(), &[3, 4, 5, 6]),
        // ... but of a client only its own.
        (
            format!("client_id={a}&start_transaction_number=1&end_transaction_number=3"),
            &[3, 5, 6, 7, 9, 11, 12],
        ),
        (format!("client_id={a}"), &[3, 5, 6, 7, 9, 11, 12]),
        (format!("client_id={b}"), &[4, 5, 7, 8, 10]),
        // Dates are inclusive, and one of them may be left open.
        (
            format!("start_date={}&end_date={}", START + 30, START + 60),
            &[5, 6, 7, 8],
        ),
        (format!("start_date={}", START + 100), &[12, 13]),
        (format!("end_date={}", START + 10), &[2, 3]),
        (
            format!(
                "client_id={a}&start_date={}&end_date={}",
                START + 30,
                START + 80
            ),
            &[5, 6, 7, 9],
        ),
        // So are signature counters.
        (
            "start_signature_counter=5&end_signature_counter=7".into(),
            &[5, 6, 7],
        ),
        ("start_signature_counter=12".into(), &[12, 13]),
        (
            "transaction_number=2&end_signature_counter=8".into(),
            &[4, 5, 7, 8],
        ),
        ("end_signature_counter=1".into(), &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(rig.counters(filter), *expected, "{filter}");
    }
}

#[test]
fn an_export_without_data_says_why() {
    let (mut rig, a, _) = two_tills();
    let (a, nobody) = (a.id, till(0xc, "KASSE-C").id);
    let no_transaction = "E_TRANSACTION_ID_NOT_FOUND";
    let no_client = "E_ID_NOT_FOUND";
    for (filter, exception) in [
        ("transaction_number=4".to_owned(), no_transaction),
        ("start_transaction_number=4".to_owned(), no_transaction),
        (format!("client_id={nobody}"), no_client),
        // Transaction 2 exists, only not at this client.
        (format!("client_id={a}&transaction_number=2"), no_client),
        (
            format!("client_id={a}&transaction_number=9"),
            no_transaction,
        ),
        (format!("start_date={}", START + 111), "E_NO_DATA_AVAILABLE"),
        ("maximum_number_records=11".to_owned(), "E_TOO_MANY_RECORDS"),
        (
            "transaction_number=2&maximum_number_records=4".to_owned(),
            "E_TOO_MANY_RECORDS",
        ),
    ] {
        assert_eq!(rig.exception(&filter), exception, "{filter}");
    }
    // As many as allowed are not too many.
    assert_eq!(rig.counters("maximum_number_records=12").len(), 12);
    let filter = "transaction_number=2&maximum_number_records=5";
    assert_eq!(rig.counters(filter).len(), 5);
}

#[test]
fn what_is_signed_after_the_request_does_not_belong_to_it() {
    let (mut rig, a, _) = two_tills();
    let row = rig.request("", 500);
    let client = rig.request(&format!("client_id={}", a.id), 500);
    rig.say(&Say::Start(&a, 4), 600);
    rig.say(&Say::System, 601);
    let last = |bytes: &[u8]| members(bytes).pop().unwrap().name;
    let row = rig.work(row.id);
    let before = rig.bytes(&row);
    assert!(last(&before).contains("_Sig-13_"));
    let client = rig.work(client.id);
    assert!(last(&rig.bytes(&client)).contains("_Sig-12_"));
    assert_eq!(client.counter_at_request.value(), 13);
    assert_eq!(rig.counter().value(), 15);
    // The same bytes again, and after a restart.
    rig.say(&Say::Finish(&a, 4), 700);
    assert_eq!(rig.bytes(&row), before);
    let rig = rig.restart();
    let row = rig.store.export(rig.tss, row.id).unwrap().unwrap();
    assert_eq!(rig.bytes(&row), before);
}

#[test]
fn a_completed_export_tells_when_and_until_when() {
    let (mut rig, ..) = two_tills();
    let row = rig.export("");
    assert_eq!(row.state, ExportState::Completed);
    assert_eq!(row.messages, Some(12));
    // The clock of these tests stands still.
    assert_eq!(row.time_start, Some(time(0)));
    assert_eq!(row.time_end, Some(time(0)));
    assert_eq!(row.time_expiration, Some(time(i64::from(EXPIRY_S))));
    assert_eq!((row.time_error, row.exception), (None, None));
}

#[test]
fn work_that_a_restart_interrupted_is_done_again() {
    let (mut rig, ..) = two_tills();
    let id = rig.request("", 500).id;
    let taken = rig.store.take_pending_export(time(0)).unwrap().unwrap();
    assert_eq!((taken.id, taken.state), (id, ExportState::Working));
    assert_eq!(rig.store.take_pending_export(time(0)).unwrap(), None);
    let rig = rig.restart();
    let row = rig.work(id);
    assert_eq!(row.state, ExportState::Completed);
    assert_eq!(members(&rig.bytes(&row)).len(), 4 + 12);
}

#[test]
fn a_cancelled_export_stays_cancelled() {
    let (mut rig, ..) = two_tills();
    let mut cancelled = rig.request("", 500);
    let next = rig.request("transaction_number=1", 501).id;
    cancelled.state = ExportState::Cancelled;
    let from = ExportState::Pending;
    assert!(rig.store.update_export(from, &cancelled).unwrap());
    // The worker takes the oldest first, so it has been past the other one.
    assert_eq!(rig.work(next).state, ExportState::Completed);
    let row = rig.store.export(rig.tss, cancelled.id).unwrap().unwrap();
    assert_eq!(row.state, ExportState::Cancelled);
    assert!(matches!(
        Archive::new(rig.store.clone(), row),
        Err(ExportError::NotComplete)
    ));
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error_and_holds_nobody_up() {
    let (mut rig, ..) = two_tills();
    let mut odd = rig.request("", 500);
    odd.id = ExportId::new(uuid::Uuid::from_u128(99));
    odd.filter = "colour=red".to_owned();
    odd.time_request = time(0);
    rig.store.add_export(&odd).unwrap();
    let row = rig.work(odd.id);
    assert_eq!(row.state, ExportState::Error);
    assert_eq!(row.exception.as_deref(), Some("E_BAD_REQUEST"));
    assert_eq!(rig.export("").state, ExportState::Completed);
}

#[test]
fn an_export_that_meets_an_error_of_the_ledger_is_tried_again_and_holds_nobody_up() {
    let (mut rig, ..) = two_tills();
    let unlucky = rig.request("", 500).id;
    let next = rig.request("transaction_number=1", 501).id;
    // Whoever counts messages now gets an error; that exports were taken is counted by the database.
    rig.damage(
        "ALTER TABLE log_message RENAME TO log_message_away;
         CREATE TABLE taken (id TEXT NOT NULL);
         CREATE TRIGGER count_taken AFTER UPDATE OF state ON export WHEN NEW.state = 'WORKING'
         BEGIN INSERT INTO taken VALUES (NEW.id); END;",
    );
    let state = |rig: &Rig, id| rig.store.export(rig.tss, id).unwrap().unwrap();
    let worker = rig.worker();
    for id in [unlucky, next] {
        wait_until("it was taken", || rig.taken(id) > 0);
        wait_until("it is pending again", || {
            let row = state(&rig, id);
            // The clock stands still, so nothing ever counts as left behind.
            row.state == ExportState::Pending && row.time_start.is_none()
        });
    }
    rig.damage("ALTER TABLE log_message_away RENAME TO log_message; DROP TRIGGER count_taken;");
    worker.wake();
    wait_until("both have ended", || {
        [unlucky, next].map(|id| state(&rig, id).state)
            == [ExportState::Completed, ExportState::Completed]
    });
    worker.stop();
    let row = state(&rig, unlucky);
    assert_eq!(row.messages, Some(12));
    assert_eq!(members(&rig.bytes(&row)).len(), 4 + 12);
}
