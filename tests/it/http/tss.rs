//! TSSs: made, changed, read; their states.

use super::client::{
    Api, Till, eightfold, in_eight_threads, keys, new_id, receipt, statuses, wait_for,
};
use crate::support::server::{START_S, TestServer, on_both, shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use siegel::sma::{Caller, Command};
use siegel::terms::{Environment, SessionId, TssId};
use std::collections::BTreeMap;
use std::sync::mpsc;
use uuid::Uuid;

const CREATED: [&str; 17] = [
    "certificate",
    "serial_number",
    "public_key",
    "signature_algorithm",
    "signature_timestamp_format",
    "transaction_data_encoding",
    "max_number_registered_clients",
    "max_number_active_transactions",
    "supported_update_variants",
    "metadata",
    "_id",
    "_type",
    "_env",
    "_version",
    "time_creation",
    "admin_puk",
    "state",
];

/// What `GET` adds after the first 15 fields, times apart.
const RETRIEVED: [&str; 6] = [
    "description",
    "state",
    "signature_counter",
    "transaction_counter",
    "number_registered_clients",
    "number_active_transactions",
];

const UPDATED: [&str; 21] = [
    "description",
    "state",
    "certificate",
    "serial_number",
    "public_key",
    "signature_counter",
    "signature_algorithm",
    "signature_timestamp_format",
    "transaction_counter",
    "transaction_data_encoding",
    "number_registered_clients",
    "max_number_registered_clients",
    "number_active_transactions",
    "max_number_active_transactions",
    "supported_update_variants",
    "metadata",
    "_id",
    "_type",
    "_env",
    "_version",
    "time_creation",
];

/// Declares a TSS defective, as an operator's tool would.
pub fn declare_defective(server: &TestServer, till: &Till) {
    let caller = Caller {
        organization: till.api.organization,
        environment: Environment::Test,
        session: SessionId::new(Uuid::new_v4()),
    };
    let (answer, waiting) = mpsc::channel();
    let reply = Box::new(move |result| answer.send(result).unwrap());
    let id: TssId = till.tss.parse().unwrap();
    let door = server.node().door();
    door.lanes
        .submit(id, caller, Command::DeclareDefective, reply);
    waiting.recv().unwrap().unwrap();
}

fn with_times<'a>(before: &[&'a str], times: &[&'a str]) -> Vec<&'a str> {
    [before, times, &["bsi_certification_id"]].concat()
}

fn retrieved(times: &[&'static str]) -> Vec<&'static str> {
    with_times(&[&CREATED[..15], &RETRIEVED[..]].concat(), times)
}

fn check_constant_fields(answer: &Value, id: &str) {
    let point = STANDARD
        .decode(answer["public_key"].as_str().unwrap())
        .unwrap();
    assert_eq!((point.len(), point[0]), (65, 4));
    let serial = hex::encode(openssl::sha::sha256(&point));
    let certificate = answer["certificate"].as_str().unwrap();
    let certificate = STANDARD.decode(certificate).unwrap();
    let certificate = openssl::x509::X509::from_der(&certificate).unwrap();
    let name = certificate
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::COMMONNAME);
    let name: Vec<_> = name
        .map(|entry| entry.data().to_string().unwrap())
        .collect();
    assert_eq!(name, [serial.as_str()]);
    let expected = json!({
        "serial_number": serial,
        "signature_algorithm": "ecdsa-plain-SHA256",
        "signature_timestamp_format": "unixTime",
        "transaction_data_encoding": "UTF-8",
        "max_number_registered_clients": 199,
        "max_number_active_transactions": 2000,
        "supported_update_variants": "SIGNED",
        "_id": id,
        "_type": "TSS",
        "_env": "TEST",
        "_version": "2.2.2",
        "time_creation": START_S,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name}");
    }
}

#[test]
fn a_life_is_answered_as_recorded_and_signs_its_messages() {
    on_both(|server| {
        let api = Api::new(server);
        let id = new_id();
        let path = format!("/tss/{id}");
        let body = json!({"metadata": {"shop": "1"}});
        let created = wait_for("a prepared device", || {
            let answer = api.put(&path, &body);
            (answer.status != 503).then_some(answer)
        });
        let created = created.ok();
        assert_eq!(keys(&created), CREATED);
        check_constant_fields(&created, &id);
        assert_eq!(created["metadata"], json!({"shop": "1"}));
        assert_eq!(created["state"], "CREATED");
        let puk = created["admin_puk"].as_str().unwrap();
        assert!(puk.len() == 10 && puk.bytes().all(|byte| byte.is_ascii_digit()));

        let answer = api.get(&path).ok();
        assert_eq!(keys(&answer), retrieved(&[]));
        check_constant_fields(&answer, &id);
        let description = answer["description"].as_str().unwrap();
        assert_eq!(
            description,
            format!("Siegel TSE (test operation, not certified) ({id})")
        );
        // The request for the certificate was the first signature; then updateTime,
        // configureLogging, startAudit.
        assert_eq!(answer["signature_counter"], "4");
        assert_eq!(answer["transaction_counter"], "0");
        assert_eq!(answer["number_registered_clients"], 0);
        assert_eq!(answer["number_active_transactions"], 0);
        assert_eq!(answer["bsi_certification_id"], "");

        let till = Till {
            api: api.clone(),
            tss: id.clone(),
            puk: puk.to_owned(),
            client: new_id(),
            serial: "KASSE-1".to_owned(),
        };
        let answer = till.signing(0, || till.state("UNINITIALIZED").ok());
        assert_eq!(keys(&answer), with_times(&UPDATED, &["time_uninit"]));
        check_constant_fields(&answer, &id);
        assert_eq!(answer["signature_counter"], "4");
        assert_eq!(
            till.signing(1, || till.set_pin(puk, "123456").ok()),
            json!({})
        );
        assert_eq!(till.signing(1, || till.log_in("123456").ok()), json!({}));
        let body = json!({
            "state": "INITIALIZED",
            "description": "Laden 1 'A' (x)+,-./:=?",
            "metadata": {"floor": 2},
        });
        let answer = till.signing(1, || api.patch(&path, &body).ok());
        assert_eq!(
            keys(&answer),
            with_times(&UPDATED, &["time_uninit", "time_init"])
        );
        assert_eq!(answer["description"], "Laden 1 'A' (x)+,-./:=?");
        assert_eq!(answer["metadata"], json!({"floor": "2", "shop": "1"}));
        till.signing(1, || till.register().ok());
        till.signing(2, || till.sell());
        till.signing(1, || till.start());
        assert_eq!(till.signing(1, || till.log_out().ok()), json!({}));
        let answer = api.get(&path).ok();
        assert_eq!(keys(&answer), retrieved(&["time_uninit", "time_init"]));
        assert_eq!(answer["signature_counter"], "12");
        assert_eq!(answer["transaction_counter"], "2");
        assert_eq!(answer["number_registered_clients"], 1);
        assert_eq!(answer["number_active_transactions"], 1);
        till.log_in("123456").ok();
        let answer = till.signing(1, || till.state("DISABLED").ok());
        let times = ["time_uninit", "time_init", "time_disable"];
        assert_eq!(keys(&answer), with_times(&UPDATED, &times));
        assert_eq!(answer["state"], "DISABLED");
        assert_eq!(keys(&api.get(&path).ok()), retrieved(&times));
    });
}

#[test]
fn the_puk_is_shown_again_while_created_and_never_afterwards() {
    on_both(|server| {
        let till = Till::created(server);
        let path = till.path("");
        let again = till.signing(0, || till.api.put(&path, &json!({})).ok());
        assert_eq!(again["admin_puk"], till.puk.as_str());
        assert_eq!(keys(&again), CREATED);
        // A body without fields is written in many ways.
        for body in [
            None,
            Some(&b""[..]),
            Some(b" \r\n"),
            Some(b"[]"),
            Some(b"null"),
        ] {
            let answer = till.signing(0, || till.api.call("PUT", &path, body, &[]).ok());
            assert_eq!(answer.to_string(), again.to_string());
        }
        assert!(!till.api.get(&path).text().contains(&till.puk));
        assert!(!till.api.get("/tss").text().contains(&till.puk));
        assert!(
            !till
                .state("UNINITIALIZED")
                .ok()
                .to_string()
                .contains(&till.puk)
        );
        till.signing(0, || {
            till.api
                .put(&path, &json!({}))
                .refused(409, "E_TSS_CONFLICT")
        });
    });
}

#[test]
fn eight_equal_requests_at_once_make_one_tss() {
    on_both(|server| {
        let api = Api::new(server);
        let path = format!("/tss/{}", new_id());
        let mut bodies = eightfold(|| {
            wait_for("a prepared device", || {
                let answer = api.put(&path, &json!({}));
                (answer.status != 503).then_some(answer)
            })
            .ok()
            .to_string()
        });
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert_eq!(api.get(&path).ok()["signature_counter"], "4");
        assert_eq!(api.get("/tss").ok()["count"], 1);
    });
}

#[test]
fn an_illegal_change_of_state_signs_nothing() {
    on_both(|server| {
        let till = Till::created(server);
        let refused = |states: &[&str], status: u16, code: &str| {
            for state in states {
                till.signing(0, || till.state(state).refused(status, code));
            }
        };
        let illegal = "E_ILLEGAL_TSS_STATE_CHANGE";
        refused(&["INITIALIZED", "DISABLED"], 400, illegal);
        till.state("UNINITIALIZED").ok();
        refused(&["INITIALIZED", "DISABLED"], 401, "E_UNAUTHORIZED");
        refused(
            &["CREATED", "DEFECTIVE", "DELETED", "x", ""],
            400,
            "E_FAILED_SCHEMA_VALIDATION",
        );
        till.set_pin(&till.puk, "123456").ok();
        till.log_in("123456").ok();
        till.state("INITIALIZED").ok();
        refused(&["UNINITIALIZED"], 400, illegal);
        till.log_out().ok();
        refused(&["DISABLED"], 401, "E_UNAUTHORIZED");
        till.log_in("123456").ok();
        till.state("DISABLED").ok();
        refused(&["UNINITIALIZED", "INITIALIZED"], 400, illegal);
    });
}

#[test]
fn a_tss_can_be_disabled_before_it_was_initialized() {
    let till = Till::taken_over(shared());
    let answer = till.signing(1, || till.state("DISABLED").ok());
    assert_eq!(
        keys(&answer),
        with_times(&UPDATED, &["time_uninit", "time_disable"])
    );
}

#[test]
fn the_state_it_has_is_answered_with_metadata_merged_and_times_kept() {
    let server = TestServer::builder().start();
    let till = Till::created(&server);
    let path = till.path("");
    let again = |state: &str| {
        let first = till.state(state).ok();
        server.advance(7);
        let body = json!({
            "state": state,
            "description": "another one",
            "metadata": {"again": state},
        });
        let second = till.signing(0, || till.api.patch(&path, &body).ok());
        for name in keys(&first) {
            if name == "metadata" {
                assert_eq!(second["metadata"]["again"], state);
            } else {
                assert_eq!(first[name], second[name], "{name}");
            }
        }
    };
    again("UNINITIALIZED");
    till.set_pin(&till.puk, "123456").ok();
    till.log_in("123456").ok();
    again("INITIALIZED");
    again("DISABLED");
}

#[test]
fn a_change_takes_nothing_but_its_own_fields() {
    let till = Till::taken_over(shared());
    let path = till.path("");
    for body in [
        json!({}),
        json!([]),
        json!({"description": "x"}),
        json!({"state": 1}),
        json!({"state": null}),
        json!({"state": "INITIALIZED", "none": "none"}),
        json!({"state": "INITIALIZED", "admin_puk": "1234567890"}),
        json!({"state": "INITIALIZED", "description": "x".repeat(101)}),
        json!({"state": "INITIALIZED", "description": "Bäckerei"}),
        json!({"state": "INITIALIZED", "description": "a_b"}),
        json!({"state": "INITIALIZED", "description": "a\u{0}b"}),
        json!({"state": "INITIALIZED", "description": {}}),
        json!({"state": "INITIALIZED", "metadata": "x"}),
    ] {
        till.signing(0, || {
            till.api
                .patch(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    let body = json!({"state": "INITIALIZED", "description": "x".repeat(100)});
    let answer = till.api.patch(&path, &body).ok();
    assert_eq!(answer["description"], "x".repeat(100));
}

#[test]
fn each_layer_words_a_bad_id_in_its_own_way() {
    let api = Api::new(shared());
    let bad = "some_tss_id";
    let parser = "can't parse TSS ID: invalid UUID length: 11 (some_tss_id)";
    let schema = "params.tss_id should match format \"uuid\"";
    let path = format!("/tss/{bad}");
    let below = |rest: &str| format!("/tss/{bad}{rest}");
    let is = |answer: super::client::Answer, code: &str, message: &str| {
        assert_eq!(answer.refused(400, code), message);
    };
    is(
        api.patch(&path, &json!({"state": "UNINITIALIZED"})),
        "E_PARSER",
        parser,
    );
    is(
        api.post(&below("/admin/auth"), &json!({"admin_pin": "123456"})),
        "E_PARSER",
        parser,
    );
    is(
        api.post(&below("/admin/logout"), &json!({})),
        "E_PARSER",
        parser,
    );
    is(api.get(&path), "E_FAILED_SCHEMA_VALIDATION", schema);
    is(
        api.put(&path, &json!({})),
        "E_FAILED_SCHEMA_VALIDATION",
        schema,
    );
    is(
        api.get(&below(&format!("/export/{}/file", new_id()))),
        "E_FAILED_SCHEMA_VALIDATION",
        schema,
    );
}

#[test]
fn ids_are_lower_case_whatever_was_sent() {
    let till = Till::created(shared());
    let upper = format!("/tss/{}", till.tss.to_uppercase());
    assert_eq!(till.api.get(&upper).ok()["_id"], till.tss.as_str());
    assert_eq!(
        till.api.put(&upper, &json!({})).ok()["admin_puk"],
        till.puk.as_str()
    );
    // The version nibble is not looked at.
    let odd = "/tss/00000000-0000-0000-0000-00000000ffff";
    till.api.get(odd).refused(404, "E_TSS_NOT_FOUND");
}

#[test]
fn a_defective_tss_takes_no_writes_and_can_be_read() {
    on_both(|server| {
        let till = Till::new(server);
        let sold = till.sell();
        declare_defective(server, &till);
        let tx = sold["_id"].as_str().unwrap();
        let locked = |answer: super::client::Answer| answer.refused(423, "E_TSS_DEFECTIVE");
        till.signing(0, || {
            locked(till.state("DISABLED"));
            locked(till.state("INITIALIZED"));
            locked(till.set_pin(&till.puk, "654321"));
            locked(till.log_in("123456"));
            locked(till.log_out());
            locked(till.register_as(&new_id(), "KASSE-9"));
            let client = till.path(&format!("/client/{}", till.client));
            locked(till.api.patch(&client, &json!({"state": "DEREGISTERED"})));
            locked(till.step(&new_id(), 1, "ACTIVE", None));
            locked(till.api.patch(&till.path("/metadata"), &json!({"a": "b"})));
        });
        let read = till.api.get(&till.path("")).ok();
        let times = ["time_uninit", "time_init", "time_defective"];
        assert_eq!(keys(&read), retrieved(&times));
        assert_eq!(read["state"], "DEFECTIVE");
        till.api.get(&till.path(&format!("/tx/{tx}"))).ok();
        till.api.get(&till.path("/client")).ok();
    });
}

#[test]
fn an_empty_pool_says_when_to_come_back() {
    let server = TestServer::builder().pool_target(0).start();
    let api = Api::new(&server);
    let path = format!("/tss/{}", new_id());
    let answer = api.put(&path, &json!({}));
    answer.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
    assert_eq!(answer.header("retry-after"), Some("5"));
    api.get(&path).refused(404, "E_TSS_NOT_FOUND");
}

#[test]
fn of_two_owners_who_want_one_id_one_gets_it() {
    on_both(|server| {
        let owners = [Api::new(server), Api::new(server)];
        let path = format!("/tss/{}", new_id());
        let answers = in_eight_threads(|number| {
            wait_for("a prepared device", || {
                let answer = owners[number % 2].put(&path, &json!({}));
                (answer.status != 503).then_some(answer)
            })
        });
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 4), (409, 4)]));
        let found = owners.map(|owner| owner.get(&path).status);
        assert!(found == [200, 404] || found == [404, 200], "{found:?}");
    });
}

#[test]
fn an_expired_certificate_is_told_after_the_message_was_signed() {
    let server = TestServer::builder().start();
    let credentials = server.organization();
    let till = Till::new_by(&Api::log_in(&server, &credentials));
    let open = till.start();
    // Leaves live for eight years.
    server.advance(8 * 366 * 86_400);
    let till = Till {
        api: Api::log_in(&server, &credentials),
        ..till
    };
    let code = "E_CERTIFICATE_EXPIRED";
    till.signing(1, || {
        till.step(&new_id(), 1, "ACTIVE", None).refused(423, code)
    });
    till.signing(1, || {
        till.step(&open, 2, "FINISHED", Some(receipt("1.00")))
            .refused(423, code)
    });
    // Logging in, logging out and the end of the TSS are exempt.
    till.signing(1, || till.log_in("123456").ok());
    till.signing(1, || {
        till.register_as(&new_id(), "KASSE-2").refused(423, code)
    });
    till.signing(1, || till.set_pin(&till.puk, "123456").ok());
    till.signing(1, || till.log_in("123456").ok());
    till.signing(1, || till.state("DISABLED").ok());
}

#[test]
fn limits_are_answered_as_they_are_set() {
    let server = TestServer::builder()
        .section("[limits]\nclients_registered_max = 7\ntransactions_open_max = 8")
        .section("description_prefix = \"Test of fiskal sign\"")
        .start();
    let till = Till::created(&server);
    let answer = till.api.get(&till.path("")).ok();
    assert_eq!(answer["max_number_registered_clients"], 7);
    assert_eq!(answer["max_number_active_transactions"], 8);
    assert_eq!(
        answer["description"],
        format!("Test of fiskal sign ({})", till.tss)
    );
}

#[test]
fn an_id_that_somebody_has_is_a_conflict_for_everybody_else() {
    let server = shared();
    let till = Till::created(server);
    let stranger = Api::new(server);
    till.signing(0, || {
        stranger
            .put(&till.path(""), &json!({}))
            .refused(409, "E_TSS_CONFLICT")
    });
}
