//! The strict entrance: the words of DSFinV-K (VAT keys, payment kinds, `BON_TYP`) → processData.
//!
//! Nothing is rounded, guessed or left out silently: an input that Anhang I does not allow is refused
//! with a reason.

use super::decimal::{Amount, Quantity};
use super::refusal::{At, SchemaError, optional};
use super::writer::{
    self, Currency, LineText, Order, PaymentKind, Payments, ReceiptKind, SUM_PROBLEM, Turnover,
    VatSlot,
};
use serde_json::{Map, Value};

/// VAT keys from here on are the taxpayer's own.
const OWN_VAT_KEY_MIN: u64 = 1000;

/// processData of an input in the words of DSFinV-K: an object with `processType` and, for
/// `Kassenbeleg-V1`, `vorgangstyp`, `gross` (pairs of VAT key and amount) and `payments` (kind,
/// amount, and a currency where it is not the euro); for `Bestellung-V1`, `lines` (quantity, text,
/// unit price); for `SonstigerVorgang`, `text`.
///
/// # Errors
/// [`SchemaError`] names the place that does not fit, and why.
pub fn encode_strictly(input: &Value) -> Result<String, SchemaError> {
    let at = At::new("input");
    let Value::Object(input) = input else {
        return Err(at.wrong("", "should be object"));
    };
    let process_type = text(at, input, "processType")?;
    match process_type {
        writer::RECEIPT => {
            only(
                at,
                input,
                &["processType", "vorgangstyp", "gross", "payments"],
            )?;
            receipt(at, input)
        }
        writer::ORDER => {
            only(at, input, &["processType", "lines"])?;
            order(at, input)
        }
        writer::OTHER => {
            only(at, input, &["processType", "text"])?;
            text(at, input, "text").map(str::to_owned)
        }
        _ => Err(at.wrong("processType", "is no processType of DSFinV-K")),
    }
}

fn receipt(at: At<'_>, input: &Map<String, Value>) -> Result<String, SchemaError> {
    let name = text(at, input, "vorgangstyp")?;
    let kind = ReceiptKind::ALL.iter().find(|kind| kind.as_str() == name);
    let kind = *kind.ok_or_else(|| at.wrong("vorgangstyp", "is no BON_TYP of DSFinV-K"))?;
    let may_be_paid = match kind {
        ReceiptKind::Sale | ReceiptKind::Training => true,
        ReceiptKind::Transfer
        | ReceiptKind::Order
        | ReceiptKind::Aborted
        | ReceiptKind::BenefitInKind
        | ReceiptKind::Invoice
        | ReceiptKind::Other => false,
        ReceiptKind::Annulled => {
            let problem = "cannot be used on a till with a TSS (Anhang B)";
            return Err(at.wrong("vorgangstyp", problem));
        }
    };
    let turnover = turnover(at, input)?;
    let payments = payments(at, input, may_be_paid)?;
    Ok(writer::receipt(kind, &turnover, &payments))
}

fn turnover(at: At<'_>, input: &Map<String, Value>) -> Result<String, SchemaError> {
    let mut turnover = Turnover::default();
    for (path, item) in list(at, input, "gross")? {
        let at = At::new(&path);
        let [key, amount] = item.as_slice() else {
            return Err(at.wrong("", "should be a pair of VAT key and amount"));
        };
        turnover.add(slot(at, key)?, exact(at, amount)?);
    }
    let written = turnover.written(&VatSlot::ALL);
    written.ok_or_else(|| at.wrong("gross", SUM_PROBLEM))
}

/// Slot of a key (`UST_SCHLUESSEL`). Keys of two digits are historical: their last digit is the key
/// that they were.
fn slot(at: At<'_>, key: &Value) -> Result<VatSlot, SchemaError> {
    Ok(match key.as_u64() {
        Some(1 | 11 | 21) => VatSlot::General,
        Some(2 | 12 | 22) => VatSlot::Reduced,
        Some(3 | 13 | 23 | 33 | 43) => VatSlot::FarmAverage,
        Some(4) => VatSlot::ForestAverage,
        Some(5..=8) => VatSlot::Zero,
        Some(OWN_VAT_KEY_MIN..) => {
            let problem = "has a VAT key of the taxpayer's own, whose slot is not known";
            return Err(at.wrong("", problem));
        }
        Some(_) => return Err(at.wrong("", "has a reserved VAT key, whose slot is not known")),
        None => return Err(at.wrong("", "should have a number as VAT key")),
    })
}

