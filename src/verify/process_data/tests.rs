//! Texts in form and their bad neighbours.

use super::deviation;

const NOTHING: &str = "0.00_0.00_0.00_0.00_0.00";

fn fits(process_type: &str, data: &str) -> bool {
    deviation(process_type, data).is_none()
}

#[test]
fn receipts_in_form_are_taken() {
    for data in [
        "Beleg^75.33_7.99_0.00_0.00_0.00^10.00:Bar_5.00:Bar:CHF_5.00:Bar:USD_64.30:Unbar",
        "Beleg^-1.19_0.00_0.00_0.00_0.00^-1.19:Bar",
        "Beleg^0.00_0.00_0.00_0.00_0.00^",
        "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^",
        "AVTraining^1.00_0.00_0.00_0.00_0.00^1.00:Unbar",
        "AVTransfer^1.00_0.00_0.00_0.00_0.00^",
    ] {
        assert_eq!(deviation("Kassenbeleg-V1", data), None, "{data}");
    }
}

#[test]
fn receipts_out_of_form_are_told() {
    for data in [
        "".to_owned(),
        "Beleg".to_owned(),
        format!("Beleg^{NOTHING}"),
        format!("Beleg^{NOTHING}^^"),
        format!("beleg^{NOTHING}^"),
        format!("AVSonst^{NOTHING}^"),
        format!("AVBestellung^{NOTHING}^1.00:Bar"),
        "Beleg^0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^0.00_0.00_0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^-0.00_0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^1,00_0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^1.0_0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^.00_0.00_0.00_0.00_0.00^".to_owned(),
        "Beleg^+1.00_0.00_0.00_0.00_0.00^".to_owned(),
        format!("Beleg^{NOTHING}^0.00:Bar"),
        format!("Beleg^{NOTHING}^1.00:bar"),
        format!("Beleg^{NOTHING}^1.00"),
        format!("Beleg^{NOTHING}^1.00:Bar:EUR"),
        format!("Beleg^{NOTHING}^1.00:Bar:usd"),
        format!("Beleg^{NOTHING}^1.00:Bar:US"),
        format!("Beleg^{NOTHING}^1.00:Unbar_1.00:Bar"),
        format!("Beleg^{NOTHING}^1.00:Bar_1.00:Bar"),
        format!("Beleg^{NOTHING}^1.00:Bar:USD_1.00:Bar:CHF"),
        format!("Beleg^{NOTHING}^1.00:Bar_"),
    ] {
        assert!(!fits("Kassenbeleg-V1", &data), "{data}");
    }
}

#[test]
fn orders_have_lines() {
    for data in [
        "",
        "2;\"Eisbecher \"\"Himbeere\"\"\";3.99\r1;\"Milchreis\";3.99",
        "1.5;\"a;b\";0.00",
        "-2;\"\";-3.99",
        "0.125;\"kg\";1.00",
    ] {
        assert!(fits("Bestellung-V1", data), "{data}");
    }
    for data in [
        "2;\"a\";3.99\r",
        "2;\"a\";3.99\n1;\"b\";1.00",
        "2;a;3.99",
        "2;\"a\"b\";3.99",
        "2;\"a\";3.9",
        "1.50;\"a\";1.00",
        "1.2345;\"a\";1.00",
        "1,5;\"a\";1.00",
        ";\"a\";1.00",
        "2;\"a\nb\";1.00",
    ] {
        assert!(!fits("Bestellung-V1", data), "{data}");
    }
}

#[test]
fn other_types_are_free_or_unknown() {
    assert!(fits("SonstigerVorgang", "whatever"));
    for unknown in ["", "kassenbeleg-V1", "Kassenbeleg-V2", "RECEIPT"] {
        assert!(!fits(unknown, ""), "{unknown}");
    }
}
