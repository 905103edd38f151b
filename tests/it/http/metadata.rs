//! Metadata of everything that has some.

use super::client::{Api, Till, in_eight_threads, new_id, receipt, wait_for};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::{Value, json};

/// The four resources with metadata.
fn resources(till: &Till) -> [String; 4] {
    let sold = till.sell();
    let export = till.path(&format!("/export/{}", new_id()));
    till.api.put(&export, &json!({})).ok();
    wait_for("the export", || {
        (till.api.get(&export).ok()["state"] == "COMPLETED").then_some(())
    });
    [
        till.path(""),
        till.path(&format!("/client/{}", till.client)),
        till.path(&format!("/tx/{}", sold["_id"].as_str().unwrap())),
        export,
    ]
}

#[test]
fn pairs_are_merged_replaced_and_removed_and_never_signed() {
    on_both(|server| {
        let till = Till::new(server);
        let api = &till.api;
        for path in resources(&till) {
            let metadata = format!("{path}/metadata");
            assert_eq!(api.get(&metadata).ok(), json!({}), "{path}");
            let patch = |body: Value| till.signing(0, || api.patch(&metadata, &body).ok());
            assert_eq!(
                patch(json!({"b": "2", "a": "1", "ä €": "🧾"})).to_string(),
                json!({"a": "1", "b": "2", "ä €": "🧾"}).to_string()
            );
            assert_eq!(
                patch(json!({"b": 3, "c": true, "a": null, "ä €": ""})),
                json!({"b": "3", "c": "true"})
            );
            assert_eq!(
                patch(json!({"metadata": {"d": 1.5}})),
                json!({"b": "3", "c": "true", "d": "1.5"})
            );
            for nothing in [json!({}), json!([])] {
                assert_eq!(patch(nothing), json!({"b": "3", "c": "true", "d": "1.5"}));
            }
            let pairs = api.get(&metadata).ok();
            assert_eq!(pairs, json!({"b": "3", "c": "true", "d": "1.5"}));
            assert_eq!(api.get(&path).ok()["metadata"], pairs);
        }
    });
}

#[test]
fn a_step_that_is_sent_again_merges_its_metadata_and_signs_nothing() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = new_id();
        let step = |revision: u64, state: &str, metadata: Value| {
            let path = till.path(&format!("/tx/{tx}?tx_revision={revision}"));
            let mut body = json!({"state": state, "client_id": till.client});
            if state == "FINISHED" {
                body["schema"] = receipt("1.00");
            }
            body["metadata"] = metadata;
            till.api.put(&path, &body)
        };
        let metadata = || till.api.get(&till.path(&format!("/tx/{tx}/metadata"))).ok();
        let started = till.signing(1, || step(1, "ACTIVE", json!({"a": "1"})).ok());
        till.signing(0, || {
            // The very same call again.
            assert_eq!(step(1, "ACTIVE", json!({"a": "1"})).ok(), started);
            let mut again = step(1, "ACTIVE", json!({"a": null, "b": 2})).ok();
            assert_eq!(again["metadata"], json!({"b": "2"}));
            again["metadata"] = started["metadata"].clone();
            assert_eq!(again, started, "nothing else of the answer changes");
        });
        let path = till.path(&format!("/tx/{tx}/metadata"));
        till.api.patch(&path, &json!({"a": "office"})).ok();
        let finished = till.signing(1, || step(2, "FINISHED", json!({"b": 3})).ok());
        assert_eq!(finished["metadata"], json!({"a": "office", "b": "3"}));
        till.signing(0, || {
            // Late, from before: it takes nothing from those who came after it.
            let late = step(1, "ACTIVE", json!({"a": "1"})).ok();
            assert_eq!(late["revision"], 1);
            step(1, "ACTIVE", json!({"b": "1", "c": "1"})).ok();
            assert_eq!(metadata(), json!({"a": "office", "b": "3", "c": "1"}));
            step(2, "FINISHED", json!({"b": 4})).ok();
            assert_eq!(metadata(), json!({"a": "office", "b": "4", "c": "1"}));
            let many: serde_json::Map<String, Value> =
                (0..38).map(|n| (format!("k{n}"), json!("v"))).collect();
            for revision in [1, 2] {
                let state = ["ACTIVE", "FINISHED"][revision - 1];
                let refused = step(u64::try_from(revision).unwrap(), state, json!(many));
                refused.refused(400, "E_FAILED_SCHEMA_VALIDATION");
            }
            assert_eq!(metadata(), json!({"a": "office", "b": "4", "c": "1"}));
        });
    });
}

