//! What holds for all contents, not only for the vectors. A failing case prints its seed.

use super::decode::{as_said, decode};
use super::{tlv, written};
use crate::asn1::{
    AuditDetail, AuditRecord, AuthenticationResult, ComponentTest, Content, Header, LogFileName,
    LogKindName, LogOutCause, LogTime, LoggingParameter, Origin, ReadEvent, ReadKind, SystemEvent,
    TransactionContent, TransactionPhase, UnblockResult, file_name, read, to_be_signed,
};
use crate::terms::{
    ClientSerial, LogFormat, ProcessData, ProcessType, Role, SeTime, SerialNumber,
    SignatureAlgorithm, SignatureCounter, TransactionNumber,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const PRINTABLE: &str = "[A-Za-z0-9 '()+,./:=?-]{0,80}";

fn times() -> impl Strategy<Value = SeTime> {
    let near = 0..5_000_000_000_i64;
    prop_oneof![near, 0..=i64::MAX].prop_map(|seconds| SeTime::try_from(seconds).unwrap())
}

fn roles() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Unauthenticated, Role::Logger, Role::Admin])
}

fn origins() -> impl Strategy<Value = Origin> {
    prop::sample::select(vec![
        Origin::Device,
        Origin::Storage,
        Origin::IntegrationInterface,
        Origin::Csp,
        Origin::Sma,
    ])
}

fn clients() -> impl Strategy<Value = ClientSerial> {
    let text = "[A-Za-z0-9'()+,.=-]{1,20}( [A-Za-z0-9.-]{1,20})?";
    text.prop_map(|text| ClientSerial::try_from(&*text).unwrap())
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, 0..=u64::from(u32::MAX), any::<u64>()]
}

fn events() -> impl Strategy<Value = SystemEvent> {
    let results = prop::sample::select(vec![
        AuthenticationResult::Success,
        AuthenticationResult::UnknownUserId,
        AuthenticationResult::IncorrectPin,
        AuthenticationResult::PinBlocked,
    ]);
    let causes = prop::sample::select(vec![
        LogOutCause::UserCalledLogOut,
        LogOutCause::DifferentUserLoggedIn,
        LogOutCause::Timeout,
    ]);
    let unblocks = prop::sample::select(vec![
        UnblockResult::Success,
        UnblockResult::UnknownUserId,
        UnblockResult::IncorrectPuk,
        UnblockResult::TemporarilyBlocked,
    ]);
    let parameters =
        (PRINTABLE, any::<bool>()).prop_map(|(event_name, enabled)| LoggingParameter {
            event_name,
            enabled,
        });
    let tests = (origins(), option::of(PRINTABLE), option::of(times())).prop_map(
        |(component, error_message, time_of_event)| ComponentTest {
            component,
            error_message,
            time_of_event,
        },
    );
    prop_oneof![
        PRINTABLE.prop_map(|description| SystemEvent::Initialize { description }),
        PRINTABLE.prop_map(|description| SystemEvent::SetDescription { description }),
        (times(), times()).prop_map(|(before, after)| SystemEvent::UpdateTime { before, after }),
        times().prop_map(|time_of_deactivation| SystemEvent::DisableSecureElement {
            time_of_deactivation
        }),
        (PRINTABLE, option::of(roles()), results, any::<u32>()).prop_map(
            |(user_id, role, result, remaining_retries)| SystemEvent::AuthenticateUser {
                user_id,
                role,
                result,
                remaining_retries,
            }
        ),
        (PRINTABLE, causes).prop_map(|(user_id, cause)| SystemEvent::LogOut { user_id, cause }),
        (PRINTABLE, unblocks)
            .prop_map(|(user_id, result)| SystemEvent::UnblockPin { user_id, result }),
        clients().prop_map(|client| SystemEvent::RegisterClient { client }),
        clients().prop_map(|client| SystemEvent::DeregisterClient { client }),
        Just(SystemEvent::StartAudit),
        (any::<bool>(), vec(parameters, 0..20)).prop_map(|(successful, parameters)| {
            SystemEvent::ConfigureLogging {
                successful,
                parameters,
            }
        }),
        option::of(times())
            .prop_map(|time_of_event| SystemEvent::EnterSecureState { time_of_event }),
        Just(SystemEvent::ExitSecureState),
        vec(tests, 1..6).prop_map(|results| SystemEvent::SelfTest { results }),
        Just(SystemEvent::LockTransactionLogging),
        Just(SystemEvent::UnlockTransactionLogging),
        Just(SystemEvent::DeleteLogMessages),
    ]
}

