//! The dialect's entrance for taximeters and odometers: `dsfinvtw_v1` → the processTypes of DSFinV-TW.
//!
//! The names of the processTypes and the parts of their data are those of DSFinV-TW Anhang B. How the
//! parts are put together is our reading of it (decision 0016): parts of one group with `_` between
//! them, groups with `^` between them, which is why no name in them may contain either.

use super::cash_receipt::currency;
use super::decimal::{Amount, text_of};
use super::refusal::{At, SchemaError, optional};
use super::writer::{PaymentKind, Payments, SUM_PROBLEM, Turnover, VatSlot};
use fields::{Fields, Form};
use serde_json::{Map, Value, json};

mod fields;

const OTHER_LEN_MAX: usize = 512;

/// What can be said about a taximeter, by the names of the dialect.
const FORMS: [&str; 7] = [
    "power_up",
    "power_off",
    "driver_status",
    "trip_receipt",
    "empty_trip",
    "break",
    "other",
];

/// The rates that a trip can have.
const TRIP_SLOTS: [VatSlot; 3] = [VatSlot::General, VatSlot::Reduced, VatSlot::Zero];

/// What came of a `dsfinvtw_v1`.
pub(super) struct Encoded {
    /// It was `{}` where there are data to come: enough for a start only.
    pub(super) is_start: bool,
    pub(super) process_type: &'static str,
    pub(super) data: String,
    pub(super) echo: Value,
}

/// processType, processData and the echo.
pub(super) fn encode(path: &str, value: &Value) -> Result<Encoded, SchemaError> {
    let at = At::new(path);
    let forms = at.object(value)?;
    let (name, value) = at.one_of(&forms, &FORMS)?;
    let path = at.name(name);
    let process_type = match name {
        "power_up" => "Einschalten-V1",
        "power_off" => "Ausschalten-V1",
        "driver_status" => "Fahrer-V1",
        "trip_receipt" => "Fahrtbeleg-V1",
        "empty_trip" => "Frei-V1",
        "break" => "Pause-V1",
        _ => "SonstigerVorgangTW",
    };
    let (is_start, (data, echo)) = match name {
        "other" => (false, other(&path, value)?),
        "power_off" => {
            At::new(&path).object(value)?;
            (false, (String::new(), json!({})))
        }
        "empty_trip" | "break" => (false, reading(&path, value)?),
        // What is to come cannot be measured yet.
        _ if At::new(&path).object(value)?.is_empty() => (true, (String::new(), json!({}))),
        "power_up" => (false, power_up(&path, value)?),
        "driver_status" => (false, driver_status(&path, value)?),
        _ => (false, trip_receipt(&path, value)?),
    };
    Ok(Encoded {
        is_start,
        process_type,
        data,
        echo: json!({ name: echo }),
    })
}

fn other(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let text = text_of(value).ok_or_else(|| at.wrong("", "should be string"))?;
    if text.chars().count() > OTHER_LEN_MAX {
        return Err(at.wrong("", "should NOT be longer than 512 characters"));
    }
    Ok((text.clone(), Value::from(text)))
}

fn reading(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut fields = Fields::of(path, value)?;
    fields.part("kilometer_reading", Form::Kilometers)?;
    Ok(fields.done())
}

fn power_up(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut groups = Fields::of(path, value)?;
    groups.group("system", |system| {
        system.choice("meter_type", &METER_TYPES)?;
        system.part("manufacturer", Form::Label)?;
        system.part("model", Form::Label)
    })?;
    groups.group("counter_unit", |counters| {
        counters.part("total_kilometers", Form::Kilometers)?;
        counters.part("total_kilometers_with_passengers", Form::Kilometers)?;
        counters.part("total_passenger_transfers", Form::Digits(20))?;
        counters.part("total_surcharge_or_base_amount", Form::Money)?;
        counters.part("total_billed_amount", Form::Money)
    })?;
    groups.group("generic_data", |data| {
        data.part("constant", Form::Digits(10))?;
        data.part("last_backup", Form::Time)?;
        data.part("vehicle_id", Form::Name(20))?;
        data.part("local_time", Form::Time)?;
        tariff(data)
    })?;
    Ok(groups.done())
}

