//! Every error of the table, provoked through HTTP and held against the document.

use super::client::{Answer, Api, PIN, Till, new_id, order, receipt};
use super::tss::declare_defective;
use crate::support::server::{TestServer, shared};
use serde_json::{Value, json};
use siegel::http::{ErrorCode, Repeat, openapi};
use siegel::ledger::{ExportRow, ExportState};
use siegel::terms::{ExportId, SeTime, TssId};
use std::collections::BTreeSet;

/// A way to be answered with an error, at a TSS that is ready for transactions.
type Provoke = fn(&Till) -> Answer;

fn finished(till: &Till) -> String {
    till.sell()["_id"].as_str().unwrap().to_owned()
}

fn tx_path(till: &Till, tx: &str, rest: &str) -> String {
    till.path(&format!("/tx/{tx}{rest}"))
}

fn export(till: &Till, query: &str) -> Answer {
    let path = till.path(&format!("/export/{}{query}", new_id()));
    till.api.put(&path, &json!({}))
}

fn refused_client(till: &Till, client: &str) -> Answer {
    till.step_of(client, &new_id(), 1, "ACTIVE", None)
}

/// What any server answers.
const ANYWHERE: &[(ErrorCode, Provoke)] = &[
    (ErrorCode::FailedSchemaValidation, |till| {
        till.state("ASLEEP")
    }),
    (ErrorCode::Parser, |till| {
        till.api.patch("/tss/x", &json!({"state": "DISABLED"}))
    }),
    (ErrorCode::TxUpsert, |till| {
        till.step(&finished(till), 3, "FINISHED", Some(receipt("1.00")))
    }),
    (ErrorCode::TxRevisionNotFound, |till| {
        till.api
            .get(&tx_path(till, &finished(till), "?tx_revision=9"))
    }),
    (ErrorCode::IllegalTssStateChange, |till| {
        till.state("UNINITIALIZED")
    }),
    (ErrorCode::IllegalClientSerial, |till| {
        till.register_as(&new_id(), "a/b")
    }),
    (ErrorCode::UnknownClient, |till| {
        refused_client(till, &new_id())
    }),
    (ErrorCode::UnknownTransaction, |till| {
        export(till, "?transaction_number=4711")
    }),
    (ErrorCode::DuplicateExport, |till| {
        let path = till.path(&format!("/export/{}", new_id()));
        till.api.put(&path, &json!({})).ok();
        till.api.put(&path, &json!({}))
    }),
    (ErrorCode::ParameterMismatch, |till| {
        export(till, "?start_date=2&end_date=1")
    }),
    (ErrorCode::Unauthorized, |till| {
        till.api.with_token(None).get(&till.path(""))
    }),
    (ErrorCode::AdminLoginFailed, |till| till.log_in("000000")),
    (ErrorCode::WrongPuk, |till| {
        till.set_pin("no puk at all", PIN)
    }),
    (ErrorCode::TssNotFound, |till| {
        till.api.get(&format!("/tss/{}", new_id()))
    }),
    (ErrorCode::ClientNotFound, |till| {
        till.api.get(&till.path(&format!("/client/{}", new_id())))
    }),
    (ErrorCode::TxNotFound, |till| {
        till.api.get(&tx_path(till, &new_id(), ""))
    }),
    (ErrorCode::ExportNotFound, |till| {
        till.api.get(&till.path(&format!("/export/{}", new_id())))
    }),
    (ErrorCode::NotFound, |till| till.api.get("/nothing")),
    (ErrorCode::TssConflict, |till| {
        till.api.put(&till.path(""), &json!({}))
    }),
    (ErrorCode::ClientConflict, |till| {
        till.register_as(&new_id(), &till.serial)
    }),
    (ErrorCode::TxIllegalTypeChange, |till| {
        let tx = till.start();
        till.step(&tx, 2, "ACTIVE", Some(order())).ok();
        till.step(&tx, 3, "FINISHED", Some(receipt("1.00")))
    }),
    (ErrorCode::TxNoTypeDefined, |till| {
        till.step(&till.start(), 2, "CANCELLED", None)
    }),
    (ErrorCode::TxNotEnded, |till| {
        till.api.get(&tx_path(till, &till.start(), "/receipt"))
    }),
    (ErrorCode::QrCodeNotAvailable, |till| {
        let raw = json!({"raw": {"process_type": "X", "process_data": "/w=="}});
        let tx = till.start();
        till.step(&tx, 2, "FINISHED", Some(raw)).ok();
        let path = tx_path(till, &tx, "/receipt");
        till.api
            .call("GET", &path, None, &[("accept", "image/png")])
    }),
    (ErrorCode::BodyTooLarge, |till| {
        let body = json!({"state": "DISABLED", "metadata": {"a": "x".repeat(1_100_000)}});
        till.api.patch(&till.path(""), &body)
    }),
    (ErrorCode::PukDelayed, |till| {
        for _ in 0..4 {
            till.set_pin("no puk at all", PIN)
                .refused(401, "E_CHANGE_ADMIN_PIN_FAILED");
        }
        till.set_pin(&till.puk, PIN)
    }),
    (ErrorCode::AdminPinBlocked, |till| {
        for _ in 0..5 {
            till.log_in("000000").refused(401, "E_ADMIN_LOGIN_FAILED");
        }
        till.log_in(PIN)
    }),
    (ErrorCode::AdminNotLoggedIn, |till| {
        till.log_out().ok();
        till.state("DISABLED")
    }),
    (ErrorCode::ClientDeregistered, |till| {
        let path = till.path(&format!("/client/{}", till.client));
        till.api
            .patch(&path, &json!({"state": "DEREGISTERED"}))
            .ok();
        refused_client(till, &till.client)
    }),
    (ErrorCode::TssDisabled, |till| {
        till.state("DISABLED").ok();
        refused_client(till, &till.client)
    }),
];

