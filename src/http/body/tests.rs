use super::*;
use crate::http::{BODY_IN_MEMORY_MAX, BODY_LEN_MAX};
use serde_json::json;
use std::mem::size_of;

/// What an allocation takes: its bytes, and what the allocator adds and rounds up.
const fn allocated(len: usize) -> usize {
    match len {
        0 => 0,
        len => len.next_multiple_of(16) + 16,
    }
}

/// What a value has allocated, in bytes.
fn held(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => allocated(text.capacity()),
        Value::Array(items) => {
            let own = allocated(items.capacity() * size_of::<Value>());
            own + items.iter().map(held).sum::<usize>()
        }
        Value::Object(pairs) if pairs.is_empty() => 0,
        Value::Object(pairs) => {
            // A table of hashes that has a place for each entry, and the entries, both of which double.
            let places = (pairs.len() * 8 / 7 + 1).next_power_of_two().max(4);
            let entry = size_of::<String>() + size_of::<Value>() + size_of::<u64>();
            let own = allocated(places * 9 + 32) + allocated(places * entry);
            let pairs = pairs.iter();
            own + pairs
                .map(|(name, value)| allocated(name.len()) + held(value))
                .sum::<usize>()
        }
    }
}

#[test]
fn no_value_takes_more_memory_than_is_counted_for_it() {
    let nested = format!("{}0{}", "[".repeat(120), "]".repeat(120));
    let objects = format!("{}0{}", "{\"\":".repeat(120), "}".repeat(120));
    let names: Vec<_> = (0..100).map(|name| format!("\"{name}\":0")).collect();
    let names = format!("{{{}}}", names.join(","));
    for piece in [
        "0", "\"\"", "\"a\"", "[]", "[0]", "{}", "{\"\":0}", &nested, &objects, &names,
    ] {
        for count in [1, 2, 5, 100, 129] {
            let text = format!("{{\"a\":[{}]}}", vec![piece; count].join(","));
            let counted = in_memory(text.as_bytes()).unwrap();
            let held = held(&parse(text.as_bytes()).unwrap());
            assert!(
                held <= counted,
                "{count} times {piece}: {held} of {counted}"
            );
        }
    }
}

#[test]
fn what_stands_in_texts_is_not_taken_for_values() {
    let text = json!({"a": "[[,,::{{", "b\\": "\\\"[\\", "c\"": [1, "\\\\,"]}).to_string();
    let values = in_memory(text.as_bytes()).unwrap() - text.len();
    assert_eq!(values / VALUE_LEN_MAX, 9);
}

#[test]
fn the_largest_body_fits_into_the_room_that_one_may_take() {
    let order = r#"{"quantity":"1","text":"Espresso","price_per_unit":"2.20"}"#;
    let lines = format!("{{\"a\":[{}]}}", vec![order; 4_000].join(","));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_LEN_MAX - 8));
    for text in [lines, large] {
        let len = in_memory(text.as_bytes()).unwrap();
        assert!(2 * text.len() + len <= BODY_IN_MEMORY_MAX, "{len}");
    }
}

#[test]
fn one_value_too_many_is_refused() {
    // The object, its name, its array, and the last zero.
    let zeros = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count));
    assert!(in_memory(zeros(VALUES_MAX - 4).as_bytes()).is_ok());
    let refused = in_memory(zeros(VALUES_MAX - 3).as_bytes());
    assert_eq!(refused, Err(Problem::invalid("body holds too many values")));
}
