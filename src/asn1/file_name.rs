//! Names of log files (TR-03151 v1.0.1 §5.1.2, TR-03151-1 §2.5.5), both ways.

use super::read::{LogTime, ReadKind, ReadLogMessage};
use crate::terms::LogFormat;
use std::{fmt, str::FromStr};

/// Start, update or finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionPhase {
    /// `StartTransaction`
    Start,
    /// `UpdateTransaction`
    Update,
    /// `FinishTransaction`
    Finish,
}

impl TransactionPhase {
    /// Every phase there is.
    pub const ALL: [Self; 3] = [Self::Start, Self::Update, Self::Finish];

    /// As in file names of both formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Update => "Update",
            Self::Finish => "Finish",
        }
    }

    /// operationType in a format: v2 begins with a capital letter, v3 does not.
    pub const fn operation_type(self, format: LogFormat) -> &'static str {
        match (self, format) {
            (Self::Start, LogFormat::V2) => "StartTransaction",
            (Self::Start, LogFormat::V3) => "startTransaction",
            (Self::Update, LogFormat::V2) => "UpdateTransaction",
            (Self::Update, LogFormat::V3) => "updateTransaction",
            (Self::Finish, LogFormat::V2) => "FinishTransaction",
            (Self::Finish, LogFormat::V3) => "finishTransaction",
        }
    }

    /// The phase with this [`operation_type`](Self::operation_type) in either format.
    pub fn from_operation_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| {
            [LogFormat::V2, LogFormat::V3]
                .into_iter()
                .any(|format| phase.operation_type(format) == text)
        })
    }
}

/// A log file name, taken apart.
///
/// Text that parses comes back unchanged from `to_string`. The other way round there is one
/// exception: a client id that itself ends in `_Fc-` and digits reads as a file counter, because the
/// name does not tell the two apart. Serial numbers of our own clients have no underscore. Whoever
/// knows the message should therefore ask [`LogFileName::fits`] rather than compare parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFileName {
    /// Time as in the message; prefix and form in one.
    pub time: LogTime,
    /// `Sig-`
    pub signature_counter: u64,
    /// `Log-`
    pub kind: LogKindName,
    /// `_Fc-`
    pub file_counter: Option<u64>,
}

/// The part after `Log-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogKindName {
    /// `Tra_No-…`
    Transaction {
        /// Number.
        number: u64,
        /// Phase.
        phase: TransactionPhase,
        /// Client serial number, verbatim.
        client_id: String,
    },
    /// `Sys_…`
    System {
        /// Event name.
        event_type: String,
    },
    /// `Aud`
    Audit,
}

/// The text is no log file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log file name: {reason}")]
pub struct FileNameError {
    /// What was expected.
    pub reason: &'static str,
}

impl LogFileName {
    /// The name that belongs to a message, without file counter; `None` when the message is a
    /// transaction log whose operationType is none of the three.
    pub fn of_message(message: &ReadLogMessage) -> Option<Self> {
        let kind = match &message.kind {
            ReadKind::Transaction {
                operation_type,
                client_id,
                transaction_number,
                ..
            } => LogKindName::Transaction {
                number: *transaction_number,
                phase: TransactionPhase::from_operation_type(operation_type)?,
                client_id: client_id.clone(),
            },
            ReadKind::System { event_type, .. } => LogKindName::System {
                event_type: event_type.clone(),
            },
            ReadKind::Audit { .. } => LogKindName::Audit,
        };
        Some(Self {
            time: message.time.clone(),
            signature_counter: message.signature_counter,
            kind,
            file_counter: None,
        })
    }

    /// Whether `text` is this name, with whatever file counter or none.
    pub fn fits(&self, text: &str) -> bool {
        let plain = Self {
            file_counter: None,
            ..self.clone()
        };
        let rest = plain
            .to_string()
            .strip_suffix(SUFFIX)
            .and_then(|stem| text.strip_prefix(stem))
            .and_then(|rest| rest.strip_suffix(SUFFIX))
            .map(str::to_owned);
        match rest.as_deref() {
            None => false,
            Some("") => true,
            Some(rest) => rest
                .strip_prefix(FILE_COUNTER)
                .is_some_and(|digits| number(digits).is_ok()),
        }
    }
}

const SUFFIX: &str = ".log";
const FILE_COUNTER: &str = "_Fc-";
const CLIENT: &str = "_Client-";

