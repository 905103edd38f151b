//! The dialect's entrance for orders: `standard_v1.order` → Bestellung-V1.

use super::cash_receipt::AMOUNT_PROBLEM;
use super::decimal::{Amount, Quantity};
use super::refusal::{At, SchemaError};
use super::writer::{LineText, Order};
use serde_json::{Value, json};

/// Longest text of a line, in characters.
const TEXT_LEN_MAX: usize = 255;

/// processData and the echo of an order. No lines give empty processData.
pub(super) fn encode(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let given = at.object(value)?;
    let line_items = at.required(&given, "line_items")?;
    let mut order = Order::default();
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
        let quantity = Quantity::as_sent(&quantity_text)
            .ok_or_else(|| at.wrong("quantity", AMOUNT_PROBLEM))?;
        let price = Amount::rounded(&price_text)
            .ok_or_else(|| at.wrong("price_per_unit", AMOUNT_PROBLEM))?;
        // A strange article name must not keep a till from signing.
        order.add(&quantity, &LineText::flattened(&text), price);
        echo.push(json!({
            "price_per_unit": price_text, "quantity": quantity_text, "text": text,
        }));
    }
    Ok((order.written(), json!({ "line_items": echo })))
}
