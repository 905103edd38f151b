use super::*;

const ABORTED: &str = "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^";

#[test]
fn a_start_without_schema_signs_empty_type_and_data() {
    let mut world = World::ready();
    world.must(start(1, None));
    assert_eq!(world.latest_signed(), (String::new(), String::new()));
    let message = world.messages.last().unwrap();
    let bytes = to_be_signed(&message.header, &message.content).unwrap();
    // Both are present: 82 00 83 00.
    assert!(bytes.windows(4).any(|window| window == [0x82, 0, 0x83, 0]));
}

#[test]
fn a_receipt_is_signed_as_given() {
    let mut world = World::ready();
    world.must(start(1, None));
    world.must(finish(1, 2, receipt("21.42")));
    let data = "Beleg^21.42_0.00_0.00_0.00_0.00^21.42:Bar";
    assert_eq!(
        world.latest_signed(),
        ("Kassenbeleg-V1".to_owned(), data.to_owned())
    );
}

#[test]
fn a_cancelled_receipt_says_so_whatever_amounts_were_echoed() {
    let cases = [
        (None, receipt("9.99")),
        (receipt("9.99"), None),
        (receipt("9.99"), receipt("9.99")),
    ];
    for (at_start, at_end) in cases {
        let mut world = World::ready();
        world.must(start(1, at_start));
        world.must(cancel(1, 2, at_end));
        assert_eq!(
            world.latest_signed(),
            ("Kassenbeleg-V1".to_owned(), ABORTED.to_owned())
        );
    }
}

#[test]
fn a_cancelled_order_is_an_empty_one_and_raw_stays_as_given() {
    let mut world = World::ready();
    world.must(start(1, order()));
    world.must(cancel(1, 2, None));
    assert_eq!(
        world.latest_signed(),
        ("Bestellung-V1".to_owned(), String::new())
    );
    world.must(start(2, None));
    world.must(cancel(2, 2, raw("SonstigerVorgang", "eA==")));
    assert_eq!(
        world.latest_signed(),
        ("SonstigerVorgang".to_owned(), "x".to_owned())
    );
}

#[test]
fn a_free_object_is_signed_for_people_and_cancelled_without_words() {
    let mut world = World::ready();
    world.must(start(1, None));
    world.must(finish(1, 2, other()));
    let signed = |data: &str| ("SonstigerVorgang".to_owned(), data.to_owned());
    assert_eq!(world.latest_signed(), signed("event:Tagesabschluss"));
    world.must(start(2, other()));
    world.must(cancel(2, 2, None));
    assert_eq!(world.latest_signed(), signed(""));
}

#[test]
fn a_taximeter_starts_with_nothing_and_ends_with_its_data() {
    let mut world = World::ready();
    let driver = json!({"type": "LOGON", "driver_id": "7"});
    world.must(start(1, taximeter("driver_status", &json!({}))));
    let signed = |data: &str| ("Fahrer-V1".to_owned(), data.to_owned());
    assert_eq!(world.latest_signed(), signed(""));
    let nothing = taximeter("driver_status", &json!({}));
    for missing in [None, nothing.clone()] {
        assert_eq!(
            world.refused(finish(1, 2, missing)),
            Rejection::TaximeterDataMissing
        );
    }
    world.must(finish(1, 2, taximeter("driver_status", &driver)));
    assert_eq!(world.latest_signed(), signed("Fahreranmeldung_7"));
    // Cancelled it says nothing, with data or without.
    for (number, given) in [
        (2, None),
        (3, nothing),
        (4, taximeter("driver_status", &driver)),
    ] {
        world.must(start(number, taximeter("driver_status", &json!({}))));
        world.must(cancel(number, 2, given));
        assert_eq!(world.latest_signed(), signed(""));
    }
}