impl fmt::Display for LogFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.time {
            LogTime::Unix(seconds) => write!(f, "Unixt_{seconds}")?,
            LogTime::Utc(text) => write!(f, "Utc_{text}")?,
            LogTime::Generalized(text) => write!(f, "Gent_{text}")?,
        }
        write!(f, "_Sig-{}_Log-", self.signature_counter)?;
        match &self.kind {
            LogKindName::Transaction {
                number,
                phase,
                client_id,
            } => write!(f, "Tra_No-{number}_{}{CLIENT}{client_id}", phase.name())?,
            LogKindName::System { event_type } => write!(f, "Sys_{event_type}")?,
            LogKindName::Audit => f.write_str("Aud")?,
        }
        if let Some(counter) = self.file_counter {
            write!(f, "{FILE_COUNTER}{counter}")?;
        }
        f.write_str(SUFFIX)
    }
}

impl FromStr for LogFileName {
    type Err = FileNameError;

    /// Reads `(Gent|Utc|Unixt)_DATE_Sig-N_Log-…[_Fc-K].log`. Numbers have no leading zeros, so that
    /// one message has one name.
    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let stem = text
            .strip_suffix(SUFFIX)
            .ok_or(expected("it ends in .log"))?;
        let (form, rest) = stem
            .split_once('_')
            .ok_or(expected("it begins with Gent_, Utc_ or Unixt_"))?;
        let (date, rest) = rest
            .split_once("_Sig-")
            .ok_or(expected("_Sig- follows the time"))?;
        let (counter, rest) = rest
            .split_once("_Log-")
            .ok_or(expected("_Log- follows the signature counter"))?;
        let (kind, file_counter) = match split_file_counter(rest) {
            Some((kind, digits)) => (kind, Some(number(digits)?)),
            None => (rest, None),
        };
        Ok(Self {
            time: time(form, date)?,
            signature_counter: number(counter)?,
            kind: kind_name(kind)?,
            file_counter,
        })
    }
}

const fn expected(reason: &'static str) -> FileNameError {
    FileNameError { reason }
}

/// The last `_Fc-` with only digits after it; not when a client id would be left empty.
fn split_file_counter(rest: &str) -> Option<(&str, &str)> {
    let (kind, digits) = rest.rsplit_once(FILE_COUNTER)?;
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let before_client_id = rest
        .find(CLIENT)
        .map_or(0, |at| at.saturating_add(CLIENT.len()));
    (all_digits && kind.len() > before_client_id).then_some((kind, digits))
}

fn time(form: &str, date: &str) -> Result<LogTime, FileNameError> {
    match form {
        "Unixt" => number(date)?
            .try_into()
            .map(LogTime::Unix)
            .map_err(|_| expected("a unix time fits 64 bits")),
        "Utc" => time_text(date).map(LogTime::Utc),
        "Gent" => time_text(date).map(LogTime::Generalized),
        _ => Err(expected("it begins with Gent_, Utc_ or Unixt_")),
    }
}

/// `[0-9.]+Z?`, verbatim: whether it is a time is for the comparison with the message to say.
fn time_text(date: &str) -> Result<String, FileNameError> {
    let digits = date.strip_suffix('Z').unwrap_or(date);
    let fits = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if digits.is_empty() || !digits.bytes().all(fits) {
        return Err(expected("a time has digits, at most a fraction, and Z"));
    }
    Ok(date.to_owned())
}

fn kind_name(kind: &str) -> Result<LogKindName, FileNameError> {
    if kind == "Aud" {
        return Ok(LogKindName::Audit);
    }
    if let Some(event_type) = kind.strip_prefix("Sys_") {
        if event_type.is_empty() || !event_type.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(expected("an event type has letters only"));
        }
        return Ok(LogKindName::System {
            event_type: event_type.to_owned(),
        });
    }
    let (transaction_number, rest) = kind
        .strip_prefix("Tra_No-")
        .and_then(|rest| rest.split_once('_'))
        .ok_or(expected("Tra_No-, Sys_ or Aud follows _Log-"))?;
    let (phase, client_id) = rest
        .split_once(CLIENT)
        .ok_or(expected("_Client- follows the phase"))?;
    if client_id.is_empty() || client_id.contains('\n') {
        return Err(expected("a client id is one line of text"));
    }
    Ok(LogKindName::Transaction {
        number: number(transaction_number)?,
        phase: TransactionPhase::ALL
            .into_iter()
            .find(|known| known.name() == phase)
            .ok_or(expected("the phase is Start, Update or Finish"))?,
        client_id: client_id.to_owned(),
    })
}

/// Decimal digits without leading zeros.
fn number(digits: &str) -> Result<u64, FileNameError> {
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    canonical
        .then(|| digits.parse().ok())
        .flatten()
        .ok_or(expected(
            "a number has decimal digits, no leading zero, and fits 64 bits",
        ))
}
