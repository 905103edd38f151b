//! Clients: registered, deregistered, read.

use super::client::{Till, eightfold, in_eight_threads, keys, new_id, statuses};
use crate::support::server::{START_S, TestServer, on_both, shared};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fields of `GET`, `PATCH` and lists.
const FIELDS: [&str; 10] = [
    "serial_number",
    "state",
    "tss_id",
    "metadata",
    "_id",
    "_type",
    "_env",
    "_version",
    "time_creation",
    "time_update",
];

fn check_fields(till: &Till, answer: &Value, state: &str) {
    let expected = json!({
        "_id": till.client,
        "state": state,
        "serial_number": till.serial,
        "time_creation": START_S,
        "tss_id": till.tss,
        "_type": "CLIENT",
        "_env": "TEST",
        "_version": "2.2.2",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name}");
    }
}

fn own(till: &Till) -> String {
    till.path(&format!("/client/{}", till.client))
}

#[test]
fn a_client_is_answered_as_recorded_and_signs_one_message_per_change() {
    on_both(|server| {
        let till = Till::taken_over(server);
        // Possible before the TSS is initialised, as recorded.
        let answer = till.signing(1, || till.register().ok());
        assert_eq!(
            keys(&answer),
            [
                "_id",
                "state",
                "serial_number",
                "time_creation",
                "tss_id",
                "_type",
                "_env",
                "_version",
            ]
        );
        check_fields(&till, &answer, "REGISTERED");
        let again = till.signing(0, || till.register().ok());
        assert_eq!(again.to_string(), answer.to_string());

        let read = till.api.get(&own(&till)).ok();
        assert_eq!(keys(&read), FIELDS);
        check_fields(&till, &read, "REGISTERED");
        assert_eq!(read["metadata"], json!({}));
        assert_eq!(read["time_update"], START_S);

        for state in ["DEREGISTERED", "REGISTERED"] {
            let body = json!({"state": state});
            let answer = till.signing(1, || till.api.patch(&own(&till), &body).ok());
            assert_eq!(keys(&answer), FIELDS);
            check_fields(&till, &answer, state);
            let again = till.signing(0, || till.api.patch(&own(&till), &body).ok());
            assert_eq!(again, answer);
            let list = till.api.get(&till.path("/client")).ok();
            assert_eq!(list["data"], json!([answer]));
        }
    });
}

#[test]
fn metadata_of_a_client_is_merged_by_every_write() {
    let till = Till::taken_over(shared());
    let put = |metadata: Value| {
        let body = json!({"serial_number": till.serial, "metadata": metadata});
        till.api.put(&own(&till), &body).ok()
    };
    let answer = put(json!({"a": 1}));
    assert_eq!(answer["metadata"], json!({"a": "1"}));
    let answer = till.signing(0, || put(json!({"b": "2"})));
    assert_eq!(answer["metadata"], json!({"a": "1", "b": "2"}));
    let body = json!({"state": "DEREGISTERED", "metadata": {"a": null, "c": true}});
    let answer = till.api.patch(&own(&till), &body).ok();
    assert_eq!(answer["metadata"], json!({"b": "2", "c": "true"}));
}

#[test]
fn eight_equal_registrations_at_once_sign_one_message() {
    on_both(|server| {
        let till = Till::taken_over(server);
        let mut answers = till.signing(1, || eightfold(|| till.register().ok().to_string()));
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    });
}

#[test]
fn a_change_of_time_shows_in_the_update() {
    let server = TestServer::builder().start();
    let till = Till::new(&server);
    server.advance(10);
    let body = json!({"state": "DEREGISTERED"});
    let answer = till.api.patch(&own(&till), &body).ok();
    assert_eq!(answer["time_creation"], START_S);
    assert_eq!(answer["time_update"], START_S + 10);
}

#[test]
fn a_serial_number_that_cannot_be_a_file_name_is_refused() {
    let till = Till::taken_over(shared());
    let long = "x".repeat(71);
    for bad in [
        "", " ", " A", "A ", "A/B", "A:B", "A?B", "A_B", "A;B", "Käse", "A\nB", "A\u{0}B", "A\"B",
        "A\\B", "A%B", &long,
    ] {
        till.signing(0, || {
            till.register_as(&new_id(), bad)
                .refused(400, "E_ILLEGAL_CLIENT_SERIAL")
        });
    }
    let longest = "x".repeat(70);
    for good in [longest.as_str(), "a", "A Z a-z'()+,.=09"] {
        let answer = till.signing(1, || till.register_as(&new_id(), good).ok());
        assert_eq!(answer["serial_number"], good);
    }
}

