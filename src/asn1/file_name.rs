//! Names of log files (TR-03151 v1.0.1 §5.1.2, TR-03151-1 §2.5.5), both ways.

use super::read::LogTime;

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

/// A log file name, taken apart.
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

impl std::fmt::Display for LogFileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        Err(std::fmt::Error)
    }
}

impl std::str::FromStr for LogFileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let _ = text;
        Err(FileNameError { reason: "not yet" })
    }
}
