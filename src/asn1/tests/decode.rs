//! What a message read says, as the content that would write it again. Event data are taken apart
//! with asn1-rs, so that neither our walk nor our tables check themselves.

use crate::asn1::{
    AuthenticationResult, ComponentTest, Content, Header, LogOutCause, LogTime, LoggingParameter,
    Origin, ReadKind, ReadLogMessage, SystemEvent, TransactionContent, TransactionPhase,
    UnblockResult,
};
use crate::terms::{
    ClientSerial, LogFormat, ProcessData, ProcessType, Role, SeTime, SignatureCounter,
    TransactionNumber,
};
use asn1_rs::{Any, FromBer};

/// `None` when our writer has no words for the message.
pub fn decode(message: &ReadLogMessage) -> Option<(Header, Content)> {
    let LogTime::Unix(seconds) = message.time else {
        return None;
    };
    let header = Header {
        format: match message.version {
            2 => LogFormat::V2,
            _ => LogFormat::V3,
        },
        serial_number: message.serial_number,
        algorithm: message.algorithm.known()?,
        signature_counter: SignatureCounter::new(message.signature_counter),
        time: SeTime::try_from(seconds).ok()?,
    };
    let content = match &message.kind {
        ReadKind::Transaction {
            operation_type,
            client_id,
            process_data,
            process_type,
            additional_external_data: None,
            additional_internal_data: None,
            transaction_number,
        } => Content::Transaction(TransactionContent {
            phase: TransactionPhase::from_operation_type(operation_type)?,
            client: ClientSerial::try_from(&**client_id).ok()?,
            process_data: ProcessData::new(process_data.clone()),
            process_type: ProcessType::try_from(&**process_type.as_ref()?).ok()?,
            number: TransactionNumber::new(*transaction_number),
        }),
        ReadKind::Transaction { .. } => return None,
        ReadKind::System {
            event_type,
            event_origin,
            triggered_by,
            data,
            ..
        } => {
            let fields = elements(data)?;
            let (event, user) = match header.format {
                LogFormat::V2 => v2(event_type, &fields)?,
                LogFormat::V3 => (v3(event_type, &fields)?, None),
            };
            Content::System {
                event,
                origin: match event_origin {
                    Some(name) => origin(name)?,
                    None => Origin::IntegrationInterface,
                },
                triggered_by: match triggered_by {
                    Some(user) => Some(role(user)?),
                    None => user,
                },
            }
        }
        ReadKind::Audit { se_audit_data } => Content::Audit {
            se_audit_data: se_audit_data.clone(),
        },
    };
    Some((header, content))
}

/// What is left of an event once a format has written it.
pub fn as_said(event: &SystemEvent, format: LogFormat) -> SystemEvent {
    let mut said = event.clone();
    match (&mut said, format) {
        (
            SystemEvent::AuthenticateUser {
                role,
                result,
                remaining_retries,
                ..
            },
            LogFormat::V2,
        ) => {
            *role = role.filter(|role| *role == Role::Admin);
            *remaining_retries = 0;
            if *result != AuthenticationResult::Success {
                *result = AuthenticationResult::IncorrectPin;
            }
        }
        (SystemEvent::LogOut { cause, .. }, LogFormat::V2)
            if *cause == LogOutCause::DifferentUserLoggedIn =>
        {
            *cause = LogOutCause::UserCalledLogOut;
        }
        (SystemEvent::UnblockPin { result, .. }, LogFormat::V2)
            if *result == UnblockResult::TemporarilyBlocked =>
        {
            *result = UnblockResult::IncorrectPuk;
        }
        (SystemEvent::SelfTest { results }, LogFormat::V2) => {
            let worst = results.iter().position(|test| test.error_message.is_some());
            *results = vec![results[worst.unwrap_or(0)].clone()];
        }
        (SystemEvent::Initialize { description }, LogFormat::V3) => description.clear(),
        (
            SystemEvent::DisableSecureElement {
                time_of_deactivation,
            },
            LogFormat::V3,
        ) => *time_of_deactivation = SeTime::UNSET,
        _ => {}
    }
    said
}

fn elements(mut data: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let (rest, element) = Any::from_ber(data).ok()?;
        found.push(element);
        data = rest;
    }
    Some(found)
}

