//! The dialect's entrance for everything else: `standard_v1.other` → SonstigerVorgang.
//!
//! The dialect takes any object and publishes no rule. What is signed here is meant for a person's
//! eye: `name:value` for each property, by name, with `^` between them.

use super::refusal::{At, SchemaError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// processData and the echo of a free object. An empty object gives empty processData.
pub(super) fn encode(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let given = sorted(Value::Object(At::new(path).object(value)?));
    let properties: Vec<_> = given
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{}:{}", shown(name, &[':']), shown(text, &[])),
            // A list or an object within stays on its property's line, as compact JSON.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => format!("{}:{value}", shown(name, &[':'])),
        })
        .collect();
    Ok((properties.join("^"), given))
}

/// A text as it is; in JSON quotes where its end could not be told, or where it has something that
/// cannot be seen.
fn shown(text: &str, separators: &[char]) -> String {
    let is_plain = !text.is_empty()
        && text.trim() == text
        && !text.starts_with('"')
        && !text.chars().any(char::is_control)
        && !text.contains('^')
        && !text.contains(separators);
    if is_plain {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// The same value with the keys of all its objects in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<_, _> = map.into_iter().collect();
            let pairs = map.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
