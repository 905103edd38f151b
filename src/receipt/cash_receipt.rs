//! `standard_v1.receipt` → Kassenbeleg-V1 (DSFinV-K Anhang I).

use super::decimal::{Amount, quantity};
use super::refusal::{At, SchemaError, optional};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// processType of a receipt.
pub(super) const PROCESS_TYPE: &str = "Kassenbeleg-V1";

/// Turnover slots of processData, by the legal class of the rate.
const SLOTS: usize = 5;

const AMOUNT_PROBLEM: &str = "should be a decimal number with up to five decimals";
const SUM_PROBLEM: &str = "adds up to more than can be written";

/// How something was paid. The order is the order in processData: cash first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Payment {
    Cash,
    NonCash,
}

/// A currency code; the base currency sorts before all others and is not written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Currency {
    Euro,
    Foreign(String),
}

/// processData and the echo of a receipt.
pub(super) fn encode(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let receipt = at.object(value)?;
    let receipt_type = at.text(&receipt, "receipt_type")?;
    let kind =
        kind(&receipt_type).ok_or_else(|| at.wrong("receipt_type", "is no known receipt type"))?;
    let rates = receipt
        .get("amounts_per_vat_rate")
        .ok_or_else(|| at.wrong("amounts_per_vat_rate", "is required"))?;
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
    Ok((format!("{kind}^{turnover}^{paid}"), Value::Object(echo)))
}

/// BON_TYP of a receipt type.
fn kind(receipt_type: &str) -> Option<&'static str> {
    Some(match receipt_type {
        "RECEIPT" => "Beleg",
        "TRAINING" => "AVTraining",
        "TRANSFER" => "AVTransfer",
        "ORDER" => "AVBestellung",
        "CANCELLATION" | "ABORT" => "AVBelegabbruch",
        "BENEFIT_IN_KIND" => "AVSachbezug",
        "INVOICE" => "AVRechnung",
        "OTHER" => "AVSonstige",
        "ANNULATION" => "AVBelegstorno",
        _ => return None,
    })
}

/// Index of the slot of a rate, by name or by the deprecated number.
fn slot(vat_rate: &str) -> Option<usize> {
    Some(match vat_rate {
        "NORMAL" => 0,
        "REDUCED_1" => 1,
        "SPECIAL_RATE_1" => 2,
        "SPECIAL_RATE_2" => 3,
        "NULL" => 4,
        // The numbers are names too: they mean the class, whatever its rate is today. `19`, `19.0`
        // and 19.00 are one name, but nothing is rounded to one.
        number => match quantity(number)?.as_str() {
            "19" => 0,
            "7" => 1,
            "10.7" => 2,
            "5.5" => 3,
            "0" => 4,
            _ => return None,
        },
    })
}

/// The five slots; equal rates are added up, missing ones are `0.00`.
fn turnover(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut sums = [Amount::default(); SLOTS];
    let mut echo = Vec::new();
    for (path, item) in At::new(path).items(value)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let vat_rate = at.text(&item, "vat_rate")?;
        let (text, amount) = amount(at, &item)?;
        let sum = slot(&vat_rate)
            .and_then(|slot| sums.get_mut(slot))
            .ok_or_else(|| at.wrong("vat_rate", "is no known VAT rate"))?;
        *sum = sum
            .plus(amount)
            .ok_or_else(|| at.wrong("amount", SUM_PROBLEM))?;
        echo.push(json!({ "amount": text, "vat_rate": vat_rate }));
    }
    let slots: Vec<String> = sums.iter().map(Amount::to_string).collect();
    Ok((slots.join("_"), Value::Array(echo)))
}

/// Payments: added up per kind and currency, sums of zero left out, cash before non-cash, euro before
/// the other currencies from A to Z.
fn payments_of(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut sums = BTreeMap::<(Payment, Currency), Amount>::new();
    let mut echo = Vec::new();
    for (path, item) in At::new(path).items(value)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let payment_type = at.text(&item, "payment_type")?;
        let payment = match payment_type.as_str() {
            "CASH" => Payment::Cash,
            "NON_CASH" => Payment::NonCash,
            _ => return Err(at.wrong("payment_type", "should be CASH or NON_CASH")),
        };
        let code = match optional(&item, "currency_code") {
            Some(_) => at.text(&item, "currency_code")?,
            None => "EUR".to_owned(),
        };
        let currency =
            currency(&code).ok_or_else(|| at.wrong("currency_code", "should be three letters"))?;
        let (text, amount) = amount(at, &item)?;
        let sum = sums.entry((payment, currency)).or_default();
        *sum = sum
            .plus(amount)
            .ok_or_else(|| at.wrong("amount", SUM_PROBLEM))?;
        echo.push(json!({ "amount": text, "currency_code": code, "payment_type": payment_type }));
    }
    let paid: Vec<String> = sums
        .iter()
        .filter(|(_, sum)| !sum.is_zero())
        .map(|((payment, currency), sum)| written(*payment, currency, *sum))
        .collect();
    Ok((paid.join("_"), Value::Array(echo)))
}

fn currency(code: &str) -> Option<Currency> {
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    Some(match code.to_ascii_uppercase() {
        euro if euro == "EUR" => Currency::Euro,
        foreign => Currency::Foreign(foreign),
    })
}

fn written(payment: Payment, currency: &Currency, sum: Amount) -> String {
    let kind = match payment {
        Payment::Cash => "Bar",
        Payment::NonCash => "Unbar",
    };
    match currency {
        Currency::Euro => format!("{sum}:{kind}"),
        Currency::Foreign(code) => format!("{sum}:{kind}:{code}"),
    }
}

fn amount(at: At<'_>, item: &Map<String, Value>) -> Result<(String, Amount), SchemaError> {
    let text = at.text(item, "amount")?;
    let amount = Amount::parse(&text).ok_or_else(|| at.wrong("amount", AMOUNT_PROBLEM))?;
    Ok((text, amount))
}
