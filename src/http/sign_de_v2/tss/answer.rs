//! A TSS as the dialect answers it, in the recorded order of keys.

use super::super::VERSION;
use crate::sma::{Settings, Tss};
use crate::terms::SeTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

/// Answer to `PUT`, the only one that shows the PUK.
pub(super) fn created(tss: &Tss, certificate: &[u8], rules: &Settings, puk: &str) -> Value {
    let mut answer = Fields::new();
    put_key(&mut answer, tss, certificate);
    put_abilities(&mut answer, rules);
    put_common(&mut answer, tss);
    put(&mut answer, "admin_puk", json!(puk));
    put(&mut answer, "state", json!(tss.state.as_str()));
    Value::Object(answer)
}

/// Answer to `GET`, also in lists.
pub(super) fn retrieved(tss: &Tss, certificate: &[u8], rules: &Settings) -> Value {
    let mut answer = Fields::new();
    put_key(&mut answer, tss, certificate);
    put_abilities(&mut answer, rules);
    put_common(&mut answer, tss);
    put(&mut answer, "description", json!(tss.description));
    put(&mut answer, "state", json!(tss.state.as_str()));
    put(
        &mut answer,
        "signature_counter",
        json!(tss.device.signature_counter.to_string()),
    );
    put(
        &mut answer,
        "transaction_counter",
        json!(tss.transaction_counter.to_string()),
    );
    put(
        &mut answer,
        "number_registered_clients",
        json!(tss.clients_registered),
    );
    put(
        &mut answer,
        "number_active_transactions",
        json!(tss.transactions_open),
    );
    put_times(&mut answer, tss);
    put_certification(&mut answer);
    Value::Object(answer)
}

/// Answer to `PATCH`.
pub(super) fn updated(tss: &Tss, certificate: &[u8], rules: &Settings) -> Value {
    let mut answer = Fields::new();
    put(&mut answer, "description", json!(tss.description));
    put(&mut answer, "state", json!(tss.state.as_str()));
    put(
        &mut answer,
        "certificate",
        json!(STANDARD.encode(certificate)),
    );
    put(
        &mut answer,
        "serial_number",
        json!(tss.device.serial_number.to_string()),
    );
    put(
        &mut answer,
        "public_key",
        json!(STANDARD.encode(&tss.device.public_point)),
    );
    put(
        &mut answer,
        "signature_counter",
        json!(tss.device.signature_counter.to_string()),
    );
    put(
        &mut answer,
        "signature_algorithm",
        json!(tss.device.algorithm.name()),
    );
    put(&mut answer, "signature_timestamp_format", json!("unixTime"));
    put(
        &mut answer,
        "transaction_counter",
        json!(tss.transaction_counter.to_string()),
    );
    put(&mut answer, "transaction_data_encoding", json!("UTF-8"));
    put(
        &mut answer,
        "number_registered_clients",
        json!(tss.clients_registered),
    );
    put(
        &mut answer,
        "max_number_registered_clients",
        json!(rules.clients_registered_max),
    );
    put(
        &mut answer,
        "number_active_transactions",
        json!(tss.transactions_open),
    );
    put(
        &mut answer,
        "max_number_active_transactions",
        json!(rules.transactions_open_max),
    );
    put(&mut answer, "supported_update_variants", json!("SIGNED"));
    put_common(&mut answer, tss);
    put_times(&mut answer, tss);
    put_certification(&mut answer);
    Value::Object(answer)
}

fn put(answer: &mut Fields, name: &str, value: Value) {
    answer.insert(name.to_owned(), value);
}

fn put_key(answer: &mut Fields, tss: &Tss, certificate: &[u8]) {
    put(answer, "certificate", json!(STANDARD.encode(certificate)));
    put(
        answer,
        "serial_number",
        json!(tss.device.serial_number.to_string()),
    );
    put(
        answer,
        "public_key",
        json!(STANDARD.encode(&tss.device.public_point)),
    );
    put(
        answer,
        "signature_algorithm",
        json!(tss.device.algorithm.name()),
    );
}

fn put_abilities(answer: &mut Fields, rules: &Settings) {
    put(answer, "signature_timestamp_format", json!("unixTime"));
    put(answer, "transaction_data_encoding", json!("UTF-8"));
    put(
        answer,
        "max_number_registered_clients",
        json!(rules.clients_registered_max),
    );
    put(
        answer,
        "max_number_active_transactions",
        json!(rules.transactions_open_max),
    );
    put(answer, "supported_update_variants", json!("SIGNED"));
}

fn put_common(answer: &mut Fields, tss: &Tss) {
    put(answer, "metadata", json!(tss.metadata.pairs()));
    put(answer, "_id", json!(tss.id.to_string()));
    put(answer, "_type", json!("TSS"));
    put(answer, "_env", json!(tss.environment.as_str()));
    put(answer, "_version", json!(VERSION));
    put(
        answer,
        "time_creation",
        json!(tss.time_creation.unix_seconds()),
    );
}

/// Times that have not come yet are left out.
fn put_times(answer: &mut Fields, tss: &Tss) {
    let times: [(&str, Option<SeTime>); 4] = [
        ("time_uninit", tss.time_uninit),
        ("time_init", tss.time_init),
        ("time_defective", tss.time_defective),
        ("time_disable", tss.time_disable),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            put(answer, name, json!(time.unix_seconds()));
        }
    }
}

/// Clients look for the key; there is nothing true to put into it (rule C-9).
fn put_certification(answer: &mut Fields) {
    put(answer, "bsi_certification_id", json!(""));
}
