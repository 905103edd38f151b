//! What clients write about organisations and keys.

use crate::http::problem::Problem;
use crate::http::sign_de_v2::metadata;
use crate::sma::MetadataPatch;
use serde_json::{Map, Value};

/// Longest text of a field, in characters.
const TEXT_LEN_MAX: usize = 200;

/// What a new organisation must tell, beside its name.
pub(super) const REQUIRED: [&str; 4] = ["address_line1", "zip", "town", "country_code"];

const OPTIONAL: [&str; 8] = [
    "display_name",
    "vat_id",
    "contact_person_id",
    "address_line2",
    "state",
    "tax_number",
    "economy_id",
    "billing_address_id",
];

const BILLING_OPTIONS: &str = "billing_options";

/// The text of a field; `None` when it is left out or empty.
pub(super) fn text(body: &Value, name: &str) -> Result<Option<String>, Problem> {
    let text = match body.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        // The dialect turns numbers into text where it wants text.
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(Problem::invalid(format!("body.{name} should be string")));
        }
    };
    if text.chars().count() > TEXT_LEN_MAX {
        let problem = format!("should NOT be longer than {TEXT_LEN_MAX} characters");
        return Err(Problem::invalid(format!("body.{name} {problem}")));
    }
    if text.contains('\0') {
        return Err(Problem::invalid(format!(
            "body.{name} should hold no U+0000"
        )));
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

pub(super) fn missing(name: &str) -> Problem {
    Problem::invalid(format!("body should have required property '{name}'"))
}

/// Takes the details that a body tells over; what it gives as empty or `null` is removed.
pub(super) fn merge_details(details: &mut Map<String, Value>, body: &Value) -> Result<(), Problem> {
    for name in REQUIRED.into_iter().chain(OPTIONAL) {
        if body.get(name).is_none() {
            continue;
        }
        match text(body, name)? {
            None if REQUIRED.contains(&name) => return Err(missing(name)),
            None => drop(details.shift_remove(name)),
            Some(code) if name == "country_code" && !is_country(&code) => {
                let message = "body.country_code should match pattern \"^[A-Z]{3}$\"";
                return Err(Problem::invalid(message));
            }
            Some(text) => drop(details.insert(name.to_owned(), text.into())),
        }
    }
    match body.get(BILLING_OPTIONS) {
        None => {}
        Some(Value::Null) => drop(details.shift_remove(BILLING_OPTIONS)),
        Some(options) => {
            let options = billing_options(options)?;
            details.insert(BILLING_OPTIONS.to_owned(), options);
        }
    }
    Ok(())
}

fn is_country(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Nobody is billed here; the wish is kept for the client to find again.
fn billing_options(given: &Value) -> Result<Value, Problem> {
    let wrong = |name: &str, what: &str| {
        Problem::invalid(format!("body.{BILLING_OPTIONS}{name} should be {what}"))
    };
    let Some(given) = given.as_object() else {
        return Err(wrong("", "object"));
    };
    let mut kept = Map::new();
    if let Some(payer) = given.get("bill_to_organization") {
        let payer = payer.as_str().filter(|text| text.len() <= TEXT_LEN_MAX);
        let payer = payer.filter(|text| !text.contains('\0'));
        let payer = payer.ok_or_else(|| wrong(".bill_to_organization", "string"))?;
        kept.insert("bill_to_organization".to_owned(), payer.into());
    }
    if let Some(withhold) = given.get("withhold_billing") {
        let withhold = withhold.as_bool();
        let withhold = withhold.ok_or_else(|| wrong(".withhold_billing", "boolean"))?;
        kept.insert("withhold_billing".to_owned(), withhold.into());
    }
    Ok(Value::Object(kept))
}

/// What a body wants changed in the metadata.
pub(super) fn metadata_patch(body: &Value) -> Result<MetadataPatch, Problem> {
    match body.get("metadata") {
        None => Ok(MetadataPatch::new()),
        Some(patch) => Ok(metadata::patch(patch, "body.metadata")?),
    }
}
