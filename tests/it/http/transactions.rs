//! Transactions: started, updated, finished, cancelled, repeated, read.

use super::client::{
    Answer, Till, eightfold, in_eight_threads, keys, new_id, order, receipt, statuses,
};
use crate::support::server::{START_S, TestServer, on_both, shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use siegel::verify::verify_qr;
use std::collections::BTreeMap;

const BEFORE_END: [&str; 10] = [
    "schema",
    "state",
    "tss_id",
    "tss_serial_number",
    "client_id",
    "client_serial_number",
    "revision",
    "latest_revision",
    "number",
    "time_start",
];
const COMMON: [&str; 6] = ["_id", "_type", "_env", "_version", "signature", "log"];

fn fields<'a>(between: &[&'a str], after: &[&'a str]) -> Vec<&'a str> {
    [&BEFORE_END, between, &COMMON, after].concat()
}

fn raw(process_type: &str, data: &[u8]) -> Value {
    json!({"raw": {"process_type": process_type, "process_data": STANDARD.encode(data)}})
}

/// What was signed, as `schema.raw` says.
fn signed(answer: &Value) -> (String, String) {
    let raw = &answer["schema"]["raw"];
    let data = STANDARD
        .decode(raw["process_data"].as_str().unwrap())
        .unwrap();
    (
        raw["process_type"].as_str().unwrap().to_owned(),
        String::from_utf8(data).unwrap(),
    )
}

fn check_common(till: &Till, tx: &str, answer: &Value) {
    let tss = till.api.get(&till.path("")).ok();
    let expected = json!({
        "tss_id": till.tss,
        "tss_serial_number": tss["serial_number"],
        "client_id": till.client,
        "client_serial_number": till.serial,
        "time_start": START_S,
        "_id": tx,
        "_type": "TRANSACTION",
        "_env": "TEST",
        "_version": "2.2.2",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name}");
    }
    let signature = &answer["signature"];
    assert_eq!(
        keys(signature),
        ["value", "algorithm", "counter", "public_key"]
    );
    assert_eq!(signature["algorithm"], "ecdsa-plain-SHA256");
    assert_eq!(signature["public_key"], tss["public_key"]);
    let value = STANDARD
        .decode(signature["value"].as_str().unwrap())
        .unwrap();
    assert_eq!(value.len(), 64);
    assert_eq!(
        Some(signature["counter"].as_u64().unwrap().to_string().as_str()),
        tss["signature_counter"].as_str()
    );
    assert_eq!(
        keys(&answer["log"]),
        ["operation", "timestamp", "timestamp_format"]
    );
    assert_eq!(answer["log"]["timestamp"], START_S);
    assert_eq!(answer["log"]["timestamp_format"], "unixTime");
}

#[test]
fn a_sale_is_answered_as_recorded_at_each_of_its_steps() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = new_id();
        let started = till.signing(1, || till.step(&tx, 1, "ACTIVE", None).ok());
        assert_eq!(keys(&started), fields(&[], &[]));
        check_common(&till, &tx, &started);
        assert_eq!(started["schema"], json!({}));
        assert_eq!(started["state"], "ACTIVE");
        assert_eq!(
            (&started["revision"], &started["latest_revision"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(started["number"], 1);
        assert_eq!(started["log"]["operation"], "Start");

        let step = |revision, state| {
            till.signing(1, || {
                till.step(&tx, revision, state, Some(receipt("4.20"))).ok()
            })
        };
        let updated = step(2, "ACTIVE");
        assert_eq!(keys(&updated), fields(&[], &[]));
        check_common(&till, &tx, &updated);
        assert_eq!(updated["log"]["operation"], "Update");

        let finished = step(3, "FINISHED");
        assert_eq!(keys(&finished), fields(&["time_end"], &["qr_code_data"]));
        check_common(&till, &tx, &finished);
        assert_eq!(finished["state"], "FINISHED");
        assert_eq!(finished["time_end"], START_S);
        assert_eq!(finished["log"]["operation"], "Finish");
        assert_eq!(
            finished["schema"].to_string(),
            json!({
                "standard_v1": {"receipt": {
                    "amounts_per_payment_type": [
                        {"amount": "4.20", "currency_code": "EUR", "payment_type": "NON_CASH"},
                    ],
                    "amounts_per_vat_rate": [{"amount": "4.20", "vat_rate": "NORMAL"}],
                    "receipt_type": "RECEIPT",
                }},
                "raw": {
                    "process_type": "Kassenbeleg-V1",
                    "process_data":
                        "QmVsZWdeNC4yMF8wLjAwXzAuMDBfMC4wMF8wLjAwXjQuMjA6VW5iYXI=",
                },
            })
            .to_string()
        );
        let code = verify_qr(finished["qr_code_data"].as_str().unwrap()).unwrap();
        assert!(code.signature_valid);
        assert_eq!(code.findings, []);

        // Every revision can be read again, with the latest one of now.
        let path = till.path(&format!("/tx/{tx}"));
        for (revision, then) in [(1, started), (2, updated), (3, finished.clone())] {
            let read = till.api.get(&format!("{path}?tx_revision={revision}")).ok();
            let mut expected = then;
            expected["latest_revision"] = json!(3);
            assert_eq!(read.to_string(), expected.to_string());
        }
        for which in [path, till.path("/tx/1")] {
            assert_eq!(till.api.get(&which).ok().to_string(), finished.to_string());
        }
    });
}

#[test]
fn a_repeat_is_answered_as_the_first_time_and_signs_nothing() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = new_id();
        let schema = || Some(receipt("4.20"));
        let steps: [(u64, &str, Option<Value>); 3] = [
            (1, "ACTIVE", None),
            (2, "ACTIVE", schema()),
            (3, "FINISHED", schema()),
        ];
        for (revision, state, schema) in steps {
            let ask = || till.step(&tx, revision, state, schema.clone()).ok();
            let first = till.signing(1, ask);
            let again = till.signing(0, ask);
            assert_eq!(again.to_string(), first.to_string());
            // By its number, too.
            if revision > 1 {
                let number = first["number"].to_string();
                let by_number = till.signing(0, || {
                    till.step(&number, revision, state, schema.clone()).ok()
                });
                assert_eq!(by_number.to_string(), first.to_string());
            }
        }
        // The echo of an answer means the same as what was sent.
        let echo = till.api.get(&till.path(&format!("/tx/{tx}"))).ok();
        till.signing(0, || {
            till.step(&tx, 3, "FINISHED", Some(echo["schema"].clone()))
                .ok()
        });
        // An early revision is answered late, too, with the latest one of now.
        let early = till.signing(0, || till.step(&tx, 1, "ACTIVE", None).ok());
        assert_eq!(early["state"], "ACTIVE");
        assert_eq!(
            (&early["revision"], &early["latest_revision"]),
            (&json!(1), &json!(3))
        );
        // However its ids are written, and whatever else is in the body.
        let body = json!({
            "none": "none",
            "schema": {},
            "client_id": till.client.to_uppercase(),
            "state": "ACTIVE",
        });
        let path = till.path(&format!("/tx/{}?tx_revision=01", tx.to_uppercase()));
        let upper = till.signing(0, || till.api.put(&path, &body).ok());
        assert_eq!(upper, early);
        // Even after the TSS has ended.
        till.state("DISABLED").ok();
        till.signing(0, || till.step(&tx, 3, "FINISHED", schema()).ok());
        till.signing(0, || {
            till.step(&new_id(), 1, "ACTIVE", None)
                .refused(400, "E_TSS_DISABLED")
        });
    });
}