#[test]
fn a_taximeter_is_read_at_the_start_and_again_at_the_end() {
    let mut world = World::ready();
    let reading = |kilometers: &str| taximeter("break", &json!({"kilometer_reading": kilometers}));
    world.must(start(1, reading("10.000")));
    let signed = |data: &str| ("Pause-V1".to_owned(), data.to_owned());
    assert_eq!(world.latest_signed(), signed("10.000"));
    assert_eq!(
        world.refused(finish(1, 2, None)),
        Rejection::TaximeterDataMissing
    );
    world.must(finish(1, 2, reading("10.500")));
    assert_eq!(world.latest_signed(), signed("10.500"));
    // The same again is no new reading.
    let count = world.messages.len();
    world.must(finish(1, 2, reading("10.500")));
    assert_eq!(world.messages.len(), count);
}

#[test]
fn a_taximeter_is_not_updated() {
    let mut world = World::ready();
    let nothing = taximeter("trip_receipt", &json!({}));
    world.must(start(1, nothing.clone()));
    world.must(start(2, None));
    let raw_trip = raw("Fahrtbeleg-V1", "");
    for command in [
        update(1, 2, None),
        update(1, 2, nothing.clone()),
        update(1, 2, raw_trip.clone()),
        update(2, 2, nothing),
    ] {
        assert_eq!(world.refused(command), Rejection::TaximeterUpdate);
    }
    // Raw data are the till's own responsibility, to the end.
    world.must(finish(1, 2, raw_trip));
    assert_eq!(
        world.latest_signed(),
        ("Fahrtbeleg-V1".to_owned(), String::new())
    );
}

#[test]
fn a_taximeter_keeps_its_type_too() {
    let mut world = World::ready();
    world.must(start(1, taximeter("power_up", &json!({}))));
    let driver = json!({"type": "LOGON", "driver_id": "7"});
    for other_type in [taximeter("driver_status", &driver), receipt("1.00")] {
        assert_eq!(
            world.refused(finish(1, 2, other_type)),
            Rejection::IllegalTypeChange
        );
    }
}

#[test]
fn a_transaction_needs_a_type_to_end_and_keeps_the_one_it_has() {
    let mut world = World::ready();
    world.must(start(1, None));
    assert_eq!(world.refused(finish(1, 2, None)), Rejection::NoTypeDefined);
    assert_eq!(world.refused(cancel(1, 2, None)), Rejection::NoTypeDefined);
    world.must(update(1, 2, receipt("1.00")));
    assert_eq!(
        world.refused(finish(1, 3, order())),
        Rejection::IllegalTypeChange
    );
    world.must(finish(1, 3, None));
    assert_eq!(world.latest_signed().0, "Kassenbeleg-V1");
}

#[test]
fn numbers_count_per_tss_and_revisions_per_transaction() {
    let mut world = World::ready();
    for number in 1..=3_u128 {
        world.must(start(number, None));
    }
    world.must(update(2, 2, receipt("1.00")));
    world.must(finish(2, 3, receipt("2.00")));
    let slice = &world.slice;
    let numbers: Vec<_> = slice
        .transactions
        .keys()
        .map(|number| number.value())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    let second = &slice.transactions[&TransactionNumber::new(2)];
    assert_eq!(second.latest_revision, Revision::new(3));
    assert_eq!(second.state, TransactionState::Finished);
    assert_eq!(world.tss().transactions_open, 2);
}

#[test]
fn the_same_request_again_gets_the_same_answer_and_signs_nothing() {
    let mut world = World::ready();
    let first = world.must(start(1, receipt("1.00")));
    let second = world.must(finish(1, 2, receipt("2.00")));
    let signed = world.messages.len();
    world.now += 100;
    let Outcome::Transaction(first_step) = first else {
        panic!("{first:?}");
    };
    let Outcome::Transaction(again) = world.must(start(1, receipt("1.00"))) else {
        panic!("no transaction");
    };
    assert_eq!(again.2, first_step.2, "the step of revision 1");
    assert_eq!(world.must(finish(1, 2, receipt("2.00"))), second);
    assert_eq!(world.messages.len(), signed);
    // Also when client and TSS could not sign any more.
    world.must(deregister(1));
    world.must(disable());
    let signed = world.messages.len();
    world.must(finish(1, 2, receipt("2.00")));
    assert_eq!(world.messages.len(), signed);
}

