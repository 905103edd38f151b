//! A till behind a middleware with a queue: it starts by id and finishes by number, knows only the words
//! that it was built with, keeps numbers as metadata, and repeats whatever says `Retry-After`.

use super::super::client::{Answer, new_id, wait_for};
use super::{Day, signed};
use crate::support::server::{TestServer, on_both, shared};
use serde::Deserialize;
use serde_json::{Value, json};
use siegel::verify::{Settings, verify_archive};
use std::io::Cursor;
use std::num::NonZeroUsize;

/// How often it asks in all.
const TRIES_MAX: u32 = 5;

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum TssState {
    Created,
    Uninitialized,
    Initialized,
    Disabled,
    Deleted,
    Defective,
    Evicted,
}

#[derive(Debug, Deserialize)]
struct Tss {
    state: TssState,
    signature_counter: String,
    transaction_counter: String,
    number_registered_clients: u32,
    number_active_transactions: u32,
    max_number_registered_clients: u32,
    max_number_active_transactions: u32,
    time_creation: i32,
    time_init: Option<i32>,
}

impl Tss {
    fn of(till: &mut Day) -> Self {
        let path = till.path("");
        let answer = till.call("GET", &path, None);
        serde_json::from_slice(&answer.bytes).unwrap()
    }

    /// As whole numbers, or it stops.
    fn counters(&self) -> (u32, u32) {
        let number = |text: &str| text.parse().unwrap();
        (
            number(&self.signature_counter),
            number(&self.transaction_counter),
        )
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum TransactionState {
    Active,
    Finished,
    Cancelled,
}

#[derive(Debug, Deserialize)]
struct Signature {
    counter: u32,
    algorithm: String,
    value: String,
    public_key: String,
}

#[derive(Debug, Deserialize)]
struct Log {
    operation: String,
    timestamp: i64,
    timestamp_format: String,
}

#[derive(Debug, Deserialize)]
struct Transaction {
    number: u32,
    state: TransactionState,
    signature: Signature,
    log: Log,
    qr_code_data: Option<String>,
}

fn parsed(answer: Value) -> Transaction {
    serde_json::from_value(answer).unwrap()
}

fn raw(process_type: &str, base64: &str) -> Value {
    json!({"raw": {"process_type": process_type, "process_data": base64}})
}

/// Asks as this middleware does; answers with what came last, and how often it asked.
fn with_repeats(mut ask: impl FnMut() -> Answer) -> (Answer, u32) {
    let mut tries = 1;
    loop {
        let answer = ask();
        let again = answer.header("retry-after").is_some() || answer.status >= 429;
        if answer.status < 300 || !again || tries == TRIES_MAX {
            return (answer, tries);
        }
        tries += 1;
    }
}

#[test]
fn a_till_behind_a_queue_gets_through_its_day() {
    on_both(|server| {
        let mut till = Day::new(server);
        till.set_up();
        let before = Tss::of(&mut till);
        assert_eq!(before.state, TssState::Initialized);
        assert_eq!(before.number_registered_clients, 1);
        assert_eq!(before.max_number_registered_clients, 199);
        assert_eq!(before.max_number_active_transactions, 2000);
        assert!(before.time_creation > 0 && before.time_init > Some(0));

        // Nothing at the start, in both ways of saying so; more of it later, by number.
        for start in [None, Some(raw("", "")), Some(raw("Kassenbeleg-V1", ""))] {
            let started = parsed(till.sign(&new_id(), 1, "ACTIVE", start));
            assert_eq!(started.state, TransactionState::Active);
            assert_eq!(started.log.operation, "Start");
            assert_eq!(Tss::of(&mut till).number_active_transactions, 1);
            let number = started.number.to_string();
            let data = "QmVsZWdeNC4yMF8wLjAwXzAuMDBfMC4wMF8wLjAwXjQuMjA6VW5iYXI=";
            let finished = till.sign(&number, 2, "FINISHED", Some(raw("Kassenbeleg-V1", data)));
            assert_eq!(
                signed(&finished).1,
                "Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar"
            );
            let finished = parsed(finished);
            assert_eq!(finished.number, started.number);
            assert_eq!(finished.signature.counter, started.signature.counter + 1);
            assert_eq!(finished.signature.algorithm, "ecdsa-plain-SHA256");
            assert_eq!(finished.log.timestamp_format, "unixTime");
            assert!(finished.log.timestamp > 0);
            let code = finished.qr_code_data.unwrap();
            assert!(code.contains(&finished.signature.value));
            assert!(code.ends_with(&finished.signature.public_key));
        }
        let after = Tss::of(&mut till);
        assert_eq!(after.counters().0, before.counters().0 + 6);
        assert_eq!(after.counters().1, before.counters().1 + 3);
        till.close(6);
    });
}

#[test]
fn what_a_queue_remembers_in_metadata_comes_back_as_a_map() {
    let mut till = Day::new(shared());
    till.set_up();
    let path = till.path("/metadata");
    assert_eq!(till.get(&path), json!({}), "a map, and never null");
    let number = json!({"LastExportedTransactionNumber": 2});
    till.send("PATCH", &path, &number);
    let kept = json!({"LastExportedTransactionNumber": "2"});
    assert_eq!(till.get(&path), kept);
    assert_eq!(till.get(&till.path(""))["metadata"], kept);
    till.close(0);
}

#[test]
fn a_queue_exports_what_is_new_and_asks_for_the_file_at_once() {
    let mut till = Day::new(shared());
    till.set_up();
    for _ in 0..3 {
        let started = till.sign(&new_id(), 1, "ACTIVE", None);
        let number = started["number"].to_string();
        till.sign(
            &number,
            2,
            "FINISHED",
            Some(raw("SonstigerVorgang", "eA==")),
        );
    }
    let path = till.path(&format!("/export/{}", new_id()));
    // It writes a second question mark, and combines filters.
    let query = format!(
        "??end_transaction_number=2&start_transaction_number=1&client_id={}",
        till.client
    );
    till.call("PUT", &format!("{path}{query}"), Some("{}")).ok();
    let file = wait_for("the file", || {
        let answer = till.call("GET", &format!("{path}/file"), None);
        if answer.status == 200 {
            return Some(answer);
        }
        answer.refused(404, "E_EXPORT_NOT_COMPLETED");
        assert_eq!(answer.header("retry-after"), Some("60"));
        None
    });
    assert_eq!(file.header("content-type"), Some("application/x-tar"));
    let settings = Settings::new(NonZeroUsize::MIN).partial(true);
    let report = verify_archive(Cursor::new(&file.bytes), &settings).unwrap();
    assert_eq!(report.findings, []);
    let numbers: Vec<_> = super::signed_steps(&file.bytes)
        .into_iter()
        .map(|step| step.0)
        .collect();
    assert_eq!(numbers, [1, 1, 2, 2]);
    let state = till.get(&path)["state"].clone();
    assert_eq!(state, "COMPLETED");
}

#[test]
fn final_refusals_are_not_repeated_by_those_who_repeat() {
    let mut till = Day::new(shared());
    till.set_up();
    let sold = new_id();
    till.sign(&sold, 1, "ACTIVE", None);
    till.sign(&sold, 2, "FINISHED", Some(raw("SonstigerVorgang", "eA==")));
    let steps = |till: &Day| {
        let schema = || Some(raw("SonstigerVorgang", "eQ=="));
        [
            till.step(&sold, 2, "FINISHED", schema()),
            till.step(&sold, 3, "FINISHED", schema()),
            till.step(&new_id(), 2, "FINISHED", schema()),
            till.step("99", 2, "FINISHED", schema()),
            till.step("x", 1, "ACTIVE", None),
            till.step(&new_id(), 1, "ACTIVE", Some(raw("SonstigerVorgang", "*"))),
        ]
    };
    for (path, body) in steps(&till) {
        let body = body.to_string();
        let (answer, tries) = with_repeats(|| till.call("PUT", &path, Some(&body)));
        assert!((400..429).contains(&answer.status), "{}", answer.text());
        assert_eq!(tries, 1, "{}", answer.text());
    }
    let admin = till.path("/admin/auth");
    let (answer, tries) =
        with_repeats(|| till.call("POST", &admin, Some(r#"{"admin_pin": "wrong"}"#)));
    answer.refused(401, "E_ADMIN_LOGIN_FAILED");
    assert_eq!(tries, 1, "a repeat would use up another try");
    till.close(2);
}

/// It logs in anew when nine tenths of a token's life are over, and gets the same token for that.
#[test]
fn a_queue_that_renews_its_token_early_is_never_locked_out() {
    let server = TestServer::builder().pool_target(1).start();
    let mut till = Day::new(&server);
    till.set_up();
    let (end, mut sales, mut tokens) = (server.now_s() + 2 * 86_400, 0, Vec::new());
    while server.now_s() < end {
        let answer = till.log_in();
        if tokens.last() != Some(&till.token) {
            tokens.push(till.token.clone());
        }
        let life = answer["access_token_expires_in"].as_i64().unwrap();
        let until = answer["access_token_expires_at"].as_i64().unwrap();
        assert_eq!(until, server.now_s() + life);
        server.advance((life * 9 / 10).max(1));
        let started = till.sign(&new_id(), 1, "ACTIVE", None);
        let number = started["number"].to_string();
        till.sign(
            &number,
            2,
            "FINISHED",
            Some(raw("SonstigerVorgang", "eA==")),
        );
        sales += 1;
    }
    assert!(tokens.len() >= 2, "two days take more than one token");
    assert!(sales > tokens.len(), "a token is handed out more than once");
    till.log_in();
    till.close(2 * sales);
}

/// Its library sends the head of a call first, and the body when it is asked to.
#[test]
fn a_till_that_asks_before_it_sends_a_body_is_told_to_go_on() {
    let mut till = Day::new(shared());
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    let schema = Some(raw("SonstigerVorgang", "eA=="));
    let (path, body) = till.step(&sale, 2, "FINISHED", schema);
    let (target, body) = (format!("{}{path}", till.base), body.to_string());
    let (bearer, length) = (format!("Bearer {}", till.token), body.len().to_string());
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Length", length.as_str()),
        ("Expect", "100-continue"),
    ];
    till.wire.send("PUT", &target, &headers, None);
    assert_eq!(till.wire.receive().status, 100);
    till.wire.write(body.as_bytes());
    assert_eq!(till.wire.receive().ok()["state"], "FINISHED");
    assert_eq!(till.wire.connections, 1);
    till.close(2);
}
