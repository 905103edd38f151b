//! The public processData vectors, as far as the dialect can say them.

use super::{rate, signed};
use serde_json::{Value, json};

#[test]
fn the_public_process_data_vectors_hold() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/testdata/processdata/vectors.json"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        assert!(
            std::env::var_os("SIEGEL_NEED_SHARED").is_none(),
            "SIEGEL_NEED_SHARED is set and the vectors are not there"
        );
        println!("skipped: shared vectors are not there");
        return;
    };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let mut read = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        if let Some(schema) = as_schema(&vector["input"]) {
            let (_, data) = signed(&schema);
            assert_eq!(
                data,
                vector["processData"].as_str().unwrap(),
                "{}",
                vector["id"]
            );
            read += 1;
        }
    }
    println!("read {read} vectors");
    assert!(read >= 20, "only {read} vectors could be expressed");
}

/// A vector in the dialect's words, where they exist (free text has none).
fn as_schema(input: &Value) -> Option<Value> {
    let decimal = |value: &Value| {
        let text = value.as_str().unwrap();
        json!(if text.contains('.') {
            text.to_owned()
        } else {
            format!("{text}.00")
        })
    };
    if let Some(lines) = input.get("lines") {
        let lines: Vec<Value> = lines
            .as_array()?
            .iter()
            .map(|line| json!({ "quantity": line[0], "text": line[1], "price_per_unit": decimal(&line[2]) }))
            .collect();
        return Some(json!({ "standard_v1": { "order": { "line_items": lines } } }));
    }
    let receipt_type = match input.get("vorgangstyp")?.as_str()? {
        "Beleg" => "RECEIPT",
        "AVTransfer" => "TRANSFER",
        "AVBelegabbruch" => "ABORT",
        "AVTraining" => "TRAINING",
        "AVRechnung" => "INVOICE",
        _ => return None,
    };
    let rates: Vec<Value> = input["gross"]
        .as_array()?
        .iter()
        .map(|pair| {
            let name = match pair[0].as_u64().unwrap() {
                1 | 21 => "NORMAL",
                2 | 22 => "REDUCED_1",
                3 => "SPECIAL_RATE_1",
                4 => "SPECIAL_RATE_2",
                _ => "NULL",
            };
            rate(name, decimal(&pair[1]))
        })
        .collect();
    let payments: Vec<Value> = input["payments"]
        .as_array()?
        .iter()
        .filter(|payment| payment[0] != "Keine")
        .map(|payment| {
            let kind = if payment[0] == "Bar" { "CASH" } else { "NON_CASH" };
            match payment.get(2) {
                Some(code) => json!({ "payment_type": kind, "amount": decimal(&payment[1]), "currency_code": code }),
                None => json!({ "payment_type": kind, "amount": decimal(&payment[1]) }),
            }
        })
        .collect();
    Some(json!({ "standard_v1": { "receipt": {
        "receipt_type": receipt_type, "amounts_per_vat_rate": rates, "amounts_per_payment_type": payments,
    } } }))
}
