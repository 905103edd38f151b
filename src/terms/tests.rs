use super::*;

#[test]
fn a_counter_stops_at_the_32_bit_ceiling() {
    assert_eq!(
        SignatureCounter::new(0).next(),
        Some(SignatureCounter::new(1))
    );
    assert_eq!(SignatureCounter::new(COUNTER_MAX).next(), None);
    assert_eq!(TransactionNumber::new(u64::MAX).next(), None);
}

#[test]
fn client_serials_keep_to_the_file_name_alphabet() {
    for good in [
        "KASSE-1",
        "ERS 8cb8e2de-4052",
        "A",
        "a'b(c)+,.=",
        &"x".repeat(70),
    ] {
        assert!(ClientSerial::try_from(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        " A",
        "A ",
        "a/b",
        "a:b",
        "a?b",
        "a_b",
        "a;b",
        "ä",
        &"x".repeat(71),
    ] {
        assert!(ClientSerial::try_from(bad).is_err(), "{bad}");
    }
}

#[test]
fn ids_are_hyphenated_uuids_in_lower_case() {
    let id: TssId = "AE35A829-7BB2-4261-9490-BCF3C8A3DC5E".parse().unwrap();
    assert_eq!(id.to_string(), "ae35a829-7bb2-4261-9490-bcf3c8a3dc5e");
    for bad in [
        "",
        "x",
        "ae35a8297bb242619490bcf3c8a3dc5e",
        "{ae35a829-7bb2-4261-9490-bcf3c8a3dc5e}",
    ] {
        assert!(bad.parse::<TssId>().is_err(), "{bad}");
    }
}

#[test]
fn a_serial_number_is_the_hash_of_the_point() {
    // Recorded device: HTTP dialect digest §6.
    let point = base64_point(
        "BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY=",
    );
    let serial = SerialNumber::of_public_point(&point);
    assert_eq!(
        serial.to_string(),
        "2be721cf1a255afd12626533e251fe7b3e3c8af625b9f12803918a9bb1952867"
    );
    assert_eq!(serial.to_string().to_uppercase().parse(), Ok(serial));
}

#[test]
fn secrets_and_process_data_do_not_print() {
    assert_eq!(format!("{:?}", Secret::new("1234".into())), "Secret(..)");
    assert_eq!(
        format!("{:?}", ProcessData::new(b"Beleg".to_vec())),
        "ProcessData(5 bytes)"
    );
}

#[test]
fn se_time_does_not_go_below_unset() {
    assert_eq!(SeTime::try_from(5).unwrap().plus_seconds(-9), SeTime::UNSET);
    assert!(SeTime::try_from(-1).is_err());
}

fn base64_point(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}