/// The event, and the user for the three events that carry their caller.
fn v2(event_type: &str, fields: &[Any<'_>]) -> Option<(SystemEvent, Option<Role>)> {
    let tags: Vec<u32> = fields.iter().map(|field| field.tag().0).collect();
    let event = match (event_type, fields) {
        ("initialize", [description]) => SystemEvent::Initialize {
            description: text(description)?,
        },
        ("updateTime", [before, after]) => SystemEvent::UpdateTime {
            before: time(before)?,
            after: time(after)?,
        },
        ("disableSecureElement", [at]) => SystemEvent::DisableSecureElement {
            time_of_deactivation: time(at)?,
        },
        ("authenticateUser", [user, role, result]) => SystemEvent::AuthenticateUser {
            user_id: text(user)?,
            role: match number(role)? {
                0 => None,
                1 => Some(Role::Admin),
                _ => return None,
            },
            result: if boolean(result)? {
                AuthenticationResult::Success
            } else {
                AuthenticationResult::IncorrectPin
            },
            remaining_retries: 0,
        },
        ("logOut", [user, cause]) => SystemEvent::LogOut {
            user_id: text(user)?,
            cause: match number(cause)? {
                0 => LogOutCause::UserCalledLogOut,
                1 => LogOutCause::Timeout,
                _ => return None,
            },
        },
        ("unblockUser", [user, result]) => SystemEvent::UnblockPin {
            user_id: text(user)?,
            result: match number(result)? {
                0 => UnblockResult::Success,
                1 => UnblockResult::IncorrectPuk,
                2 => UnblockResult::UnknownUserId,
                _ => return None,
            },
        },
        ("registerClient", [id]) => SystemEvent::RegisterClient {
            client: client(id)?,
        },
        ("deregisterClient", [id]) => SystemEvent::DeregisterClient {
            client: client(id)?,
        },
        ("startAudit", []) => SystemEvent::StartAudit,
        ("exitSecureState", []) => SystemEvent::ExitSecureState,
        ("enterSecureState", times) => SystemEvent::EnterSecureState {
            time_of_event: optional(times, time)?,
        },
        ("configureLogging", [component, successful, parameters @ ..]) => {
            if text(component)? != "SMAERS-audit" {
                return None;
            }
            SystemEvent::ConfigureLogging {
                successful: boolean(successful)?,
                parameters: match parameters {
                    [] => vec![],
                    [wrapped] => switches(&elements(wrapped.data)?.first()?.clone())?,
                    _ => return None,
                },
            }
        }
        ("selfTest", [component, successful, more @ ..]) => {
            let error = tags.iter().position(|tag| *tag == 3);
            let time_of_event = tags.iter().position(|tag| *tag == 4);
            if more.len() != error.iter().count() + time_of_event.iter().count() {
                return None;
            }
            let test = ComponentTest {
                component: origin(&text(component)?)?,
                error_message: match error {
                    Some(at) => Some(text(&fields[at])?),
                    None => None,
                },
                time_of_event: match time_of_event {
                    Some(at) => Some(time(&fields[at])?),
                    None => None,
                },
            };
            if boolean(successful)? != test.error_message.is_none() {
                return None;
            }
            SystemEvent::SelfTest {
                results: vec![test],
            }
        }
        ("deleteStoredData", [user]) => {
            return Some((SystemEvent::DeleteLogMessages, Some(role(&text(user)?)?)));
        }
        ("lockTransactionLogging", [user]) => {
            return Some((
                SystemEvent::LockTransactionLogging,
                Some(role(&text(user)?)?),
            ));
        }
        ("unlockTransactionLogging", [user]) => {
            return Some((
                SystemEvent::UnlockTransactionLogging,
                Some(role(&text(user)?)?),
            ));
        }
        _ => return None,
    };
    Some((event, None))
}

fn v3(event_type: &str, fields: &[Any<'_>]) -> Option<SystemEvent> {
    Some(match (event_type, fields) {
        ("initialize", []) => SystemEvent::Initialize {
            description: String::new(),
        },
        ("setDescription", [description]) => SystemEvent::SetDescription {
            description: text(description)?,
        },
        ("updateTime", [before, after]) => SystemEvent::UpdateTime {
            before: time(before)?,
            after: time(after)?,
        },
        ("disableSecureElement", []) => SystemEvent::DisableSecureElement {
            time_of_deactivation: SeTime::UNSET,
        },
        ("authenticateUser", [user, user_role, result, retries]) => SystemEvent::AuthenticateUser {
            user_id: text(user)?,
            role: match &*text(user_role)? {
                "unknown" => None,
                known => Some(role(known)?),
            },
            result: match number(result)? {
                0 => AuthenticationResult::Success,
                1 => AuthenticationResult::UnknownUserId,
                2 => AuthenticationResult::IncorrectPin,
                3 => AuthenticationResult::PinBlocked,
                _ => return None,
            },
            remaining_retries: number(retries)?.try_into().ok()?,
        },
        ("logOut", [user, cause]) => SystemEvent::LogOut {
            user_id: text(user)?,
            cause: match number(cause)? {
                0 => LogOutCause::UserCalledLogOut,
                1 => LogOutCause::DifferentUserLoggedIn,
                2 => LogOutCause::Timeout,
                _ => return None,
            },
        },
        ("unblockPin", [user, result]) => SystemEvent::UnblockPin {
            user_id: text(user)?,
            result: match number(result)? {
                0 => UnblockResult::Success,
                1 => UnblockResult::UnknownUserId,
                2 => UnblockResult::IncorrectPuk,
                3 => UnblockResult::TemporarilyBlocked,
                _ => return None,
            },
        },
        ("registerClient", [id]) => SystemEvent::RegisterClient {
            client: client(id)?,
        },
        ("deregisterClient", [id]) => SystemEvent::DeregisterClient {
            client: client(id)?,
        },
        ("startAudit", []) => SystemEvent::StartAudit,
        ("exitSecureState", []) => SystemEvent::ExitSecureState,
        ("enterSecureState", times) => SystemEvent::EnterSecureState {
            time_of_event: optional(times, time)?,
        },
        ("configureLogging", [components]) => {
            let components = elements(components.data)?;
            let [component] = &components[..] else {
                return None;
            };
            let fields = elements(component.data)?;
            let [name, successful, parameters] = &fields[..] else {
                return None;
            };
            assert_eq!(text(name)?, "SMA");
            SystemEvent::ConfigureLogging {
                successful: boolean(successful)?,
                parameters: switches(parameters)?,
            }
        }
        ("selfTest", [results, all]) => {
            let results = elements(results.data)?;
            let results: Vec<_> = results.iter().map(v3_test).collect::<Option<_>>()?;
            let passed = results.iter().all(|test| test.error_message.is_none());
            if boolean(all)? != passed {
                return None;
            }
            SystemEvent::SelfTest { results }
        }
        ("lockTransactionLogging", []) => SystemEvent::LockTransactionLogging,
        ("unlockTransactionLogging", []) => SystemEvent::UnlockTransactionLogging,
        ("deleteLogMessages", []) => SystemEvent::DeleteLogMessages,
        _ => return None,
    })
}

fn v3_test(group: &Any<'_>) -> Option<ComponentTest> {
    let fields = elements(group.data)?;
    let [component, _, more @ ..] = &fields[..] else {
        return None;
    };
    let of_tag = |tag: u32| more.iter().find(|field| field.tag().0 == tag);
    Some(ComponentTest {
        component: origin(&text(component)?)?,
        error_message: of_tag(0x13).and_then(text),
        time_of_event: of_tag(0x02).and_then(time),
    })
}

fn switches(list: &Any<'_>) -> Option<Vec<LoggingParameter>> {
    let groups = elements(list.data)?;
    let switch = |group: &Any<'_>| {
        let fields = elements(group.data)?;
        let [event_name, enabled] = &fields[..] else {
            return None;
        };
        Some(LoggingParameter {
            event_name: text(event_name)?,
            enabled: boolean(enabled)?,
        })
    };
    groups.iter().map(switch).collect()
}

fn optional<T>(fields: &[Any<'_>], read: fn(&Any<'_>) -> Option<T>) -> Option<Option<T>> {
    match fields {
        [] => Some(None),
        [field] => read(field).map(Some),
        _ => None,
    }
}

fn text(field: &Any<'_>) -> Option<String> {
    String::from_utf8(field.data.to_vec()).ok()
}

fn number(field: &Any<'_>) -> Option<i64> {
    let digits = field.data;
    let sign = if *digits.first()? < 0x80 { 0 } else { -1 };
    Some(
        digits
            .iter()
            .fold(sign, |value, digit| (value << 8) | i64::from(*digit)),
    )
}

fn time(field: &Any<'_>) -> Option<SeTime> {
    SeTime::try_from(number(field)?).ok()
}

fn boolean(field: &Any<'_>) -> Option<bool> {
    match field.data {
        [0] => Some(false),
        [0xFF] => Some(true),
        _ => None,
    }
}

fn client(field: &Any<'_>) -> Option<ClientSerial> {
    ClientSerial::try_from(&*text(field)?).ok()
}

fn role(user_id: &str) -> Option<Role> {
    let roles = [Role::Unauthenticated, Role::Logger, Role::Admin];
    roles.into_iter().find(|role| role.user_id() == user_id)
}

fn origin(name: &str) -> Option<Origin> {
    let origins = [
        Origin::Device,
        Origin::Storage,
        Origin::IntegrationInterface,
        Origin::Csp,
        Origin::Sma,
    ];
    origins.into_iter().find(|origin| {
        [LogFormat::V2, LogFormat::V3]
            .into_iter()
            .any(|format| origin.name(format) == name)
    })
}
