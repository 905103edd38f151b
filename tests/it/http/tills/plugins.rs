//! Plug-ins of shop and accounting software, in the languages that they are written in.

use super::super::client::{Answer, new_id, receipt, wait_for};
use super::{Day, PIN, signed};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::{Value, json};
use siegel::terms::Environment;

#[test]
fn a_plug_in_that_sends_the_whole_receipt_three_times_signs_three_messages() {
    on_both(|server| {
        let mut till = Day::new(server);
        till.set_up();
        let sale = new_id();
        let mut counters = Vec::new();
        for (revision, state, operation) in [
            (1, "ACTIVE", "Start"),
            (2, "ACTIVE", "Update"),
            (3, "FINISHED", "Finish"),
        ] {
            let answer = till.sign(&sale, revision, state, Some(receipt("9.99")));
            assert_eq!(answer["log"]["operation"], operation);
            let (process_type, data) = signed(&answer);
            assert_eq!(process_type, "Kassenbeleg-V1");
            assert_eq!(data, "Beleg^9.99_0.00_0.00_0.00_0.00^9.99:Unbar");
            counters.push(answer["signature"]["counter"].as_u64().unwrap());
        }
        assert_eq!(counters, [counters[0], counters[0] + 1, counters[0] + 2]);
        till.close(3);
    });
}

/// PHP writes an empty map as a list; this one gives up after two seconds, says twice what it accepts,
/// names its requests and not itself, and never sends payments.
fn php(server: &TestServer) -> Day {
    let mut till = Day::new(server);
    till.nothing = Some("[]");
    till.wire = till
        .wire
        .patience_ms(2000)
        .always("Accept", "application/octet-stream")
        .always("Accept", "application/json")
        .always("request-id", "2d2a6a0e-52cf-4b6c-8f2b-5f0f2b4f0c11");
    till
}

fn without_payments() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": "11.90"}],
    }}})
}