pub fn contents() -> impl Strategy<Value = Content> {
    let transactions = (
        prop::sample::select(TransactionPhase::ALL.to_vec()),
        clients(),
        vec(any::<u8>(), 0..600),
        "[A-Za-z0-9 '()+,./:=?-]{0,100}",
        numbers(),
    )
        .prop_map(|(phase, client, process_data, process_type, number)| {
            Content::Transaction(TransactionContent {
                phase,
                client,
                process_data: ProcessData::new(process_data),
                process_type: ProcessType::try_from(&*process_type).unwrap(),
                number: TransactionNumber::new(number),
            })
        });
    let systems =
        (events(), origins(), option::of(roles())).prop_map(|(event, origin, triggered_by)| {
            Content::System {
                event,
                origin,
                triggered_by,
            }
        });
    let audits = audit_records().prop_map(|record| Content::Audit {
        se_audit_data: record.to_der().unwrap(),
    });
    prop_oneof![2 => transactions, 4 => systems, 1 => audits]
}

pub fn audit_records() -> impl Strategy<Value = AuditRecord> {
    let details = (PRINTABLE, ".{0,30}").prop_map(|(name, value)| AuditDetail { name, value });
    (PRINTABLE, times(), vec(details, 0..8)).prop_map(|(event, time_of_event, details)| {
        AuditRecord {
            event,
            time_of_event,
            details,
        }
    })
}

pub fn headers() -> impl Strategy<Value = Header> {
    (
        prop::sample::select(vec![LogFormat::V2, LogFormat::V3]),
        any::<[u8; 32]>(),
        prop::sample::select(SignatureAlgorithm::ALL.to_vec()),
        numbers(),
        times(),
    )
        .prop_map(|(format, serial, algorithm, counter, time)| Header {
            format,
            serial_number: SerialNumber::try_from(&serial[..]).unwrap(),
            algorithm,
            signature_counter: SignatureCounter::new(counter),
            time,
        })
}

/// What a reader can find again: v2 has no place for origin and caller, except where the caller is a
/// field of the event.
fn as_found(header: &Header, content: &Content) -> Content {
    let Content::System {
        event,
        origin,
        triggered_by,
    } = content
    else {
        return content.clone();
    };
    let caller_is_a_field = matches!(
        event,
        SystemEvent::LockTransactionLogging
            | SystemEvent::UnlockTransactionLogging
            | SystemEvent::DeleteLogMessages
    );
    let v2 = header.format == LogFormat::V2;
    Content::System {
        event: as_said(event, header.format),
        origin: if v2 {
            Origin::IntegrationInterface
        } else {
            *origin
        },
        triggered_by: triggered_by.filter(|_| !v2 || caller_is_a_field),
    }
}

