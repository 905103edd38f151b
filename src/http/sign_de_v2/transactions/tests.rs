use super::super::query::Query;
use super::*;
use crate::asn1::TransactionPhase;
use crate::ledger::TransactionRow;
use crate::receipt::{ABORTED_RECEIPT, Schema};
use crate::sma::{
    Command, Metadata, Transaction, TransactionInput, TransactionOutcome, TransactionRef,
    TransactionState, TransactionStep,
};
use crate::terms::{
    ClientSerial, Environment, Hash, ProcessData, ProcessType, Revision, SeTime, SerialNumber,
    SignatureAlgorithm, SignatureCounter, TransactionNumber,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const CLIENT: &str = "101bd1cd-286c-4c3b-9ae5-43d4fad02f08";
const TX: &str = "f77891c6-d5dd-48c3-b18a-fa0f6752feb8";
const PUBLIC_KEY: &str =
    "BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY=";
const SIGNATURE: &str =
    "kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==";

fn time(seconds: i64) -> SeTime {
    SeTime::try_from(seconds).unwrap()
}

/// The receipt of the recorded transaction, as a till sends it.
fn receipt() -> Value {
    json!({ "standard_v1": { "receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{ "vat_rate": "NORMAL", "amount": "4.20" }],
        "amounts_per_payment_type": [{ "payment_type": "NON_CASH", "amount": "4.20" }],
    } } })
}

/// The finished transaction recorded in HTTP dialect §6.
fn recorded() -> TransactionRow {
    let public_point = STANDARD.decode(PUBLIC_KEY).unwrap();
    let schema = Schema::parse(&receipt()).unwrap().unwrap();
    TransactionRow {
        tss: "ae35a829-7bb2-4261-9490-bcf3c8a3dc5e".parse().unwrap(),
        transaction: Transaction {
            number: TransactionNumber::new(1),
            id: TX.parse().unwrap(),
            state: TransactionState::Finished,
            latest_revision: Revision::new(3),
            client: CLIENT.parse().unwrap(),
            time_start: time(1_787_078_299),
            time_end: Some(time(1_787_078_299)),
            metadata: Metadata::default(),
        },
        step: TransactionStep {
            number: TransactionNumber::new(1),
            revision: Revision::new(3),
            state: TransactionState::Finished,
            phase: TransactionPhase::Finish,
            client: CLIENT.parse().unwrap(),
            client_serial: ClientSerial::try_from(format!("UT-TEST-{CLIENT}").as_str()).unwrap(),
            process_type: schema.process_type.clone(),
            process_data: schema.process_data.clone(),
            schema: Some(schema),
            request_digest: [0; 32],
            metadata_digest: Some([0; 32]),
            signature_counter: SignatureCounter::new(27),
            log_time: time(1_787_078_299),
            signature: STANDARD.decode(SIGNATURE).unwrap(),
        },
        serial_number: SerialNumber::of_public_point(&public_point),
        algorithm: SignatureAlgorithm::ecdsa_plain(Hash::Sha256),
        public_point,
    }
}

fn answered(row: &TransactionRow) -> Value {
    transaction(row, Environment::Test).unwrap()
}

