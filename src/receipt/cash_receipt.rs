//! The dialect's entrance for receipts: `standard_v1.receipt` → Kassenbeleg-V1.

use super::decimal::{Amount, Quantity};
use super::refusal::{At, SchemaError, optional};
use super::writer::{
    self, Currency, PaymentKind, Payments, ReceiptKind, SUM_PROBLEM, Turnover, VatSlot,
};
use serde_json::{Map, Value, json};

/// What the dialect says about an amount that cannot be read.
pub(super) const AMOUNT_PROBLEM: &str =
    "should be a decimal number with at most 16 digits before the point and five after it";

/// processData and the echo of a receipt.
pub(super) fn encode(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let receipt = at.object(value)?;
    let receipt_type = at.text(&receipt, "receipt_type")?;
    let kind =
        kind(&receipt_type).ok_or_else(|| at.wrong("receipt_type", "is no known receipt type"))?;
    let rates = at.required(&receipt, "amounts_per_vat_rate")?;
    let (turnover, rates_echo) = turnover(&at.name("amounts_per_vat_rate"), rates)?;

    let mut echo = Map::new();
    let mut paid = String::new();
    if let Some(payments) = optional(&receipt, "amounts_per_payment_type") {
        let (text, payments_echo) = payments_of(&at.name("amounts_per_payment_type"), payments)?;
        paid = text;
        echo.insert("amounts_per_payment_type".to_owned(), payments_echo);
    }
    echo.insert("amounts_per_vat_rate".to_owned(), rates_echo);
    echo.insert("receipt_type".to_owned(), Value::String(receipt_type));
    Ok((writer::receipt(kind, &turnover, &paid), Value::Object(echo)))
}

fn kind(receipt_type: &str) -> Option<ReceiptKind> {
    Some(match receipt_type {
        "RECEIPT" => ReceiptKind::Sale,
        "TRAINING" => ReceiptKind::Training,
        "TRANSFER" => ReceiptKind::Transfer,
        "ORDER" => ReceiptKind::Order,
        "CANCELLATION" | "ABORT" => ReceiptKind::Aborted,
        "BENEFIT_IN_KIND" => ReceiptKind::BenefitInKind,
        "INVOICE" => ReceiptKind::Invoice,
        "OTHER" => ReceiptKind::Other,
        "ANNULATION" => ReceiptKind::Annulled,
        _ => return None,
    })
}

/// Slot of a rate, by name or by the deprecated number.
fn slot(vat_rate: &str) -> Option<VatSlot> {
    Some(match vat_rate {
        "NORMAL" => VatSlot::General,
        "REDUCED_1" => VatSlot::Reduced,
        "SPECIAL_RATE_1" => VatSlot::FarmAverage,
        "SPECIAL_RATE_2" => VatSlot::ForestAverage,
        "NULL" => VatSlot::Zero,
        // The numbers are names too: they mean the class, whatever its rate is today. `19`, `19.0`
        // and 19.00 are one name, but nothing is rounded to one.
        number => match Quantity::as_sent(number)?.as_str() {
            "19" => VatSlot::General,
            "7" => VatSlot::Reduced,
            "10.7" => VatSlot::FarmAverage,
            "5.5" => VatSlot::ForestAverage,
            "0" => VatSlot::Zero,
            _ => return None,
        },
    })
}

fn turnover(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut turnover = Turnover::default();
    let mut echo = Vec::new();
    for (path, item) in At::new(path).items(value)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let vat_rate = at.text(&item, "vat_rate")?;
        let (text, amount) = amount(at, &item)?;
        let slot = slot(&vat_rate).ok_or_else(|| at.wrong("vat_rate", "is no known VAT rate"))?;
        turnover.add(slot, amount);
        echo.push(json!({ "amount": text, "vat_rate": vat_rate }));
    }
    let written = turnover.written(&VatSlot::ALL);
    let written = written.ok_or_else(|| At::new(path).wrong("", SUM_PROBLEM))?;
    Ok((written, Value::Array(echo)))
}

fn payments_of(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut payments = Payments::default();
    let mut echo = Vec::new();
    for (path, item) in At::new(path).items(value)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let payment_type = at.text(&item, "payment_type")?;
        let kind = match payment_type.as_str() {
            "CASH" => PaymentKind::Cash,
            "NON_CASH" => PaymentKind::NonCash,
            _ => return Err(at.wrong("payment_type", "should be CASH or NON_CASH")),
        };
        let (code, currency) = currency(at, &item)?;
        let (text, amount) = amount(at, &item)?;
        payments.add(kind, currency, amount);
        echo.push(json!({ "amount": text, "currency_code": code, "payment_type": payment_type }));
    }
    let written = payments.written();
    let written = written.ok_or_else(|| At::new(path).wrong("", SUM_PROBLEM))?;
    Ok((written, Value::Array(echo)))
}

/// `currency_code` as given and what it means; the euro where there is none.
pub(super) fn currency(
    at: At<'_>,
    item: &Map<String, Value>,
) -> Result<(String, Currency), SchemaError> {
    let code = match optional(item, "currency_code") {
        Some(_) => at.text(item, "currency_code")?,
        None => "EUR".to_owned(),
    };
    let currency = Currency::from_code(&code.to_ascii_uppercase());
    let currency = currency.ok_or_else(|| at.wrong("currency_code", "should be three letters"))?;
    Ok((code, currency))
}

fn amount(at: At<'_>, item: &Map<String, Value>) -> Result<(String, Amount), SchemaError> {
    let text = at.text(item, "amount")?;
    let amount = Amount::rounded(&text).ok_or_else(|| at.wrong("amount", AMOUNT_PROBLEM))?;
    Ok((text, amount))
}
