//! The strict entrance with our own vectors, and what both entrances have in common.

use super::{paid_in, rate};
use crate::receipt::{Schema, encode_strictly};
use proptest::prelude::*;
use serde_json::{Value, json};

fn list(name: &str) -> Vec<Value> {
    let text = include_str!("../../../tests/vectors/processdata/strict.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let list = document[name].as_array().unwrap().clone();
    assert!(list.len() > 20, "{name}");
    list
}

#[test]
fn the_own_vectors_of_the_strict_entrance_hold() {
    for vector in list("vectors") {
        let data = encode_strictly(&vector["input"]).unwrap();
        assert_eq!(data, vector["processData"], "{}", vector["id"]);
        if vector["input"]["processType"] == "Kassenbeleg-V1" {
            assert!(is_receipt(&data), "{data}");
        }
    }
}

#[test]
fn what_dsfinv_k_does_not_allow_is_refused() {
    for reject in list("reject") {
        let answer = encode_strictly(&reject["input"]);
        assert!(answer.is_err(), "{}: {answer:?}", reject["id"]);
    }
}

#[test]
fn a_refusal_says_where_and_why() {
    let with = |gross: Value, payments: Value| {
        encode_strictly(&json!({
            "processType": "Kassenbeleg-V1", "vorgangstyp": "Beleg",
            "gross": gross, "payments": payments,
        }))
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        with(json!([[1, "1"], [1, "1.005"]]), json!([])),
        "input.gross[1] should not have more than two decimals"
    );
    assert_eq!(
        with(json!([[9, "1"]]), json!([])),
        "input.gross[0] has a reserved VAT key, whose slot is not known"
    );
    assert_eq!(
        with(json!([[1000, "1"]]), json!([])),
        "input.gross[0] has a VAT key of the taxpayer's own, whose slot is not known"
    );
    assert_eq!(
        with(json!([]), json!([["Bar", "1", "eur"]])),
        "input.payments[0] should have a currency of three upper-case letters"
    );
}

/// The form of Kassenbeleg-V1 by a reading of its own, step by step along the rule.
fn is_receipt(data: &str) -> bool {
    let amount = |text: &str| {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parts = unsigned.split_once('.');
        text != "-0.00"
            && parts.is_some_and(|(whole, cents)| {
                !whole.is_empty() && digits(whole) && cents.len() == 2 && digits(cents)
            })
    };
    let parts: Vec<_> = data.split('^').collect();
    let [_, slots, payments] = parts.as_slice() else {
        return false;
    };
    let payments: Vec<_> = payments.split('_').filter(|it| !it.is_empty()).collect();
    let keys = payments.iter().map(|payment| payment.split_once(':'));
    let Some(keys) = keys.collect::<Option<Vec<_>>>() else {
        return false;
    };
    slots.split('_').count() == 5
        && slots.split('_').all(amount)
        && keys.iter().all(|(sum, _)| amount(sum) && *sum != "0.00")
        // "Bar", "Bar:CHF", "Unbar", "Unbar:CHF": the order of the texts is the order demanded.
        && keys.is_sorted_by(|(_, one), (_, next)| one < next)
}

#[test]
fn the_reading_of_receipts_notices_what_is_wrong() {
    let zeros = "0.00_0.00_0.00_0.00_0.00";
    assert!(is_receipt(&format!("Beleg^{zeros}^")));
    assert!(is_receipt(&format!(
        "Beleg^{zeros}^1.00:Bar_1.00:Bar:CHF_1.00:Unbar"
    )));
    for bad in [
        format!("Beleg^{zeros}"),
        format!("Beleg^0.00_{zeros}^"),
        "Beleg^0.00_0.00_0.00_0.00_-0.00^".to_owned(),
        format!("Beleg^{zeros}^0.00:Bar"),
        format!("Beleg^{zeros}^1.00:Unbar_1.00:Bar"),
        format!("Beleg^{zeros}^1.00:Bar_1.00:Bar"),
        format!("Beleg^{zeros}^1.000:Bar"),
    ] {
        assert!(!is_receipt(&bad), "{bad}");
    }
}

/// What both entrances can say.
#[derive(Clone, Debug)]
struct Common {
    kind: usize,
    gross: Vec<(usize, i64)>,
    paid: Vec<(usize, i64, usize)>,
}

/// `receipt_type` and `BON_TYP`.
const KINDS: [(&str, &str); 8] = [
    ("RECEIPT", "Beleg"),
    ("TRAINING", "AVTraining"),
    ("TRANSFER", "AVTransfer"),
    ("ORDER", "AVBestellung"),
    ("ABORT", "AVBelegabbruch"),
    ("BENEFIT_IN_KIND", "AVSachbezug"),
    ("INVOICE", "AVRechnung"),
    ("OTHER", "AVSonstige"),
];
/// `vat_rate` and a VAT key of the same slot.
const RATES: [(&str, u64); 9] = [
    ("NORMAL", 1),
    ("19", 21),
    ("REDUCED_1", 2),
    ("7", 12),
    ("SPECIAL_RATE_1", 33),
    ("SPECIAL_RATE_2", 4),
    ("NULL", 5),
    ("0", 8),
    ("NULL", 6),
];
/// `payment_type` and `ZAHLART_TYP`.
const PAYMENTS: [(&str, &str); 4] = [
    ("CASH", "Bar"),
    ("NON_CASH", "Unbar"),
    ("NON_CASH", "Kreditkarte"),
    ("NON_CASH", "ECKarte"),
];
const CURRENCIES: [&str; 4] = ["EUR", "USD", "CHF", "GBP"];

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

impl Common {
    fn strict(&self) -> Value {
        json!({
            "processType": "Kassenbeleg-V1",
            "vorgangstyp": KINDS[self.kind].1,
            "gross": self.gross.iter().map(|(rate, cents)| json!([RATES[*rate].1, money(*cents)]))
                .collect::<Vec<_>>(),
            "payments": self.paid.iter().map(|(kind, cents, currency)| {
                json!([PAYMENTS[*kind].1, money(*cents), CURRENCIES[*currency]])
            }).collect::<Vec<_>>(),
        })
    }

    fn schema(&self) -> Value {
        let rates = self.gross.iter();
        let rates: Vec<_> = rates
            .map(|(at, cents)| rate(RATES[*at].0, money(*cents)))
            .collect();
        let paid = self.paid.iter();
        let paid: Vec<_> = paid
            .map(|(kind, cents, currency)| {
                let code = CURRENCIES[*currency].to_ascii_lowercase();
                paid_in(PAYMENTS[*kind].0, &money(*cents), &code)
            })
            .collect();
        json!({ "standard_v1": { "receipt": {
            "receipt_type": KINDS[self.kind].0,
            "amounts_per_vat_rate": rates,
            "amounts_per_payment_type": paid,
        } } })
    }
}

prop_compose! {
    fn common()(
        kind in 0..KINDS.len(),
        gross in prop::collection::vec((0..RATES.len(), -500_i64..500), 0..8),
        paid in prop::collection::vec((0..PAYMENTS.len(), -300_i64..300, 0..CURRENCIES.len()), 0..8),
    ) -> Common {
        Common { kind, gross, paid }
    }
}

fn by_schema(schema: &Value) -> String {
    let schema = Schema::parse(schema).unwrap().unwrap();
    String::from_utf8(schema.process_data.as_bytes().to_vec()).unwrap()
}

/// Any JSON, with the names and words that the entrances look for among its texts.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "processType",
        "Kassenbeleg-V1",
        "Bestellung-V1",
        "SonstigerVorgang",
        "vorgangstyp",
        "Beleg",
        "gross",
        "payments",
        "lines",
        "text",
        "Bar",
        "Keine",
        "1.00",
        "-0.001",
        "EUR",
        "standard_v1",
        "receipt",
        "order",
        "other",
        "raw",
        "process_type",
        "process_data",
        "receipt_type",
        "RECEIPT",
        "amounts_per_vat_rate",
        "amounts_per_payment_type",
        "vat_rate",
        "NORMAL",
        "amount",
        "payment_type",
        "CASH",
        "currency_code",
        "line_items",
        "quantity",
        "price_per_unit",
        "dsfinvtw_v1",
        "power_up",
        "power_off",
        "driver_status",
        "trip_receipt",
        "empty_trip",
        "break",
        "kilometer_reading",
        "system",
        "counter_unit",
        "generic_data",
        "meter_type",
        "TAXIMETER",
        "trip_data",
        "cash",
        "non_cash",
        "1.000",
        "type",
        "LOGON",
        "driver_id",
        "tariff_id",
        "vehicle_id",
        "",
    ]);
    let word = word.prop_map(str::to_owned);
    let text = prop_oneof![word.clone(), any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let pairs = prop::collection::vec((word.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            pairs.prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn both_entrances_agree_on_what_both_can_say(common in common()) {
        let by_schema = by_schema(&common.schema());
        prop_assert!(is_receipt(&by_schema), "{}", by_schema);
        let may_be_paid = common.kind < 2 || common.paid.is_empty();
        match encode_strictly(&common.strict()) {
            Ok(strict) => prop_assert!(may_be_paid && strict == by_schema, "{strict} {by_schema}"),
            // Odd on purpose: the dialect signs payments wherever a till sends them.
            Err(error) => prop_assert!(!may_be_paid, "{error}"),
        }
    }

    #[test]
    fn the_order_of_amounts_does_not_matter(
        common in common(),
        turn in 0_usize..8,
        much in prop::bool::ANY,
    ) {
        let mut common = common;
        if much {
            // On the way to a sum that can be written lie sums that cannot.
            let most = 999_999_999_999_999_999;
            common.gross.extend([(0, most), (0, most), (0, -most), (0, -most)]);
            common.paid.extend([(0, most, 1), (0, 1, 1), (0, -most, 1)]);
        }
        let mut turned = common.clone();
        turned.gross.rotate_left(turn.min(common.gross.len()));
        turned.gross.reverse();
        turned.paid.reverse();
        turned.paid.rotate_left(turn.min(common.paid.len()));
        prop_assert_eq!(by_schema(&turned.schema()), by_schema(&common.schema()));
        prop_assert_eq!(
            encode_strictly(&turned.strict()).ok(),
            encode_strictly(&common.strict()).ok()
        );
    }

    #[test]
    fn both_entrances_write_the_same_orders(
        lines in prop::collection::vec((-9_999_i64..9_999, any::<String>(), -500_i64..500), 0..6),
    ) {
        let lines: Vec<_> = lines.into_iter().map(|(thousandths, text, cents)| {
            let sign = if thousandths < 0 { "-" } else { "" };
            let whole = thousandths.abs();
            let quantity = format!("{sign}{}.{:03}", whole / 1000, whole % 1000);
            (quantity, text.replace(['\r', '\n'], "x"), money(cents))
        }).collect();
        let strict: Vec<_> = lines.iter().map(|line| json!([line.0, line.1, line.2])).collect();
        let items: Vec<_> = lines.iter().map(|line| {
            json!({ "quantity": line.0, "text": line.1, "price_per_unit": line.2 })
        }).collect();
        let strict = encode_strictly(&json!({ "processType": "Bestellung-V1", "lines": strict }));
        let schema = json!({ "standard_v1": { "order": { "line_items": items } } });
        prop_assert_eq!(strict.unwrap(), by_schema(&schema));
    }

    #[test]
    fn no_json_at_all_is_too_strange(value in any_json()) {
        // Either answer is fine; there must be one.
        let _ = encode_strictly(&value);
        let _ = Schema::parse(&value);
        let _ = Schema::parse(&json!({ "standard_v1": value }));
        let _ = Schema::parse(&json!({ "dsfinvtw_v1": value }));
        let other = Schema::parse(&json!({ "standard_v1": { "other": value } }));
        prop_assert_eq!(other.is_ok(), value.is_object() || value == json!([]));
    }
}
