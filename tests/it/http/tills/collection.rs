//! A till whose maker began with the quick-start collection: no schema at the start, an optional update,
//! a receipt at the end, and an assertion on every field.

use super::super::client::{new_id, receipt, wait_for};
use super::{Day, signed};
use crate::support::server::{on_both, shared};
use crate::support::token::TestClock;
use serde_json::{Value, json};
use siegel::terms::Clock as _;
use std::time::Duration;

#[test]
fn a_till_made_after_the_collection_gets_through_its_day() {
    on_both(|server| {
        let mut till = Day::new(server);
        till.set_up();
        let tss = till.get(&till.path(""));
        assert_ne!(tss["signature_counter"], "0");
        assert!(
            tss.get("time_disable").is_none(),
            "undefined until it comes"
        );
        let description = tss["description"].as_str().unwrap();
        assert!(!description.is_empty());

        let sale = new_id();
        let started = till.sign(&sale, 1, "ACTIVE", None);
        assert!(started.get("time_end").is_none());
        let finished = till.sign(&sale, 2, "FINISHED", Some(receipt("21.42")));
        assert_eq!(
            finished["schema"]["raw"]["process_data"],
            "QmVsZWdeMjEuNDJfMC4wMF8wLjAwXzAuMDBfMC4wMF4yMS40MjpVbmJhcg=="
        );
        let updated = new_id();
        till.sign(&updated, 1, "ACTIVE", None);
        till.sign(&updated, 2, "ACTIVE", Some(receipt("4.20")));
        let finished = till.sign(&updated, 3, "FINISHED", Some(receipt("4.20")));
        assert_eq!(
            signed(&finished).1,
            "Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar"
        );

        let list = till.get("/tss");
        for tss in list["data"].as_array().unwrap() {
            assert!(tss.get("bsi_certification_id").is_some());
        }
        let list = till.get(&till.path("/client"));
        for client in list["data"].as_array().unwrap() {
            assert!(client["time_update"].as_i64().unwrap() > 0);
        }
        // It tries to clear up, and does not mind that it cannot.
        till.call("DELETE", &till.path(""), None)
            .refused(404, "E_NOT_FOUND");
        till.close(5);
    });
}

#[test]
fn metadata_is_removed_by_null_and_by_nothing() {
    let mut till = Day::new(shared());
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    let (client, sale) = (
        format!("/client/{}/metadata", till.client),
        format!("/tx/{sale}/metadata"),
    );
    for rest in ["/metadata", &client, &sale] {
        let path = till.path(rest);
        let pairs = json!({"kept": "a", "emptied": "b", "nulled": "c"});
        assert_eq!(till.send("PATCH", &path, &pairs), pairs);
        let patch = json!({"emptied": "", "nulled": null});
        let left = json!({"kept": "a"});
        assert_eq!(till.send("PATCH", &path, &patch), left);
        assert_eq!(till.get(&path), left);
    }
    till.close(1);
}

/// The collection waits 12 s and then takes the file, without asking for the state.
#[test]
fn the_export_of_a_day_is_complete_within_ten_seconds() {
    let mut till = Day::new(shared());
    till.set_up();
    for _ in 0..10 {
        let sale = new_id();
        till.sign(&sale, 1, "ACTIVE", None);
        till.sign(&sale, 2, "FINISHED", Some(receipt("1.00")));
    }
    let clock = TestClock::start();
    let bytes = till.export("");
    let took = Duration::from_millis(clock.monotonic_ms());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(super::signed_steps(&bytes).len(), 20);
}

/// A base URL is given with a slash at its end, and each path begins with one.
#[test]
fn a_base_url_may_end_with_a_slash() {
    let mut till = Day::new(shared());
    till.base = "/api/v2/".to_owned();
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    till.sign(&sale, 2, "FINISHED", Some(receipt("1.00")));
    till.close(2);
}

/// A till whose clients all ask at once, each over its own connection, and parse what comes.
#[test]
fn a_call_that_is_repeated_after_a_lost_answer_is_answered_as_the_first_time() {
    let mut till = Day::new(shared());
    till.set_up();
    let sale = new_id();
    for (revision, state, schema) in [(1, "ACTIVE", None), (2, "FINISHED", Some(receipt("3.00")))] {
        let (path, body) = till.step(&sale, revision, state, schema);
        let target = format!("{}{path}", till.base);
        let bearer = format!("Bearer {}", till.token);
        // The till sends, and is switched off.
        let body = body.to_string();
        let headers = [("Authorization", bearer.as_str())];
        till.wire
            .send("PUT", &target, &headers, Some(body.as_bytes()));
        till.wire.hang_up();
        let first: Value = wait_for("the step", || {
            let answer = till.call("PUT", &path, Some(&body));
            (answer.status == 200).then(|| answer.ok())
        });
        let again = till.call("PUT", &path, Some(&body)).ok();
        assert_eq!(again.to_string(), first.to_string());
    }
    till.close(2);
}
