//! The one table of system events: their v2 form, their v3 form, or "not in this format".

use super::event::{
    AuthenticationResult, ComponentTest, LogOutCause, LoggingParameter, Origin, SystemEvent,
    UnblockResult,
};
use crate::terms::{LogFormat, Role, SeTime};

/// One event in both formats; `None` means that the format does not know it.
pub(super) struct Row<'a> {
    v2: Option<Form<'a>>,
    v3: Option<Form<'a>>,
}

/// How one format writes one event.
pub(super) struct Form<'a> {
    /// operationType (v2) or eventType (v3); also the type in the file name.
    pub(super) name: &'static str,
    /// Fields in order. v2 gives each position a context tag, from 81 on at the top and from 80 on
    /// in an inner SEQUENCE; v3 keeps universal tags.
    pub(super) fields: Vec<Field<'a>>,
}

/// One field of a form.
pub(super) enum Field<'a> {
    /// PrintableString; the name is for error messages.
    Text(&'static str, &'a str),
    /// BOOLEAN.
    Boolean(bool),
    /// ENUMERATED.
    Enumerated(u8),
    /// INTEGER.
    Integer(u32),
    /// Time, in the `unixTime` form.
    Time(SeTime),
    /// SEQUENCE OF SEQUENCE; v2 puts the outer one into an OCTET STRING.
    List(Vec<Vec<Field<'a>>>),
    /// An optional field that is not there; in v2 its tag is skipped.
    Absent,
    /// A mandatory field for which the event has no value: the event cannot be written.
    Lacking,
}

impl<'a> Row<'a> {
    /// The form in a format.
    pub(super) fn form(self, format: LogFormat) -> Option<Form<'a>> {
        match format {
            LogFormat::V2 => self.v2,
            LogFormat::V3 => self.v3,
        }
    }

    /// Same name in both formats, which is the rule.
    fn both(name: &'static str, v2: Vec<Field<'a>>, v3: Vec<Field<'a>>) -> Self {
        Self::renamed((name, v2), (name, v3))
    }

    fn renamed(v2: (&'static str, Vec<Field<'a>>), v3: (&'static str, Vec<Field<'a>>)) -> Self {
        let form = |(name, fields)| Some(Form { name, fields });
        Self {
            v2: form(v2),
            v3: form(v3),
        }
    }

    fn v3_only(name: &'static str, fields: Vec<Field<'a>>) -> Self {
        let v3 = Some(Form { name, fields });
        Self { v2: None, v3 }
    }
}

/// The table. Sources: v2 TR-03151 v1.0.1 §6 with its amendment and the application notes to
/// TR-03153 §4; v3 TR-03151-1 v1.1.1 Appendix E.4 and TR-03153-1 §9.8.
///
/// `triggered_by` is needed because three events of v2 carry the calling user among their fields,
/// where v3 has a place of its own for it.
pub(super) fn row<'a>(event: &'a SystemEvent, triggered_by: Option<Role>) -> Row<'a> {
    use Field::{Absent, Boolean, Enumerated, Integer, List, Text, Time};
    use SystemEvent as Event;
    let caller = || match triggered_by {
        Some(role) => Text("userId", role.user_id()),
        None => Field::Lacking,
    };
    match event {
        Event::Initialize { description } => {
            Row::both("initialize", vec![Text("description", description)], vec![])
        }
        Event::SetDescription { description } => Row::v3_only(
            "setDescription",
            vec![Text("newDeviceDescription", description)],
        ),
        Event::UpdateTime { before, after } => {
            let times = || vec![Time(*before), Time(*after)];
            Row::both("updateTime", times(), times())
        }
        Event::DisableSecureElement {
            time_of_deactivation,
        } => Row::both(
            "disableSecureElement",
            vec![Time(*time_of_deactivation)],
            vec![],
        ),
        Event::AuthenticateUser {
            user_id,
            role,
            result,
            remaining_retries,
        } => Row::both(
            "authenticateUser",
            vec![
                Text("userId", user_id),
                Enumerated(v2_role(*role)),
                Boolean(*result == AuthenticationResult::Success),
            ],
            vec![
                Text("userId", user_id),
                Text("role", role.map_or("unknown", Role::user_id)),
                Enumerated(v3_authentication_result(*result)),
                Integer(*remaining_retries),
            ],
        ),
        Event::LogOut { user_id, cause } => {
            let (v2, v3) = log_out_causes(*cause);
            Row::both(
                "logOut",
                vec![Text("userId", user_id), Enumerated(v2)],
                vec![Text("loggedOutUserId", user_id), Enumerated(v3)],
            )
        }
        Event::UnblockPin { user_id, result } => {
            let (v2, v3) = unblock_results(*result);
            Row::renamed(
                ("unblockUser", vec![Text("userId", user_id), Enumerated(v2)]),
                (
                    "unblockPin",
                    vec![Text("userToUnblock", user_id), Enumerated(v3)],
                ),
            )
        }
        Event::RegisterClient { client } => {
            let id = || vec![Text("clientId", client.as_str())];
            Row::both("registerClient", id(), id())
        }
        Event::DeregisterClient { client } => {
            let id = || vec![Text("clientId", client.as_str())];
            Row::both("deregisterClient", id(), id())
        }
        Event::StartAudit => Row::both("startAudit", vec![], vec![]),
        Event::ConfigureLogging {
            successful,
            parameters,
        } => configure_logging(*successful, parameters),
        Event::EnterSecureState { time_of_event } => {
            let time = || vec![time_of_event.map_or(Absent, Time)];
            Row::both("enterSecureState", time(), time())
        }
        Event::ExitSecureState => Row::both("exitSecureState", vec![], vec![]),
        Event::SelfTest { results } => Row::both(
            "selfTest",
            v2_self_test(results),
            vec![
                List(
                    results
                        .iter()
                        .map(|test| component_test(test, LogFormat::V3))
                        .collect(),
                ),
                Boolean(results.iter().all(|test| test.error_message.is_none())),
            ],
        ),
        Event::LockTransactionLogging => {
            Row::both("lockTransactionLogging", vec![caller()], vec![])
        }
        Event::UnlockTransactionLogging => {
            Row::both("unlockTransactionLogging", vec![caller()], vec![])
        }
        Event::DeleteLogMessages => Row::renamed(
            ("deleteStoredData", vec![caller()]),
            ("deleteLogMessages", vec![]),
        ),
    }
}

