//! Why something was not taken.

use serde_json::{Map, Value};

/// What was given cannot become processData as it is. Names fields, never values: what a till sells is
/// nobody's business.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SchemaError {
    /// Path of the field, such as `schema.raw.process_type`.
    field: String,
    /// What is wrong with it.
    problem: &'static str,
}

/// Where in the document we are, for error texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    path: &'a str,
}

impl<'a> At<'a> {
    pub(super) const fn new(path: &'a str) -> Self {
        Self { path }
    }

    /// Something about a field below here is wrong.
    pub(super) fn wrong(self, field: &str, problem: &'static str) -> SchemaError {
        SchemaError {
            field: self.name(field),
            problem,
        }
    }

    /// Name of a field below here; an empty one is the place itself.
    pub(super) fn name(self, field: &str) -> String {
        if field.is_empty() {
            self.path.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// The value as an object. An empty array is one too: that is how PHP writes an empty map.
    pub(super) fn object(self, value: &Value) -> Result<Map<String, Value>, SchemaError> {
        match value {
            Value::Object(map) => Ok(map.clone()),
            Value::Array(items) if items.is_empty() => Ok(Map::new()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(self.wrong("", "should be object")),
        }
    }

    /// The value as a list, with the path of each item. An empty object is an empty list.
    pub(super) fn items(self, value: &Value) -> Result<Vec<(String, &Value)>, SchemaError> {
        match value {
            Value::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{}[{index}]", self.path), item))
                .collect()),
            Value::Object(map) if map.is_empty() => Ok(Vec::new()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => Err(self.wrong("", "should be array")),
        }
    }

    /// The one field of those named that is there, and its value.
    pub(super) fn one_of<'m>(
        self,
        map: &'m Map<String, Value>,
        names: &[&'static str],
    ) -> Result<(&'static str, &'m Value), SchemaError> {
        let mut there = names
            .iter()
            .filter_map(|name| optional(map, name).map(|value| (*name, value)));
        match (there.next(), there.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(self.wrong("", "should hold only one form")),
            (None, _) => Err(self.wrong("", "should hold one of its forms")),
        }
    }

    /// A field that must be there.
    pub(super) fn required<'m>(
        self,
        map: &'m Map<String, Value>,
        field: &str,
    ) -> Result<&'m Value, SchemaError> {
        map.get(field)
            .ok_or_else(|| self.wrong(field, "is required"))
    }

    /// A field that must be there, as text; numbers become their JSON text.
    pub(super) fn text(self, map: &Map<String, Value>, field: &str) -> Result<String, SchemaError> {
        let value = self.required(map, field)?;
        super::decimal::text_of(value).ok_or_else(|| self.wrong(field, "should be string"))
    }
}

/// A field that may be left out; `null` is the same as left out.
pub(super) fn optional<'m>(map: &'m Map<String, Value>, field: &str) -> Option<&'m Value> {
    map.get(field).filter(|value| !value.is_null())
}
