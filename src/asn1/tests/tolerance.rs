//! What devices in the field have written, and how far tolerance goes.

use super::tlv;
use crate::asn1::{LogTime, ReadError, ReadEvent, ReadKind, ReadLogMessage, Tolerated, read};

const OID: u8 = 0x06;

fn log_oid(log: u8) -> Vec<u8> {
    tlv(OID, &[0x04, 0x00, 0x7F, 0x00, 0x07, 0x03, 0x07, 0x01, log])
}

/// A message with everything but the certified data in good order.
fn message(version: u8, log: u8, certified: &[u8]) -> Vec<u8> {
    message_at(
        version,
        log,
        certified,
        &tlv(0x02, &[0x61, 0x6E, 0x92, 0x9E]),
    )
}

fn message_at(version: u8, log: u8, certified: &[u8], time: &[u8]) -> Vec<u8> {
    let algorithm = tlv(OID, &[0x04, 0, 0x7F, 0, 0x07, 1, 1, 4, 1, 3]);
    let parts = [
        &tlv(0x02, &[version])[..],
        &log_oid(log),
        certified,
        &tlv(0x04, &[0xAB; 32]),
        &tlv(0x30, &algorithm),
        &tlv(0x02, &[7]),
        time,
        &tlv(0x04, &[0x5A; 64]),
    ];
    tlv(0x30, &parts.concat())
}

pub fn system_message(version: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let data_tag = if version == 2 { 0x81 } else { 0xA3 };
    let certified = [tlv(0x80, name.as_bytes()), tlv(data_tag, data)].concat();
    message(version, 2, &certified)
}

/// A Finish log with these elements from processData on.
fn finish(rest: &[&[u8]]) -> Vec<u8> {
    let head = [tlv(0x80, b"FinishTransaction"), tlv(0x81, b"client-1")].concat();
    message(2, 1, &[&head[..], &rest.concat()].concat())
}

#[track_caller]
fn process_data(message: &[u8]) -> (Vec<u8>, Vec<Tolerated>) {
    let found = read(message).unwrap();
    let ReadKind::Transaction { process_data, .. } = found.kind else {
        panic!("{found:?}");
    };
    (process_data, found.tolerated)
}

#[track_caller]
fn event(version: u8, name: &str, data: &[u8]) -> (ReadEvent, Vec<Tolerated>) {
    let found: ReadLogMessage = read(&system_message(version, name, data)).unwrap();
    let ReadKind::System { event, .. } = found.kind else {
        panic!("{found:?}");
    };
    (event, found.tolerated)
}

const KNOWN: ReadEvent = ReadEvent::Known {
    time_update: None,
    client_id: None,
};
const END: &[u8] = &[0, 0];

#[test]
fn parts_of_indefinite_process_data_are_joined() {
    let kind = tlv(0x83, b"beleg");
    let number = tlv(0x85, &[1]);
    let indefinite = |parts: &[u8]| finish(&[&[0xA2, 0x80], parts, END, &kind, &number]);

    let two = [tlv(4, b"Beleg"), tlv(4, b"^0.00")].concat();
    assert_eq!(
        process_data(&indefinite(&two)),
        (b"Beleg^0.00".to_vec(), vec![])
    );
    let noted = vec![Tolerated::IndefiniteLength];
    let one = tlv(4, &[0; 300]);
    assert_eq!(
        process_data(&indefinite(&one)),
        (vec![0; 300], noted.clone())
    );
    assert_eq!(process_data(&indefinite(&[])), (vec![], noted.clone()));
    assert_eq!(process_data(&indefinite(&tlv(4, b""))), (vec![], noted));
    let empty_parts = tlv(4, b"").repeat(3);
    assert_eq!(process_data(&indefinite(&empty_parts)), (vec![], vec![]));

    let message = indefinite(&two);
    let signed = &message[read(&message).unwrap().signed_range];
    assert!(signed.windows(4).any(|window| window == [0xA2, 0x80, 4, 5]));
}

#[test]
fn constructed_process_data_of_definite_length_is_joined_and_reported() {
    let parts = [tlv(4, b"Be"), tlv(4, b"leg")].concat();
    let message = finish(&[&tlv(0xA2, &parts), &tlv(0x83, b""), &tlv(0x85, &[1])]);
    let noted = vec![Tolerated::ConstructedProcessData];
    assert_eq!(process_data(&message), (b"Beleg".to_vec(), noted));
}

