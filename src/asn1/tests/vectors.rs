//! Golden vectors as values.

use crate::asn1::{
    AuditDetail, AuditRecord, AuthenticationResult, ComponentTest, Content, Header, LogOutCause,
    LoggingParameter, Origin, SystemEvent, TransactionContent, TransactionPhase, UnblockResult,
    assemble,
};
use crate::terms::{
    ClientSerial, ProcessData, ProcessType, Role, SeTime, SignatureAlgorithm, SignatureCounter,
    TransactionNumber,
};
use serde_json::Value;

/// One line of `events.jsonl`.
pub struct Ours {
    pub id: String,
    pub header: Header,
    pub content: Content,
    pub file_name: Option<String>,
    pub signed: Option<Vec<u8>>,
}

pub fn lines(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/logmsg/{file}", env!("CARGO_MANIFEST_DIR"));
    let lines = std::fs::read_to_string(path).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn ours() -> Vec<Ours> {
    let vectors = lines("events.jsonl");
    vectors.iter().map(one_of_ours).collect()
}

/// Every message there is a vector for, with its own signature or a made-up one.
pub fn messages() -> Vec<(String, Vec<u8>)> {
    let made_up = || vec![0x5A; 64];
    let ours = ours().into_iter().filter_map(|vector| {
        let signed = vector.signed?;
        Some((vector.id, assemble(&signed, &made_up()).unwrap()))
    });
    let foreign = lines("foreign.jsonl");
    let foreign = foreign.iter().map(|line| {
        let signature = bytes(&line["signature"]).unwrap_or_else(made_up);
        let signed = bytes(&line["signed"]).unwrap();
        (text(&line["id"]), assemble(&signed, &signature).unwrap())
    });
    ours.chain(foreign).collect()
}

fn one_of_ours(line: &Value) -> Ours {
    Ours {
        id: text(&line["id"]),
        header: header(line, text(&line["format"]).parse().unwrap(), &line["time"]),
        content: content(&line["content"]),
        file_name: optional_text(&line["file_name"]),
        signed: bytes(&line["signed"]),
    }
}

pub fn header(line: &Value, format: crate::terms::LogFormat, unix_time: &Value) -> Header {
    Header {
        format,
        serial_number: text(&line["serial"]).parse().unwrap(),
        algorithm: SignatureAlgorithm::from_name(&text(&line["algorithm"])).unwrap(),
        signature_counter: SignatureCounter::new(line["signature_counter"].as_u64().unwrap()),
        time: time(unix_time),
    }
}

fn content(value: &Value) -> Content {
    if let Some(phase) = optional_text(&value["transaction"]) {
        return Content::Transaction(TransactionContent {
            phase: *TransactionPhase::ALL
                .iter()
                .find(|known| known.name() == phase)
                .unwrap(),
            client: client(&value["client"]),
            process_data: ProcessData::new(bytes(&value["process_data"]).unwrap()),
            process_type: ProcessType::try_from(&*text(&value["process_type"])).unwrap(),
            number: TransactionNumber::new(value["number"].as_u64().unwrap()),
        });
    }
    if value["audit"].is_object() {
        let se_audit_data = audit_record(&value["audit"]).to_der().unwrap();
        return Content::Audit { se_audit_data };
    }
    Content::System {
        event: event(&value["event"]),
        origin: origin(&value["origin"]),
        triggered_by: role(&value["triggered_by"]),
    }
}

pub fn audit_record(value: &Value) -> AuditRecord {
    let details = value["details"].as_array().unwrap();
    AuditRecord {
        event: text(&value["event"]),
        time_of_event: time(&value["time_of_event"]),
        details: details
            .iter()
            .map(|pair| AuditDetail {
                name: text(&pair[0]),
                value: text(&pair[1]),
            })
            .collect(),
    }
}

fn event(value: &Value) -> SystemEvent {
    let user_id = || text(&value["user_id"]);
    match &*text(&value["name"]) {
        "Initialize" => SystemEvent::Initialize {
            description: text(&value["description"]),
        },
        "SetDescription" => SystemEvent::SetDescription {
            description: text(&value["description"]),
        },
        "UpdateTime" => SystemEvent::UpdateTime {
            before: time(&value["before"]),
            after: time(&value["after"]),
        },
        "DisableSecureElement" => SystemEvent::DisableSecureElement {
            time_of_deactivation: time(&value["time_of_deactivation"]),
        },
        "AuthenticateUser" => SystemEvent::AuthenticateUser {
            user_id: user_id(),
            role: role(&value["role"]),
            result: match &*text(&value["result"]) {
                "Success" => AuthenticationResult::Success,
                "UnknownUserId" => AuthenticationResult::UnknownUserId,
                "IncorrectPin" => AuthenticationResult::IncorrectPin,
                "PinBlocked" => AuthenticationResult::PinBlocked,
                other => panic!("{other}"),
            },
            remaining_retries: value["remaining_retries"]
                .as_u64()
                .unwrap()
                .try_into()
                .unwrap(),
        },
        "LogOut" => SystemEvent::LogOut {
            user_id: user_id(),
            cause: match &*text(&value["cause"]) {
                "UserCalledLogOut" => LogOutCause::UserCalledLogOut,
                "DifferentUserLoggedIn" => LogOutCause::DifferentUserLoggedIn,
                "Timeout" => LogOutCause::Timeout,
                other => panic!("{other}"),
            },
        },
        "UnblockPin" => SystemEvent::UnblockPin {
            user_id: user_id(),
            result: match &*text(&value["result"]) {
                "Success" => UnblockResult::Success,
                "UnknownUserId" => UnblockResult::UnknownUserId,
                "IncorrectPuk" => UnblockResult::IncorrectPuk,
                "TemporarilyBlocked" => UnblockResult::TemporarilyBlocked,
                other => panic!("{other}"),
            },
        },
        "RegisterClient" => SystemEvent::RegisterClient {
            client: client(&value["client"]),
        },
        "DeregisterClient" => SystemEvent::DeregisterClient {
            client: client(&value["client"]),
        },
        "StartAudit" => SystemEvent::StartAudit,
        "ConfigureLogging" => SystemEvent::ConfigureLogging {
            successful: value["successful"].as_bool().unwrap(),
            parameters: value["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| LoggingParameter {
                    event_name: text(&pair[0]),
                    enabled: pair[1].as_bool().unwrap(),
                })
                .collect(),
        },
        "EnterSecureState" => SystemEvent::EnterSecureState {
            time_of_event: optional_time(&value["time_of_event"]),
        },
        "ExitSecureState" => SystemEvent::ExitSecureState,
        "SelfTest" => SystemEvent::SelfTest {
            results: value["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|test| ComponentTest {
                    component: origin(&test["component"]),
                    error_message: optional_text(&test["error_message"]),
                    time_of_event: optional_time(&test["time_of_event"]),
                })
                .collect(),
        },
        "LockTransactionLogging" => SystemEvent::LockTransactionLogging,
        "UnlockTransactionLogging" => SystemEvent::UnlockTransactionLogging,
        "DeleteLogMessages" => SystemEvent::DeleteLogMessages,
        other => panic!("{other}"),
    }
}

fn origin(value: &Value) -> Origin {
    match &*text(value) {
        "device" => Origin::Device,
        "storage" => Origin::Storage,
        "integration-interface" => Origin::IntegrationInterface,
        "CSP" => Origin::Csp,
        "SMA" => Origin::Sma,
        other => panic!("{other}"),
    }
}

fn role(value: &Value) -> Option<Role> {
    let user_id = optional_text(value)?;
    let roles = [Role::Unauthenticated, Role::Logger, Role::Admin];
    Some(
        roles
            .into_iter()
            .find(|role| role.user_id() == user_id)
            .unwrap(),
    )
}

fn client(value: &Value) -> ClientSerial {
    ClientSerial::try_from(&*text(value)).unwrap()
}

fn time(value: &Value) -> SeTime {
    SeTime::try_from(value.as_i64().unwrap()).unwrap()
}

fn optional_time(value: &Value) -> Option<SeTime> {
    (!value.is_null()).then(|| time(value))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub fn optional_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|digits| hex::decode(digits).unwrap())
}
