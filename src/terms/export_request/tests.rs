use super::*;

const CLIENT: &str = "101bd1cd-286c-4c3b-9ae5-43d4fad02f08";

#[track_caller]
fn request(text: &str) -> ExportRequest {
    text.parse().unwrap()
}

#[track_caller]
fn window(text: &str, found: Option<(u64, u64)>) -> ExportWindow {
    let found =
        found.map(|(first, last)| (SignatureCounter::new(first), SignatureCounter::new(last)));
    request(text).window(SignatureCounter::new(1000), found)
}

#[test]
fn a_request_without_filters_takes_everything_up_to_its_moment() {
    assert_eq!(request(""), ExportRequest::default());
    assert_eq!(request("").to_string(), "");
    assert_eq!(request("").bounds(), None);
    assert_eq!(request("").messages_max(), 1_000_000);
    assert_eq!(
        window("", None),
        ExportWindow {
            counters: 1..=1000,
            client: None,
            transactions: None,
            times: None
        }
    );
}

#[test]
fn the_text_has_one_form_per_meaning_and_can_be_read_back() {
    let cases = [
        ("maximum_number_records=1000000", ""),
        ("end_date=0020&start_date=010", "start_date=10&end_date=20"),
        (
            "maximum_number_records=5&client_id=101BD1CD-286C-4C3B-9AE5-43D4FAD02F08",
            "client_id=101bd1cd-286c-4c3b-9ae5-43d4fad02f08&maximum_number_records=5",
        ),
        (
            "end_signature_counter=9&start_signature_counter=0",
            "start_signature_counter=0&end_signature_counter=9",
        ),
        (
            "end_transaction_number=9&start_transaction_number=0",
            "start_transaction_number=0&end_transaction_number=9",
        ),
        ("transaction_number=7", "transaction_number=7"),
    ];
    for (given, canonical) in cases {
        let request = request(given);
        assert_eq!(request.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(request));
    }
}

#[test]
fn filters_that_do_not_go_together_are_a_mismatch() {
    for text in [
        "transaction_number=1&start_transaction_number=1",
        "transaction_number=1&end_transaction_number=1",
        "transaction_number=1&start_date=1",
        "transaction_number=1&end_date=1",
        "start_transaction_number=1&end_date=1",
        "start_transaction_number=2&end_transaction_number=1",
        "start_date=2&end_date=1",
        "start_signature_counter=2&end_signature_counter=1",
    ] {
        let refused = text.parse::<ExportRequest>();
        assert!(
            matches!(refused, Err(ExportRequestError::Mismatch(_))),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn values_are_digits_within_their_limits() {
    for (field, text) in [
        ("client_id", "client_id=1"),
        ("transaction_number", "transaction_number=+1"),
        ("transaction_number", "transaction_number=9007199254740992"),
        ("start_transaction_number", "start_transaction_number="),
        ("end_transaction_number", "end_transaction_number=-1"),
        ("start_date", "start_date=9007199254740992"),
        ("end_date", "end_date=2021-01-01"),
        ("start_signature_counter", "start_signature_counter=1.0"),
        ("end_signature_counter", "end_signature_counter=x"),
        ("maximum_number_records", "maximum_number_records=0"),
        ("maximum_number_records", "maximum_number_records=1000001"),
    ] {
        match text.parse::<ExportRequest>() {
            Err(ExportRequestError::Malformed { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["x", "x=1", "start_date=1&start_date=1", "start_date=1&"] {
        assert_eq!(
            text.parse::<ExportRequest>(),
            Err(ExportRequestError::Text),
            "{text}"
        );
    }
}

#[test]
fn one_transaction_takes_its_own_messages_and_what_lies_between() {
    let text = format!("client_id={CLIENT}&transaction_number=7");
    let client = Some(CLIENT.parse().unwrap());
    let number = TransactionNumber::new(7);
    assert_eq!(
        request(&text).bounds(),
        Some(ExportBounds {
            client,
            numbers: Some(number..=number)
        })
    );
    assert_eq!(
        window(&text, Some((20, 29))),
        ExportWindow {
            counters: 20..=29,
            client,
            transactions: Some(7..=7),
            times: None
        }
    );
}

#[test]
fn a_range_of_transactions_takes_every_message_between_its_ends() {
    let numbers = |text: &str| {
        let numbers = request(text).bounds().unwrap().numbers.unwrap();
        (numbers.start().value(), numbers.end().value())
    };
    assert_eq!(
        numbers("start_transaction_number=3&end_transaction_number=5"),
        (3, 5)
    );
    assert_eq!(numbers("start_transaction_number=3"), (3, (1 << 53) - 1));
    // Recorded traffic has an end without a start.
    assert_eq!(numbers("end_transaction_number=1"), (0, 1));
    assert_eq!(
        window("start_transaction_number=3", Some((20, 29))),
        ExportWindow {
            counters: 20..=29,
            client: None,
            transactions: None,
            times: None
        }
    );
}

#[test]
fn a_client_alone_is_bounded_by_its_messages_and_with_a_period_by_the_period() {
    let alone = format!("client_id={CLIENT}");
    let client = Some(CLIENT.parse().unwrap());
    assert_eq!(
        request(&alone).bounds(),
        Some(ExportBounds {
            client,
            numbers: None
        })
    );
    let with_period = format!("client_id={CLIENT}&start_date=5");
    assert_eq!(request(&with_period).bounds(), None);
    assert_eq!(
        window(&with_period, None),
        ExportWindow {
            counters: 1..=1000,
            client,
            transactions: None,
            times: Some(5..=(1 << 53) - 1)
        }
    );
    assert_eq!(window("end_date=9", None).times, Some(0..=9));
}

#[test]
fn counters_narrow_the_window_and_nothing_after_the_request_is_in_it() {
    let counters = |text: &str, found| window(text, found).counters;
    assert_eq!(
        counters("start_signature_counter=5&end_signature_counter=9", None),
        5..=9
    );
    assert_eq!(counters("end_signature_counter=5000", None), 1..=1000);
    assert_eq!(
        counters(
            "start_transaction_number=1&end_signature_counter=25",
            Some((20, 29))
        ),
        20..=25
    );
    assert_eq!(
        counters("start_transaction_number=1", Some((20, 2000))),
        20..=1000
    );
    assert!(counters("start_signature_counter=1001", None).is_empty());
}