#[test]
fn indefinite_length_goes_no_deeper_and_nowhere_else() {
    let rest = [tlv(0x83, b""), tlv(0x85, &[1])].concat();
    let nested = [&[0x24, 0x80][..], &tlv(4, b"x"), END].concat();
    let refused = "a part of processData or its end was expected";
    for parts in [nested, tlv(0x05, b""), tlv(0x82, b"x"), vec![0, 1]] {
        let message = finish(&[&[0xA2, 0x80], &parts, END, &rest]);
        assert_eq!(read(&message).unwrap_err().reason, refused);
    }
    let unending = finish(&[&[0xA2, 0x80], &tlv(4, b"x")]);
    assert!(read(&unending).is_err());
    let indefinite_part = finish(&[&[0xA2, 0x80], &[4, 0x80], END, END, &rest]);
    let reason = "only processData may have indefinite length";
    assert_eq!(read(&indefinite_part).unwrap_err().reason, reason);
    let primitive = finish(&[&[0x82, 0x80], &tlv(4, b"x"), END, &rest]);
    assert_eq!(read(&primitive).unwrap_err().reason, reason);
    let outer = [&[0x30, 0x80][..], &tlv(2, &[2]), END].concat();
    assert_eq!(read(&outer).unwrap_err(), ReadError { offset: 0, reason });
}

/// Nesting as deep as the input is long must not cost stack.
#[test]
fn deep_nesting_and_huge_lengths_are_refused_at_once() {
    assert!(read(&[0x30, 0x80].repeat(100_000)).is_err());
    assert!(read(&[0xA2, 0x80].repeat(100_000)).is_err());
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        nested = tlv(0x30, &nested);
    }
    assert!(read(&nested).is_err());
    for name in ["configureLogging", "updateDevice"] {
        assert_eq!(event(3, name, &nested).0, ReadEvent::Malformed);
    }
    for length in [
        &[0x84, 0xFF, 0xFF, 0xFF, 0xFF][..],
        &[0x88, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x89, 0x01, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xFF],
        &[0x82],
        &[0x81, 0x80],
    ] {
        assert!(read(&[&[0x30], length].concat()).is_err(), "{length:02x?}");
    }
}

#[test]
fn optional_transaction_fields_are_kept() {
    let message = finish(&[
        &tlv(0x82, b""),
        &tlv(0x84, b"out"),
        &tlv(0x85, &[1]),
        &tlv(0x86, b""),
    ]);
    let found = read(&message).unwrap();
    assert_eq!(found.tolerated, [Tolerated::MissingProcessType]);
    let expected = ReadKind::Transaction {
        operation_type: "FinishTransaction".into(),
        client_id: "client-1".into(),
        process_data: vec![],
        process_type: None,
        additional_external_data: Some(b"out".to_vec()),
        additional_internal_data: Some(vec![]),
        transaction_number: 1,
    };
    assert_eq!(found.kind, expected);
}