#[test]
fn eight_equal_steps_at_once_sign_one_message() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = new_id();
        let steps = [(1, "ACTIVE", None), (2, "FINISHED", Some(receipt("4.20")))];
        for (revision, state, schema) in steps {
            let mut answers = till.signing(1, || {
                eightfold(|| {
                    till.step(&tx, revision, state, schema.clone())
                        .ok()
                        .to_string()
                })
            });
            answers.dedup();
            assert_eq!(answers.len(), 1, "{answers:?}");
        }
        let tss = till.api.get(&till.path("")).ok();
        assert_eq!(tss["transaction_counter"], "1");
    });
}

#[test]
fn of_eight_different_ends_at_once_one_is_signed() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = till.start();
        let answers = till.signing(1, || {
            in_eight_threads(|number| {
                let amount = format!("{number}.00");
                let state = if number % 2 == 0 {
                    "FINISHED"
                } else {
                    "CANCELLED"
                };
                till.step(&tx, 2, state, Some(receipt(&amount)))
            })
        });
        assert_eq!(statuses(&answers), BTreeMap::from([(200, 1), (400, 7)]));
        for answer in answers.iter().filter(|answer| answer.status == 400) {
            answer.refused(400, "E_TX_UPSERT");
        }
    });
}

#[test]
fn eight_different_starts_at_once_get_eight_numbers() {
    on_both(|server| {
        let till = Till::new(server);
        let mut numbers = till.signing(8, || {
            eightfold(|| {
                let answer = till.step(&new_id(), 1, "ACTIVE", None).ok();
                answer["number"].as_u64().unwrap()
            })
        });
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn a_revision_that_does_not_fit_is_a_conflict() {
    on_both(|server| {
        let till = Till::new(server);
        let upsert = |answer: Answer, word: &str| {
            let message = answer.refused(400, "E_TX_UPSERT");
            assert!(message.contains(word), "{message}");
        };
        let tx = till.start();
        let body = || Some(receipt("1.00"));
        till.signing(0, || {
            // Another body at a used revision.
            upsert(till.step(&tx, 1, "ACTIVE", body()), "ACTIVE");
            upsert(till.step(&tx, 1, "FINISHED", body()), "ACTIVE");
            upsert(till.step(&tx, 3, "ACTIVE", body()), "ACTIVE");
            upsert(till.step(&tx, 3, "FINISHED", body()), "ACTIVE");
            upsert(till.step(&new_id(), 2, "ACTIVE", None), "not started");
            upsert(till.step(&new_id(), 1, "FINISHED", body()), "not started");
            upsert(till.step(&new_id(), 2, "CANCELLED", body()), "not started");
        });
        till.step(&tx, 2, "FINISHED", body()).ok();
        till.signing(0, || {
            upsert(
                till.step(&tx, 2, "FINISHED", Some(receipt("1.01"))),
                "FINISHED",
            );
            upsert(till.step(&tx, 2, "CANCELLED", body()), "FINISHED");
            upsert(till.step(&tx, 3, "ACTIVE", body()), "FINISHED");
            upsert(till.step(&tx, 3, "FINISHED", body()), "FINISHED");
        });
        let tx = till.start();
        till.step(&tx, 2, "CANCELLED", body()).ok();
        till.signing(0, || {
            upsert(till.step(&tx, 3, "CANCELLED", body()), "CANCELLED");
            upsert(till.step(&tx, 2, "FINISHED", body()), "CANCELLED");
        });
        // Another client at a used revision is another request.
        let second = new_id();
        till.register_as(&second, "KASSE-2").ok();
        let tx = till.start();
        till.signing(0, || {
            upsert(till.step_of(&second, &tx, 1, "ACTIVE", None), "ACTIVE")
        });
        // At the next revision it may go on.
        let answer = till
            .step_of(&second, &tx, 2, "FINISHED", Some(receipt("1.00")))
            .ok();
        assert_eq!(answer["client_serial_number"], "KASSE-2");
    });
}

#[test]
fn the_first_revision_need_not_be_named() {
    let till = Till::new(shared());
    let path = till.path(&format!("/tx/{}", new_id()));
    let body = json!({"state": "ACTIVE", "client_id": till.client});
    let answer = till.signing(1, || till.api.put(&path, &body).ok());
    assert_eq!(answer["revision"], 1);
    till.signing(0, || till.api.put(&path, &body).ok());
}

#[test]
fn a_cancelled_receipt_signs_that_it_was_aborted_whatever_was_echoed() {
    on_both(|server| {
        let till = Till::new(server);
        let aborted = (
            "Kassenbeleg-V1".to_owned(),
            "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^".to_owned(),
        );
        // Given with the cancellation.
        let tx = till.start();
        let answer = till.signing(1, || {
            till.step(&tx, 2, "CANCELLED", Some(receipt("4.20"))).ok()
        });
        assert_eq!(signed(&answer), aborted);
        assert_eq!(answer["state"], "CANCELLED");
        assert_eq!(answer["log"]["operation"], "Finish");
        assert_eq!(keys(&answer), fields(&["time_end"], &["qr_code_data"]));
        // Given earlier.
        let tx = till.start();
        till.step(&tx, 2, "ACTIVE", Some(receipt("4.20"))).ok();
        assert_eq!(signed(&till.step(&tx, 3, "CANCELLED", None).ok()), aborted);
        // Echoed with both forms, as one till does.
        let tx = new_id();
        let echo = till.step(&tx, 1, "ACTIVE", Some(receipt("4.20"))).ok();
        let answer = till
            .step(&tx, 2, "CANCELLED", Some(echo["schema"].clone()))
            .ok();
        assert_eq!(signed(&answer), aborted);
        // An order is aborted empty, raw data as it was given.
        let tx = till.start();
        let answer = till.step(&tx, 2, "CANCELLED", Some(order())).ok();
        assert_eq!(signed(&answer), ("Bestellung-V1".into(), String::new()));
        let tx = till.start();
        let given = raw("Kassenbeleg-V1", b"AVBelegabbruch^x");
        let answer = till.step(&tx, 2, "CANCELLED", Some(given)).ok();
        assert_eq!(
            signed(&answer),
            ("Kassenbeleg-V1".into(), "AVBelegabbruch^x".into())
        );
    });
}

#[test]
fn a_transaction_ends_with_a_type_and_keeps_it() {
    on_both(|server| {
        let till = Till::new(server);
        let tx = till.start();
        till.signing(0, || {
            for state in ["FINISHED", "CANCELLED"] {
                till.step(&tx, 2, state, None)
                    .refused(409, "E_TX_NO_TYPE_DEFINED");
            }
        });
        till.step(&tx, 2, "ACTIVE", Some(order())).ok();
        till.signing(0, || {
            for state in ["ACTIVE", "FINISHED", "CANCELLED"] {
                till.step(&tx, 3, state, Some(receipt("1.00")))
                    .refused(409, "E_TX_ILLEGAL_TYPE_CHANGE");
            }
        });
        // The type given earlier is enough.
        let answer = till.step(&tx, 3, "FINISHED", None).ok();
        assert_eq!(
            signed(&answer),
            ("Bestellung-V1".into(), "2;\"Maultaschen\";9.50".into())
        );
        // An empty type is none yet.
        let tx = new_id();
        till.step(&tx, 1, "ACTIVE", Some(raw("", b""))).ok();
        till.step(&tx, 2, "FINISHED", Some(receipt("1.00"))).ok();
    });
}

#[test]
fn raw_is_signed_as_given_and_echoed_alone() {
    let till = Till::new(shared());
    let tx = new_id();
    let empty = till.step(&tx, 1, "ACTIVE", Some(raw("", b""))).ok();
    assert_eq!(empty["schema"], raw("", b""));
    let given = raw("SonstigerVorgang", "Tür auf".as_bytes());
    let answer = till.step(&tx, 2, "FINISHED", Some(given.clone())).ok();
    assert_eq!(answer["schema"], given);
    assert!(verify_qr(answer["qr_code_data"].as_str().unwrap()).is_ok());
    // A code for bytes that are no text could not be checked by anybody.
    let tx = till.start();
    let answer = till
        .step(
            &tx,
            2,
            "FINISHED",
            Some(raw("SonstigerVorgang", b"\xff\x00")),
        )
        .ok();
    assert_eq!(keys(&answer), fields(&["time_end"], &[]));
}

#[test]
fn what_recorded_tills_send_is_signed() {
    let till = Till::new(shared());
    // A start with a receipt that has no amounts yet, then five decimals and numbered rates.
    let tx = new_id();
    let start = json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [],
        "amounts_per_payment_type": [],
    }}});
    till.step(&tx, 1, "ACTIVE", Some(start)).ok();
    let finish = json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [
            {"vat_rate": "19", "amount": "21.42000"},
            {"vat_rate": "7", "amount": "0.00500"},
        ],
        "amounts_per_payment_type": [{"payment_type": "CASH", "amount": "21.42500"}],
    }}});
    let answer = till.step(&tx, 2, "FINISHED", Some(finish)).ok();
    assert_eq!(
        signed(&answer).1,
        "Beleg^21.42_0.01_0.00_0.00_0.00^21.43:Bar"
    );
    let echo = &answer["schema"]["standard_v1"]["receipt"]["amounts_per_vat_rate"];
    assert_eq!(echo[0], json!({"amount": "21.42000", "vat_rate": "19"}));
    // No payments at all.
    let tx = till.start();
    let finish = json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": "1.00"}],
    }}});
    let answer = till.step(&tx, 2, "FINISHED", Some(finish)).ok();
    assert_eq!(signed(&answer).1, "Beleg^1.00_0.00_0.00_0.00_0.00^");
    // The same schema at every revision.
    let tx = new_id();
    for (revision, state) in [(1, "ACTIVE"), (2, "ACTIVE"), (3, "FINISHED")] {
        till.step(&tx, revision, state, Some(receipt("9.99"))).ok();
    }
}

