//! An export as the dialect answers it (HTTP dialect §9).

use super::super::VERSION;
use crate::ledger::ExportRow;
use crate::terms::{Environment, SeTime};
use serde_json::{Map, Value, json};

/// The export. Times are there from the moment they are known, `metadata` always; `completion` is when it
/// is expected to end, as long as it has not.
pub fn export(row: &ExportRow, completion: Option<SeTime>, environment: Environment) -> Value {
    let mut answer = Map::new();
    answer.insert("state".to_owned(), json!(row.state.as_str()));
    let times: [(&str, Option<SeTime>); 6] = [
        ("time_request", Some(row.time_request)),
        ("time_start", row.time_start),
        ("time_end", row.time_end),
        ("time_expiration", row.time_expiration),
        ("time_error", row.time_error),
        ("estimated_time_of_completion", completion),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            answer.insert(key.to_owned(), json!(time.unix_seconds()));
        }
    }
    if let Some(exception) = &row.exception {
        answer.insert("exception".to_owned(), json!(exception));
    }
    answer.insert("metadata".to_owned(), json!(row.metadata.pairs()));
    answer.insert("tss_id".to_owned(), json!(row.tss.to_string()));
    answer.insert("_type".to_owned(), json!("EXPORT"));
    answer.insert("_id".to_owned(), json!(row.id.to_string()));
    answer.insert("_env".to_owned(), json!(environment.as_str()));
    answer.insert("_version".to_owned(), json!(VERSION));
    Value::Object(answer)
}