#[test]
fn bodies_that_do_not_fit_are_refused() {
    let till = Till::taken_over(shared());
    let path = own(&till);
    for body in [
        json!({}),
        json!([]),
        json!({"serial_number": null}),
        json!({"serial_number": ["A"]}),
        json!({"serial_number": {}}),
        json!({"serial_number": true}),
        json!({"serial_number": "A", "metadata": 5}),
    ] {
        till.signing(0, || {
            till.api
                .put(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    let body = json!({"serial_number": 4711, "none": "none"});
    assert_eq!(till.api.put(&path, &body).ok()["serial_number"], "4711");
    for body in [
        json!({}),
        json!({"state": 1}),
        json!({"state": null}),
        json!({"state": "registered"}),
        json!({"state": "DELETED"}),
    ] {
        till.signing(0, || {
            till.api
                .patch(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    let bad = till.path("/client/x");
    let message = till.api.put(&bad, &json!({"serial_number": "A"}));
    assert_eq!(
        message.refused(400, "E_PARSER"),
        "can't parse client ID: invalid UUID length: 1 (x)"
    );
    assert_eq!(
        till.api
            .get(&bad)
            .refused(400, "E_FAILED_SCHEMA_VALIDATION"),
        "params.client_id should match format \"uuid\""
    );
}

#[test]
fn an_id_or_a_serial_number_in_use_is_a_conflict() {
    on_both(|server| {
        let till = Till::new(server);
        let neighbour = Till::taken_over(server);
        let message = till.signing(0, || {
            till.register_as(&till.client, "ANOTHER")
                .refused(409, "E_CLIENT_CONFLICT")
        });
        assert!(!message.is_empty());
        till.signing(0, || {
            till.register_as(&new_id(), &till.serial)
                .refused(409, "E_CLIENT_CONFLICT")
        });
        // Ids are unique system-wide, serial numbers per TSS.
        neighbour.signing(0, || {
            neighbour
                .register_as(&till.client, "NEW")
                .refused(409, "E_CLIENT_CONFLICT")
        });
        neighbour.signing(1, || neighbour.register_as(&new_id(), &till.serial).ok());
    });
}

#[test]
fn only_the_admin_changes_clients() {
    let till = Till::new(shared());
    till.log_out().ok();
    till.signing(0, || {
        till.register_as(&new_id(), "NEW")
            .refused(401, "E_UNAUTHORIZED");
        till.register().refused(401, "E_UNAUTHORIZED");
        till.api
            .patch(&own(&till), &json!({"state": "DEREGISTERED"}))
            .refused(401, "E_UNAUTHORIZED");
    });
}

#[test]
fn the_limit_counts_registered_clients() {
    let server = TestServer::builder()
        .section("[limits]\nclients_registered_max = 2")
        .start();
    let till = Till::new(&server);
    till.register_as(&new_id(), "KASSE-2").ok();
    till.signing(0, || {
        till.register_as(&new_id(), "KASSE-3")
            .refused(403, "E_CLIENT_LIMIT_REACHED")
    });
    // A repeat needs no room, a place that became free can be taken.
    till.register().ok();
    let state = |state: &str| till.api.patch(&own(&till), &json!({"state": state}));
    state("DEREGISTERED").ok();
    till.register_as(&new_id(), "KASSE-3").ok();
    till.signing(0, || {
        state("REGISTERED").refused(403, "E_CLIENT_LIMIT_REACHED")
    });
    // At once, too.
    let till = Till::new(&server);
    let answers = till.signing(1, || {
        in_eight_threads(|number| till.register_as(&new_id(), &format!("KASSE-{number}")))
    });
    assert_eq!(statuses(&answers), BTreeMap::from([(200, 1), (403, 7)]));
}

#[test]
fn of_eight_clients_with_one_serial_number_one_is_registered() {
    on_both(|server| {
        let till = Till::taken_over(server);
        let answers = till.signing(1, || eightfold(|| till.register_as(&new_id(), "THE ONE")));
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 1), (409, 7)]));
    });
}

#[test]
fn of_eight_tsss_that_want_one_client_one_gets_it() {
    on_both(|server| {
        let first = Till::taken_over(server);
        let second = Till::taken_over(server);
        let client = new_id();
        let answers = in_eight_threads(|number| {
            let till = if number % 2 == 0 { &first } else { &second };
            till.register_as(&client, &format!("KASSE-{}", number % 2))
        });
        let found = [&first, &second].map(|till| {
            let path = till.path(&format!("/client/{client}"));
            till.api.get(&path).status
        });
        assert!(found == [200, 404] || found == [404, 200], "{found:?}");
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 4), (409, 4)]));
    });
}

#[test]
fn a_deregistered_client_cannot_sign_and_can_come_back() {
    on_both(|server| {
        let till = Till::new(server);
        let open = till.start();
        let state = |state: &str| till.api.patch(&own(&till), &json!({"state": state}));
        state("DEREGISTERED").ok();
        till.signing(0, || {
            till.step(&new_id(), 1, "ACTIVE", None)
                .refused(400, "E_CLIENT_DEREGISTERED");
            till.step(&open, 2, "FINISHED", Some(super::client::receipt("1.00")))
                .refused(400, "E_CLIENT_DEREGISTERED");
            // What was signed is answered again all the same.
            till.step(&open, 1, "ACTIVE", None).ok();
        });
        state("REGISTERED").ok();
        till.step(&open, 2, "FINISHED", Some(super::client::receipt("1.00")))
            .ok();
    });
}

#[test]
fn a_disabled_tss_changes_no_clients() {
    let till = Till::new(shared());
    till.state("DISABLED").ok();
    till.signing(0, || {
        till.register_as(&new_id(), "NEW")
            .refused(400, "E_TSS_DISABLED");
        till.api
            .patch(&own(&till), &json!({"state": "DEREGISTERED"}))
            .refused(400, "E_TSS_DISABLED");
    });
    till.api.get(&own(&till)).ok();
}

#[test]
fn an_unknown_client_is_not_found() {
    let till = Till::new(shared());
    let path = till.path(&format!("/client/{}", new_id()));
    till.api.get(&path).refused(404, "E_CLIENT_NOT_FOUND");
    till.api
        .patch(&path, &json!({"state": "REGISTERED"}))
        .refused(404, "E_CLIENT_NOT_FOUND");
    // A client of another TSS of the same owner.
    let second = Till::new_by(&till.api);
    let path = second.path(&format!("/client/{}", till.client));
    till.api.get(&path).refused(404, "E_CLIENT_NOT_FOUND");
}