#[test]
fn a_body_that_does_not_fit_signs_nothing() {
    let till = Till::new(shared());
    let path = till.path(&format!("/tx/{}?tx_revision=1", new_id()));
    let amount = |amount: Value| {
        json!({"state": "ACTIVE", "client_id": till.client, "schema": {"standard_v1": {"receipt": {
            "receipt_type": "RECEIPT",
            "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": amount}],
        }}}})
    };
    let schema =
        |schema: Value| json!({"state": "ACTIVE", "client_id": till.client, "schema": schema});
    for body in [
        json!({}),
        json!([]),
        json!({"state": "ACTIVE"}),
        json!({"client_id": till.client}),
        json!({"state": "active", "client_id": till.client}),
        json!({"state": null, "client_id": till.client}),
        json!({"state": ["ACTIVE"], "client_id": till.client}),
        json!({"state": "ACTIVE", "client_id": "x"}),
        json!({"state": "ACTIVE", "client_id": 1}),
        json!({"state": "ACTIVE", "client_id": till.client, "metadata": "x"}),
        amount(json!("")),
        amount(json!("1,00")),
        amount(json!("1.")),
        amount(json!(".50")),
        amount(json!("1e3")),
        amount(json!("+1.00")),
        amount(json!("--1.00")),
        amount(json!("1.000000")),
        amount(json!("NaN")),
        amount(json!("9999999999999999999999.00")),
        amount(json!(1e300)),
        amount(json!(null)),
        amount(json!(true)),
        amount(json!([])),
        amount(json!("1.00\u{0}")),
        amount(json!("١.٠٠")),
        schema(json!("x")),
        schema(json!([1])),
        schema(json!({"standard_v1": {}})),
        schema(json!({"standard_v1": {"receipt": {}}})),
        schema(json!({"standard_v1": {"receipt": {"receipt_type": "RECEIPT"}}})),
        schema(json!({"standard_v1": {"receipt": {"receipt_type": "x",
            "amounts_per_vat_rate": []}}})),
        schema(json!({"standard_v1": {"other": "x"}})),
        schema(json!({"dsfinvtw_v1": {"power_up": "x"}})),
        schema(json!({"dsfinvtw_v1": {"power_up": {"system": {}}}})),
        schema(json!({"dsfinvtw_v1": {}})),
        schema(json!({"raw": {"process_type": "x"}})),
        schema(json!({"raw": {"process_data": ""}})),
        schema(json!({"raw": {"process_type": "x", "process_data": "*"}})),
        schema(json!({"raw": {"process_type": "Käse", "process_data": ""}})),
        schema(json!({"raw": {"process_type": "x".repeat(101), "process_data": ""}})),
    ] {
        till.signing(0, || {
            till.api
                .put(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    let body = json!({"state": "ACTIVE", "client_id": till.client});
    for revision in [
        "0",
        "-1",
        "x",
        "1.5",
        "",
        "+1",
        "99999999999999999999",
        "1&tx_revision=1",
    ] {
        let path = till.path(&format!("/tx/{}?tx_revision={revision}", new_id()));
        till.signing(0, || {
            till.api
                .put(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    for tx in ["x", "-1", "1.5", "%00", "1%20", "99999999999999999999999"] {
        let path = till.path(&format!("/tx/{tx}?tx_revision=1"));
        till.signing(0, || {
            till.api
                .put(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION");
            till.api
                .get(&path)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION");
        });
    }
}

#[test]
fn amounts_may_be_numbers() {
    let till = Till::new(shared());
    let tx = till.start();
    let schema = json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": 19, "amount": 10.5}, {"vat_rate": 7, "amount": -3}],
        "amounts_per_payment_type": [
            {"payment_type": "CASH", "amount": 7.5, "currency_code": "usd"},
        ],
    }}});
    let answer = till.step(&tx, 2, "FINISHED", Some(schema)).ok();
    assert_eq!(
        signed(&answer).1,
        "Beleg^10.50_-3.00_0.00_0.00_0.00^7.50:Bar:USD"
    );
}

#[test]
fn an_unknown_client_is_400_here() {
    let till = Till::new(shared());
    let neighbour = Till::new_by(&till.api);
    for client in [new_id(), neighbour.client] {
        till.signing(0, || {
            till.step_of(&client, &new_id(), 1, "ACTIVE", None)
                .refused(400, "E_CLIENT_NOT_FOUND")
        });
    }
}

#[test]
fn nothing_is_signed_before_the_tss_is_initialized() {
    let till = Till::created(shared());
    let start = || {
        till.signing(0, || {
            till.step(&new_id(), 1, "ACTIVE", None)
                .refused(400, "E_TSS_NOT_INITIALIZED")
        })
    };
    start();
    till.state("UNINITIALIZED").ok();
    till.set_pin(&till.puk, "123456").ok();
    till.log_in("123456").ok();
    till.register().ok();
    start();
    till.state("INITIALIZED").ok();
    till.start();
}

#[test]
fn a_number_that_was_never_given_is_not_found() {
    let till = Till::new(shared());
    till.start();
    till.signing(0, || {
        for (tx, revision) in [("2", 1), ("2", 2), ("0", 1)] {
            till.step(tx, revision, "ACTIVE", None)
                .refused(404, "E_TX_NOT_FOUND");
        }
    });
    for tx in ["2", "0", &new_id()] {
        for rest in ["", "/log", "/metadata"] {
            till.api
                .get(&till.path(&format!("/tx/{tx}{rest}")))
                .refused(404, "E_TX_NOT_FOUND");
        }
    }
    till.api
        .get(&till.path("/tx/1?tx_revision=2"))
        .refused(400, "E_TX_REVISION_NOT_FOUND");
    // Started by number as an id nobody has: numbers are ours to give.
    till.signing(1, || {
        till.step("1", 2, "FINISHED", Some(receipt("1.00"))).ok()
    });
}

#[test]
fn the_limit_counts_open_transactions() {
    let server = TestServer::builder()
        .section("[limits]\ntransactions_open_max = 2")
        .start();
    let till = Till::new(&server);
    let first = new_id();
    till.step(&first, 1, "ACTIVE", None).ok();
    let second = till.start();
    till.signing(0, || {
        till.step(&new_id(), 1, "ACTIVE", None)
            .refused(400, "E_TX_LIMIT_REACHED");
        // A repeat needs no room.
        till.step(&first, 1, "ACTIVE", None).ok();
    });
    till.step(&second, 2, "CANCELLED", Some(order())).ok();
    let answer = till.step(&new_id(), 1, "ACTIVE", None).ok();
    assert_eq!(answer["number"], 3, "a refused start takes no number");
    // At once, too.
    let till = Till::new(&server);
    let answers = till.signing(2, || eightfold(|| till.step(&new_id(), 1, "ACTIVE", None)));
    assert_eq!(statuses(&answers), BTreeMap::from([(200, 2), (400, 6)]));
}

#[test]
fn the_log_message_of_a_step_is_the_one_that_was_signed() {
    on_both(|server| {
        let till = Till::new(server);
        let sold = till.sell();
        let tx = sold["_id"].as_str().unwrap();
        let path = till.path(&format!("/tx/{tx}/log"));
        let answer = till.api.get(&path);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        let message = siegel::asn1::read(&answer.bytes).unwrap();
        let value = sold["signature"]["value"].as_str().unwrap();
        assert_eq!(STANDARD.encode(message.signature), value);
        let first = till.api.get(&format!("{path}?tx_revision=1"));
        let first = siegel::asn1::read(&first.bytes).unwrap();
        assert_eq!(first.signature_counter + 1, message.signature_counter);
        till.api
            .get(&format!("{path}?tx_revision=3"))
            .refused(400, "E_TX_REVISION_NOT_FOUND");
    });
}

#[test]
fn metadata_stands_before_the_id_and_does_not_make_another_request() {
    let till = Till::new(shared());
    let path = till.path(&format!("/tx/{}?tx_revision=1", new_id()));
    let put = |metadata: Value| {
        let body = json!({"state": "ACTIVE", "client_id": till.client, "metadata": metadata});
        till.api.put(&path, &body).ok()
    };
    let answer = till.signing(1, || put(json!({"order": 17})));
    assert_eq!(keys(&answer), fields(&["metadata"], &[]));
    assert_eq!(answer["metadata"], json!({"order": "17"}));
    till.signing(0, || put(json!({"order": 17})));
    till.signing(0, || put(json!({})));
}

#[test]
fn times_are_those_of_the_messages() {
    let server = TestServer::builder().start();
    let till = Till::new(&server);
    let tx = till.start();
    server.advance(5);
    till.step(&tx, 2, "ACTIVE", Some(receipt("1.00"))).ok();
    server.advance(5);
    let answer = till.step(&tx, 3, "FINISHED", None).ok();
    assert_eq!(answer["time_start"], START_S);
    assert_eq!(answer["time_end"], START_S + 10);
    assert_eq!(answer["log"]["timestamp"], START_S + 10);
    let code = answer["qr_code_data"].as_str().unwrap();
    assert!(
        code.contains(";2027-01-15T08:00:00.000Z;2027-01-15T08:00:10.000Z;"),
        "{code}"
    );
    let updated = till
        .api
        .get(&till.path(&format!("/tx/{tx}?tx_revision=2")))
        .ok();
    assert_eq!(updated["log"]["timestamp"], START_S + 5);
}
