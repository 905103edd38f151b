//! A till in a browser: it asks for permission first, starts with a receipt that has no amounts yet,
//! writes rates as numbers and amounts with five decimals, and finds its way back after a conflict.

use super::super::client::{Answer, new_id, order};
use super::{Day, signed};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::{Value, json};

const ORIGIN: &str = "https://till.example";

fn browser(server: &TestServer) -> Day {
    let mut till = Day::new(server);
    till.wire = till
        .wire
        .always("Origin", ORIGIN)
        .always("Referer", "https://till.example/pos/ui")
        .always("User-Agent", "Mozilla/5.0")
        .always("Accept", "application/json, text/javascript, */*; q=0.01");
    till
}

/// A browser does not show an answer to the till unless this header is there.
fn may_be_read(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

fn asks_first(till: &mut Day, method: &str, path: &str) {
    let target = format!("{}{path}", till.base);
    let headers = [
        ("Access-Control-Request-Method", method),
        (
            "Access-Control-Request-Headers",
            "authorization,content-type",
        ),
    ];
    let answer = till.wire.call("OPTIONS", &target, &headers, None);
    assert!([200, 204].contains(&answer.status), "{}", answer.status);
    may_be_read(&answer);
    let lower = |name: &str| answer.header(name).unwrap().to_lowercase();
    assert!(lower("access-control-allow-methods").contains(&method.to_lowercase()));
    for name in ["authorization", "content-type"] {
        assert!(lower("access-control-allow-headers").contains(name));
    }
}

fn no_amounts_yet() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [],
        "amounts_per_payment_type": [],
    }}})
}

fn five_decimals() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [
            {"vat_rate": "19", "amount": "21.42000"},
            {"vat_rate": "7", "amount": "2.55000"},
            {"vat_rate": "10.7", "amount": "0.00000"},
            {"vat_rate": "5.5", "amount": "0.00000"},
            {"vat_rate": "0", "amount": "1.00000"},
        ],
        "amounts_per_payment_type": [
            {"payment_type": "CASH", "amount": "20.00000"},
            {"payment_type": "NON_CASH", "amount": "4.97000"},
        ],
    }}})
}

#[test]
fn a_till_in_a_browser_gets_through_its_day() {
    on_both(|server| {
        let mut till = browser(server);
        asks_first(&mut till, "POST", "/auth");
        till.set_up();
        let path = till.path("/metadata");
        let metadata = till.send("PATCH", &path, &json!({"pos_config_id": 4}));
        assert_eq!(metadata, json!({"pos_config_id": "4"}));

        let sale = new_id();
        let path = till.path(&format!("/tx/{sale}?tx_revision=1"));
        asks_first(&mut till, "PUT", &path);
        let started = till.sign(&sale, 1, "ACTIVE", Some(no_amounts_yet()));
        assert_eq!(
            signed(&started),
            (
                "Kassenbeleg-V1".to_owned(),
                "Beleg^0.00_0.00_0.00_0.00_0.00^".to_owned()
            )
        );
        let finished = till.sign(&sale, 2, "FINISHED", Some(five_decimals()));
        assert_eq!(
            signed(&finished).1,
            "Beleg^21.42_2.55_0.00_0.00_1.00^20.00:Bar_4.97:Unbar"
        );
        let payments = &finished["schema"]["standard_v1"]["receipt"]["amounts_per_payment_type"];
        assert_eq!(
            payments[0]["amount"], "20.00000",
            "the echo is what it sent"
        );

        // A guest leaves: what the server said last is sent back, with both forms.
        let left = new_id();
        till.sign(&left, 1, "ACTIVE", Some(no_amounts_yet()));
        let known = till.get(&till.path(&format!("/tx/{left}")));
        assert!(known["schema"]["standard_v1"].is_object() && known["schema"]["raw"].is_object());
        let next = known["latest_revision"].as_u64().unwrap() + 1;
        let cancelled = till.sign(&left, next, "CANCELLED", Some(known["schema"].clone()));
        assert_eq!(
            signed(&cancelled).1,
            "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^"
        );
        till.close(4);
    });
}

/// Two tabs have the same table open, and each counts revisions by itself.
#[test]
fn a_till_that_has_lost_count_reads_the_revision_and_sends_again() {
    let mut till = browser(shared());
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", Some(no_amounts_yet()));
    till.sign(&sale, 2, "ACTIVE", Some(no_amounts_yet()));
    let refused = till.try_sign(&sale, 2, "FINISHED", Some(five_decimals()));
    may_be_read(&refused);
    refused.refused(400, "E_TX_UPSERT");
    let known = till.get(&till.path(&format!("/tx/{sale}")));
    let next = known["latest_revision"].as_u64().unwrap() + 1;
    let finished = till.sign(&sale, next, "FINISHED", Some(five_decimals()));
    assert_eq!(finished["revision"], 3);
    // The other tab is told how it ended, in words it looks for.
    let late = till.try_sign(&sale, 4, "CANCELLED", Some(no_amounts_yet()));
    assert!(late.refused(400, "E_TX_UPSERT").contains("FINISHED"));
    till.close(3);
}

#[test]
fn a_browser_may_read_refusals_and_they_name_what_is_configured_wrongly() {
    let mut till = browser(shared());
    till.set_up();
    let wrong = format!("/tss/x/tx/{}?tx_revision=1", new_id());
    let body = json!({"state": "ACTIVE", "client_id": till.client}).to_string();
    let answer = till.call("PUT", &wrong, Some(&body));
    may_be_read(&answer);
    assert!(answer.refused(400, "E_PARSER").contains("TSS ID"));
    let answer = till.call("GET", "/tss/x", None);
    may_be_read(&answer);
    let message = answer.refused(400, "E_FAILED_SCHEMA_VALIDATION");
    assert!(message.contains("tss_id"), "{message}");
    let path = till.path(&format!("/tx/{}?tx_revision=1", new_id()));
    let answer = till.call(
        "PUT",
        &path,
        Some(r#"{"state": "ACTIVE", "client_id": "x"}"#),
    );
    may_be_read(&answer);
    let message = answer.refused(400, "E_FAILED_SCHEMA_VALIDATION");
    assert!(message.contains("client_id"), "{message}");
    let token = std::mem::replace(&mut till.token, "gone".to_owned());
    let answer = till.call("GET", "/tss", None);
    may_be_read(&answer);
    answer.refused_without_code(401);
    till.token = token;
    // An order is one of its own, with a signature at once.
    let ordered = new_id();
    till.sign(&ordered, 1, "ACTIVE", Some(order()));
    till.sign(&ordered, 2, "FINISHED", Some(order()));
    till.close(2);
}
