//! The one table of error answers (HTTP dialect §11): what is not in it cannot be answered.
//!
//! The page of `schema/openapi/errors.md` is made from it, and so are the errors of the OpenAPI document.

use actix_web::http::StatusCode;
use std::fmt;

/// Whether the same call makes sense again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repeat {
    /// It would be answered in the same way.
    No,
    /// Once what the cause names was put right.
    AfterChange,
    /// After the seconds in `Retry-After`, which the answer always has.
    Later,
}

impl Repeat {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::AfterChange => "once that is put right",
            Self::Later => "yes, after `Retry-After` seconds",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// HTTP status.
    pub status: StatusCode,
    /// `code` of the body; a few answers of the dialect have none.
    pub code: Option<&'static str>,
    /// Whether the same call makes sense again.
    pub repeat: Repeat,
    /// What it means and what helps.
    pub cause: &'static str,
    /// For the fault record of a till: short, in German.
    pub german: &'static str,
}

macro_rules! table {
    ($($name:ident: $status:ident, $code:expr, $repeat:ident, $cause:literal, $german:literal;)*) => {
        /// An error answer. Where one code is answered with two statuses, there are two of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = $cause] $name,)*
        }

        impl ErrorCode {
            /// Every error answer, by status.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its row.
            pub const fn row(self) -> ErrorRow {
                match self {
                    $(Self::$name => ErrorRow {
                        status: StatusCode::$status,
                        code: $code,
                        repeat: Repeat::$repeat,
                        cause: $cause,
                        german: $german,
                    },)*
                }
            }
        }
    };
}

