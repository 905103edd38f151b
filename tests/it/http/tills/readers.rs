//! Tills that read answers in their own way: by position, in 32 bits, whatever comes.

use super::super::client::{keys, new_id, order, receipt};
use super::Day;
use crate::support::server::{on_both, shared};
use serde_json::{Value, json};

/// Positions of a finished transaction, counted from 0.
const AT: [(usize, &str); 8] = [
    (0, "schema"),
    (1, "state"),
    (6, "revision"),
    (8, "number"),
    (9, "time_start"),
    (10, "time_end"),
    (15, "signature"),
    (17, "qr_code_data"),
];

#[test]
fn a_till_that_reads_a_receipt_by_position_finds_everything() {
    on_both(|server| {
        let mut till = Day::new(server);
        till.set_up();
        let sale = new_id();
        till.sign(&sale, 1, "ACTIVE", None);
        let finished = till.sign(&sale, 2, "FINISHED", Some(receipt("4.20")));
        for answer in [finished, till.get(&till.path(&format!("/tx/{sale}")))] {
            for (at, name) in AT {
                assert_eq!(keys(&answer)[at], name);
            }
            assert_eq!(keys(&answer).len(), 18);
            let values: Vec<_> = answer.as_object().unwrap().values().collect();
            assert_eq!(values[1], "FINISHED");
            assert!(values[17].as_str().unwrap().starts_with("V0;TILL-"));
        }
        till.close(2);
    });
}

/// Every number of an answer, with the name it stands under.
fn numbers(name: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| numbers(name, value, found)),
        Value::Array(items) => items.iter().for_each(|item| numbers(name, item, found)),
        Value::Number(_) => found.push((name.to_owned(), value.clone())),
        Value::Null => panic!("{name} is null; what is absent is left out"),
        Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn every_number_of_a_day_fits_into_32_bits_and_nothing_is_null() {
    let mut till = Day::new(shared());
    till.set_up();
    let (sale, left) = (new_id(), new_id());
    let mut answers = vec![till.created.clone(), till.log_in()];
    answers.push(till.sign(&sale, 1, "ACTIVE", None));
    answers.push(till.sign(&sale, 2, "ACTIVE", Some(receipt("1.00"))));
    answers.push(till.sign(&sale, 3, "FINISHED", Some(receipt("1.00"))));
    answers.push(till.sign(&left, 1, "ACTIVE", Some(order())));
    answers.push(till.sign(&left, 2, "CANCELLED", None));
    till.close(5);
    for path in ["/tss", "/client", "/tx", "/export"] {
        answers.push(till.get(path));
    }
    let state = json!({"state": "UNINITIALIZED"}).to_string();
    let path = till.path("");
    till.call("PATCH", &path, Some(&state))
        .refused(400, "E_ILLEGAL_TSS_STATE_CHANGE");
    let mut found = Vec::new();
    for answer in &answers {
        numbers("", answer, &mut found);
    }
    let mut times = 0;
    for (name, number) in &found {
        let small = number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok());
        assert!(small.is_some(), "{name} is {number}");
        let is_time = name.starts_with("time_") || name.ends_with("_at") || name == "timestamp";
        assert!(
            !is_time || small > Some(1_000_000_000),
            "{name} is {number}"
        );
        times += usize::from(is_time);
    }
    assert!(times >= 30, "there were only {times} times");
}

/// Two clients parse every 200 without looking.
#[test]
fn every_success_has_a_body_of_json() {
    let mut till = Day::new(shared());
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    let admin = json!({"admin_pin": super::PIN}).to_string();
    let pin = json!({"admin_puk": till.created["admin_puk"], "new_admin_pin": super::PIN});
    let (auth, logout, puk) = (
        till.path("/admin/auth"),
        till.path("/admin/logout"),
        till.path("/admin"),
    );
    for (method, path, body) in [
        ("POST", &auth, Some(admin.as_str())),
        ("POST", &logout, None),
        ("POST", &logout, Some("")),
        ("POST", &logout, Some("{}")),
        ("PATCH", &puk, Some(&pin.to_string())),
        ("GET", &till.path("/metadata"), None),
        ("GET", &till.path(&format!("/tx/{sale}/metadata")), None),
    ] {
        assert_eq!(till.call(method, path, body).ok(), json!({}), "{path}");
    }
    till.close(1);
}

#[test]
fn a_till_may_have_no_name_and_no_wish() {
    let server = shared();
    let mut till = Day::new(server);
    // No header at all but `Host`, the token and the length of a body.
    till.wire = super::Wire::to(server.address());
    till.base = "//api/v2/".to_owned();
    till.nothing = None;
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    till.sign(&sale, 2, "FINISHED", Some(receipt("1.00")));
    till.close(2);
    assert_eq!(till.wire.connections, 1);
}

/// One client asks for the next page as long as a page is full, another one reads only what is in it.
#[test]
fn a_till_that_turns_pages_until_one_is_not_full_sees_everything_once() {
    let mut till = Day::new(shared());
    till.set_up();
    for _ in 0..7 {
        till.sign(&new_id(), 1, "ACTIVE", None);
    }
    for (limit, pages_expected) in [(3, 3), (7, 2), (100, 1)] {
        let (mut numbers, mut pages) = (Vec::new(), 0);
        loop {
            let offset = pages * limit;
            let query = format!("/tx?order_by=number&limit={limit}&offset={offset}");
            let page = till.get(&till.path(&query));
            let data = page["data"].as_array().unwrap();
            assert_eq!(page["count"], data.len());
            numbers.extend(data.iter().map(|tx| tx["number"].as_u64().unwrap()));
            pages += 1;
            if page["count"] != limit {
                break;
            }
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "pages of {limit}");
        assert_eq!(pages, pages_expected);
    }
    for query in [
        "?states[0]=ACTIVE&states[1]=FINISHED",
        "?states%5B0%5D=ACTIVE",
        "?states[]=ACTIVE&states[]=CANCELLED",
        "?states=ACTIVE&states=FINISHED",
        "??states=ACTIVE",
    ] {
        let path = till.path(&format!("/tx{query}"));
        assert_eq!(till.get(&path)["count"], 7, "{query}");
    }
    till.close(7);
}

#[test]
fn a_till_may_write_the_scheme_of_its_token_in_any_case() {
    let mut till = Day::new(shared());
    till.set_up();
    let target = format!("{}/tss", till.base);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let token = format!("{scheme} {}", till.token);
        let headers = [("authorization", token.as_str())];
        till.wire.call("GET", &target, &headers, None).ok();
    }
}
