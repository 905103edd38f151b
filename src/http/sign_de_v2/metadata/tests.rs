use super::patch;
use serde_json::{Value, json};

fn pairs(value: &Value) -> Vec<(String, Option<String>)> {
    patch(value, "body").unwrap().into_iter().collect()
}

#[test]
fn values_become_text_and_nothing_removes_a_key() {
    let given = json!({ "number": 7, "flag": true, "text": "x", "none": null, "empty": "" });
    let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    assert_eq!(
        pairs(&given),
        [
            pair("empty", None),
            pair("flag", Some("true")),
            pair("none", None),
            pair("number", Some("7")),
            pair("text", Some("x")),
        ]
    );
}

#[test]
fn a_map_wrapped_once_more_is_unwrapped() {
    let plain = json!({ "a": "1" });
    assert_eq!(pairs(&json!({ "metadata": plain })), pairs(&plain));
    assert!(patch(&json!({ "metadata": { "a": "1" }, "b": "2" }), "body").is_err());
    assert_eq!(pairs(&json!({ "metadata": "1" })).len(), 1);
}

#[test]
fn an_empty_map_may_be_a_list_or_null() {
    for nothing in [json!({}), json!([]), json!(null)] {
        assert!(pairs(&nothing).is_empty(), "{nothing}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_key_and_never_by_value() {
    let refused = |value: Value| patch(&value, "body").unwrap_err().message;
    assert_eq!(refused(json!("x")), "body should be object");
    assert_eq!(refused(json!({ "a": [] })), "body.a should be string");
    assert_eq!(
        refused(json!({ "a": "x".repeat(501) })),
        "body.a should NOT be longer than 500 characters"
    );
    assert_eq!(
        refused(json!({ "k".repeat(41): "x" })),
        "body has a key longer than 40 characters"
    );
    for zero in [json!({ "a": "\0" }), json!({ "\0": "a" })] {
        assert_eq!(refused(zero), "body should hold no U+0000");
    }
    let most = json!({ "ü".repeat(40): "ü".repeat(500) });
    assert_eq!(pairs(&most).len(), 1);
}
