use super::decimal::{Amount, Quantity};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

mod dialect;
mod strict;
mod vectors;

#[track_caller]
fn signed(schema: &Value) -> (String, String) {
    let schema = Schema::parse(schema).unwrap().expect("a schema");
    let data = String::from_utf8(schema.process_data.as_bytes().to_vec()).unwrap();
    (schema.process_type.as_str().to_owned(), data)
}

#[track_caller]
fn receipt(rates: Value, payments: Value) -> String {
    let (process_type, data) = signed(&json!({ "standard_v1": { "receipt": {
        "receipt_type": "RECEIPT", "amounts_per_vat_rate": rates, "amounts_per_payment_type": payments,
    } } }));
    assert_eq!(process_type, "Kassenbeleg-V1");
    data
}

#[track_caller]
fn order(lines: Value) -> String {
    let (process_type, data) =
        signed(&json!({ "standard_v1": { "order": { "line_items": lines } } }));
    assert_eq!(process_type, "Bestellung-V1");
    data
}

fn rate(vat_rate: impl Into<Value>, amount: impl Into<Value>) -> Value {
    json!({ "vat_rate": vat_rate.into(), "amount": amount.into() })
}

fn paid(payment_type: &str, amount: impl Into<Value>) -> Value {
    json!({ "payment_type": payment_type, "amount": amount.into() })
}

fn paid_in(payment_type: &str, amount: &str, currency_code: &str) -> Value {
    json!({ "payment_type": payment_type, "amount": amount, "currency_code": currency_code })
}

#[track_caller]
fn refused(schema: Value, message: &str) {
    assert_eq!(Schema::parse(&schema).unwrap_err().to_string(), message);
}

#[test]
fn nothing_in_a_schema_is_no_schema() {
    for nothing in [
        json!(null),
        json!({}),
        json!([]),
        json!({ "raw": null, "standard_v1": null })["raw"].clone(),
    ] {
        assert_eq!(Schema::parse(&nothing), Ok(None), "{nothing}");
    }
}

#[test]
fn recorded_receipts_give_the_recorded_process_data() {
    // HTTP dialect digest §7.1.
    let cases = [
        (
            json!([rate("NORMAL", "21.42")]),
            json!([paid("NON_CASH", "21.42")]),
            "Beleg^21.42_0.00_0.00_0.00_0.00^21.42:Unbar",
        ),
        (
            json!([rate("NORMAL", "4.20")]),
            json!([paid("NON_CASH", "4.20")]),
            "Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar",
        ),
        (
            json!([rate("REDUCED_1", "2.55")]),
            json!([paid("CASH", "2.55")]),
            "Beleg^0.00_2.55_0.00_0.00_0.00^2.55:Bar",
        ),
        (
            json!([rate("NORMAL", "123.45"), rate("REDUCED_1", "67.89")]),
            json!([paid("CASH", "111.11"), paid("NON_CASH", "80.23")]),
            "Beleg^123.45_67.89_0.00_0.00_0.00^111.11:Bar_80.23:Unbar",
        ),
    ];
    for (rates, payments, expected) in cases {
        assert_eq!(receipt(rates, payments), expected);
    }
}

#[test]
fn every_slot_has_a_name_and_a_deprecated_number() {
    let slots = [
        ("NORMAL", "19", 0),
        ("REDUCED_1", "7", 1),
        ("SPECIAL_RATE_1", "10.7", 2),
        ("SPECIAL_RATE_2", "5.5", 3),
        ("NULL", "0", 4),
    ];
    for (name, number, slot) in slots {
        let mut amounts = ["0.00"; 5];
        amounts[slot] = "1.00";
        let expected = format!("Beleg^{}^", amounts.join("_"));
        assert_eq!(receipt(json!([rate(name, "1.00")]), json!([])), expected);
        assert_eq!(receipt(json!([rate(number, "1.00")]), json!([])), expected);
        let padded = if number.contains('.') {
            format!("{number}0")
        } else {
            format!("{number}.00")
        };
        assert_eq!(receipt(json!([rate(padded, "1.00")]), json!([])), expected);
        let as_number: Value = serde_json::from_str(number).unwrap();
        assert_eq!(
            receipt(json!([rate(as_number, "1.00")]), json!([])),
            expected
        );
    }
}