table! {
    FailedSchemaValidation: BAD_REQUEST, Some("E_FAILED_SCHEMA_VALIDATION"), AfterChange,
        "A part of the request does not have the form it must have; the message names it.",
        "Anfrage an TSE ungültig";
    Parser: BAD_REQUEST, Some("E_PARSER"), AfterChange,
        "An id in the path is no UUID.",
        "Kennung in der Anfrage an TSE ungültig";
    TxUpsert: BAD_REQUEST, Some("E_TX_UPSERT"), AfterChange,
        "The revision does not follow the latest one, holds another request already, or the transaction has ended. \
         Read the transaction; its `latest_revision` plus one is the next.",
        "TSE-Transaktion: Revision passt nicht";
    TxRevisionNotFound: BAD_REQUEST, Some("E_TX_REVISION_NOT_FOUND"), No,
        "The transaction has no such revision.",
        "TSE-Transaktion: Revision unbekannt";
    TssNotInitialized: BAD_REQUEST, Some("E_TSS_NOT_INITIALIZED"), AfterChange,
        "The TSS is not in a state in which this can be done; set it up first.",
        "TSE nicht eingerichtet";
    TssDisabled: BAD_REQUEST, Some("E_TSS_DISABLED"), No,
        "The TSS is disabled for good; reads and exports still work.",
        "TSE außer Betrieb gesetzt";
    IllegalTssStateChange: BAD_REQUEST, Some("E_ILLEGAL_TSS_STATE_CHANGE"), No,
        "The life of a TSS has no such way.",
        "Zustandswechsel der TSE nicht möglich";
    IllegalClientSerial: BAD_REQUEST, Some("E_ILLEGAL_CLIENT_SERIAL"), AfterChange,
        "The serial number of the client is empty, too long, or has characters that may not be in it.",
        "Seriennummer der Kasse für TSE ungültig";
    ClientDeregistered: BAD_REQUEST, Some("E_CLIENT_DEREGISTERED"), AfterChange,
        "The client is deregistered and cannot sign; register it again.",
        "Kasse bei der TSE abgemeldet";
    UnknownClient: BAD_REQUEST, Some("E_CLIENT_NOT_FOUND"), AfterChange,
        "The client that the body or a filter names does not exist at this TSS.",
        "Kasse der TSE nicht bekannt";
    UnknownTransaction: BAD_REQUEST, Some("E_TX_NOT_FOUND"), AfterChange,
        "The transaction that a filter names does not exist at this TSS.",
        "TSE-Transaktion nicht bekannt";
    TxLimitReached: BAD_REQUEST, Some("E_TX_LIMIT_REACHED"), AfterChange,
        "Too many transactions of the TSS are open; end some of them.",
        "Zu viele offene TSE-Transaktionen";
    DuplicateExport: BAD_REQUEST, Some("E_DUPLICATE_EXPORT"), No,
        "The export id was used before; take a new one.",
        "TSE-Export mit dieser Kennung vorhanden";
    CancelExport: BAD_REQUEST, Some("E_CANCEL_EXPORT"), No,
        "The export has ended; only a pending or working one can be cancelled.",
        "TSE-Export bereits beendet";
    ParameterMismatch: BAD_REQUEST, Some("E_PARAMETER_MISMATCH"), AfterChange,
        "The filters of the export do not go together.",
        "Filter des TSE-Exports widersprechen sich";
    Unauthorized: UNAUTHORIZED, None, AfterChange,
        "Key, secret or token is wrong, expired or revoked, or there is none; log in again.",
        "Anmeldung an der TSE abgelehnt";
    AdminNotLoggedIn: UNAUTHORIZED, Some("E_UNAUTHORIZED"), AfterChange,
        "The admin of the TSS is not logged in with this token.",
        "TSE-Administrator nicht angemeldet";
    AdminLoginFailed: UNAUTHORIZED, Some("E_ADMIN_LOGIN_FAILED"), AfterChange,
        "The admin PIN is wrong; the message says how many tries are left.",
        "Administrator-PIN der TSE falsch";
    WrongPuk: UNAUTHORIZED, Some("E_CHANGE_ADMIN_PIN_FAILED"), AfterChange,
        "The PUK is wrong.",
        "PUK der TSE falsch";
    ClientLimitReached: FORBIDDEN, Some("E_CLIENT_LIMIT_REACHED"), AfterChange,
        "Too many clients of the TSS are registered; deregister one or take another TSS.",
        "Zu viele Kassen an der TSE angemeldet";
    AccessDenied: FORBIDDEN, Some("E_ACCESS_DENIED"), No,
        "The key may not do this; the message says what it would need. Management API only.",
        "Zugriff auf TSE-Verwaltung verweigert";
    OrganizationNotFound: NOT_FOUND, Some("E_ORGANIZATION_NOT_FOUND"), No,
        "There is no such organisation for this caller. Management API only.",
        "Organisation nicht gefunden";
    ApiKeyNotFound: NOT_FOUND, Some("E_API_KEY_NOT_FOUND"), No,
        "The organisation has no such API key. Management API only.",
        "API-Schlüssel nicht gefunden";
    NoManagementRoute: NOT_FOUND, None, No,
        "The Management API has no such path, or is switched off.",
        "Adresse der TSE-Verwaltung unbekannt";
    TssNotFound: NOT_FOUND, Some("E_TSS_NOT_FOUND"), No,
        "There is no such TSS for this caller.",
        "TSE nicht gefunden";
    ClientNotFound: NOT_FOUND, Some("E_CLIENT_NOT_FOUND"), No,
        "There is no such client at this TSS.",
        "Kasse der TSE nicht bekannt";
    TxNotFound: NOT_FOUND, Some("E_TX_NOT_FOUND"), No,
        "There is no such transaction at this TSS.",
        "TSE-Transaktion nicht gefunden";
    ExportNotFound: NOT_FOUND, Some("E_EXPORT_NOT_FOUND"), No,
        "There is no such export at this TSS, or its file has expired.",
        "TSE-Export nicht gefunden";
    ExportNotCompleted: NOT_FOUND, Some("E_EXPORT_NOT_COMPLETED"), Later,
        "The export is waiting, or being worked at.",
        "TSE-Export noch nicht fertig";
    ExportWithoutFile: NOT_FOUND, Some("E_EXPORT_NOT_COMPLETED"), No,
        "The export has failed or was cancelled and never gets a file: read its state, and ask for another one.",
        "TSE-Export gescheitert oder abgebrochen";
    NotFound: NOT_FOUND, Some("E_NOT_FOUND"), No,
        "There is no such path, or it does not know this method.",
        "Adresse der TSE unbekannt";
    RequestTimeout: REQUEST_TIMEOUT, None, AfterChange,
        "The body did not come in time.",
        "Anfrage an TSE zu langsam übertragen";
    TssConflict: CONFLICT, Some("E_TSS_CONFLICT"), No,
        "The TSS id is in use. Your own TSS may be past CREATED: read it.",
        "TSE-Kennung bereits vergeben";
    ClientConflict: CONFLICT, Some("E_CLIENT_CONFLICT"), No,
        "The client id or the serial number is in use.",
        "Kennung der Kasse bereits vergeben";
    TxIllegalTypeChange: CONFLICT, Some("E_TX_ILLEGAL_TYPE_CHANGE"), AfterChange,
        "The transaction has another process type already.",
        "TSE-Transaktion: Vorgangsart geändert";
    TxNoTypeDefined: CONFLICT, Some("E_TX_NO_TYPE_DEFINED"), AfterChange,
        "The transaction has no process type yet, and none was given with its end.",
        "TSE-Transaktion: Vorgangsart fehlt";
    TxNotEnded: CONFLICT, Some("E_TX_NOT_ENDED"), AfterChange,
        "The transaction is not ended at this revision, so there is no receipt of it. A code of Siegel's own.",
        "TSE-Transaktion noch offen, kein Beleg";
    QrCodeNotAvailable: CONFLICT, Some("E_QR_CODE_NOT_AVAILABLE"), No,
        "The transaction's data are no text, or too long for a QR code; print the fields. A code of Siegel's own.",
        "QR-Code nicht darstellbar";
    IllegalStateForExport: CONFLICT, Some("E_TSS_ILLEGAL_STATE_TO_PERFORM_EXPORT"), AfterChange,
        "The TSS is not initialized, so there is nothing to export.",
        "TSE-Export vor Einrichtung nicht möglich";
    ExportRunning: CONFLICT, Some("E_EXPORT_DUPLICATE_RATE_LIMITED"), AfterChange,
        "An export with the same filters is running; wait for its end.",
        "Gleicher TSE-Export läuft bereits";
    TooManyExports: CONFLICT, Some("E_TOO_MANY_EXPORTS"), AfterChange,
        "Too many exports of the TSS are running; wait for the end of one.",
        "Zu viele laufende TSE-Exporte";
    BodyTooLarge: PAYLOAD_TOO_LARGE, None, No,
        "The body is larger than 1 MB.",
        "Anfrage an TSE zu groß";
    AdminPinBlocked: LOCKED, Some("E_ADMIN_PIN_BLOCKED"), AfterChange,
        "The admin PIN is blocked or was never set; set a new one with the PUK.",
        "Administrator-PIN der TSE gesperrt";
    TssDefective: LOCKED, Some("E_TSS_DEFECTIVE"), No,
        "The TSS is defective for good; reads and exports still work. Take a new TSS with new clients.",
        "TSE defekt";
    CertificateExpired: LOCKED, Some("E_CERTIFICATE_EXPIRED"), No,
        "The certificate of the TSS has expired. What was asked for was signed and kept all the same.",
        "Zertifikat der TSE abgelaufen";
    PukDelayed: TOO_MANY_REQUESTS, Some("E_CHANGE_ADMIN_PIN_FAILED"), Later,
        "After wrong PUKs no PUK is looked at for a while.",
        "PUK der TSE vorübergehend gesperrt";
    TooManyRequests: TOO_MANY_REQUESTS, None, Later,
        "Too many calls, or too many wrong logins, in too short a time.",
        "Zu viele Anfragen an TSE";
    Internal: INTERNAL_SERVER_ERROR, None, No,
        "A fault of the server or damaged data; its log has the cause. Sell on, and tell the operator.",
        "Interner Fehler der TSE";
    TssLocked: SERVICE_UNAVAILABLE, Some("E_TSS_LOCKED"), Later,
        "Signing is not possible at the moment, or the queue is full. The call may have been carried out: \
         the same call again finds out and signs nothing twice.",
        "TSE vorübergehend nicht verfügbar";
    NoDevice: SERVICE_UNAVAILABLE, Some("E_SMAERS_GATEWAY_CAPACITIES_DEPLETED"), Later,
        "No prepared device is left for a new TSS; the server makes some, if it can.",
        "Keine neue TSE verfügbar";
}

impl ErrorCode {
    /// `code` of the body, if it has one.
    pub const fn text(self) -> Option<&'static str> {
        self.row().code
    }

    /// HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(code) => f.write_str(code),
            None => write!(f, "{}", self.status().as_u16()),
        }
    }
}

/// Whether the body has this code.
impl PartialEq<&str> for ErrorCode {
    fn eq(&self, code: &&str) -> bool {
        self.text() == Some(*code)
    }
}