#[test]
fn additional_internal_data_of_system_logs_is_kept() {
    for (version, head, tag) in [
        (2, [tlv(0x80, b"startAudit"), tlv(0x81, b"")].concat(), 0x82),
        (3, [tlv(0x80, b"startAudit"), tlv(0xA3, b"")].concat(), 0x84),
    ] {
        let certified = [head, tlv(tag, b"more")].concat();
        match read(&message(version, 2, &certified)).unwrap().kind {
            ReadKind::System {
                additional_internal_data,
                event,
                ..
            } => {
                assert_eq!(additional_internal_data, Some(b"more".to_vec()));
                assert_eq!(event, KNOWN);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn unknown_events_keep_their_data() {
    for name in [
        "addClients",
        "secureStateExit",
        "setConfiguration",
        "",
        "x y",
    ] {
        for version in [2, 3] {
            let (event, tolerated) = event(version, name, b"\xFF\xFF not even TLV");
            assert_eq!((event, tolerated), (ReadEvent::Unknown, vec![]));
        }
    }
    // v3 has no unblockUser, v2 no unblockPin.
    assert_eq!(event(3, "unblockUser", b"").0, ReadEvent::Unknown);
    assert_eq!(event(2, "unblockPin", b"").0, ReadEvent::Unknown);
}

#[test]
fn trailing_event_data_are_reported() {
    let one = tlv(0x81, b"some description");
    let five = [one.clone(), tlv(0x82, b"663CB0"), tlv(0x83, b"LocalBuild")].concat();
    let noted = (KNOWN, vec![Tolerated::TrailingEventData]);
    assert_eq!(event(2, "initialize", &one), (KNOWN, vec![]));
    assert_eq!(event(2, "initialize", &five), noted);
    assert_eq!(event(2, "initialize", &[one, vec![0xFF]].concat()), noted);
    assert_eq!(event(2, "startAudit", &[0]), noted);
    assert_eq!(event(3, "startAudit", &tlv(0x13, b"x")), noted);
}

#[test]
fn content_that_does_not_fit_its_event_is_malformed() {
    for (version, name, data) in [
        (2, "initialize", &b""[..]),
        (2, "initialize", &[0x82, 0]),
        (2, "initialize", &[0x81, 5, 0]),
        (2, "updateTime", &[0x81, 1, 1]),
        (2, "updateTime", &[0x81, 1, 1, 0x82, 0]),
        (2, "updateTime", b"\x81\x01\x01\x82\x0D213319094046Z"),
        (2, "updateTime", b"\x81\x01\x01\x82\x0C211019094046"),
        (2, "authenticateUser", &[0x81, 0, 0x82, 1, 1, 0x83, 2, 0, 0]),
        (2, "updateDevice", &[0x81, 0, 0x82, 0]),
        (2, "updateDevice", &[0x81, 0, 0x82, 3, 0x30, 0, 0]),
        (
            2,
            "configureLogging",
            &[0x81, 0, 0x82, 1, 0, 0x83, 4, 0x30, 2, 0x04, 0],
        ),
        (3, "setDescription", &[0x0C, 0]),
        (3, "updateTime", &[0x02, 1, 1]),
        (3, "enterSecureState", &[0x17, 1, b'Z']),
        (3, "selfTest", &[0x30, 0]),
        (3, "selfTest", &[0x30, 2, 0x30, 0, 0x01, 1, 0]),
    ] {
        let found = event(version, name, data);
        assert_eq!(found, (ReadEvent::Malformed, vec![]), "{name} {data:02x?}");
    }
}

#[test]
fn events_of_other_makers_are_known_too() {
    let admin = [tlv(0x81, b"smaers"), tlv(0x83, &[0xFF]), tlv(0x84, &[4])].concat();
    assert_eq!(event(2, "authenticateSmaersAdmin", &admin), (KNOWN, vec![]));
    let device = tlv(
        0x30,
        &[
            tlv(0x80, b"CSP"),
            tlv(0x81, b"a"),
            tlv(0x82, b"b"),
            tlv(0x83, b"1"),
        ]
        .concat(),
    );
    let devices = tlv(0x30, &device.repeat(5));
    let completed = [tlv(0x81, &[0]), tlv(0x83, &devices)].concat();
    assert_eq!(
        event(2, "updateDeviceCompleted", &completed),
        (KNOWN, vec![])
    );
    let slew = tlv(0x30, &[2, 1, 1, 2, 1, 1]);
    let times = [vec![2, 1, 5, 2, 1, 6], slew].concat();
    let (found, tolerated) = event(3, "updateTime", &times);
    let expected = Some((LogTime::Unix(5), LogTime::Unix(6)));
    assert!(matches!(found, ReadEvent::Known { time_update, .. } if time_update == expected));
    assert_eq!(tolerated, []);
}

#[test]
fn times_inside_event_data_come_in_three_forms() {
    let of = |version, data: &[u8]| match event(version, "updateTime", data).0 {
        ReadEvent::Known { time_update, .. } => time_update.unwrap(),
        other => panic!("{other:?}"),
    };
    let (unix, utc, generalized) = (
        LogTime::Unix(0x616E_929E),
        LogTime::Utc("211019094046Z".into()),
        LogTime::Generalized("20211019094046.5Z".into()),
    );
    let v2 = [
        tlv(0x81, &[0x61, 0x6E, 0x92, 0x9E]),
        tlv(0x82, b"211019094046Z"),
    ];
    assert_eq!(of(2, &v2.concat()), (unix, utc.clone()));
    let v2 = [tlv(0x81, b"211019094046Z"), tlv(0x82, b"20211019094046.5Z")];
    assert_eq!(of(2, &v2.concat()), (utc.clone(), generalized.clone()));
    let v3 = [tlv(0x17, b"211019094046Z"), tlv(0x18, b"20211019094046.5Z")];
    assert_eq!(of(3, &v3.concat()), (utc, generalized));
    // The guideline's own examples begin with a capital letter.
    let capital = event(2, "UpdateTime", &v2.concat()).0;
    assert!(matches!(
        capital,
        ReadEvent::Known {
            time_update: Some(_),
            ..
        }
    ));
}

#[test]
fn the_log_time_comes_in_three_forms() {
    let audit = tlv(0x04, &[0x30, 0]);
    let at = |time: &[u8]| {
        // seAuditData stands behind the algorithm, so this message is put together by hand.
        let algorithm = tlv(0x30, &tlv(OID, &[0x04, 0, 0x7F, 0, 0x07, 1, 1, 4, 1, 11]));
        let parts = [
            &tlv(0x02, &[2])[..],
            &log_oid(3),
            &tlv(0x04, &[0xAB; 32]),
            &algorithm,
            &audit,
            &tlv(0x02, &[1]),
            time,
            &tlv(0x04, b""),
        ];
        read(&tlv(0x30, &parts.concat())).map(|found| found.time)
    };
    for (written, expected, seconds) in [
        (tlv(2, &[0]), LogTime::Unix(0), Some(0)),
        (tlv(2, &[0x80]), LogTime::Unix(-128), Some(-128)),
        (
            tlv(2, &[0x7F; 8]),
            LogTime::Unix(0x7F7F_7F7F_7F7F_7F7F),
            Some(0x7F7F_7F7F_7F7F_7F7F),
        ),
        (
            tlv(0x17, b"2110190940Z"),
            LogTime::Utc("2110190940Z".into()),
            Some(1_634_636_400),
        ),
        (
            tlv(0x18, b"no time"),
            LogTime::Generalized("no time".into()),
            None,
        ),
    ] {
        let found = at(&written).unwrap();
        assert_eq!(found, expected);
        assert_eq!(found.unix_seconds(), seconds, "{found:?}");
    }
    for bad in [
        tlv(2, b""),
        tlv(2, &[1; 9]),
        tlv(4, &[1]),
        tlv(0x0A, &[1]),
        vec![],
    ] {
        assert!(at(&bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn texts_of_time_become_seconds_or_nothing() {
    let utc = |text: &str| LogTime::Utc(text.into()).unix_seconds();
    assert_eq!(utc("200522104742Z"), Some(1_590_144_462));
    assert_eq!(utc("2005221047Z"), Some(1_590_144_420));
    assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
    assert_eq!(utc("500101000000Z"), Some(-631_152_000));
    let generalized = |text: &str| LogTime::Generalized(text.into()).unix_seconds();
    assert_eq!(generalized("20181109084236Z"), Some(1_541_752_956));
    assert_eq!(generalized("20181109084236.999Z"), Some(1_541_752_956));
    assert_eq!(generalized("19691231235959.5Z"), Some(-1));
    assert_eq!(generalized("00000101000000Z"), Some(-62_167_219_200));
    for bad in [
        "",
        "Z",
        "200522104742",
        "200522104742z",
        "20052210474Z",
        "200522104760Z",
        "200522106042Z",
        "200522244742Z",
        "200532104742Z",
        "200022104742Z",
        "210229000000Z",
        "+00522104742Z",
        "2005221+4742Z",
        "200522104742+0100",
        "200522104742.5Z",
        "ä0522104742Z",
        "20052210474äZ",
    ] {
        assert_eq!(utc(bad), None, "{bad}");
    }
    for bad in [
        "",
        "Z",
        "2018110908423Z",
        "20181109084236",
        "20181109084236.Z",
        "20181109084236.5x5Z",
        "20181109084236,5Z",
        "201811090842Z",
        "20181109084236.5.5Z",
        "+0181109084236Z",
        "20181109084236.äZ",
    ] {
        assert_eq!(generalized(bad), None, "{bad}");
    }
}

#[test]
fn numbers_with_leading_zeros_are_tolerated_and_reported() {
    let with_number = |digits: &[u8]| {
        read(&finish(&[
            &tlv(0x82, b""),
            &tlv(0x83, b""),
            &tlv(0x85, digits),
        ]))
        .map(|found| match found.kind {
            ReadKind::Transaction {
                transaction_number, ..
            } => (transaction_number, found.tolerated),
            other => panic!("{other:?}"),
        })
    };
    let noted = vec![Tolerated::NotMinimal];
    assert_eq!(with_number(&[0, 0x80]), Ok((128, vec![])));
    assert_eq!(with_number(&[0, 0x7F]), Ok((127, noted.clone())));
    assert_eq!(with_number(&[0; 40]), Ok((0, noted)));
    let largest = [&[0][..], &[0xFF; 8]].concat();
    assert_eq!(with_number(&largest), Ok((u64::MAX, vec![])));
    let too_large = [&[1][..], &[0; 8]].concat();
    for bad in [&[][..], &[0x80], &[0xFF, 0xFF], &too_large, &[1; 30]] {
        assert!(with_number(bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn texts_outside_printable_string_are_kept_and_reported() {
    let client = |id: &[u8]| {
        let certified = [
            tlv(0x80, b"StartTransaction"),
            tlv(0x81, id),
            tlv(0x82, b""),
            tlv(0x83, b""),
            tlv(0x85, &[1]),
        ];
        let found = read(&message(2, 1, &certified.concat())).unwrap();
        match found.kind {
            ReadKind::Transaction { client_id, .. } => (client_id, found.tolerated),
            other => panic!("{other:?}"),
        }
    };
    let noted = vec![Tolerated::NotPrintable];
    assert_eq!(client(b"a b'()+,-./:=?"), ("a b'()+,-./:=?".into(), vec![]));
    assert_eq!(client(b"a_b"), ("a_b".into(), noted.clone()));
    assert_eq!(client("Käse".as_bytes()), ("Käse".into(), noted.clone()));
    assert_eq!(client(b"K\xE4se"), ("Käse".into(), noted));
    assert_eq!(client(b""), (String::new(), vec![]));
}

#[test]
fn a_der_signature_is_reported_and_kept() {
    let mut body = message(2, 2, &[tlv(0x80, b"startAudit"), tlv(0x81, b"")].concat());
    let plain = tlv(0x04, &[0x5A; 64]);
    body.truncate(body.len() - plain.len());
    let body = &body[3..];
    let with = |signature: &[u8]| {
        let found = read(&tlv(0x30, &[body, &tlv(4, signature)].concat())).unwrap();
        assert_eq!(found.signature, signature);
        found.tolerated
    };
    let der = tlv(0x30, &[tlv(2, &[1; 32]), tlv(2, &[2; 32])].concat());
    assert_eq!(with(&der), [Tolerated::DerSignature]);
    assert_eq!(with(&[0x30; 64]), []);
    assert_eq!(with(&[der, vec![0]].concat()), []);
    assert_eq!(with(b""), []);
}

#[test]
fn the_algorithm_is_read_whatever_it_is() {
    let with = |algorithm: &[u8]| {
        let parts = [
            &tlv(0x02, &[2])[..],
            &log_oid(2),
            &tlv(0x80, b"startAudit"),
            &tlv(0x81, b""),
            &tlv(0x04, &[0; 32]),
            &tlv(0x30, algorithm),
            &tlv(0x02, &[1]),
            &tlv(0x02, &[1]),
            &tlv(0x04, b""),
        ];
        read(&tlv(0x30, &parts.concat())).map(|found| found.algorithm)
    };
    let ansi = tlv(OID, &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2]);
    let found = with(&[ansi.clone(), tlv(5, b"")].concat()).unwrap();
    assert_eq!(
        (&*found.oid, found.has_parameters),
        ("1.2.840.10045.4.3.2", true)
    );
    assert_eq!(found.known(), None);
    assert!(!with(&ansi).unwrap().has_parameters);
    assert_eq!(with(&tlv(OID, &[0x88, 0x37])).unwrap().oid, "2.999");
    for bad in [
        &[][..],
        &tlv(OID, &[]),
        &tlv(OID, &[0x2A, 0x80, 0x01]),
        &tlv(OID, &[0x2A, 0x86]),
        &tlv(OID, &[&[0x2A][..], &[0xFF; 10], &[1]].concat()),
        &tlv(OID, &[1; 40]),
        &tlv(4, &[0x2A]),
    ] {
        assert!(with(bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn other_versions_and_other_log_types_are_refused_where_they_stand() {
    let certified = [tlv(0x80, b"startAudit"), tlv(0x81, b"")].concat();
    for (version, log, offset) in [(1, 2, 5), (4, 2, 5), (2, 0, 8), (2, 4, 8)] {
        let error = read(&message(version, log, &certified)).unwrap_err();
        assert_eq!(error.offset, offset, "{error}");
    }
    // The system log of one version is none of the other.
    assert!(read(&message(2, 2, &certified)).is_ok());
    assert!(read(&message(3, 2, &certified)).is_err());
}