#[test]
fn every_receipt_type_has_its_vorgangstyp() {
    let types = [
        ("RECEIPT", "Beleg"),
        ("TRAINING", "AVTraining"),
        ("TRANSFER", "AVTransfer"),
        ("ORDER", "AVBestellung"),
        ("CANCELLATION", "AVBelegabbruch"),
        ("ABORT", "AVBelegabbruch"),
        ("BENEFIT_IN_KIND", "AVSachbezug"),
        ("INVOICE", "AVRechnung"),
        ("OTHER", "AVSonstige"),
        ("ANNULATION", "AVBelegstorno"),
    ];
    for (receipt_type, expected) in types {
        let (_, data) = signed(&json!({ "standard_v1": { "receipt": {
            "receipt_type": receipt_type, "amounts_per_vat_rate": [],
        } } }));
        assert_eq!(data, format!("{expected}^0.00_0.00_0.00_0.00_0.00^"));
    }
}

#[test]
fn an_aborted_receipt_is_what_the_rules_sign_for_a_cancelled_one() {
    let (_, data) = signed(&json!({ "standard_v1": { "receipt": {
        "receipt_type": "ABORT", "amounts_per_vat_rate": [],
    } } }));
    assert_eq!(data, ABORTED_RECEIPT);
}

#[test]
fn equal_rates_and_equal_payments_are_added_up_and_zero_payments_left_out() {
    assert_eq!(
        receipt(
            json!([
                rate("19", "1.10"),
                rate("NORMAL", "2.20"),
                rate("7", "-1.00")
            ]),
            json!([
                paid("CASH", "50.00"),
                paid("CASH", "-12.01"),
                paid("NON_CASH", "3.00"),
                paid("NON_CASH", "-3.00"),
            ]),
        ),
        "Beleg^3.30_-1.00_0.00_0.00_0.00^37.99:Bar"
    );
}

#[test]
fn payments_are_ordered_cash_first_then_euro_then_by_code() {
    assert_eq!(
        receipt(
            json!([rate("NORMAL", "10.00")]),
            json!([
                paid_in("NON_CASH", "64.30", "EUR"),
                paid_in("CASH", "5.00", "usd"),
                paid_in("CASH", "5.00", "CHF"),
                paid_in("CASH", "10.00", "eur"),
            ]),
        ),
        "Beleg^10.00_0.00_0.00_0.00_0.00^10.00:Bar_5.00:Bar:CHF_5.00:Bar:USD_64.30:Unbar"
    );
}

#[test]
fn amounts_come_as_text_or_number_and_are_written_with_two_decimals() {
    let cases = [
        (json!("10.00"), "10.00"),
        (json!("21.42000"), "21.42"),
        (json!("10.0"), "10.00"),
        (json!("10"), "10.00"),
        (json!(10), "10.00"),
        (json!(10.5), "10.50"),
        (json!(-10.5), "-10.50"),
        (json!("0.005"), "0.01"),
        (json!("-0.005"), "-0.01"),
        (json!("1.00499"), "1.00"),
        (json!("-1.005"), "-1.01"),
        (json!("-0.00"), "0.00"),
        (json!("-0.00499"), "0.00"),
        (json!("0007.10"), "7.10"),
        (json!("9999999.99"), "9999999.99"),
        (json!("9999999999999999.99"), "9999999999999999.99"),
    ];
    for (given, expected) in cases {
        let data = receipt(json!([rate("NORMAL", given.clone())]), json!([]));
        assert_eq!(
            data,
            format!("Beleg^{expected}_0.00_0.00_0.00_0.00^"),
            "{given}"
        );
    }
}

#[test]
fn what_is_no_amount_is_refused_by_field_and_never_by_value() {
    let bad = [
        json!(""),
        json!("-"),
        json!("1."),
        json!(".50"),
        json!("+1.00"),
        json!("1,00"),
        json!("1.000,00"),
        json!("1e3"),
        json!(1e30),
        json!("1.000001"),
        json!("10000000000000000.00"),
        json!("١.00"),
        json!(" 1.00"),
        json!("--1.00"),
    ];
    for amount in bad {
        refused(
            json!({ "standard_v1": { "receipt": {
                "receipt_type": "RECEIPT", "amounts_per_vat_rate": [rate("NORMAL", amount)],
            } } }),
            "schema.standard_v1.receipt.amounts_per_vat_rate[0].amount should be a decimal number \
             with at most 16 digits before the point and five after it",
        );
    }
}