#[test]
fn a_shop_in_php_gets_through_its_day_within_its_patience() {
    // Prepared beforehand: it waits two seconds for a TSS, too.
    let server = TestServer::builder().pool_target(2).start();
    wait_for("the prepared devices", || {
        let free = server.store().free_devices(Environment::Test).unwrap();
        (free == 2).then_some(())
    });
    let mut till = php(&server);
    till.set_up();
    till.log_in();
    let pin = json!({"admin_pin": PIN});
    till.send("POST", &till.path("/admin/auth"), &pin);
    let logout = till.path("/admin/logout");
    let answer = till.call("POST", &logout, Some(r#"{"none":"none"}"#));
    assert_eq!(answer.ok(), json!({}));
    assert_eq!(
        answer.header("request-id"),
        Some("2d2a6a0e-52cf-4b6c-8f2b-5f0f2b4f0c11")
    );
    // A map around the map.
    let metadata = till.path("/metadata");
    let wrapped = json!({"metadata": {"shop": "4"}});
    assert_eq!(
        till.send("PATCH", &metadata, &wrapped),
        json!({"shop": "4"})
    );
    assert_eq!(
        till.call("PATCH", &metadata, Some("[]")).ok(),
        json!({"shop": "4"})
    );
    // Reading calls carry a body, or only say what kind of body they do not have.
    let tss = till.path("");
    let first = till.call("GET", &tss, Some("{}")).ok();
    assert_eq!(till.call("GET", &tss, None).ok(), first);

    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    let finished = till.sign(&sale, 2, "FINISHED", Some(without_payments()));
    assert_eq!(signed(&finished).1, "Beleg^11.90_0.00_0.00_0.00_0.00^");
    till.close(2);
    assert_eq!(till.wire.connections, 1, "everything over one connection");
}

#[test]
fn php_that_means_nothing_by_a_list_is_understood_in_every_body() {
    let mut till = php(shared());
    till.wire = till.wire.patience_ms(60_000);
    till.set_up();
    let again = till.path("/admin/logout");
    assert_eq!(till.call("POST", &again, Some("[]")).ok(), json!({}));
    let sale = new_id();
    let path = till.path(&format!("/tx/{sale}?tx_revision=1"));
    let body = format!(
        r#"{{"state": "ACTIVE", "client_id": "{}", "schema": [], "metadata": []}}"#,
        till.client
    );
    assert_eq!(
        till.call("PUT", &path, Some(&body)).ok()["schema"],
        json!({})
    );
    till.sign(&sale, 2, "FINISHED", Some(without_payments()));
    let export = till.path(&format!("/export/{}", new_id()));
    let body = r#"{"metadata": []}"#;
    assert_eq!(
        till.call("PUT", &export, Some(body)).ok()["metadata"],
        json!({})
    );
    // Another one like it may only be triggered when this one has ended.
    wait_for("the end of the export", || {
        (till.get(&export)["state"] == "COMPLETED").then_some(())
    });
    till.close(2);
}

/// A library that writes its JSON into every call, an empty token into its login, and the filters of
/// an export into the body, where they do not count.
#[test]
fn a_library_that_sends_a_body_with_everything_gets_through_its_day() {
    let mut till = Day::new(shared());
    till.wire = till.wire.always("User-Agent", "rest-client/2.1.0");
    let target = format!("{}/auth", till.base);
    let body = till.credentials.body().to_string();
    let empty = [("Authorization", "Bearer ")];
    till.wire
        .call("POST", &target, &empty, Some(body.as_bytes()))
        .ok();
    till.set_up();
    let sale = new_id();
    till.sign(&sale, 1, "ACTIVE", None);
    till.sign(&sale, 2, "FINISHED", Some(receipt("5.00")));
    let client = till.path(&format!("/client/{}", till.client));
    let read = |till: &mut Day, path: &str, body: &str| -> Value {
        till.call("GET", path, Some(body)).ok()
    };
    for (path, kind) in [
        (till.path(""), "TSS"),
        ("/tss".to_owned(), "TSS_LIST"),
        (client, "CLIENT"),
        (till.path("/client"), "CLIENT_LIST"),
        (till.path(&format!("/tx/{sale}")), "TRANSACTION"),
        (till.path("/tx"), "TRANSACTION_LIST"),
    ] {
        assert_eq!(read(&mut till, &path, "{}")["_type"], kind, "{path}");
        let filters = r#"{"states": ["DISABLED"], "limit": 0}"#;
        assert_eq!(read(&mut till, &path, filters)["_type"], kind, "{path}");
    }
    let export = till.path(&format!("/export/{}", new_id()));
    let filters = json!({"start_date": 1, "end_date": 2, "client_id": new_id()});
    let answer = till.send("PUT", &export, &filters);
    assert_eq!(
        answer["state"], "PENDING",
        "no client of the body is looked for"
    );
    // It may be complete by now.
    let deleted = till.call("DELETE", &export, Some("{}"));
    assert!([200, 400].contains(&deleted.status), "{}", deleted.text());
    till.close(2);
}

/// A till that only ever finishes in raw form, and one that refreshes its token; both drop the token when
/// they are told 401, log in once and repeat the call.
#[test]
fn tills_that_are_told_401_log_in_once_and_send_the_same_call_again() {
    let server = TestServer::builder().pool_target(2).start();
    for refreshes in [false, true] {
        let mut till = Day::new(&server);
        till.set_up();
        let login = till.log_in();
        if refreshes {
            server.advance(17_280);
            let refresh = json!({"refresh_token": login["refresh_token"]});
            let refreshed = till.log_in_with(&refresh);
            assert!(refreshed["access_token_expires_in"].as_i64() > Some(0));
        }
        let sale = new_id();
        till.sign(&sale, 1, "ACTIVE", None);
        let form = json!({"raw": {
            "process_type": "Kassenbeleg-V1",
            "process_data": "QmVsZWdeMC4wMF8yLjU1XzAuMDBfMC4wMF8wLjAwXjIuNTU6QmFy",
        }});
        // A day later its token is over.
        server.advance(86_401);
        let mut logins = 0;
        let answer: Answer = loop {
            let answer = till.try_sign(&sale, 2, "FINISHED", Some(form.clone()));
            if answer.status != 401 || logins == 1 {
                break answer;
            }
            answer.refused_without_code(401);
            till.log_in();
            logins += 1;
        };
        assert_eq!(logins, 1);
        assert_eq!(
            signed(&answer.ok()).1,
            "Beleg^0.00_2.55_0.00_0.00_0.00^2.55:Bar"
        );
        till.close(2);
    }
}
