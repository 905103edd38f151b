//! Exports: triggered, watched, downloaded, cancelled.

use super::client::{Answer, Till, eightfold, keys, new_id, order, wait_for};
use crate::support::server::{START_S, TestServer, on_both, shared};
use serde_json::{Value, json};
use siegel::ledger::{ExportRow, ExportState};
use siegel::terms::{ExportId, ExportRequest, SeTime, SignatureCounter, TssId};
use siegel::verify::{ArchiveReport, Settings, verify_archive, verify_qr};
use std::io::Cursor;
use std::num::NonZeroUsize;

const PENDING: [&str; 8] = [
    "state",
    "time_request",
    "metadata",
    "tss_id",
    "_type",
    "_id",
    "_env",
    "_version",
];

/// An export and its paths.
pub struct Export<'t> {
    till: &'t Till,
    id: String,
}

impl<'t> Export<'t> {
    pub fn new(till: &'t Till) -> Self {
        Self { till, id: new_id() }
    }

    fn path(&self, rest: &str) -> String {
        self.till.path(&format!("/export/{}{rest}", self.id))
    }

    fn trigger(&self, query: &str) -> Answer {
        self.till.api.put(&self.path(query), &json!({}))
    }

    fn ended(&self) -> Value {
        wait_for("the end of an export", || {
            let answer = self.till.api.get(&self.path("")).ok();
            let running = ["PENDING", "WORKING"].contains(&answer["state"].as_str().unwrap());
            (!running).then_some(answer)
        })
    }