#[test]
fn a_sum_beyond_all_money_is_refused() {
    let most = rate("NORMAL", "9999999999999999.99");
    refused(
        json!({ "standard_v1": { "receipt": {
            "receipt_type": "RECEIPT", "amounts_per_vat_rate": [most, most],
        } } }),
        "schema.standard_v1.receipt.amounts_per_vat_rate adds up to more than can be written",
    );
}

#[test]
fn a_receipt_without_payments_ends_with_its_second_caret() {
    let (_, data) = signed(&json!({ "standard_v1": { "receipt": {
        "receipt_type": "RECEIPT", "amounts_per_vat_rate": [rate("NORMAL", "1.00")],
    } } }));
    assert_eq!(data, "Beleg^1.00_0.00_0.00_0.00_0.00^");
}

#[test]
fn the_echo_has_sorted_keys_and_a_currency() {
    let schema = Schema::parse(&json!({ "standard_v1": { "receipt": {
        "receipt_type": "RECEIPT",
        "ignored": 1,
        "amounts_per_vat_rate": [{ "vat_rate": 19, "amount": 4.2 }],
        "amounts_per_payment_type": [{ "payment_type": "NON_CASH", "amount": "4.20000" }],
    } } }))
    .unwrap()
    .unwrap();
    assert_eq!(
        schema.echo,
        r#"{"receipt":{"amounts_per_payment_type":[{"amount":"4.20000","currency_code":"EUR","payment_type":"NON_CASH"}],"amounts_per_vat_rate":[{"amount":"4.2","vat_rate":"19"}],"receipt_type":"RECEIPT"}}"#
    );
}

#[test]
fn the_echo_of_an_order_has_sorted_keys() {
    let schema = Schema::parse(&json!({ "standard_v1": { "order": { "line_items": [
        { "quantity": 2, "text": "Döner", "price_per_unit": "8.50" },
    ] } } }))
    .unwrap()
    .unwrap();
    assert_eq!(
        schema.echo,
        r#"{"order":{"line_items":[{"price_per_unit":"8.50","quantity":"2","text":"Döner"}]}}"#
    );
}

#[test]
fn standard_v1_counts_where_raw_is_there_too() {
    let (process_type, data) = signed(&json!({
        "raw": { "process_type": "Other", "process_data": "" },
        "standard_v1": { "order": { "line_items": [] } },
    }));
    assert_eq!(
        (process_type.as_str(), data.as_str()),
        ("Bestellung-V1", "")
    );
}

#[test]
fn raw_is_taken_as_it_is_and_may_be_empty() {
    let parse = |process_type: &str, process_data: &str| {
        signed(&json!({ "raw": { "process_type": process_type, "process_data": process_data } }))
    };
    assert_eq!(parse("", ""), (String::new(), String::new()));
    assert_eq!(
        parse(
            "Kassenbeleg-V1",
            "QmVsZWdeNC4yMF8wLjAwXzAuMDBfMC4wMF8wLjAwXjQuMjA6VW5iYXI="
        ),
        (
            "Kassenbeleg-V1".to_owned(),
            "Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar".to_owned()
        )
    );
    // Without padding, too.
    assert_eq!(parse("A", "QQ").1, "A");
}

#[test]
fn raw_that_cannot_be_signed_is_refused() {
    let raw = |process_type: Value, process_data: Value| json!({ "raw": { "process_type": process_type, "process_data": process_data } });
    let text = "schema.raw.process_type should be at most 100 characters of ASN.1 PrintableString";
    refused(raw(json!("Kassenbeleg_V1"), json!("")), text);
    refused(raw(json!("x".repeat(101)), json!("")), text);
    for data in ["Q", "QR==", "Q Q=", "QQ==\n", "_-8="] {
        let message = "schema.raw.process_data should be base64";
        refused(raw(json!("A"), json!(data)), message);
    }
    refused(
        json!({ "raw": { "process_type": "A" } }),
        "schema.raw.process_data is required",
    );
    refused(
        raw(json!(["A"]), json!("")),
        "schema.raw.process_type should be string",
    );
}

#[test]
fn unknown_forms_are_refused_clearly() {
    refused(
        json!({ "standard_v2": {} }),
        "schema should hold standard_v1, dsfinvtw_v1 or raw",
    );
    refused(
        json!({ "standard_v1": {} }),
        "schema.standard_v1 should hold one of its forms",
    );
    refused(
        json!({ "standard_v1": { "receipt": {}, "order": {} } }),
        "schema.standard_v1 should hold only one form",
    );
    refused(json!("raw"), "schema should be object");
}