#[test]
fn the_recorded_transaction_is_answered_byte_for_byte() {
    let expected = [
        r#"{"schema":{"standard_v1":{"receipt":{"amounts_per_payment_type":[{"amount":"4.20","currency_code":"EUR","payment_type":"NON_CASH"}],"#,
        r#""amounts_per_vat_rate":[{"amount":"4.20","vat_rate":"NORMAL"}],"receipt_type":"RECEIPT"}},"#,
        r#""raw":{"process_type":"Kassenbeleg-V1","process_data":"QmVsZWdeNC4yMF8wLjAwXzAuMDBfMC4wMF8wLjAwXjQuMjA6VW5iYXI="}},"#,
        r#""state":"FINISHED","tss_id":"ae35a829-7bb2-4261-9490-bcf3c8a3dc5e","#,
        r#""tss_serial_number":"2be721cf1a255afd12626533e251fe7b3e3c8af625b9f12803918a9bb1952867","#,
        r#""client_id":"101bd1cd-286c-4c3b-9ae5-43d4fad02f08","client_serial_number":"UT-TEST-101bd1cd-286c-4c3b-9ae5-43d4fad02f08","#,
        r#""revision":3,"latest_revision":3,"number":1,"time_start":1787078299,"time_end":1787078299,"#,
        r#""_id":"f77891c6-d5dd-48c3-b18a-fa0f6752feb8","_type":"TRANSACTION","_env":"TEST","_version":"2.2.2","#,
        r#""signature":{"value":"kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==","#,
        r#""algorithm":"ecdsa-plain-SHA256","counter":27,"#,
        r#""public_key":"BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY="},"#,
        r#""log":{"operation":"Finish","timestamp":1787078299,"timestamp_format":"unixTime"},"#,
        r#""qr_code_data":"V0;UT-TEST-101bd1cd-286c-4c3b-9ae5-43d4fad02f08;Kassenbeleg-V1;Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar;1;27;"#,
        r#"2026-08-18T18:38:19.000Z;2026-08-18T18:38:19.000Z;ecdsa-plain-SHA256;unixTime;"#,
        r#"kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==;"#,
        r#"BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY="}"#,
    ];
    assert_eq!(answered(&recorded()).to_string(), expected.concat());
}

#[test]
fn a_start_without_a_type_has_an_empty_schema_and_no_end() {
    let mut row = recorded();
    row.step = TransactionStep {
        revision: Revision::new(1),
        state: TransactionState::Active,
        phase: TransactionPhase::Start,
        schema: None,
        process_type: ProcessType::default(),
        process_data: ProcessData::default(),
        log_time: time(1_787_078_290),
        signature_counter: SignatureCounter::new(25),
        ..row.step
    };
    let answer = answered(&row);
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
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
            "_id",
            "_type",
            "_env",
            "_version",
            "signature",
            "log",
        ]
    );
    assert_eq!(answer["schema"], json!({}));
    assert_eq!(answer["state"], "ACTIVE");
    assert_eq!(answer["revision"], 1);
    // An older step tells the present latest revision: clients walk from 1 up to it.
    assert_eq!(answer["latest_revision"], 3);
    assert_eq!(answer["log"]["operation"], "Start");
    assert_eq!(answer["log"]["timestamp"], 1_787_078_290);
}

#[test]
fn metadata_stands_before_the_id_and_only_if_there_is_any() {
    let mut row = recorded();
    let pairs = [
        ("b".to_owned(), "2".to_owned()),
        ("a".to_owned(), "1".to_owned()),
    ];
    row.transaction.metadata = Metadata::from_pairs(pairs.into());
    let answer = answered(&row);
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    let at = keys.iter().position(|key| *key == "metadata").unwrap();
    assert_eq!(&keys[at - 1..=at + 1], ["time_end", "metadata", "_id"]);
    assert_eq!(answer["metadata"], json!({ "a": "1", "b": "2" }));
}

#[test]
fn raw_is_echoed_alone_even_when_it_is_empty() {
    let mut row = recorded();
    row.step.phase = TransactionPhase::Start;
    row.step.schema =
        Schema::parse(&json!({ "raw": { "process_type": "", "process_data": "" } })).unwrap();
    row.step.process_type = ProcessType::default();
    row.step.process_data = ProcessData::default();
    assert_eq!(
        answered(&row)["schema"].to_string(),
        r#"{"raw":{"process_type":"","process_data":""}}"#
    );
}

#[test]
fn a_taximeter_is_echoed_under_its_own_name() {
    let mut row = recorded();
    let driver = json!({ "driver_status": { "type": "LOGON", "driver_id": 7 } });
    let schema = Schema::parse(&json!({ "dsfinvtw_v1": driver }))
        .unwrap()
        .unwrap();
    row.step.process_type = schema.process_type.clone();
    row.step.process_data = schema.process_data.clone();
    row.step.schema = Some(schema);
    assert_eq!(
        answered(&row)["schema"].to_string(),
        concat!(
            r#"{"dsfinvtw_v1":{"driver_status":{"driver_id":"7","type":"LOGON"}},"#,
            r#""raw":{"process_type":"Fahrer-V1","process_data":"RmFocmVyYW5tZWxkdW5nXzc="}}"#
        )
    );
}