fn driver_status(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut fields = Fields::of(path, value)?;
    let kinds = [("LOGON", "Fahreranmeldung"), ("LOGOFF", "Fahrerabmeldung")];
    fields.choice("type", &kinds)?;
    fields.part("driver_id", Form::Name(40))?;
    Ok(fields.done())
}

fn trip_receipt(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut head = Fields::of(path, value)?;
    head.choice("meter_type", &METER_TYPES)?;
    head.part("vehicle_id", Form::Name(20))?;
    tariff(&mut head)?;
    head.choice("trip_type", &[("TARIFF", "Tarif"), ("OTHER", "Sonstige")])?;
    head.group("trip_data", |trip| {
        trip.part("trip_start", Form::Time)?;
        trip.part("trip_end", Form::Time)?;
        trip.part("distance_traveled", Form::Kilometers)?;
        trip.part("fare", Form::Money)?;
        trip.part("surcharge", Form::Money)?;
        trip.part("total_billed", Form::Money)
    })?;
    head.nested("amounts_per_vat_rate", turnover)?;
    head.nested("amounts_per_payment_type", payments)?;
    Ok(head.done())
}

const METER_TYPES: [(&str, &str); 2] = [("TAXIMETER", "T"), ("ODOMETER", "W")];

fn tariff(fields: &mut Fields) -> Result<(), SchemaError> {
    fields.part_or("tariff_id", Form::Name(50), "0")
}

fn turnover(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let mut turnover = Turnover::default();
    let mut echo = Vec::new();
    for (path, item) in At::new(path).items(value)? {
        let at = At::new(&path);
        let item = at.object(item)?;
        let vat_rate = at.text(&item, "vat_rate")?;
        let slot = match vat_rate.as_str() {
            "NORMAL" => VatSlot::General,
            "REDUCED_1" => VatSlot::Reduced,
            "NULL" => VatSlot::Zero,
            _ => return Err(at.wrong("vat_rate", "should be NORMAL, REDUCED_1 or NULL")),
        };
        let (text, amount) = money(at, &item)?;
        turnover.add(slot, amount);
        echo.push(json!({ "amount": text, "vat_rate": vat_rate }));
    }
    let written = turnover.written(&TRIP_SLOTS);
    let written = written.ok_or_else(|| At::new(path).wrong("", SUM_PROBLEM))?;
    Ok((written, Value::Array(echo)))
}

fn payments(path: &str, value: &Value) -> Result<(String, Value), SchemaError> {
    let at = At::new(path);
    let given = at.object(value)?;
    let mut payments = Payments::default();
    let mut echo = Map::new();
    for (name, kind) in [
        ("cash", PaymentKind::Cash),
        ("non_cash", PaymentKind::NonCash),
    ] {
        let Some(list) = optional(&given, name) else {
            continue;
        };
        let mut items = Vec::new();
        for (path, item) in At::new(&at.name(name)).items(list)? {
            let at = At::new(&path);
            // The dialect does not show what stands in the lists: an amount alone is taken as well.
            let item = match text_of(item) {
                Some(text) => Map::from_iter([("amount".to_owned(), Value::from(text))]),
                None => at.object(item)?,
            };
            let (code, currency) = currency(at, &item)?;
            let (text, amount) = money(at, &item)?;
            payments.add(kind, currency, amount);
            items.push(json!({ "amount": text, "currency_code": code }));
        }
        echo.insert(name.to_owned(), Value::Array(items));
    }
    let written = payments.written();
    let written = written.ok_or_else(|| at.wrong("", SUM_PROBLEM))?;
    Ok((written, Value::Object(echo)))
}

fn money(at: At<'_>, item: &Map<String, Value>) -> Result<(String, Amount), SchemaError> {
    let text = at.text(item, "amount")?;
    Form::Money.check(at, "amount", &text)?;
    let amount = Amount::exact(&text).map_err(|problem| at.wrong("amount", problem))?;
    Ok((text, amount))
}