#[test]
fn every_form_has_a_name_of_its_own_in_the_ledger() {
    let mut names = SchemaForm::ALL.map(SchemaForm::as_str);
    names.sort_unstable();
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
}

#[test]
fn missing_and_unknown_receipt_fields_are_refused_by_name() {
    let receipt = |body: Value| json!({ "standard_v1": { "receipt": body } });
    refused(
        receipt(json!({ "amounts_per_vat_rate": [] })),
        "schema.standard_v1.receipt.receipt_type is required",
    );
    refused(
        receipt(json!({ "receipt_type": "RECEIPT" })),
        "schema.standard_v1.receipt.amounts_per_vat_rate is required",
    );
    refused(
        receipt(json!({ "receipt_type": "Beleg", "amounts_per_vat_rate": [] })),
        "schema.standard_v1.receipt.receipt_type is no known receipt type",
    );
    for bad in ["16", "REDUCED_2", "", "19%", "0.001", "18.999", "-7"] {
        refused(
            receipt(json!({
                "receipt_type": "RECEIPT", "amounts_per_vat_rate": [rate(bad, "1.00")],
            })),
            "schema.standard_v1.receipt.amounts_per_vat_rate[0].vat_rate is no known VAT rate",
        );
    }
    for bad in ["", "EU", "EURO", "€uro", "12A"] {
        refused(
            receipt(json!({
                "receipt_type": "RECEIPT", "amounts_per_vat_rate": [],
                "amounts_per_payment_type": [paid_in("CASH", "1.00", bad)],
            })),
            "schema.standard_v1.receipt.amounts_per_payment_type[0].currency_code should be three \
             letters",
        );
    }
}

#[test]
fn order_lines_are_quoted_and_joined_by_carriage_returns() {
    let line = |quantity: Value, text: &str, price: Value| json!({ "quantity": quantity, "text": text, "price_per_unit": price });
    assert_eq!(
        order(json!([
            line(json!("2.000"), "Eisbecher \"Himbeere\"", json!("3.99")),
            line(json!(1), "Eiskaffee", json!(2.99)),
        ])),
        "2;\"Eisbecher \"\"Himbeere\"\"\";3.99\r1;\"Eiskaffee\";2.99"
    );
    assert_eq!(
        order(json!([line(
            json!("-0.50"),
            "A\r\nB\nC\rD",
            json!("1.005")
        )])),
        "-0.5;\"A B C D\";1.01"
    );
    assert_eq!(order(json!([])), "");
}

#[test]
fn order_lines_out_of_bounds_are_refused() {
    let with = |quantity: &str, text: &str| {
        json!({ "standard_v1": { "order": { "line_items": [
            { "quantity": quantity, "text": text, "price_per_unit": "1.00" },
        ] } } })
    };
    assert!(Schema::parse(&with("1", &"ü".repeat(255))).is_ok());
    refused(
        with("1", &"ü".repeat(256)),
        "schema.standard_v1.order.line_items[0].text should NOT be longer than 255 characters",
    );
    refused(
        with("1/2", "A"),
        "schema.standard_v1.order.line_items[0].quantity should be a decimal number with at most \
         16 digits before the point and five after it",
    );
}

proptest! {
    #[test]
    fn two_decimals_come_back_as_they_were(cents in -99_999_999_999_i64..99_999_999_999) {
        let sign = if cents < 0 { "-" } else { "" };
        let text = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        prop_assert_eq!(Amount::rounded(&text).unwrap().to_string(), text.clone());
        prop_assert_eq!(Amount::rounded(&format!("{text}000")).unwrap().to_string(), text);
    }

    #[test]
    fn a_quantity_means_the_same_after_trimming(thousandths in -9_999_999_i64..9_999_999) {
        let sign = if thousandths < 0 { "-" } else { "" };
        let text = format!("{sign}{}.{:03}", thousandths.abs() / 1000, thousandths.abs() % 1000);
        let written = Quantity::as_sent(&text).unwrap().as_str().to_owned();
        prop_assert!(!written.contains('.') || !written.ends_with('0'), "{}", written);
        let value = |text: &str| text.parse::<f64>().unwrap();
        prop_assert!((value(&text) - value(&written)).abs() < 1e-9);
    }
}