#[test]
fn a_cancelled_receipt_shows_what_was_signed_in_raw_and_in_the_code() {
    let mut row = recorded();
    row.step.state = TransactionState::Cancelled;
    row.step.process_data = ProcessData::new(ABORTED_RECEIPT.as_bytes().to_vec());
    let answer = answered(&row);
    assert_eq!(answer["state"], "CANCELLED");
    assert_eq!(answer["log"]["operation"], "Finish");
    assert_eq!(
        answer["schema"]["raw"]["process_data"],
        STANDARD.encode(ABORTED_RECEIPT)
    );
    assert!(answer["schema"]["standard_v1"]["receipt"].is_object());
    let code = answer["qr_code_data"].as_str().unwrap();
    assert!(code.contains(&format!(";{ABORTED_RECEIPT};")), "{code}");
}

#[test]
fn data_that_is_no_text_has_no_code() {
    let mut row = recorded();
    row.step.process_data = ProcessData::new(vec![0xFF]);
    let answer = answered(&row);
    assert!(answer.get("qr_code_data").is_none());
    assert_eq!(answer["schema"]["raw"]["process_data"], "/w==");
}

#[test]
fn a_damaged_echo_is_told_and_not_hidden() {
    let mut row = recorded();
    row.step.schema.as_mut().unwrap().echo = "{".to_owned();
    assert!(transaction(&row, Environment::Test).is_err());
}

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

fn parsed(query_string: &str, body: &Value) -> Result<Command, String> {
    let transaction = reference(TX).unwrap();
    command(transaction, &query(query_string), body).map_err(|error| {
        assert_eq!(error.code, "E_FAILED_SCHEMA_VALIDATION");
        error.message
    })
}

/// Name of the function asked for, and its input.
fn asked(command: Command) -> (&'static str, TransactionInput) {
    if let Command::StartTransaction(input) = command {
        return ("start", input);
    }
    if let Command::UpdateTransaction(input) = command {
        return ("update", input);
    }
    let Command::FinishTransaction(input, outcome) = command else {
        panic!("no transaction: {command:?}");
    };
    match outcome {
        TransactionOutcome::Finished => ("finish", input),
        TransactionOutcome::Cancelled => ("cancel", input),
    }
}

fn input_of(command: Command) -> TransactionInput {
    asked(command).1
}

#[test]
fn a_transaction_is_named_by_id_or_by_number() {
    let id = reference(&TX.to_uppercase());
    assert_eq!(id, Some(TransactionRef::Id(TX.parse().unwrap())));
    let number = reference("7");
    assert_eq!(
        number,
        Some(TransactionRef::Number(TransactionNumber::new(7)))
    );
    for bad in ["", "+7", "-1", "7.0", "4294967296", "f77891c6", "٧"] {
        assert_eq!(reference(bad), None, "{bad}");
    }
}

#[test]
fn state_and_revision_choose_the_function() {
    let body = |state: &str| json!({ "state": state, "client_id": CLIENT, "schema": receipt() });
    let name = |query_string, state| {
        let (name, input) = asked(parsed(query_string, &body(state)).unwrap());
        (name, input.revision.value())
    };
    assert_eq!(name("tx_revision=1", "ACTIVE"), ("start", 1));
    assert_eq!(name("", "ACTIVE"), ("start", 1));
    assert_eq!(name("tx_revision=2", "ACTIVE"), ("update", 2));
    assert_eq!(name("tx_revision=2", "FINISHED"), ("finish", 2));
    assert_eq!(name("?tx_revision=3&x=y", "CANCELLED"), ("cancel", 3));
    // Nothing can be finished at its first step; the rules say so, not we.
    assert_eq!(name("tx_revision=1", "FINISHED"), ("finish", 1));
}