#[test]
fn another_request_at_a_used_revision_is_refused() {
    let mut world = World::ready();
    world.must(start(1, None));
    world.must(finish(1, 2, receipt("1.00")));
    let other_client = {
        let input = TransactionInput {
            client: till(2),
            ..step_of(1, 1, None)
        };
        Command::StartTransaction(input)
    };
    for command in [
        start(1, receipt("1.00")),
        finish(1, 2, receipt("1.01")),
        cancel(1, 2, receipt("1.00")),
        other_client,
        update(1, 3, receipt("1.00")),
        finish(1, 4, receipt("1.00")),
    ] {
        assert!(matches!(
            world.refused(command),
            Rejection::RevisionConflict { .. }
        ));
    }
}

#[test]
fn a_revision_that_is_not_the_next_one_is_refused() {
    let mut world = World::ready();
    assert!(matches!(
        world.refused(finish(1, 2, receipt("1.00"))),
        Rejection::RevisionConflict { state: None, .. }
    ));
    world.must(start(1, None));
    assert!(matches!(
        world.refused(finish(1, 3, receipt("1.00"))),
        Rejection::RevisionConflict {
            state: Some(TransactionState::Active),
            ..
        }
    ));
}

#[test]
fn a_transaction_is_found_by_its_number_too() {
    let mut world = World::ready();
    world.must(start(1, None));
    let by_number = |number, revision| {
        let input = TransactionInput {
            transaction: TransactionRef::Number(TransactionNumber::new(number)),
            ..step_of(0, revision, receipt("1.00"))
        };
        Command::FinishTransaction(input, TransactionOutcome::Finished)
    };
    assert_eq!(
        world.refused(by_number(2, 2)),
        Rejection::TransactionNotFound
    );
    let by_number = world.must(by_number(1, 2));
    // It is one request, however the transaction is named.
    assert_eq!(world.must(finish(1, 2, receipt("1.00"))), by_number);
}

#[test]
fn only_a_registered_client_signs() {
    let mut world = World::ready();
    let unknown = Command::StartTransaction(TransactionInput {
        client: till(9),
        ..step_of(1, 1, None)
    });
    assert_eq!(world.refused(unknown), Rejection::ClientNotFound);
    world.must(start(1, None));
    world.must(deregister(1));
    assert_eq!(
        world.refused(start(2, None)),
        Rejection::ClientNotRegistered
    );
    assert_eq!(
        world.refused(finish(1, 2, receipt("1.00"))),
        Rejection::ClientNotRegistered
    );
}

#[test]
fn open_transactions_are_limited() {
    let mut world = World::ready();
    world.settings.transactions_open_max = 2;
    world.must(start(1, None));
    world.must(start(2, None));
    assert_eq!(
        world.refused(start(3, None)),
        Rejection::TransactionLimitReached { max: 2 }
    );
    world.must(finish(1, 2, receipt("1.00")));
    world.must(start(3, None));
}

#[test]
fn metadata_is_merged_removed_and_limited() {
    let mut world = World::ready();
    let merge = |pairs: &[(&str, Option<&str>)]| Command::MergeMetadata {
        target: MetadataTarget::Tss,
        patch: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
            .collect(),
    };
    let signed = world.messages.len();
    world.must(merge(&[("a", Some("1")), ("b", Some("2"))]));
    world.must(merge(&[("a", None), ("c", Some("3"))]));
    let keys: Vec<_> = world.tss().metadata.pairs().keys().cloned().collect();
    assert_eq!(keys, ["b", "c"]);
    let many: Vec<String> = (0..METADATA_PAIRS_MAX).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), Some("x"))).collect();
    assert_eq!(world.refused(merge(&many)), Rejection::TooManyMetadataPairs);
    assert_eq!(world.messages.len(), signed, "metadata is never signed");
}
