//! What was decided.

use super::state::{Client, Transaction, TransactionState, TransactionStep, Tss};
use super::step::Step;
use crate::sma::TssState;
use crate::terms::{Revision, TransactionNumber};

/// The decision on one command.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nothing happens, nothing is signed.
    Refuse(Rejection),
    /// Recorded, signed and kept first; then this answer is given, and the answer may itself be an
    /// error (rules P-2, L3b). No steps: a repeat, or a call that finds everything as wanted.
    Act {
        /// In this order.
        steps: Vec<Step>,
        /// What to answer afterwards.
        answer: Result<Answer, SeError>,
    },
}

/// Which part of the state after the steps answers the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but success.
    Done,
    /// The TSS.
    Tss,
    /// A client.
    Client(crate::terms::ClientId),
    /// One step of a transaction.
    Transaction(TransactionNumber, Revision),
    /// The metadata of a transaction.
    TransactionMetadata(TransactionNumber),
}

/// The answer, filled in from the state after the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but success.
    Done,
    /// The TSS.
    Tss(Box<Tss>),
    /// A client.
    Client(Box<Client>),
    /// A transaction, and the step that answers.
    Transaction(Box<(Tss, Transaction, TransactionStep)>),
    /// A transaction alone.
    TransactionMetadata(Box<Transaction>),
}

/// The caller broke a rule; harmless, nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such TSS.
    #[error("there is no such TSS")]
    TssNotFound,
    /// The TSS id is in use.
    #[error("the TSS id is already in use")]
    TssConflict,
    /// No prepared device is left.
    #[error("no prepared device is left")]
    NoFreeDevice,
    /// The life cycle has no such way.
    #[error("a TSS cannot go from {} to {}", .from.as_str(), .to.as_str())]
    IllegalStateChange {
        /// Where it stands.
        from: TssState,
        /// Where it should go.
        to: TssState,
    },
    /// Not before it is initialised (or, for some, taken over).
    #[error("the TSS is not initialized")]
    TssNotInitialized,
    /// `ErrorSecureElementDisabled`
    #[error("the TSS is disabled")]
    TssDisabled,
    /// It ended by a fault.
    #[error("the TSS is defective")]
    TssDefective,
    /// `ErrorUserNotAuthenticated`
    #[error("the admin of the TSS is not logged in")]
    UserNotAuthenticated,
    /// `ErrorPinBlocked`, or no PIN was ever set.
    #[error("the admin PIN is blocked or was never set")]
    PinBlocked,
    /// `ErrorPukTemporarilyBlocked`
    #[error("the PUK is not looked at for another {retry_after_s} s")]
    PukTemporarilyBlocked {
        /// Seconds to wait.
        retry_after_s: i64,
    },
    /// There is no such client.
    #[error("there is no such client")]
    ClientNotFound,
    /// Id or serial number is in use.
    #[error("the client id or serial number is already in use")]
    ClientConflict,
    /// `ErrorClientLimitReached`
    #[error("no more than {max} clients can be registered")]
    ClientLimitReached {
        /// The limit.
        max: u32,
    },
    /// `ErrorClientNotRegistered`
    #[error("the client is deregistered")]
    ClientNotRegistered,
    /// There is no transaction with this number.
    #[error("there is no such transaction")]
    TransactionNotFound,
    /// The revision does not fit the transaction, or holds another request.
    #[error("revision {revision} does not fit: {}", reason(.state, .latest))]
    RevisionConflict {
        /// What was asked.
        revision: Revision,
        /// What there is; `None` when the transaction was never started.
        state: Option<TransactionState>,
        /// Its latest revision.
        latest: Revision,
    },
    /// `ErrorLimitOfSimultaneousOpenTransactionsReached`
    #[error("no more than {max} transactions can be open")]
    TransactionLimitReached {
        /// The limit.
        max: u32,
    },
    /// A transaction ends with a type.
    #[error("the transaction has no process type yet and none was given")]
    NoTypeDefined,
    /// A transaction keeps its type.
    #[error("the transaction has another process type already")]
    IllegalTypeChange,
    /// A taximeter's transaction has a start and an end, and nothing between them.
    #[error("a transaction of a taximeter cannot be updated")]
    TaximeterUpdate,
    /// A taximeter's transaction ends with the data measured until then.
    #[error("a transaction of a taximeter ends with its data, and none were given")]
    TaximeterDataMissing,
    /// Too many pairs.
    #[error("there can be no more than 40 metadata pairs")]
    TooManyMetadataPairs,
    /// `ErrorSignatureCounterExhausted`
    #[error("the signature counter has reached its end")]
    SignatureCounterExhausted,
    /// `ErrorTransactionCounterExhausted`
    #[error("the transaction counter has reached its end")]
    TransactionCounterExhausted,
}

impl Rejection {
    /// Whether the steps before may still be on their way, so that the same command can succeed a
    /// moment later.
    pub fn is_early(&self) -> bool {
        let Self::RevisionConflict {
            revision,
            state,
            latest,
        } = self
        else {
            return false;
        };
        let is_open = state.is_none_or(|state| state == TransactionState::Active);
        is_open && latest.next().is_some_and(|next| *revision > next)
    }
}

fn reason(state: &Option<TransactionState>, latest: &Revision) -> String {
    match state {
        None => "the transaction was not started".to_owned(),
        Some(state) => format!("the transaction is {} at revision {latest}", state.as_str()),
    }
}

/// An error that is told only after its log message was signed and kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeError {
    /// `ErrorIncorrectPin`
    #[error("the admin PIN is wrong, {remaining} tries are left")]
    IncorrectPin {
        /// Wrong PINs left.
        remaining: u32,
    },
    /// `ErrorIncorrectPuk`
    #[error("the PUK is wrong")]
    IncorrectPuk,
    /// `ErrorCertificateExpired`
    #[error("the certificate of the TSS has expired")]
    CertificateExpired,
}
