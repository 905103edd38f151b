//! Bodies that no till sends: whatever comes, the answer has the documented shape, and a refusal
//! signs nothing.

use super::client::{Answer, Till, new_id, order, receipt};
use super::routes::{SAMPLES, World};
use crate::support::server::shared;
use crate::support::token::TestEntropy;
use serde_json::{Map, Value, json};
use siegel::terms::Entropy as _;

/// Bodies that are no JSON object in UTF-8.
fn malformed() -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    vec![
        b"{".to_vec(),
        b"}".to_vec(),
        b"{}{}".to_vec(),
        b"x".to_vec(),
        b"\0".to_vec(),
        b"{\0}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"\xef\xbb\xbf\xef\xbb\xbf{}".to_vec(),
        b"{\"a\":\"\xff\"}".to_vec(),
        b"{\"a\":\"\xc3\x28\"}".to_vec(),
        br#"{"a":"\ud800"}"#.to_vec(),
        br#"{"a":1,}"#.to_vec(),
        br#"{"a":01}"#.to_vec(),
        br#"{"a":1e999}"#.to_vec(),
        br#"{"a":NaN}"#.to_vec(),
        br#"{'a':1}"#.to_vec(),
        br#"{"a" 1}"#.to_vec(),
        br#"{a:1}"#.to_vec(),
        b"state=INITIALIZED".to_vec(),
        b"<state>INITIALIZED</state>".to_vec(),
        b"[1]".to_vec(),
        b"[{}]".to_vec(),
        b"\"x\"".to_vec(),
        b"5".to_vec(),
        b"true".to_vec(),
        nested("[", "]", 100_000),
        nested("{\"a\":", "}", 100_000),
        nested("{\"a\":", "}", 200),
    ]
}

#[test]
fn a_body_that_is_no_json_object_is_refused_on_every_route() {
    let world = World::new(shared());
    world.till.signing(0, || {
        for sample in SAMPLES
            .iter()
            .filter(|sample| sample.body(&world).is_some())
        {
            // Nobody reads the body of a log-out.
            if sample.path.ends_with("/logout") {
                continue;
            }
            let path = sample.filled(&world);
            for body in malformed() {
                let api = &world.till.api;
                let answer = api.call_at_root(sample.method, &path, Some(&body), &[]);
                answer.refused(400, "E_FAILED_SCHEMA_VALIDATION");
            }
        }
    });
}

/// Values that stand where others are expected.
fn nasty() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(""),
        json!(" "),
        json!("0"),
        json!("-0.00"),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("\u{202e}\u{feff}\u{1f4a9}"),
        json!("'; DROP TABLE tss; --"),
        json!("%s%n%x"),
        json!("../../etc/passwd"),
        json!("9".repeat(400)),
        json!("x".repeat(70_000)),
        json!("99999999-9999-9999-9999-999999999999"),
        json!([]),
        json!({}),
        json!([null]),
        json!([[[[[]]]]]),
        json!({"": ""}),
        json!({"state": "ACTIVE"}),
        json!({"__proto__": {"a": 1}}),
    ]
}

/// A few numbers out of one seed.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        // Numerical Recipes' constants; the upper bits are good enough for a test.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Every place of a document, as a JSON pointer.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                places(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Changes one place: another value there, or nothing, or one more field.
fn spoil(body: &mut Value, dice: &mut Dice) {
    let mut all = Vec::new();
    places(body, "", &mut all);
    let place = all[dice.below(all.len())].clone();
    let values = nasty();
    let value = values[dice.below(values.len())].clone();
    let name = ["metadata", "schema", "raw", "x"][dice.below(4)];
    match (dice.below(4), body.pointer_mut(&place).unwrap()) {
        (0, Value::Object(fields)) if !fields.is_empty() => {
            let gone = dice.below(fields.len());
            let gone = fields.keys().nth(gone).unwrap().clone();
            fields.remove(&gone);
        }
        (1, Value::Object(fields)) => drop(fields.insert(name.to_owned(), value)),
        (1, Value::Array(items)) => items.push(value),
        // A body that is no object is another test's business.
        (_, spot) if !place.is_empty() => *spot = value,
        (_, Value::Object(fields)) => drop(fields.insert(name.to_owned(), value)),
        (_, _) => {}
    }
}

