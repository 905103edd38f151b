//! `standard_v1.order` → Bestellung-V1 (DSFinV-K Anhang I).

use super::decimal::{Amount, quantity};
use super::refusal::{At, SchemaError};
use serde_json::{Value, json};

/// processType of an order.
pub(super) const PROCESS_TYPE: &str = "Bestellung-V1";

/// Longest text of a line, in characters.
const TEXT_LEN_MAX: usize = 255;

/// processData and the echo of an order. No lines give empty processData.
pub(super) fn encode(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let order = at.object(value)?;
    let line_items = order
        .get("line_items")
        .ok_or_else(|| at.wrong("line_items", "is required"))?;
    let mut lines = Vec::new();
    let mut echo = Vec::new();
    for (path, item) in At::new(&at.name("line_items")).items(line_items)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let quantity_text = at.text(&item, "quantity")?;
        let text = at.text(&item, "text")?;
        let price_text = at.text(&item, "price_per_unit")?;
        if text.chars().count() > TEXT_LEN_MAX {
            return Err(at.wrong("text", "should NOT be longer than 255 characters"));
        }
        let quantity = quantity(&quantity_text).ok_or_else(|| {
            at.wrong(
                "quantity",
                "should be a decimal number with up to five decimals",
            )
        })?;
        let price = Amount::parse(&price_text).ok_or_else(|| {
            at.wrong(
                "price_per_unit",
                "should be a decimal number with up to five decimals",
            )
        })?;
        lines.push(format!("{quantity};\"{}\";{price}", quoted(&text)));
        echo.push(json!({
            "price_per_unit": price_text, "quantity": quantity_text, "text": text,
        }));
    }
    Ok((lines.join("\r"), json!({ "line_items": echo })))
}

/// Text between quotes. A line break would start a new line of the order, so it becomes a blank: a
/// strange article name must not keep a till from signing.
fn quoted(text: &str) -> String {
    text.replace("\r\n", " ")
        .replace(['\r', '\n'], " ")
        .replace('"', "\"\"")
}
