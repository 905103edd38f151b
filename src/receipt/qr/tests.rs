use super::super::QrTime;
use super::*;
use crate::terms::{Hash, SeTime, SignatureAlgorithm, SignatureCounter, TransactionNumber};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;

/// The printed example of DSFinV-K Anhang I.
const EXAMPLE: &str = "V0;AMA-2642;Kassenbeleg-V1;Beleg^4.05_3.00_0.00_0.00_0.00^7.05:Bar;13;44131;\
    2019-11-22T11:29:48.000Z;2019-11-22T11:29:49.000Z;ecdsa-plain-SHA384;unixTime;\
    K8zsZ6NjsBzo/Yd3Hba84aH3oT+c4Og5VcfJ7s6Dxz7UmAwtcKmzW16OkS/lm8pDE/37JHoRlYofUTLNF+9bY5Jv7C2P4nu\
    EaHwlVarbiJs3bYlgQmIXQDZnf+8FhfBm;\
    BBXNYQErM4d9sk9Iy+0T6A4sdTocijml5X78Gq/At2uXTcs/3bZNNpyuHd+dpmY59yLh0xZcr9osHhkDAxsQumgjmtb3d9G\
    IVnTaPCslEki84P1iHPiHKHfcszeQajPk3A==";

#[test]
fn the_printed_example_is_read_field_by_field_and_written_again() {
    let code = QrCode::parse(EXAMPLE).unwrap();
    assert_eq!(code.client_serial, "AMA-2642");
    assert_eq!(code.process_type, "Kassenbeleg-V1");
    assert_eq!(code.process_data, "Beleg^4.05_3.00_0.00_0.00_0.00^7.05:Bar");
    assert_eq!(code.transaction_number, TransactionNumber::new(13));
    assert_eq!(code.signature_counter, SignatureCounter::new(44131));
    assert_eq!(code.time_start.unix_seconds(), 1_574_422_188);
    assert_eq!(code.log_time.unix_seconds(), 1_574_422_189);
    assert_eq!(code.log_time.milliseconds(), 0);
    assert_eq!(
        code.algorithm,
        SignatureAlgorithm::ecdsa_plain(Hash::Sha384)
    );
    assert_eq!(code.time_format, LogTimeFormat::UnixTime);
    assert_eq!(code.signature.len(), 96);
    assert_eq!(code.public_key.len(), 97);
    assert_eq!(code.text(), EXAMPLE);
}

#[test]
fn the_recorded_receipt_gives_the_recorded_text() {
    // HTTP dialect digest §6 and §8.
    let key =
        "BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY=";
    let signature =
        "kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==";
    let time = QrTime::try_from(SeTime::try_from(1_787_078_299).unwrap()).unwrap();
    let code = QrCode {
        client_serial: "UT-TEST-101bd1cd-286c-4c3b-9ae5-43d4fad02f08".into(),
        process_type: "Kassenbeleg-V1".into(),
        process_data: "Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar".into(),
        transaction_number: TransactionNumber::new(1),
        signature_counter: SignatureCounter::new(27),
        time_start: time,
        log_time: time,
        algorithm: SignatureAlgorithm::ecdsa_plain(Hash::Sha256),
        time_format: LogTimeFormat::UnixTime,
        signature: STANDARD.decode(signature).unwrap(),
        public_key: STANDARD.decode(key).unwrap(),
    };
    let text = format!(
        "V0;UT-TEST-101bd1cd-286c-4c3b-9ae5-43d4fad02f08;Kassenbeleg-V1;\
         Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar;1;27;2026-08-18T18:38:19.000Z;\
         2026-08-18T18:38:19.000Z;ecdsa-plain-SHA256;unixTime;{signature};{key}"
    );
    assert_eq!(code.text(), text);
    assert_eq!(QrCode::parse(&text), Ok(code));
}

#[test]
fn real_codes_of_many_makers_come_back_as_they_were() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/testdata/qr/qr.jsonl"
    );
    let Ok(lines) = std::fs::read_to_string(path) else {
        assert!(
            std::env::var_os("SIEGEL_NEED_SHARED").is_none(),
            "SIEGEL_NEED_SHARED is set and the QR codes are not there"
        );
        println!("skipped: shared QR codes are not there");
        return;
    };
    let mut read = 0;
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let (id, text) = (&record["id"], record["qr"].as_str().unwrap());
        let code = QrCode::parse(text).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(code.text(), text, "{id}");
        let is_point = code.public_key.first() == Some(&4);
        assert_eq!(
            record["public_key_encoding"] == "uncompressed-point",
            is_point,
            "{id}"
        );
        // What was signed contains what was read.
        if let Some(signed) = record["log_message_hex"].as_str() {
            for part in [&code.client_serial, &code.process_type, &code.process_data] {
                assert!(signed.contains(&hex::encode(part)), "{id}: {part}");
            }
        }
        read += 1;
    }
    println!("read {read} QR codes");
    assert!(read >= 14, "only {read} QR codes");
}