pub fn has_a_form(header: &Header, content: &Content) -> bool {
    let Content::System {
        event,
        triggered_by,
        ..
    } = content
    else {
        return true;
    };
    let needs_a_caller = matches!(
        event,
        SystemEvent::LockTransactionLogging
            | SystemEvent::UnlockTransactionLogging
            | SystemEvent::DeleteLogMessages
    );
    header.format == LogFormat::V3
        || !matches!(event, SystemEvent::SetDescription { .. })
            && (triggered_by.is_some() || !needs_a_caller)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_was_written_is_read_again(header in headers(), content in contents()) {
        let signed = to_be_signed(&header, &content);
        prop_assert_eq!(signed.is_ok(), has_a_form(&header, &content));
        let Ok(signed) = signed else { return Ok(()) };
        let message = written(&header, &content);
        let found = read(&message).unwrap();
        prop_assert_eq!(&message[found.signed_range.clone()], &signed[..]);
        prop_assert_eq!(&found.tolerated[..], []);
        let name = LogFileName::of_message(&found).unwrap();
        prop_assert_eq!(&name, &file_name(&header, &content).unwrap());
        prop_assert_eq!(name.to_string().parse(), Ok(name));
        if let ReadKind::System { event, .. } = &found.kind {
            prop_assert_eq!(event, &expected_event(&content));
        }
        let (header_again, content_again) = decode(&found).unwrap();
        prop_assert_eq!(header_again, header);
        prop_assert_eq!(content_again, as_found(&header, &content));
    }

    #[test]
    fn audit_records_come_back(record in audit_records()) {
        prop_assert_eq!(AuditRecord::from_der(&record.to_der().unwrap()), Some(record));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = AuditRecord::from_der(&bytes);
        let _ = read(&tlv(0x30, &bytes));
        // Past the first fields, where the interesting ones begin.
        for (log, version) in [(1, 2), (2, 2), (2, 3), (3, 2)] {
            let mut body = tlv(0x02, &[version]);
            body.extend(tlv(0x06, &[4, 0, 0x7F, 0, 7, 3, 7, 1, log]));
            body.extend(&bytes);
            let _ = read(&tlv(0x30, &body));
        }
    }

    #[test]
    fn random_event_data_never_panic(
        which in 0..30_usize,
        data in vec(any::<u8>(), 0..60),
        tags in vec((0..12_u8, vec(any::<u8>(), 0..4)), 0..6),
    ) {
        let names = [
            "initialize", "setDescription", "updateTime", "disableSecureElement",
            "authenticateUser", "logOut", "unblockUser", "unblockPin", "authenticateSmaersAdmin",
            "authenticateSmaAdmin", "updateDevice", "updateDeviceCompleted", "startAudit",
            "configureLogging", "enterSecureState", "exitSecureState", "selfTest",
            "deleteStoredData", "deleteLogMessages", "lockTransactionLogging", "registerClient",
        ];
        let name = names[which % names.len()];
        let shaped: Vec<u8> = tags
            .iter()
            .flat_map(|(tag, content)| {
                let universal = [0x01, 0x02, 0x04, 0x0A, 0x13, 0x17, 0x18, 0x30];
                let tag = universal.get(usize::from(*tag)).copied().unwrap_or(0x78 + tag + 1);
                tlv(tag, content)
            })
            .collect();
        for data in [data, shaped] {
            for version in [2, 3] {
                let message = super::tolerance::system_message(version, name, &data);
                let found = read(&message).unwrap();
                let ReadKind::System { data: kept, .. } = found.kind else { panic!() };
                prop_assert_eq!(kept, data.clone());
            }
        }
    }

    #[test]
    fn names_come_back(
        form in 0..3_usize,
        seconds in 0..=i64::MAX,
        date in "[0-9.]{1,20}Z?",
        signature_counter in any::<u64>(),
        number in any::<u64>(),
        phase in prop::sample::select(TransactionPhase::ALL.to_vec()),
        client_id in "[^\n]{1,40}",
        event_type in "[A-Za-z]{1,30}",
        kind in 0..3_usize,
        file_counter in option::of(any::<u64>()),
    ) {
        let name = LogFileName {
            time: match form {
                0 => LogTime::Unix(seconds),
                1 => LogTime::Utc(date),
                _ => LogTime::Generalized(date),
            },
            signature_counter,
            kind: match kind {
                0 => LogKindName::Transaction { number, phase, client_id },
                1 => LogKindName::System { event_type },
                _ => LogKindName::Audit,
            },
            file_counter,
        };
        prop_assert_eq!(name.to_string().parse::<LogFileName>(), Ok(name.clone()));
        prop_assert!(name.fits(&name.to_string()));
    }

    #[test]
    fn what_parses_as_a_name_is_that_name(
        text in "(Gent|Utc|Unixt)_[0-9.]{1,3}Z?_Sig-[0-9]{1,2}_Log-(Tra_No-[0-9]{1,2}_Start_Client-[ab_](_Fc-[0-9]{0,2})?|Sys_[a-z]{0,2}|Aud)(_Fc-[0-9]{0,2})?\\.log",
    ) {
        if let Ok(name) = text.parse::<LogFileName>() {
            prop_assert_eq!(name.to_string(), text.clone());
            prop_assert!(name.fits(&text));
        }
    }
}

fn expected_event(content: &Content) -> ReadEvent {
    let Content::System { event, .. } = content else {
        panic!("{content:?}");
    };
    let mut time_update = None;
    let mut client_id = None;
    match event {
        SystemEvent::UpdateTime { before, after } => {
            let unix = |time: &SeTime| LogTime::Unix(time.unix_seconds());
            time_update = Some((unix(before), unix(after)));
        }
        SystemEvent::RegisterClient { client } | SystemEvent::DeregisterClient { client } => {
            client_id = Some(client.to_string());
        }
        _ => {}
    }
    ReadEvent::Known {
        time_update,
        client_id,
    }
}
