//! Metadata of everything that has some.

use super::client::{Api, Till, new_id, wait_for};
use crate::support::server::{on_both, shared};
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