/// A server and a till that make an error possible, and how.
type ProvokeAt = fn() -> Answer;

fn limited(lines: &str) -> TestServer {
    TestServer::builder().section(lines).start()
}

/// An export of one transaction in a state that no worker changes.
fn stuck_export(server: &TestServer, till: &Till, state: ExportState) -> String {
    let tss: TssId = till.tss.parse().unwrap();
    let id = new_id();
    let store = server.store();
    let now = SeTime::try_from(server.now_s()).unwrap();
    let row = ExportRow {
        tss,
        id: id.parse::<ExportId>().unwrap(),
        state,
        filter: "transaction_number=1".to_owned(),
        selection: None,
        messages: None,
        messages_max: 10,
        counter_at_request: store
            .tss(tss)
            .unwrap()
            .unwrap()
            .tss
            .device
            .signature_counter,
        time_request: now,
        info_csv: Vec::new(),
        certificates: Vec::new(),
        time_start: Some(now),
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: siegel::sma::Metadata::default(),
    };
    store.add_export(&row).unwrap();
    id
}

/// What needs a world of its own.
const SPECIAL: &[(ErrorCode, ProvokeAt)] = &[
    (ErrorCode::TssNotInitialized, || {
        Till::created(shared()).log_in(PIN)
    }),
    (ErrorCode::IllegalStateForExport, || {
        export(&Till::created(shared()), "")
    }),
    (ErrorCode::TxLimitReached, || {
        let server = limited("[limits]\ntransactions_open_max = 1");
        let till = Till::new(&server);
        till.start();
        till.step(&new_id(), 1, "ACTIVE", None)
    }),
    (ErrorCode::ClientLimitReached, || {
        let server = limited("[limits]\nclients_registered_max = 1");
        Till::new(&server).register_as(&new_id(), "TILL-2")
    }),
    (ErrorCode::TooManyExports, || {
        let server = limited("[export]\nrunning_max = 1");
        let till = Till::new(&server);
        stuck_export(&server, &till, ExportState::Working);
        export(&till, "")
    }),
    (ErrorCode::ExportRunning, || {
        let till = Till::new(shared());
        till.sell();
        stuck_export(shared(), &till, ExportState::Working);
        export(&till, "?transaction_number=1")
    }),
    (ErrorCode::CancelExport, || {
        let till = Till::new(shared());
        let id = stuck_export(shared(), &till, ExportState::Completed);
        till.api.delete(&till.path(&format!("/export/{id}")))
    }),
    (ErrorCode::ExportNotCompleted, || {
        let till = Till::new(shared());
        let id = stuck_export(shared(), &till, ExportState::Working);
        till.api.get(&till.path(&format!("/export/{id}/file")))
    }),
    (ErrorCode::ExportWithoutFile, || {
        let till = Till::new(shared());
        let id = stuck_export(shared(), &till, ExportState::Error);
        till.api.get(&till.path(&format!("/export/{id}/file")))
    }),
    (ErrorCode::TssDefective, || {
        let till = Till::new(shared());
        declare_defective(shared(), &till);
        refused_client(&till, &till.client)
    }),
    (ErrorCode::CertificateExpired, || {
        let server = TestServer::builder().start();
        let credentials = server.organization();
        let till = Till::new_by(&Api::log_in(&server, &credentials));
        server.advance(10 * 366 * 86_400);
        let late = Till {
            api: Api::log_in(&server, &credentials),
            ..till
        };
        late.step(&new_id(), 1, "ACTIVE", None)
    }),
    (ErrorCode::Internal, || {
        let server = TestServer::builder().start();
        let till = Till::new(&server);
        let tx = finished(&till);
        server.damage("UPDATE transaction_step SET schema_echo = '{'");
        till.api.get(&tx_path(&till, &tx, ""))
    }),
    (ErrorCode::TssLocked, || {
        let server = TestServer::builder().start();
        let till = Till::new(&server);
        // The door is still open when nothing behind it signs any more.
        server.node().stop();
        refused_client(&till, &till.client)
    }),
    (ErrorCode::TooManyRequests, || {
        let server = limited("[protection]\ncalls_per_key_per_minute = 1");
        let api = Api::new(&server);
        api.get("/tss");
        api.get("/tss")
    }),
    (ErrorCode::NoDevice, || {
        let server = TestServer::builder().pool_target(0).start();
        let path = format!("/tss/{}", new_id());
        Api::new(&server).put(&path, &json!({}))
    }),
];