#[test]
fn repeats_at_the_same_time_lose_no_metadata_of_each_other() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = new_id();
        let path = till.path(&format!("/tx/{tx}?tx_revision=1"));
        till.signing(1, || {
            in_eight_threads(|number| {
                let body = json!({
                    "state": "ACTIVE",
                    "client_id": till.client,
                    "metadata": {format!("k{number}"): "v"},
                });
                till.api.put(&path, &body).ok();
            });
        });
        let all: serde_json::Map<String, Value> =
            (0..8).map(|n| (format!("k{n}"), json!("v"))).collect();
        let metadata = till.api.get(&till.path(&format!("/tx/{tx}/metadata"))).ok();
        assert_eq!(metadata, Value::Object(all));
    });
}

#[test]
fn metadata_of_a_repeat_is_there_after_a_restart() {
    let mut server = TestServer::builder().start();
    let till = Till::new(&server);
    let tx = new_id();
    let path = till.path(&format!("/tx/{tx}?tx_revision=1"));
    let body = |n: u64| json!({"state": "ACTIVE", "client_id": till.client, "metadata": {"n": n}});
    till.api.put(&path, &body(1)).ok();
    till.api.put(&path, &body(2)).ok();
    server.restart();
    let metadata = till.path(&format!("/tx/{tx}/metadata"));
    assert_eq!(till.api.get(&metadata).ok(), json!({"n": "2"}));
    // What it was signed with is remembered: the first call again changes nothing.
    till.signing(0, || till.api.put(&path, &body(1)).ok());
    assert_eq!(till.api.get(&metadata).ok(), json!({"n": "2"}));
}

#[test]
fn a_transaction_is_named_by_its_number_as_well() {
    let till = Till::new(shared());
    till.sell();
    let path = till.path("/tx/1/metadata");
    till.api.patch(&path, &json!({"a": "b"})).ok();
    assert_eq!(till.api.get(&path).ok(), json!({"a": "b"}));
}

#[test]
fn limits_are_those_of_the_dialect() {
    let till = Till::new(shared());
    let api = &till.api;
    for path in resources(&till) {
        let metadata = format!("{path}/metadata");
        for bad in [
            json!({"x".repeat(41): "a"}),
            json!({"a": "x".repeat(501)}),
            json!({"a": {"b": "c"}, "d": "e"}),
            json!({"a": ["b"]}),
            json!({"a": "\u{0}"}),
            json!({"a\u{0}": "b"}),
            json!([1]),
            json!("x"),
            json!(5),
        ] {
            till.signing(0, || {
                api.patch(&metadata, &bad)
                    .refused(400, "E_FAILED_SCHEMA_VALIDATION")
            });
        }
        // Characters count, not bytes.
        let longest = json!({"ä".repeat(40): "€".repeat(500)});
        assert_eq!(api.patch(&metadata, &longest).ok(), longest);
        let many: serde_json::Map<String, Value> =
            (0..39).map(|n| (format!("k{n}"), json!("v"))).collect();
        api.patch(&metadata, &Value::Object(many)).ok();
        let one_more = json!({"one": "more"});
        api.patch(&metadata, &one_more)
            .refused(400, "E_FAILED_SCHEMA_VALIDATION");
        let exchange = json!({"one": "more", "k0": null});
        let pairs = api.patch(&metadata, &exchange).ok();
        assert_eq!(pairs.as_object().unwrap().len(), 40);
    }
}

#[test]
fn metadata_of_what_is_not_there_is_not_found() {
    let till = Till::new(shared());
    let api: &Api = &till.api;
    for (path, code) in [
        (format!("/tss/{}", new_id()), "E_TSS_NOT_FOUND"),
        (
            till.path(&format!("/client/{}", new_id())),
            "E_CLIENT_NOT_FOUND",
        ),
        (till.path(&format!("/tx/{}", new_id())), "E_TX_NOT_FOUND"),
        (till.path("/tx/77"), "E_TX_NOT_FOUND"),
        (
            till.path(&format!("/export/{}", new_id())),
            "E_EXPORT_NOT_FOUND",
        ),
    ] {
        let path = format!("{path}/metadata");
        api.get(&path).refused(404, code);
        api.patch(&path, &json!({"a": "b"})).refused(404, code);
    }
}
