//! Errors as clients see them; `problem_codes` has the table of their codes (HTTP dialect §11).

use super::endpoint::Layer;
use super::problem_codes::ErrorCode;
use crate::ledger::LedgerError;
use crate::signing::SigningError;
use crate::sma::{Rejection, SeError};
use crate::terms::chain;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use serde_json::Value;
use std::fmt;

/// Clients come back after this time when no device was left, in seconds.
const NO_DEVICE_RETRY_S: u32 = 5;

/// An error answer: which one, text for a developer, and when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its row of the table.
    pub code: ErrorCode,
    /// What is wrong. Never holds secrets or process data.
    pub message: String,
    /// Seconds after which the same call makes sense again. Some clients repeat whatever has it, so
    /// only rows of the table that say so have it.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// Without a wait.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// 400 `E_FAILED_SCHEMA_VALIDATION`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FailedSchemaValidation, message)
    }

    /// 401 without a code, as at a login that fails.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthorized, message)
    }

    /// 404 for a TSS that does not exist for this caller.
    pub fn no_tss() -> Self {
        Self::new(ErrorCode::TssNotFound, "TSS not found")
    }

    /// 404 for a client that does not exist at this TSS.
    pub fn no_client() -> Self {
        Self::new(ErrorCode::ClientNotFound, "Client not found")
    }

    /// 404 for a transaction that does not exist at this TSS.
    pub fn no_transaction() -> Self {
        Self::new(ErrorCode::TxNotFound, "Transaction not found")
    }

    /// 404 for an export that does not exist at this TSS.
    pub fn no_export() -> Self {
        Self::new(ErrorCode::ExportNotFound, "Export not found")
    }

    /// 404 for a path or method that does not exist.
    pub fn no_route() -> Self {
        Self::new(ErrorCode::NotFound, "Not Found")
    }

    /// 413 for a body beyond the limit.
    pub fn body_too_large() -> Self {
        Self::new(ErrorCode::BodyTooLarge, "body is larger than 1 MB")
    }

    /// To be tried again.
    pub fn later(code: ErrorCode, message: impl Into<String>, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(code, message)
        }
    }

    /// 500: our bug or damaged data. The cause goes into the log, not to the client.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let text = chain(cause);
        tracing::error!(error = %text, "a call failed: {text}");
        Self::new(ErrorCode::Internal, "Internal Server Error")
    }

    /// The answer of a layer.
    pub(super) fn answer(&self, layer: Layer) -> HttpResponse<BoxBody> {
        let mut answer = HttpResponse::build(self.code.status());
        if let Some(seconds) = self.retry_after_s {
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        answer.json(body_of(layer, self.code, &self.message))
    }
}

/// The body of an error answer, in the order of fields in which this layer was recorded.
pub(super) fn body_of(layer: Layer, code: ErrorCode, message: &str) -> Value {
    let status = code.status();
    let reason = status.canonical_reason().unwrap_or("Error");
    let status: [(&str, Value); 2] = [
        ("status_code", status.as_u16().into()),
        ("error", reason.into()),
    ];
    let name = code.text().map(|name| ("code", name.into()));
    let text = name.into_iter().chain([("message", message.into())]);
    // An error without a code was recorded in one order only.
    let fields: Vec<_> = match (layer, code.text()) {
        (Layer::Middleware, Some(_)) => text.chain(status).collect(),
        (Layer::Middleware, None) | (Layer::Backend, _) => status.into_iter().chain(text).collect(),
    };
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.answer(Layer::Backend)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let text = rejection.to_string();
        let code = match rejection {
            // Worded as recorded.
            Rejection::TssNotFound => return Self::no_tss(),
            Rejection::ClientNotFound => return Self::no_client(),
            Rejection::TransactionNotFound => return Self::no_transaction(),
            Rejection::NoFreeDevice => {
                return Self::later(ErrorCode::NoDevice, text, NO_DEVICE_RETRY_S);
            }
            Rejection::PukTemporarilyBlocked { retry_after_s } => {
                let wait_s = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
                return Self::later(ErrorCode::PukDelayed, text, wait_s);
            }
            Rejection::TssConflict => ErrorCode::TssConflict,
            Rejection::IllegalStateChange { .. } => ErrorCode::IllegalTssStateChange,
            Rejection::TssNotInitialized => ErrorCode::TssNotInitialized,
            Rejection::TssDisabled => ErrorCode::TssDisabled,
            Rejection::TssDefective
            | Rejection::SignatureCounterExhausted
            | Rejection::TransactionCounterExhausted => ErrorCode::TssDefective,
            Rejection::UserNotAuthenticated => ErrorCode::AdminNotLoggedIn,
            Rejection::PinBlocked => ErrorCode::AdminPinBlocked,
            Rejection::ClientConflict => ErrorCode::ClientConflict,
            Rejection::ClientLimitReached { .. } => ErrorCode::ClientLimitReached,
            Rejection::ClientNotRegistered => ErrorCode::ClientDeregistered,
            Rejection::RevisionConflict { .. } | Rejection::TaximeterUpdate => ErrorCode::TxUpsert,
            Rejection::TransactionLimitReached { .. } => ErrorCode::TxLimitReached,
            Rejection::NoTypeDefined => ErrorCode::TxNoTypeDefined,
            Rejection::IllegalTypeChange => ErrorCode::TxIllegalTypeChange,
            Rejection::TaximeterDataMissing | Rejection::TooManyMetadataPairs => {
                ErrorCode::FailedSchemaValidation
            }
        };
        Self::new(code, text)
    }
}

impl From<SeError> for Problem {
    fn from(error: SeError) -> Self {
        let text = error.to_string();
        match error {
            SeError::IncorrectPin { .. } => Self::new(ErrorCode::AdminLoginFailed, text),
            // Clients look for this text.
            SeError::IncorrectPuk => Self::new(
                ErrorCode::WrongPuk,
                "ERROR_AUTHENTICATION_FAILED (UNBLOCK_RESULT_FAILED)",
            ),
            SeError::CertificateExpired => Self::new(ErrorCode::CertificateExpired, text),
        }
    }
}

impl From<SigningError> for Problem {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Rejected(rejection) => rejection.into(),
            SigningError::Told(told) => told.into(),
            SigningError::Unavailable {
                reason,
                retry_after_s,
            } => Self::later(ErrorCode::TssLocked, reason, retry_after_s),
            SigningError::Broken { .. } => Self::internal(&error),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Unavailable { .. } => {
                tracing::error!(error = %chain(&error), "the ledger did not answer a call");
                Self::later(ErrorCode::TssLocked, "the ledger is not available", 1)
            }
            LedgerError::Damaged(_) | LedgerError::Unsafe(_) | LedgerError::Exists(_) => {
                Self::internal(&error)
            }
        }
    }
}