/// What tests of other files provoke, because it takes more than a call, or does not stand in the
/// document.
const ELSEWHERE: &[(ErrorCode, &str)] = &[
    (
        ErrorCode::AccessDenied,
        "management::live_keys_are_made_seen_and_changed_by_live_keys_alone",
    ),
    (
        ErrorCode::OrganizationNotFound,
        "routes::a_stranger_finds_nothing_on_any_route",
    ),
    (
        ErrorCode::ApiKeyNotFound,
        "management::a_manager_acts_for_those_it_manages_and_nobody_acts_for_the_manager",
    ),
    (
        ErrorCode::NoManagementRoute,
        "management::whatever_is_not_there_is_404_without_a_code",
    ),
    (
        ErrorCode::RequestTimeout,
        "limits::a_body_that_does_not_come_in_time_is_refused",
    ),
];

/// The answer is the row of the table, and as the document says but for its message.
#[track_caller]
fn assert_is(code: ErrorCode, answer: &Answer) {
    let row = code.row();
    match row.code {
        Some(text) => drop(answer.refused(row.status.as_u16(), text)),
        None => drop(answer.refused_without_code(row.status.as_u16())),
    }
    let waits = answer.header("retry-after").is_some();
    assert_eq!(waits, row.repeat == Repeat::Later, "{code:?}");
    let document: Value = serde_json::from_str(openapi::json()).unwrap();
    let mut example = documented(&document, code);
    example["message"] = answer.json()["message"].clone();
    assert_eq!(example, answer.json());
}

/// The example of an error, the same wherever it stands.
fn documented(document: &Value, code: ErrorCode) -> Value {
    let status = code.status().as_u16().to_string();
    let operations = document["paths"].as_object().unwrap().values();
    let responses = operations
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["responses"].get(&status));
    let mut found: Vec<_> = responses
        .filter_map(|response| response["content"]["application/json"]["examples"].as_object())
        .flat_map(|examples| examples.values())
        .map(|example| example["value"].clone())
        .collect();
    let cause = Value::from(code.row().cause);
    found.retain(|example| example["message"] == cause);
    found.dedup();
    assert_eq!(found.len(), 1, "{code:?} in the document");
    found.remove(0)
}

#[test]
fn every_error_of_the_table_has_a_way_to_it() {
    let anywhere = ANYWHERE.iter().map(|(code, _)| *code);
    let special = SPECIAL.iter().map(|(code, _)| *code);
    let elsewhere = ELSEWHERE.iter().map(|(code, _)| *code);
    let provoked: Vec<_> = anywhere.chain(special).chain(elsewhere).collect();
    let once: BTreeSet<_> = provoked.iter().copied().collect();
    assert_eq!(once.len(), provoked.len(), "an error is provoked twice");
    let all: BTreeSet<_> = ErrorCode::ALL.iter().copied().collect();
    assert_eq!(once, all);
    for (code, test) in ELSEWHERE {
        let (file, name) = test.split_once("::").unwrap();
        let file = format!("{}/tests/it/http/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("fn {name}()")), "{code:?}: {test}");
    }
}

#[test]
fn any_server_answers_what_the_table_says() {
    for (code, provoke) in ANYWHERE {
        let till = Till::new(shared());
        assert_is(*code, &provoke(&till));
    }
}

#[test]
fn special_worlds_answer_what_the_table_says() {
    for (code, provoke) in SPECIAL {
        assert_is(*code, &provoke());
    }
}

#[test]
fn the_table_can_be_printed() {
    let mut rows = BTreeSet::new();
    for code in ErrorCode::ALL {
        let row = code.row();
        assert!(
            rows.insert((row.status.as_u16(), row.code, row.german)),
            "{code:?} is there twice"
        );
        // One line of a printer with 42 columns.
        let len = row.german.chars().count();
        assert!((1..=42).contains(&len), "{code:?}: {len}");
        assert!(
            row.cause.ends_with('.') && !row.cause.contains("  "),
            "{code:?}"
        );
        assert!(
            !row.german.contains('|') && !row.cause.contains('|'),
            "{code:?}"
        );
        if let Some(text) = row.code {
            assert!(*code == text && text.starts_with("E_"), "{code:?}");
        }
    }
}