    /// Triggers, waits, downloads.
    pub fn bytes(&self, query: &str) -> Vec<u8> {
        self.trigger(query).ok();
        assert_eq!(self.ended()["state"], "COMPLETED", "{query}");
        let answer = self.till.api.get(&self.path("/file"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.bytes
    }

    /// The exception it ends with.
    fn exception(&self, query: &str) -> String {
        self.trigger(query).ok();
        let ended = self.ended();
        assert_eq!(ended["state"], "ERROR", "{query}");
        ended["exception"].as_str().unwrap().to_owned()
    }
}

fn verified(bytes: &[u8], is_partial: bool) -> ArchiveReport {
    let settings = Settings::new(NonZeroUsize::MIN).partial(is_partial);
    let report = verify_archive(Cursor::new(bytes), &settings).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs, report.signatures_valid);
    report
}

/// An export that is at work and that no worker is going to end.
fn stuck(server: &TestServer, till: &Till, filters: &[(&str, &str)]) -> String {
    stuck_with(server, till, filters, 1_000_000)
}

/// The same with so many messages to look at.
fn stuck_with(server: &TestServer, till: &Till, filters: &[(&str, &str)], messages: u64) -> String {
    let id = new_id();
    let tss: TssId = till.tss.parse().unwrap();
    let time = |seconds| SeTime::try_from(seconds).unwrap();
    let filter = ExportRequest::from_pairs(filters.iter().copied()).unwrap();
    let store = server.store();
    let row = ExportRow {
        tss,
        id: id.parse::<ExportId>().unwrap(),
        state: ExportState::Working,
        filter: filter.to_string(),
        selection: None,
        messages: None,
        messages_max: 10,
        counter_at_request: SignatureCounter::new(messages),
        time_request: time(server.now_s()),
        info_csv: Vec::new(),
        certificates: Vec::new(),
        time_start: Some(time(server.now_s())),
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: siegel::sma::Metadata::default(),
    };
    store.add_export(&row).unwrap();
    id
}

#[test]
fn an_export_is_answered_as_recorded_and_verifies() {
    on_both(|server| {
        let till = Till::new(server);
        till.sell();
        let tx = till.start();
        till.step(&tx, 2, "CANCELLED", Some(order())).ok();
        till.log_out().ok();
        let export = Export::new(&till);
        let answer = till.signing(0, || export.trigger("").ok());
        assert_eq!(keys(&answer), PENDING);
        assert_eq!(
            answer,
            json!({
                "state": "PENDING",
                "time_request": START_S,
                "metadata": {},
                "tss_id": till.tss,
                "_type": "EXPORT",
                "_id": export.id,
                "_env": "TEST",
                "_version": "2.2.2",
            })
        );
        let ended = till.signing(0, || export.ended());
        assert_eq!(
            keys(&ended),
            [
                "state",
                "time_request",
                "time_start",
                "time_end",
                "time_expiration",
                "metadata",
                "tss_id",
                "_type",
                "_id",
                "_env",
                "_version",
            ]
        );
        assert_eq!(ended["state"], "COMPLETED");
        assert_eq!(ended["time_expiration"], START_S + 28 * 86_400);

        for accept in [
            "application/octet-stream",
            "application/json",
            "text/html;q=0.1",
        ] {
            let path = export.path("/file");
            let file = till.api.call("GET", &path, None, &[("accept", accept)]);
            assert_eq!(file.status, 200);
            assert_eq!(file.header("content-type"), Some("application/x-tar"));
            let report = verified(&file.bytes, false);
            // All but the certificate request.
            assert_eq!(report.logs, till.api.counter(&till.tss) - 1);
        }
        let first = till.api.get(&export.path("/file")).bytes;
        till.sell();
        assert_eq!(
            till.api.get(&export.path("/file")).bytes,
            first,
            "what is sold later does not change it"
        );
    });
}

#[test]
fn an_export_needs_a_tss_that_was_initialized() {
    let till = Till::created(shared());
    let code = "E_TSS_ILLEGAL_STATE_TO_PERFORM_EXPORT";
    Export::new(&till).trigger("").refused(409, code);
    till.state("UNINITIALIZED").ok();
    Export::new(&till).trigger("").refused(409, code);
    till.set_pin(&till.puk, "123456").ok();
    till.log_in("123456").ok();
    till.state("INITIALIZED").ok();
    verified(&Export::new(&till).bytes(""), false);
    till.state("DISABLED").ok();
    let report = verified(&Export::new(&till).bytes(""), false);
    assert_eq!(report.logs, till.api.counter(&till.tss) - 1);
}

#[test]
fn a_defective_tss_can_be_exported() {
    let server = shared();
    let till = Till::new(server);
    till.sell();
    super::tss::declare_defective(server, &till);
    verified(&Export::new(&till).bytes(""), false);
}

#[test]
fn every_format_and_curve_gives_receipts_and_exports_that_verify() {
    for (format, curve, algorithm) in [
        ("v3", "secp256r1", "ecdsa-plain-SHA256"),
        ("v2", "secp384r1", "ecdsa-plain-SHA384"),
        ("v3", "brainpoolP256r1", "ecdsa-plain-SHA256"),
        ("v2", "brainpoolP384r1", "ecdsa-plain-SHA384"),
    ] {
        let server = TestServer::builder()
            .section(&format!("[api]\nlog_format = \"{format}\""))
            .curve(curve)
            .pool_target(1)
            .start();
        let till = Till::new(&server);
        let sold = till.sell();
        assert_eq!(sold["signature"]["algorithm"], algorithm);
        let code = verify_qr(sold["qr_code_data"].as_str().unwrap()).unwrap();
        assert!(code.signature_valid, "{format} {curve}");
        let tss = till.api.get(&till.path("")).ok();
        assert_eq!(tss["signature_algorithm"], algorithm);
        let report = verified(&Export::new(&till).bytes(""), false);
        assert_eq!(report.logs, till.api.counter(&till.tss) - 1);
    }
}

#[test]
fn filters_choose_what_is_exported() {
    on_both(|server| {
        let till = Till::new(server);
        let second = new_id();
        till.register_as(&second, "KASSE-2").ok();
        let (first_time, counter) = (START_S, till.api.counter(&till.tss));
        for _ in 0..3 {
            till.sell();
        }
        let logs = |query: &str| verified(&Export::new(&till).bytes(query), true).logs;
        assert_eq!(logs("?transaction_number=2"), 2);
        assert_eq!(
            logs("?start_transaction_number=2&end_transaction_number=3"),
            4
        );
        assert_eq!(logs("??end_transaction_number=1"), 2);
        assert_eq!(
            logs(&format!("?start_signature_counter={}", counter + 3)),
            4
        );
        assert_eq!(
            logs("?start_signature_counter=2&end_signature_counter=4"),
            3
        );
        let all = till.api.counter(&till.tss) - 1;
        assert_eq!(
            logs(&format!("?start_date={first_time}&end_date={first_time}")),
            all
        );
        assert_eq!(logs(&format!("?client_id={}", till.client)), 6);
        assert_eq!(logs(&format!("?maximum_number_records={all}")), all);
        assert_eq!(logs("?none=none"), all);
        let exception = |query: &str| Export::new(&till).exception(query);
        assert_eq!(
            exception(&format!("?maximum_number_records={}", all - 1)),
            "E_TOO_MANY_RECORDS"
        );
        assert_eq!(
            exception(&format!("?start_date={}", first_time + 1)),
            "E_NO_DATA_AVAILABLE"
        );
        assert_eq!(exception(&format!("?client_id={second}")), "E_ID_NOT_FOUND");
        assert_eq!(
            exception("?start_transaction_number=7"),
            "E_TRANSACTION_ID_NOT_FOUND"
        );
    });
}

#[test]
fn an_export_that_failed_says_when_and_why() {
    let till = Till::new(shared());
    let export = Export::new(&till);
    export.exception("?maximum_number_records=1");
    let answer = export.ended();
    assert_eq!(
        keys(&answer),
        [
            "state",
            "time_request",
            "time_start",
            "time_error",
            "exception",
            "metadata",
            "tss_id",
            "_type",
            "_id",
            "_env",
            "_version",
        ]
    );
    let file = till.api.get(&export.path("/file"));
    file.refused(404, "E_EXPORT_NOT_COMPLETED");
    assert_eq!(file.header("retry-after"), None, "it will never be there");
    till.api
        .delete(&export.path(""))
        .refused(400, "E_CANCEL_EXPORT");
}

#[test]
fn filters_that_make_no_sense_are_refused() {
    let till = Till::new(shared());
    till.sell();
    let refused = |query: &str, code: &str| {
        let export = Export::new(&till);
        export.trigger(query).refused(400, code);
        till.api
            .get(&export.path(""))
            .refused(404, "E_EXPORT_NOT_FOUND");
    };
    for query in [
        "?transaction_number=1&start_transaction_number=1",
        "?transaction_number=1&start_date=1",
        "?start_transaction_number=2&end_transaction_number=1",
        "?start_date=2&end_date=1",
        "?start_signature_counter=2&end_signature_counter=1",
    ] {
        refused(query, "E_PARAMETER_MISMATCH");
    }
    for query in [
        "?client_id=x",
        "?transaction_number=x",
        "?transaction_number=",
        "?transaction_number=-1",
        "?start_date=1.5",
        "?end_date=2026-01-01",
        "?maximum_number_records=0",
        "?maximum_number_records=1000001",
        "?start_signature_counter=99999999999999999999",
        "?start_date=1&start_date=1",
        "?start_date=%00",
        "?x=%ff",
        "?x=%",
    ] {
        refused(query, "E_FAILED_SCHEMA_VALIDATION");
    }
    refused(&format!("?client_id={}", new_id()), "E_CLIENT_NOT_FOUND");
    refused("?transaction_number=2", "E_TX_NOT_FOUND");
    till.api
        .put(&till.path("/export/x"), &json!({}))
        .refused(400, "E_FAILED_SCHEMA_VALIDATION");
}

#[test]
fn bodies_of_a_trigger_are_taken_in_every_form_tills_send() {
    let till = Till::new(shared());
    for body in [
        None,
        Some(&b""[..]),
        Some(b"{}"),
        Some(b"[]"),
        Some(b"null"),
        Some(br#"{"start_date": 99999999999, "none": [1]}"#),
    ] {
        let export = Export::new(&till);
        till.api.call("PUT", &export.path(""), body, &[]).ok();
        assert_eq!(export.ended()["state"], "COMPLETED");
    }
}

#[test]
fn an_id_is_used_once() {
    on_both(|server| {
        let till = Till::new(server);
        let export = Export::new(&till);
        export.trigger("").ok();
        export
            .trigger("?transaction_number=1")
            .refused(400, "E_TX_NOT_FOUND");
        export.trigger("").refused(400, "E_DUPLICATE_EXPORT");
        export.ended();
        export.trigger("").refused(400, "E_DUPLICATE_EXPORT");
        // At once, too.
        let export = Export::new(&till);
        let answers = eightfold(|| export.trigger("").status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1);
        assert!(answers.iter().all(|status| [200, 400].contains(status)));
    });
}

#[test]
fn running_exports_hold_up_their_like_and_no_others() {
    let server = TestServer::builder()
        .section("[export]\nrunning_max = 2")
        .start();
    let till = Till::new(&server);
    let day = [("start_date", "1"), ("end_date", "2000000000")];
    let running = stuck(&server, &till, &day);
    // The same filters, in whatever order, with what means nothing besides.
    for query in [
        "?start_date=1&end_date=2000000000",
        "?end_date=2000000000&none=none&start_date=01",
    ] {
        let export = Export::new(&till);
        export
            .trigger(query)
            .refused(409, "E_EXPORT_DUPLICATE_RATE_LIMITED");
        till.api
            .get(&export.path(""))
            .refused(404, "E_EXPORT_NOT_FOUND");
    }
    // Others may run beside it, up to the limit.
    Export::new(&till).bytes("?start_date=2");
    stuck(&server, &till, &[("start_date", "3")]);
    Export::new(&till)
        .trigger("")
        .refused(409, "E_TOO_MANY_EXPORTS");
    // Another TSS is not concerned.
    let second = Till::new_by(&till.api);
    Export::new(&second).bytes("?start_date=1&end_date=2000000000");
    let cancelled = till
        .api
        .delete(&till.path(&format!("/export/{running}")))
        .ok();
    assert_eq!(cancelled["state"], "CANCELLED");
    verified(&Export::new(&till).bytes(""), false);
}

#[test]
fn an_export_says_when_it_will_have_ended_as_long_as_it_has_not() {
    let server = TestServer::builder().start();
    let till = Till::new(&server);
    let id = stuck_with(&server, &till, &[], 1_000_000);
    let path = till.path(&format!("/export/{id}"));
    let seconds = |answer: &Value| {
        let end = answer["estimated_time_of_completion"].as_i64()?;
        Some(end - server.now_s())
    };
    let answer = till.api.get(&path).ok();
    let order = [
        "state",
        "time_request",
        "time_start",
        "estimated_time_of_completion",
        "metadata",
        "tss_id",
        "_type",
        "_id",
        "_env",
        "_version",
    ];
    assert_eq!(keys(&answer), order);
    // No worker of a fresh server has measured itself yet.
    assert_eq!(seconds(&answer), Some(10));
    for (passed_s, left_s) in [(3, 7), (5, 2), (2, 1), (100, 1)] {
        server.advance(passed_s);
        assert_eq!(seconds(&till.api.get(&path).ok()), Some(left_s));
        for list in ["/export".to_owned(), till.path("/export")] {
            let listed = till.api.get(&list).ok();
            assert_eq!(seconds(&listed["data"][0]), Some(left_s));
        }
    }
    let cancelled = till.api.delete(&path).ok();
    assert_eq!(seconds(&cancelled), None);
    assert_eq!(seconds(&till.api.get(&path).ok()), None);
    let completed = Export::new(&till);
    completed.bytes("");
    assert_eq!(seconds(&completed.ended()), None);
}

#[test]
fn an_export_is_cancelled_once_and_stays_so() {
    let server = TestServer::builder().start();
    let till = Till::new(&server);
    let export = Export {
        till: &till,
        id: stuck(&server, &till, &[]),
    };
    let file = till.api.get(&export.path("/file"));
    file.refused(404, "E_EXPORT_NOT_COMPLETED");
    assert_eq!(file.header("retry-after"), Some("60"));
    let answer = till.api.delete(&export.path("")).ok();
    assert_eq!(answer["state"], "CANCELLED");
    let file = till.api.get(&export.path("/file"));
    file.refused(404, "E_EXPORT_NOT_COMPLETED");
    assert_eq!(file.header("retry-after"), None, "it will never be there");
    assert_eq!(
        till.api.get(&export.path("")).ok().to_string(),
        answer.to_string()
    );
    till.api
        .delete(&export.path(""))
        .refused(400, "E_CANCEL_EXPORT");
    let completed = Export::new(&till);
    completed.bytes("");
    till.api
        .delete(&completed.path(""))
        .refused(400, "E_CANCEL_EXPORT");
    till.api
        .delete(&Export::new(&till).path(""))
        .refused(404, "E_EXPORT_NOT_FOUND");
}

#[test]
fn the_file_of_an_expired_export_is_gone() {
    let server = TestServer::builder()
        .section("[export]\nexpiry_s = 100")
        .start();
    let till = Till::new(&server);
    let export = Export::new(&till);
    export.bytes("");
    server.advance(99);
    assert_eq!(till.api.get(&export.path("/file")).status, 200);
    server.advance(1);
    till.api
        .get(&export.path("/file"))
        .refused(404, "E_EXPORT_NOT_FOUND");
    assert_eq!(
        till.api.get(&export.path("")).ok()["time_expiration"],
        START_S + 100
    );
}

#[test]
fn metadata_of_a_trigger_is_kept() {
    let till = Till::new(shared());
    let export = Export::new(&till);
    let body = json!({"metadata": {"who": "me", "n": 5}});
    let answer = till.api.put(&export.path(""), &body).ok();
    assert_eq!(answer["metadata"], json!({"n": "5", "who": "me"}));
    assert_eq!(export.ended()["metadata"], answer["metadata"]);
}
