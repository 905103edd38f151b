//! System events under their TR-03151 names; their v2 and v3 forms stand in `event_table`.

use super::event_table;
use crate::terms::{ClientSerial, LogFormat, Role, SeTime};

/// A system event, complete enough to be written in either log format.
///
/// Names are those of TR-03151-1 (v3) except where only v2 knows the event; [`SystemEvent::name`]
/// maps them to the string of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// `initialize`; v2 carries the description, v3 nothing.
    Initialize {
        /// Description of the device, PrintableString.
        description: String,
    },
    /// `setDescription` (v3 only).
    SetDescription {
        /// 0 to 64 characters, PrintableString.
        description: String,
    },
    /// `updateTime`.
    UpdateTime {
        /// Last known time before the change.
        before: SeTime,
        /// Time after the change.
        after: SeTime,
    },
    /// `disableSecureElement`; v2 carries the time, v3 nothing.
    DisableSecureElement {
        /// Start of the deactivation.
        time_of_deactivation: SeTime,
    },
    /// `authenticateUser`.
    AuthenticateUser {
        /// Who tried.
        user_id: String,
        /// Role of that user; `None` for an unknown user id.
        role: Option<Role>,
        /// Outcome; v2 only says success or not.
        result: AuthenticationResult,
        /// Wrong attempts left (v3).
        remaining_retries: u32,
    },
    /// `logOut`.
    LogOut {
        /// Who was logged out.
        user_id: String,
        /// Why.
        cause: LogOutCause,
    },
    /// `unblockUser` in v2, `unblockPin` in v3.
    UnblockPin {
        /// Whose PIN.
        user_id: String,
        /// Outcome.
        result: UnblockResult,
    },
    /// `registerClient`.
    RegisterClient {
        /// The till.
        client: ClientSerial,
    },
    /// `deregisterClient`.
    DeregisterClient {
        /// The till.
        client: ClientSerial,
    },
    /// `startAudit`.
    StartAudit,
    /// `configureLogging`.
    ConfigureLogging {
        /// Component whose logging was configured: `SMAERS-audit` in v2, `SMA` in v3; the writer
        /// picks the name.
        successful: bool,
        /// Every event with its switch.
        parameters: Vec<LoggingParameter>,
    },
    /// `enterSecureState`.
    EnterSecureState {
        /// Only when logged late.
        time_of_event: Option<SeTime>,
    },
    /// `exitSecureState`.
    ExitSecureState,
    /// `selfTest`. v2 has one component per message: the first negative one, else the first.
    SelfTest {
        /// One result per component.
        results: Vec<ComponentTest>,
    },
    /// `lockTransactionLogging`.
    LockTransactionLogging,
    /// `unlockTransactionLogging`.
    UnlockTransactionLogging,
    /// `deleteStoredData` in v2, `deleteLogMessages` in v3.
    DeleteLogMessages,
}

impl SystemEvent {
    /// The event's name in a format: operationType (v2) or eventType (v3), and the type in the file
    /// name. `None` when the format does not know the event.
    pub fn name(&self, format: LogFormat) -> Option<&'static str> {
        let form = event_table::row(self, None).form(format)?;
        Some(form.name)
    }
}

/// Outcome of `authenticateUser` (TR-03151-1 Appendix E).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationResult {
    /// 0
    Success,
    /// 1
    UnknownUserId,
    /// 2
    IncorrectPin,
    /// 3
    PinBlocked,
}

/// Why a user was logged out. v2 knows user 0 and timeout 1; v3 called 0, other user 1, timeout 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutCause {
    /// The user asked for it.
    UserCalledLogOut,
    /// Another user logged in; v2 writes 0.
    DifferentUserLoggedIn,
    /// Idle too long.
    Timeout,
}

/// Outcome of `unblockPin`. v2: ok 0, failed 1, unknownUserId 2, error 3. v3: success 0,
/// unknownUserId 1, incorrectPuk 2, unblockingTemporarilyBlocked 3, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnblockResult {
    /// New PIN set, retry counter reset.
    Success,
    /// No such user.
    UnknownUserId,
    /// Wrong PUK; v2 `failed`.
    IncorrectPuk,
    /// Refused unseen because of earlier wrong PUKs; v2 `failed`.
    TemporarilyBlocked,
}

/// One switch of `configureLogging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingParameter {
    /// Name of the event, as it would stand in its log message.
    pub event_name: String,
    /// Whether it is logged.
    pub enabled: bool,
}

/// One component's result in `selfTest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentTest {
    /// Which part of the device.
    pub component: Origin,
    /// `None` when the test was passed, else what a person should read (PrintableString).
    pub error_message: Option<String>,
    /// Only when logged late.
    pub time_of_event: Option<SeTime>,
}

/// Component names (TR-03153-1 §5.2.4.1, rule L-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `device`
    Device,
    /// `storage`
    Storage,
    /// `integration-interface`: the origin of every call through the interface.
    IntegrationInterface,
    /// `CSP`
    Csp,
    /// `SMA` in v3, `SMAERS` in v2.
    Sma,
    /// `centraloperator`: not a component, but what the requirements want as the origin of a call of the
    /// operator (rule U-7).
    CentralOperator,
}

impl Origin {
    /// The component's name in a format (application notes to TR-03153 §4.15; TR-03153-1 §5.2.4.1).
    pub const fn name(self, format: LogFormat) -> &'static str {
        match (self, format) {
            (Self::Device, _) => "device",
            (Self::Storage, _) => "storage",
            (Self::IntegrationInterface, _) => "integration-interface",
            (Self::Csp, _) => "CSP",
            (Self::Sma, LogFormat::V2) => "SMAERS",
            (Self::Sma, LogFormat::V3) => "SMA",
            (Self::CentralOperator, _) => "centraloperator",
        }
    }
}
