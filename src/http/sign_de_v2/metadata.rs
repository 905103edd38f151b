//! Metadata as tills send it (HTTP dialect §10).

use super::query::Malformed;
use crate::sma::{METADATA_KEY_LEN_MAX, METADATA_VALUE_LEN_MAX, MetadataPatch};
use serde_json::{Map, Value};

/// What a till wants changed. Numbers and truth values become text, `null` and empty text remove a
/// key, and a map that is wrapped once more (`{"metadata": {…}}`) is unwrapped. How many pairs there
/// may be depends on those that are there, so the rules decide it.
///
/// # Errors
/// [`Malformed`] names the key that does not fit; `place` is where the map stands.
pub fn patch(value: &Value, place: &str) -> Result<MetadataPatch, Malformed> {
    let nothing = Map::new();
    let pairs = match value {
        Value::Object(pairs) => wrapped(pairs).unwrap_or(pairs),
        // PHP writes an empty map as a list.
        Value::Array(items) if items.is_empty() => &nothing,
        Value::Null => &nothing,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Malformed::text(&format!("{place} should be object")));
        }
    };
    let mut patch = MetadataPatch::new();
    for (key, value) in pairs {
        if key.chars().count() > METADATA_KEY_LEN_MAX {
            let problem = "has a key longer than 40 characters";
            return Err(Malformed::text(&format!("{place} {problem}")));
        }
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(Malformed::field(place, key, "should be string"));
            }
        };
        if text
            .as_ref()
            .is_some_and(|text| text.chars().count() > METADATA_VALUE_LEN_MAX)
        {
            let problem = "should NOT be longer than 500 characters";
            return Err(Malformed::field(place, key, problem));
        }
        // Not every database can keep this character in text.
        if key.contains('\0') || text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Malformed::text(&format!("{place} should hold no U+0000")));
        }
        patch.insert(key.clone(), text.filter(|text| !text.is_empty()));
    }
    Ok(patch)
}

fn wrapped(pairs: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let inner = pairs.get("metadata")?.as_object()?;
    (pairs.len() == 1).then_some(inner)
}

#[cfg(test)]
mod tests;
