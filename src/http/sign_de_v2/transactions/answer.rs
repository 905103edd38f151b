//! A transaction as the dialect answers it.
//!
//! The order of the keys is part of the promise: at least one integration reads values by position
//! (HTTP dialect §6).

use super::super::VERSION;
use crate::asn1::TransactionPhase;
use crate::ledger::TransactionRow;
use crate::receipt::{LogTimeFormat, QrCode, QrTime};
use crate::sma::{Transaction, TransactionStep, Tss};
use crate::terms::Environment;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The form of log times we sign (design decision 9).
pub(in crate::http::sign_de_v2) const TIME_FORMAT: LogTimeFormat = LogTimeFormat::UnixTime;

/// What is stored cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum TransactionAnswerError {
    /// The ledger is damaged.
    #[error("the stored schema of a transaction is no JSON")]
    Schema(#[source] serde_json::Error),
}

/// A transaction just signed, with what its TSS adds to the answer.
pub fn row_of(tss: &Tss, transaction: Transaction, step: TransactionStep) -> TransactionRow {
    TransactionRow {
        tss: tss.id,
        transaction,
        step,
        serial_number: tss.device.serial_number,
        algorithm: tss.device.algorithm,
        public_point: tss.device.public_point.clone(),
    }
}

/// The transaction as it was at the step of the row; only `latest_revision` and `metadata` are of
/// now. `time_end` and `qr_code_data` are there when this step ended it.
///
/// # Errors
/// [`TransactionAnswerError::Schema`] when the ledger is damaged.
pub fn transaction(
    row: &TransactionRow,
    environment: Environment,
) -> Result<Value, TransactionAnswerError> {
    let TransactionRow {
        transaction, step, ..
    } = row;
    let ended = match step.phase {
        TransactionPhase::Start | TransactionPhase::Update => false,
        TransactionPhase::Finish => true,
    };
    let mut answer = Map::new();
    let mut put = |key: &str, value: Value| answer.insert(key.to_owned(), value);
    put("schema", schema(step)?);
    put("state", json!(step.state.as_str()));
    put("tss_id", json!(row.tss.to_string()));
    put("tss_serial_number", json!(row.serial_number.to_string()));
    put("client_id", json!(step.client.to_string()));
    put("client_serial_number", json!(step.client_serial.as_str()));
    put("revision", json!(step.revision.value()));
    put(
        "latest_revision",
        json!(transaction.latest_revision.value()),
    );
    put("number", json!(transaction.number.value()));
    put("time_start", json!(transaction.time_start.unix_seconds()));
    if ended {
        put("time_end", json!(step.log_time.unix_seconds()));
    }
    if !transaction.metadata.pairs().is_empty() {
        put("metadata", json!(transaction.metadata.pairs()));
    }
    put("_id", json!(transaction.id.to_string()));
    put("_type", json!("TRANSACTION"));
    put("_env", json!(environment.as_str()));
    put("_version", json!(VERSION));
    put("signature", signature(row));
    put("log", log(step));
    if ended && let Some(code) = qr_code(row) {
        put("qr_code_data", json!(code.text()));
    }
    Ok(Value::Object(answer))
}

/// `{}` as long as no type was given; else the form the till used and, as `raw`, what was signed.
fn schema(step: &TransactionStep) -> Result<Value, TransactionAnswerError> {
    let mut forms = Map::new();
    if let Some(schema) = &step.schema {
        if let Some(form) = schema.form.echoed_as() {
            let echo =
                serde_json::from_str(&schema.echo).map_err(TransactionAnswerError::Schema)?;
            forms.insert(form.to_owned(), echo);
        }
        let raw = json!({
            "process_type": step.process_type.as_str(),
            "process_data": STANDARD.encode(step.process_data.as_bytes()),
        });
        forms.insert("raw".to_owned(), raw);
    }
    Ok(Value::Object(forms))
}

fn signature(row: &TransactionRow) -> Value {
    json!({
        "value": STANDARD.encode(&row.step.signature),
        "algorithm": row.algorithm.name(),
        // A number, not text as at the TSS: so the live service answers.
        "counter": row.step.signature_counter.value(),
        "public_key": STANDARD.encode(&row.public_point),
    })
}

fn log(step: &TransactionStep) -> Value {
    let operation = match step.phase {
        TransactionPhase::Start => "Start",
        TransactionPhase::Update => "Update",
        TransactionPhase::Finish => "Finish",
    };
    json!({
        "operation": operation,
        "timestamp": step.log_time.unix_seconds(),
        "timestamp_format": TIME_FORMAT.name(),
    })
}

/// The receipt's code, or `None` where no code could be checked: raw processData that is no text, or
/// a time beyond the year 9999. A code that cannot be checked is worse than none.
pub(in crate::http::sign_de_v2) fn qr_code(row: &TransactionRow) -> Option<QrCode> {
    let step = &row.step;
    Some(QrCode {
        client_serial: step.client_serial.as_str().to_owned(),
        process_type: step.process_type.as_str().to_owned(),
        process_data: String::from_utf8(step.process_data.as_bytes().to_vec()).ok()?,
        transaction_number: row.transaction.number,
        signature_counter: step.signature_counter,
        time_start: QrTime::try_from(row.transaction.time_start).ok()?,
        log_time: QrTime::try_from(step.log_time).ok()?,
        algorithm: row.algorithm,
        time_format: TIME_FORMAT,
        signature: step.signature.clone(),
        public_key: row.public_point.clone(),
    })
}