#[test]
fn an_order_keeps_its_semicolons_and_its_line_ends() {
    let order = "2;\"Eisbecher; groß\";3.99\r1;\"Kaffee\";2.99";
    let text = EXAMPLE.replace("Beleg^4.05_3.00_0.00_0.00_0.00^7.05:Bar", order);
    let code = QrCode::parse(&text).unwrap();
    assert_eq!(code.process_data, order);
    assert_eq!(code.text(), text);
    let none = EXAMPLE.replace("Beleg^4.05_3.00_0.00_0.00_0.00^7.05:Bar", "");
    assert_eq!(QrCode::parse(&none).unwrap().process_data, "");
}

#[test]
fn sloppy_codes_mean_the_same() {
    let code = QrCode::parse(EXAMPLE).unwrap();
    for sloppy in [
        format!("  {EXAMPLE}\r\n"),
        EXAMPLE.replace("3A==", "3A"),
        EXAMPLE.replace("48.000Z", "48Z"),
        EXAMPLE.replace("49.000Z", "49.0Z"),
        EXAMPLE.replace(";13;", ";0013;"),
    ] {
        assert_eq!(QrCode::parse(&sloppy).as_ref(), Ok(&code), "{sloppy}");
    }
}

#[test]
fn milliseconds_and_every_time_format_survive() {
    for format in LogTimeFormat::ALL {
        let text = EXAMPLE
            .replace("unixTime", format.name())
            .replace("49.000Z", "49.123Z");
        let code = QrCode::parse(&text).unwrap();
        assert_eq!(code.time_format, format);
        assert_eq!(code.log_time.milliseconds(), 123);
        assert_eq!(code.text(), text);
    }
}

#[test]
fn what_is_no_code_is_refused_by_the_place_of_its_field() {
    let with = |from: &str, to: &str| EXAMPLE.replace(from, to);
    let cases = [
        (String::new(), QrError::Version),
        ("V0".to_owned(), QrError::Fields),
        (with("V0;", "V1;"), QrError::Version),
        (with("Kassenbeleg-V1;", ""), QrError::Fields),
        (with(";13;", ";+13;"), QrError::Number { field: 5 }),
        (with(";13;", ";;"), QrError::Number { field: 5 }),
        (
            with(";44131;", ";18446744073709551616;"),
            QrError::Number { field: 6 },
        ),
        (with("48.000Z", "48.000"), QrError::Time { field: 7 }),
        (with("48.000Z", "48.000+01:00"), QrError::Time { field: 7 }),
        (with("48.000Z", "48.0001Z"), QrError::Time { field: 7 }),
        (with("11:29:49", "11:61:49"), QrError::Time { field: 8 }),
        (
            with("2019-11-22T11:29:49", "2019-02-29T11:29:49"),
            QrError::Time { field: 8 },
        ),
        (with("SHA384", "SHA1"), QrError::Algorithm),
        (with("unixTime", "unixtime"), QrError::TimeFormat),
        (with("K8zs", "K8z_"), QrError::Base64 { field: 11 }),
        (with("3A==", "3A==="), QrError::Base64 { field: 12 }),
    ];
    for (text, error) in cases {
        assert_eq!(QrCode::parse(&text), Err(error), "{text}");
    }
}

#[test]
fn a_code_does_not_print_what_was_sold() {
    let shown = format!("{:?}", QrCode::parse(EXAMPLE).unwrap());
    assert_eq!(shown, "QrCode(transaction 13, signature counter 44131)");
}

#[test]
fn a_time_beyond_four_digits_of_year_cannot_be_printed() {
    let last = SeTime::try_from(253_402_300_799).unwrap();
    assert_eq!(
        QrTime::try_from(last).unwrap().to_string(),
        "9999-12-31T23:59:59.000Z"
    );
    assert!(QrTime::try_from(last.plus_seconds(1)).is_err());
    assert_eq!(
        QrTime::try_from(SeTime::UNSET).unwrap().to_string(),
        "1970-01-01T00:00:00.000Z"
    );
}

proptest! {
    #[test]
    fn whatever_was_signed_comes_back(
        serial in "[A-Za-z0-9 '()+,.=-]{1,70}",
        process_type in "[A-Za-z0-9 '()+,./:=?-]{0,100}",
        process_data in ".{0,200}",
        numbers in (any::<u64>(), any::<u64>()),
        times in (0_i64..253_402_300_799, 0_i64..253_402_300_799),
        algorithm in prop::sample::select(SignatureAlgorithm::ALL.to_vec()),
        signature in prop::collection::vec(any::<u8>(), 0..132),
        public_key in prop::collection::vec(any::<u8>(), 0..133),
    ) {
        let time = |seconds| QrTime::try_from(SeTime::try_from(seconds).unwrap()).unwrap();
        let code = QrCode {
            client_serial: serial,
            process_type,
            process_data,
            transaction_number: TransactionNumber::new(numbers.0),
            signature_counter: SignatureCounter::new(numbers.1),
            time_start: time(times.0),
            log_time: time(times.1),
            algorithm,
            time_format: LogTimeFormat::UnixTime,
            signature,
            public_key,
        };
        prop_assert_eq!(QrCode::parse(&code.text()), Ok(code));
    }

    #[test]
    fn nothing_makes_the_reader_panic(text in "(V0;)?.{0,300}") {
        if let Ok(code) = QrCode::parse(&text) {
            let written = code.text();
            prop_assert_eq!(QrCode::parse(&written), Ok(code));
        }
    }
}
