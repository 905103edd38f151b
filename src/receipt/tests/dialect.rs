//! Our own vectors of the dialect: `other`, taximeters, and what is refused.

use super::signed;
use crate::receipt::Schema;
use serde_json::{Value, json};

fn document() -> Value {
    serde_json::from_str(include_str!(
        "../../../tests/vectors/processdata/dialect.json"
    ))
    .unwrap()
}

fn list(document: &Value, name: &str) -> Vec<Value> {
    let list = document[name].as_array().unwrap().clone();
    assert!(list.len() > 20, "{name}");
    list
}

#[test]
fn the_own_vectors_of_the_dialect_hold_with_their_echo() {
    for vector in list(&document(), "vectors") {
        let (id, schema) = (&vector["id"], &vector["schema"]);
        let (process_type, data) = signed(schema);
        assert_eq!(process_type, vector["process_type"], "{id}");
        assert_eq!(data, vector["process_data"], "{id}");
        let parsed = Schema::parse(schema).unwrap().unwrap();
        let form = parsed.form.echoed_as().unwrap();
        let echo: Value = serde_json::from_str(&parsed.echo).unwrap();
        let expected = vector.get("echo").unwrap_or(schema);
        // As text, because the order of the keys is part of it.
        assert_eq!(
            json!({ form: echo }).to_string(),
            expected.to_string(),
            "{id}"
        );
    }
}

#[test]
fn an_echo_that_comes_back_means_the_same() {
    for vector in list(&document(), "vectors") {
        let first = Schema::parse(&vector["schema"]).unwrap().unwrap();
        let echo: Value = serde_json::from_str(&first.echo).unwrap();
        let answered = json!({
            first.form.echoed_as().unwrap(): echo,
            "raw": { "process_type": "Z", "process_data": "eA==" },
        });
        let second = Schema::parse(&answered).unwrap().unwrap();
        assert_eq!(second, first, "{}", vector["id"]);
    }
}

#[test]
fn what_the_dialect_does_not_allow_is_refused_by_field() {
    let document = document();
    for reject in list(&document, "reject") {
        let schema = match reject.get("schema") {
            Some(schema) => schema.clone(),
            None => changed(&document["forms"], &reject),
        };
        let error = Schema::parse(&schema).expect_err(&reject["id"].to_string());
        assert_eq!(error.to_string(), reject["message"], "{}", reject["id"]);
    }
}

#[test]
fn the_forms_that_rejects_are_made_of_are_good() {
    let document = document();
    for (name, form) in document["forms"].as_object().unwrap() {
        let parsed = Schema::parse(&json!({ "dsfinvtw_v1": { name: form } }));
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
    }
}

/// One of the complete forms with another value at a place, or with none.
fn changed(forms: &Value, reject: &Value) -> Value {
    let name = reject["form"].as_str().unwrap();
    let mut form = forms[name].clone();
    let (parent, field) = reject["at"].as_str().unwrap().rsplit_once('/').unwrap();
    let parent = form.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match reject.get("value") {
        Some(value) => parent.insert(field.to_owned(), value.clone()),
        None => parent.remove(field),
    };
    json!({ "dsfinvtw_v1": { name: form } })
}