fn check_shape(answer: &Answer, body: &Value) {
    let json = answer.json();
    if answer.status == 200 {
        assert!(json.is_object());
        return;
    }
    assert!(
        (400..500).contains(&answer.status),
        "{} with {body}: {json}",
        answer.call
    );
    let code = json["code"].as_str().expect("the refusal has a code");
    answer.refused(answer.status, code);
}

#[test]
fn spoiled_bodies_are_answered_in_shape_and_refusals_sign_nothing() {
    let mut seed = [0; 8];
    TestEntropy.fill(&mut seed);
    let seed = u64::from_le_bytes(seed);
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let till = Till::new(shared());
    let whole = [
        json!({"state": "ACTIVE", "client_id": till.client, "schema": receipt("4.20"),
            "metadata": {"a": "b"}}),
        json!({"state": "ACTIVE", "client_id": till.client, "schema": order()}),
        json!({"state": "ACTIVE", "client_id": till.client,
            "schema": {"raw": {"process_type": "x", "process_data": "QQ=="}}}),
    ];
    let mut counter = till.api.counter(&till.tss);
    for round in 0..250 {
        let mut body = whole[round % whole.len()].clone();
        for _ in 0..=dice.below(2) {
            spoil(&mut body, &mut dice);
        }
        let path = till.path(&format!("/tx/{}", new_id()));
        let answer = till.api.put(&path, &body);
        check_shape(&answer, &body);
        // A start signs one message, a refusal none.
        if answer.status == 200 {
            counter += 1;
            assert_eq!(
                answer.json()["signature"]["counter"],
                counter,
                "seed {seed}, {body}"
            );
        }
    }
    assert_eq!(till.api.counter(&till.tss), counter, "seed {seed}");
}

#[test]
fn spoiled_bodies_of_other_writes_are_answered_in_shape() {
    let mut seed = [0; 8];
    TestEntropy.fill(&mut seed);
    let seed = u64::from_le_bytes(seed);
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let world = World::new(shared());
    for _ in 0..8 {
        for sample in SAMPLES {
            let Some(mut body) = sample.body(&world) else {
                continue;
            };
            // PUKs and PINs have tests of their own; each wrong one would be signed.
            if sample.path.contains("/admin") || sample.path.ends_with("/auth") {
                continue;
            }
            body["metadata"] = json!({"a": "b"});
            spoil(&mut body, &mut dice);
            let path = sample.filled(&world);
            let bytes = body.to_string();
            let api = &world.till.api;
            let answer = api.call_at_root(sample.method, &path, Some(bytes.as_bytes()), &[]);
            check_shape(&answer, &body);
        }
    }
}

#[test]
fn over_long_ids_are_told_shortly() {
    let till = Till::created(shared());
    let long = "x".repeat(5000);
    let answer = till
        .api
        .patch(&format!("/tss/{long}"), &json!({"state": "UNINITIALIZED"}));
    let message = answer.refused(400, "E_PARSER");
    assert!(message.contains("length: 5000") && message.len() < 200);
    till.api
        .get(&format!("/tss/{long}"))
        .refused(400, "E_FAILED_SCHEMA_VALIDATION");
    till.api
        .get(&till.path(&format!("/tx/{long}")))
        .refused(400, "E_FAILED_SCHEMA_VALIDATION");
    // Other ways to write a UUID are none of the dialect.
    let id = &till.tss;
    let simple = id.replace('-', "");
    for other in [
        simple.as_str(),
        &format!("{{{id}}}").replace('{', "%7B").replace('}', "%7D"),
        &format!("urn:uuid:{id}"),
        &format!("{id}%20"),
        &format!("{id}%00"),
    ] {
        till.api
            .get(&format!("/tss/{other}"))
            .refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn a_name_that_comes_twice_counts_as_its_last() {
    let till = Till::created(shared());
    let path = till.path("/metadata");
    let body = br#"{"a":"first","a":"last"}"#;
    let answer = till.api.call("PATCH", &path, Some(body), &[]).ok();
    let mut expected = Map::new();
    expected.insert("a".to_owned(), json!("last"));
    assert_eq!(answer, Value::Object(expected));
}