/// v2 names the component `SMAERS-audit` and leaves out an empty parameter list (it is optional
/// there); v3 lists the configured components, of which we have one.
fn configure_logging(successful: bool, parameters: &[LoggingParameter]) -> Row<'_> {
    use Field::{Absent, Boolean, List, Text};
    let switches = || {
        let fields = parameters.iter().map(|parameter| {
            vec![
                Text("eventName", &parameter.event_name),
                Boolean(parameter.enabled),
            ]
        });
        List(fields.collect())
    };
    Row::both(
        "configureLogging",
        vec![
            Text("componentName", "SMAERS-audit"),
            Boolean(successful),
            if parameters.is_empty() {
                Absent
            } else {
                switches()
            },
        ],
        vec![List(vec![vec![
            Text("componentName", Origin::Sma.name(LogFormat::V3)),
            Boolean(successful),
            switches(),
        ]])],
    )
}

/// One component per message: the first that failed, else the first (application notes §4.8).
fn v2_self_test(results: &[ComponentTest]) -> Vec<Field<'_>> {
    let failed = results.iter().find(|test| test.error_message.is_some());
    match failed.or(results.first()) {
        Some(test) => component_test(test, LogFormat::V2),
        None => vec![Field::Lacking],
    }
}

fn component_test(test: &ComponentTest, format: LogFormat) -> Vec<Field<'_>> {
    use Field::{Absent, Boolean, Text, Time};
    vec![
        Text("componentName", test.component.name(format)),
        Boolean(test.error_message.is_none()),
        match &test.error_message {
            Some(message) => Text("errorMessage", message),
            None => Absent,
        },
        test.time_of_event.map_or(Absent, Time),
    ]
}

/// v2 knows unknown 0, admin 1 and timeAdmin 2. Field devices write 1 for the admin; 0 is what is
/// left for a role that v2 has no number for, such as the logger.
const fn v2_role(role: Option<Role>) -> u8 {
    match role {
        Some(Role::Admin) => 1,
        Some(Role::Logger | Role::Unauthenticated | Role::CentralOperator) | None => 0,
    }
}

const fn v3_authentication_result(result: AuthenticationResult) -> u8 {
    match result {
        AuthenticationResult::Success => 0,
        AuthenticationResult::UnknownUserId => 1,
        AuthenticationResult::IncorrectPin => 2,
        AuthenticationResult::PinBlocked => 3,
    }
}

/// v2 user 0, timeout 1; v3 userCalledLogOut 0, differentUserLoggedIn 1, timeout 2.
const fn log_out_causes(cause: LogOutCause) -> (u8, u8) {
    match cause {
        LogOutCause::UserCalledLogOut => (0, 0),
        LogOutCause::DifferentUserLoggedIn => (0, 1),
        LogOutCause::Timeout => (1, 2),
    }
}

/// v2 ok 0, failed 1, unknownUserId 2 (error 3 is never ours); v3 success 0, unknownUserId 1,
/// incorrectPuk 2, unblockingTemporarilyBlocked 3.
const fn unblock_results(result: UnblockResult) -> (u8, u8) {
    match result {
        UnblockResult::Success => (0, 0),
        UnblockResult::UnknownUserId => (2, 1),
        UnblockResult::IncorrectPuk => (1, 2),
        UnblockResult::TemporarilyBlocked => (1, 3),
    }
}
