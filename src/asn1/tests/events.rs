//! What the writer refuses, and what the table leaves open.

use super::{a_header, written};
use crate::asn1::{
    AuthenticationResult, ComponentTest, Content, LogOutCause, LoggingParameter, Origin,
    SystemEvent, TransactionContent, TransactionPhase, UnblockResult, WriteError, assemble, read,
    to_be_signed,
};
use crate::terms::{ClientSerial, LogFormat, ProcessData, ProcessType, Role, TransactionNumber};

const BOTH: &[LogFormat] = &[LogFormat::V2, LogFormat::V3];

#[track_caller]
fn refuses(formats: &[LogFormat], event: SystemEvent, field: &'static str) {
    for format in formats {
        let content = system(event.clone(), Some(Role::Admin));
        assert_eq!(
            to_be_signed(&a_header(*format), &content),
            Err(WriteError::NotPrintable { field }),
            "{event:?}"
        );
    }
}

fn system(event: SystemEvent, triggered_by: Option<Role>) -> Content {
    Content::System {
        event,
        origin: Origin::IntegrationInterface,
        triggered_by,
    }
}

#[test]
fn texts_outside_printable_string_are_refused_with_their_field() {
    let bad = || "Käse_1".to_owned();
    let description = bad();
    refuses(
        &[LogFormat::V2],
        SystemEvent::Initialize { description },
        "description",
    );
    let description = bad();
    refuses(
        &[LogFormat::V3],
        SystemEvent::SetDescription { description },
        "newDeviceDescription",
    );
    for result in [
        AuthenticationResult::Success,
        AuthenticationResult::PinBlocked,
    ] {
        let event = SystemEvent::AuthenticateUser {
            user_id: bad(),
            role: None,
            result,
            remaining_retries: 0,
        };
        refuses(BOTH, event, "userId");
    }
    let log_out = || SystemEvent::LogOut {
        user_id: bad(),
        cause: LogOutCause::Timeout,
    };
    refuses(&[LogFormat::V2], log_out(), "userId");
    refuses(&[LogFormat::V3], log_out(), "loggedOutUserId");
    let unblock = || SystemEvent::UnblockPin {
        user_id: bad(),
        result: UnblockResult::Success,
    };
    refuses(&[LogFormat::V2], unblock(), "userId");
    refuses(&[LogFormat::V3], unblock(), "userToUnblock");
    let configure = SystemEvent::ConfigureLogging {
        successful: true,
        parameters: vec![LoggingParameter {
            event_name: bad(),
            enabled: true,
        }],
    };
    refuses(BOTH, configure, "eventName");
    let self_test = SystemEvent::SelfTest {
        results: vec![ComponentTest {
            component: Origin::Csp,
            error_message: Some(bad()),
            time_of_event: None,
        }],
    };
    refuses(BOTH, self_test, "errorMessage");
}

#[test]
fn what_is_not_written_in_a_format_is_not_checked_either() {
    let description = "Käse".to_owned();
    let initialize = system(SystemEvent::Initialize { description }, Some(Role::Admin));
    assert!(to_be_signed(&a_header(LogFormat::V3), &initialize).is_ok());
}

#[test]
fn origin_and_caller_stand_in_v3_only() {
    let content = |origin, triggered_by| Content::System {
        event: SystemEvent::StartAudit,
        origin,
        triggered_by,
    };
    let v2 = |content| written(&a_header(LogFormat::V2), &content);
    assert_eq!(
        v2(content(Origin::Csp, Some(Role::Admin))),
        v2(content(Origin::Sma, None))
    );
    let v3 = |content| read(&written(&a_header(LogFormat::V3), &content)).unwrap();
    assert_ne!(
        v3(content(Origin::Csp, None)).kind,
        v3(content(Origin::Sma, None)).kind
    );
    assert_ne!(
        v3(content(Origin::Sma, Some(Role::Logger))).kind,
        v3(content(Origin::Sma, None)).kind
    );
}

#[test]
fn long_process_data_gets_long_definite_lengths() {
    for (length, head) in [
        (0x7F, "827f"),
        (0x80, "828180"),
        (0xFF, "8281ff"),
        (0x100, "82820100"),
        (0xFFFF, "8282ffff"),
        (0x1_0000, "8283010000"),
        (1_000_000, "82830f4240"),
    ] {
        let content = Content::Transaction(TransactionContent {
            phase: TransactionPhase::Finish,
            client: ClientSerial::try_from("K").unwrap(),
            process_data: ProcessData::new(vec![0x55; length]),
            process_type: ProcessType::default(),
            number: TransactionNumber::new(1),
        });
        let signed = to_be_signed(&a_header(LogFormat::V2), &content).unwrap();
        let before = "0201020609".len() / 2 + 9 + 2 + "FinishTransaction".len() + 2 + 1;
        let found = hex::encode(&signed[before..before + head.len() / 2]);
        assert_eq!(found, head);
        let read = read(&assemble(&signed, &[0; 64]).unwrap()).unwrap();
        assert_eq!(read.tolerated, []);
    }
}
