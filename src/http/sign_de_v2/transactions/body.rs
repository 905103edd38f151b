//! `PUT /tss/{tss_id}/tx/{tx_id_or_number}`: from path, query and body to a command (HTTP dialect §6).
//!
//! Requests that mean the same become equal commands, whatever unknown properties or second forms of
//! `schema` they carry; that is what makes a repeat recognisable (the rules digest the parsed values).

use super::super::metadata;
use super::super::query::{Malformed, Query};
use crate::receipt::Schema;
use crate::sma::{
    Command, MetadataPatch, TransactionInput, TransactionOutcome, TransactionRef, TransactionState,
};
use crate::terms::{COUNTER_MAX, ClientId, Revision, TransactionNumber};
use serde_json::{Map, Value};

/// Revision of a start, and of a request that does not say.
const FIRST: Revision = Revision::new(1);

/// A transaction by the id its till chose or by the number we gave; `None` when the text is neither.
pub fn reference(text: &str) -> Option<TransactionRef> {
    if let Ok(id) = text.parse() {
        return Some(TransactionRef::Id(id));
    }
    // `parse` alone would take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse().ok().filter(|number| *number <= COUNTER_MAX)?;
    Some(TransactionRef::Number(TransactionNumber::new(number)))
}

/// `tx_revision`, if given.
///
/// # Errors
/// [`Malformed`] when it is not a number from 1.
pub fn revision(query: &Query) -> Result<Option<Revision>, Malformed> {
    let revision = query.integer("tx_revision", 1, COUNTER_MAX)?;
    Ok(revision.map(Revision::new))
}

/// The command that a request asks for.
///
/// Whether revision, state and process type fit the transaction is not known here; the rules decide
/// it (`E_TX_UPSERT`, `E_TX_NO_TYPE_DEFINED`, `E_TX_ILLEGAL_TYPE_CHANGE`).
///
/// # Errors
/// [`Malformed`] names the first field that does not fit.
pub fn command(
    transaction: TransactionRef,
    query: &Query,
    body: &Value,
) -> Result<Command, Malformed> {
    let nothing = Map::new();
    let fields = match body {
        Value::Object(fields) => fields,
        // PHP writes an empty map as a list.
        Value::Array(items) if items.is_empty() => &nothing,
        Value::Null => &nothing,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Malformed::text("body should be object"));
        }
    };
    let target = state(required(fields, "state")?)?;
    let client = client(required(fields, "client_id")?)?;
    let schema = match fields.get("schema") {
        None => None,
        Some(schema) => {
            Schema::parse(schema).map_err(|error| Malformed::text(&format!("body.{error}")))?
        }
    };
    let metadata = match fields.get("metadata") {
        None => MetadataPatch::new(),
        Some(pairs) => metadata::patch(pairs, "body.metadata")?,
    };
    let input = TransactionInput {
        transaction,
        revision: revision(query)?.unwrap_or(FIRST),
        client,
        schema,
        metadata,
    };
    Ok(match target {
        TransactionState::Active if input.revision == FIRST => Command::StartTransaction(input),
        TransactionState::Active => Command::UpdateTransaction(input),
        TransactionState::Finished => {
            Command::FinishTransaction(input, TransactionOutcome::Finished)
        }
        TransactionState::Cancelled => {
            Command::FinishTransaction(input, TransactionOutcome::Cancelled)
        }
    })
}

fn required<'m>(fields: &'m Map<String, Value>, name: &str) -> Result<&'m Value, Malformed> {
    let missing = || Malformed::text(&format!("body should have required property '{name}'"));
    fields.get(name).ok_or_else(missing)
}

fn state(value: &Value) -> Result<TransactionState, Malformed> {
    match value.as_str() {
        Some("ACTIVE") => Ok(TransactionState::Active),
        Some("FINISHED") => Ok(TransactionState::Finished),
        Some("CANCELLED") => Ok(TransactionState::Cancelled),
        Some(_) | None => Err(Malformed::field(
            "body",
            "state",
            "should be equal to one of the allowed values",
        )),
    }
}

fn client(value: &Value) -> Result<ClientId, Malformed> {
    let id = value.as_str().and_then(|text| text.parse().ok());
    id.ok_or_else(|| Malformed::field("body", "client_id", "should match format \"uuid\""))
}
