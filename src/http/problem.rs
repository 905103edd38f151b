//! Errors as clients see them, and the one table of their codes (HTTP dialect §11).

use super::endpoint::Layer;
use crate::ledger::LedgerError;
use crate::signing::SigningError;
use crate::sma::{Rejection, SeError};
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use serde_json::Value;
use std::fmt;

/// Code of a `PUT /tss` that finds no prepared device.
pub(super) const NO_DEVICE: &str = "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED";

/// An error answer: status, code, text for a developer, and whether to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, repeated in the body.
    pub status: StatusCode,
    /// `E_…`; a few answers of the dialect have none.
    pub code: Option<&'static str>,
    /// What is wrong. Never holds secrets or process data.
    pub message: String,
    /// Seconds after which the same call makes sense again. Some clients repeat whatever has it.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// With a code and without a wait.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: Some(code),
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// 400 with a code.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400 `E_FAILED_SCHEMA_VALIDATION`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::bad("E_FAILED_SCHEMA_VALIDATION", message)
    }

    /// 401 without a code, as at a login that fails.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: None,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// 404.
    pub fn not_found(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 404 for a TSS that does not exist for this caller.
    pub fn no_tss() -> Self {
        Self::not_found("E_TSS_NOT_FOUND", "TSS not found")
    }

    /// 404 for a client that does not exist at this TSS.
    pub fn no_client() -> Self {
        Self::not_found("E_CLIENT_NOT_FOUND", "Client not found")
    }

    /// 404 for a transaction that does not exist at this TSS.
    pub fn no_transaction() -> Self {
        Self::not_found("E_TX_NOT_FOUND", "Transaction not found")
    }

    /// 404 for an export that does not exist at this TSS.
    pub fn no_export() -> Self {
        Self::not_found("E_EXPORT_NOT_FOUND", "Export not found")
    }

    /// 404 for a path or method that does not exist.
    pub fn no_route() -> Self {
        Self::not_found("E_NOT_FOUND", "Not Found")
    }

    /// 503, to be tried again.
    pub fn later(code: &'static str, message: impl Into<String>, retry_after_s: u32) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: Some(code),
            message: message.into(),
            retry_after_s: Some(retry_after_s),
        }
    }

    /// 500: our bug or damaged data. The cause goes into the log, not to the client.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let mut text = cause.to_string();
        let mut inner = cause.source();
        while let Some(error) = inner {
            text.push_str(": ");
            text.push_str(&error.to_string());
            inner = error.source();
        }
        tracing::error!(error = %text, "a call failed: {text}");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: None,
            message: "Internal Server Error".to_owned(),
            retry_after_s: None,
        }
    }

    /// The body, in the order of fields in which this layer was recorded.
    fn body(&self, layer: Layer) -> Value {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let status: [(&str, Value); 2] = [
            ("status_code", self.status.as_u16().into()),
            ("error", reason.into()),
        ];
        let code = self.code.map(|code| ("code", code.into()));
        let text = code
            .into_iter()
            .chain([("message", self.message.as_str().into())]);
        // An error without a code was recorded in one order only.
        let fields: Vec<_> = match (layer, self.code) {
            (Layer::Middleware, Some(_)) => text.chain(status).collect(),
            (Layer::Middleware, None) | (Layer::Backend, _) => {
                status.into_iter().chain(text).collect()
            }
        };
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect())
    }

    /// The answer of a layer.
    pub(super) fn answer(&self, layer: Layer) -> HttpResponse<BoxBody> {
        let mut answer = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_after_s {
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        answer.json(self.body(layer))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.unwrap_or("error"), self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.answer(Layer::Backend)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let text = rejection.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, text.clone());
        let forbidden = |code| Self::new(StatusCode::FORBIDDEN, code, text.clone());
        let locked = |code| Self::new(StatusCode::LOCKED, code, text.clone());
        match rejection {
            Rejection::TssNotFound => Self::no_tss(),
            Rejection::TssConflict => conflict("E_TSS_CONFLICT"),
            Rejection::NoFreeDevice => Self::later(NO_DEVICE, text, 5),
            Rejection::IllegalStateChange { .. } => Self::bad("E_ILLEGAL_TSS_STATE_CHANGE", text),
            Rejection::TssNotInitialized => Self::bad("E_TSS_NOT_INITIALIZED", text),
            Rejection::TssDisabled => Self::bad("E_TSS_DISABLED", text),
            Rejection::TssDefective
            | Rejection::SignatureCounterExhausted
            | Rejection::TransactionCounterExhausted => locked("E_TSS_DEFECTIVE"),
            Rejection::UserNotAuthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", text)
            }
            Rejection::PinBlocked => locked("E_ADMIN_PIN_BLOCKED"),
            Rejection::PukTemporarilyBlocked { retry_after_s } => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: Some("E_CHANGE_ADMIN_PIN_FAILED"),
                message: text,
                retry_after_s: Some(u32::try_from(retry_after_s).unwrap_or(u32::MAX)),
            },
            Rejection::ClientNotFound => Self::no_client(),
            Rejection::ClientConflict => conflict("E_CLIENT_CONFLICT"),
            Rejection::ClientLimitReached { .. } => forbidden("E_CLIENT_LIMIT_REACHED"),
            Rejection::ClientNotRegistered => Self::bad("E_CLIENT_DEREGISTERED", text),
            Rejection::TransactionNotFound => Self::no_transaction(),
            Rejection::RevisionConflict { .. } | Rejection::TaximeterUpdate => {
                Self::bad("E_TX_UPSERT", text)
            }
            Rejection::TransactionLimitReached { .. } => Self::bad("E_TX_LIMIT_REACHED", text),
            Rejection::NoTypeDefined => conflict("E_TX_NO_TYPE_DEFINED"),
            Rejection::IllegalTypeChange => conflict("E_TX_ILLEGAL_TYPE_CHANGE"),
            Rejection::TaximeterDataMissing | Rejection::TooManyMetadataPairs => {
                Self::invalid(text)
            }
        }
    }
}

impl From<SeError> for Problem {
    fn from(error: SeError) -> Self {
        let text = error.to_string();
        match error {
            SeError::IncorrectPin { .. } => {
                Self::new(StatusCode::UNAUTHORIZED, "E_ADMIN_LOGIN_FAILED", text)
            }
            // Clients look for this text.
            SeError::IncorrectPuk => Self::new(
                StatusCode::UNAUTHORIZED,
                "E_CHANGE_ADMIN_PIN_FAILED",
                "ERROR_AUTHENTICATION_FAILED (UNBLOCK_RESULT_FAILED)",
            ),
            SeError::CertificateExpired => {
                Self::new(StatusCode::LOCKED, "E_CERTIFICATE_EXPIRED", text)
            }
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
            } => Self::later("E_TSS_LOCKED", reason, retry_after_s),
            SigningError::Broken { .. } => Self::internal(&error),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Unavailable { .. } => {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "no ledger");
                Self::later("E_TSS_LOCKED", "the ledger is not available", 1)
            }
            LedgerError::Damaged(_) | LedgerError::Unsafe(_) | LedgerError::Exists(_) => {
                Self::internal(&error)
            }
        }
    }
}