fn payments(
    at: At<'_>,
    input: &Map<String, Value>,
    may_be_paid: bool,
) -> Result<String, SchemaError> {
    let mut payments = Payments::default();
    for (path, item) in list(at, input, "payments")? {
        let at = At::new(&path);
        let (kind, amount, currency) = match item.as_slice() {
            [kind, amount] | [kind, amount, Value::Null] => (kind, amount, None),
            [kind, amount, currency] => (kind, amount, Some(currency)),
            _ => return Err(at.wrong("", "should be kind, amount and, if need be, currency")),
        };
        let kind = match kind.as_str() {
            Some("Bar") => Some(PaymentKind::Cash),
            Some(
                "Unbar" | "ECKarte" | "Kreditkarte" | "ElZahlungsdienstleister" | "Guthabenkarte",
            ) => Some(PaymentKind::NonCash),
            Some("Keine") => None,
            Some(_) | None => return Err(at.wrong("", "has no ZAHLART_TYP of DSFinV-K")),
        };
        let currency = match currency {
            None => Currency::Euro,
            Some(code) => code.as_str().and_then(Currency::from_code).ok_or_else(|| {
                at.wrong("", "should have a currency of three upper-case letters")
            })?,
        };
        let amount = exact(at, amount)?;
        let Some(kind) = kind else {
            continue;
        };
        if !may_be_paid {
            let problem = "should be of the kind Keine: nothing is paid with this vorgangstyp";
            return Err(at.wrong("", problem));
        }
        payments.add(kind, currency, amount);
    }
    let written = payments.written();
    written.ok_or_else(|| at.wrong("payments", SUM_PROBLEM))
}

fn order(at: At<'_>, input: &Map<String, Value>) -> Result<String, SchemaError> {
    let mut order = Order::default();
    for (path, item) in list(at, input, "lines")? {
        let at = At::new(&path);
        let [quantity, text, price] = item.as_slice() else {
            return Err(at.wrong("", "should be quantity, text and unit price"));
        };
        let quantity = Quantity::cut(&number(at, quantity)?);
        let quantity = quantity.map_err(|problem| at.wrong("", problem))?;
        let text = text.as_str().and_then(LineText::one_line);
        let text = text.ok_or_else(|| at.wrong("", "should have a text without line breaks"))?;
        order.add(&quantity, &text, exact(at, price)?);
    }
    Ok(order.written())
}

fn exact(at: At<'_>, value: &Value) -> Result<Amount, SchemaError> {
    let amount = Amount::exact(&number(at, value)?);
    amount.map_err(|problem| at.wrong("", problem))
}

fn number(at: At<'_>, value: &Value) -> Result<String, SchemaError> {
    super::decimal::text_of(value).ok_or_else(|| at.wrong("", "should have numbers as text"))
}

/// A mistyped name must not leave something out silently.
fn only(at: At<'_>, input: &Map<String, Value>, names: &[&str]) -> Result<(), SchemaError> {
    match input.keys().all(|name| names.contains(&name.as_str())) {
        true => Ok(()),
        false => Err(at.wrong("", "has a property that this processType does not have")),
    }
}

fn text<'m>(at: At<'_>, input: &'m Map<String, Value>, name: &str) -> Result<&'m str, SchemaError> {
    let value = at.required(input, name)?;
    value
        .as_str()
        .ok_or_else(|| at.wrong(name, "should be string"))
}

/// A list of lists, with the path of each.
fn list<'m>(
    at: At<'_>,
    input: &'m Map<String, Value>,
    name: &str,
) -> Result<Vec<(String, &'m Vec<Value>)>, SchemaError> {
    let items = optional(input, name).ok_or_else(|| at.wrong(name, "is required"))?;
    let items = items
        .as_array()
        .ok_or_else(|| at.wrong(name, "should be array"))?;
    let path = at.name(name);
    let with_paths = items.iter().enumerate().map(|(index, item)| {
        let path = format!("{path}[{index}]");
        match item.as_array() {
            Some(item) => Ok((path, item)),
            None => Err(At::new(&path).wrong("", "should be array")),
        }
    });
    with_paths.collect()
}