#[test]
fn what_tills_send_at_a_start_is_taken() {
    for schema in [
        json!({}),
        json!([]),
        json!(null),
        json!({ "raw": { "process_type": "", "process_data": "" } }),
        json!({ "standard_v1": { "receipt": {
            "receipt_type": "RECEIPT", "amounts_per_vat_rate": [], "amounts_per_payment_type": [],
        } } }),
    ] {
        let body = json!({ "state": "ACTIVE", "client_id": CLIENT, "schema": schema });
        assert!(parsed("tx_revision=1", &body).is_ok(), "{body}");
    }
    let body = json!({ "state": "ACTIVE", "client_id": CLIENT, "metadata": [], "extra": 1 });
    let input = input_of(parsed("tx_revision=1", &body).unwrap());
    assert_eq!(
        input,
        TransactionInput {
            transaction: TransactionRef::Id(TX.parse().unwrap()),
            revision: Revision::new(1),
            client: CLIENT.parse().unwrap(),
            schema: None,
            metadata: Default::default(),
        }
    );
}

#[test]
fn a_schema_sent_back_as_we_answered_it_means_the_same() {
    let body =
        |schema: Value| json!({ "state": "FINISHED", "client_id": CLIENT, "schema": schema });
    let first = parsed("tx_revision=3", &body(receipt())).unwrap();
    let echoed = answered(&recorded())["schema"].clone();
    assert!(echoed.get("raw").is_some());
    let second = parsed("tx_revision=3", &body(echoed)).unwrap();
    assert_eq!(input_of(first), input_of(second));
}

#[test]
fn metadata_comes_along() {
    let body = json!({
        "state": "ACTIVE", "client_id": CLIENT.to_uppercase(),
        "metadata": { "a": 1, "b": null, "c": "x" },
    });
    let input = input_of(parsed("", &body).unwrap());
    let pairs: Vec<_> = input.metadata.into_iter().collect();
    assert_eq!(
        pairs,
        [
            ("a".to_owned(), Some("1".to_owned())),
            ("b".to_owned(), None),
            ("c".to_owned(), Some("x".to_owned())),
        ]
    );
    assert_eq!(input.client.to_string(), CLIENT);
}

#[test]
fn a_body_that_does_not_fit_is_refused_by_field() {
    let state = "body.state should be equal to one of the allowed values";
    let client = "body.client_id should match format \"uuid\"";
    let cases = [
        (json!("x"), "body should be object"),
        (json!([1]), "body should be object"),
        (json!({}), "body should have required property 'state'"),
        (json!([]), "body should have required property 'state'"),
        (json!(null), "body should have required property 'state'"),
        (
            json!({ "state": "ACTIVE" }),
            "body should have required property 'client_id'",
        ),
        (json!({ "state": "active", "client_id": CLIENT }), state),
        (json!({ "state": 1, "client_id": CLIENT }), state),
        (json!({ "state": "ACTIVE", "client_id": "KASSE-1" }), client),
        (json!({ "state": "ACTIVE", "client_id": null }), client),
        (
            json!({ "state": "ACTIVE", "client_id": CLIENT, "schema": { "raw": {} } }),
            "body.schema.raw.process_type is required",
        ),
        (
            json!({ "state": "ACTIVE", "client_id": CLIENT, "metadata": 1 }),
            "body.metadata should be object",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(
            parsed("", &body).map(input_of),
            Err(message.to_owned()),
            "{body}"
        );
    }
}

#[test]
fn a_revision_is_a_number_from_one() {
    assert_eq!(revision(&query("")), Ok(None));
    assert_eq!(
        revision(&query("tx_revision=007")),
        Ok(Some(Revision::new(7)))
    );
    for bad in ["0", "-1", "1.5", "", "x", "4294967296"] {
        let refused = revision(&query(&format!("tx_revision={bad}")));
        assert!(refused.is_err(), "{bad}");
    }
    assert!(revision(&query("tx_revision=1&tx_revision=2")).is_err());
}
