//! Bodies of answers as the document describes them.

use super::requests::{ClientState, TransactionSchema, TransactionState};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An error. `code` is missing in a few of them.
#[derive(ToSchema)]
pub struct Error {
    /// The HTTP status again.
    #[schema(minimum = 400, maximum = 599)]
    pub status_code: u16,
    /// Its reason phrase.
    pub error: String,
    /// What to react to; see the table of errors.
    #[schema(nullable = false, pattern = "^E_[A-Z_]+$")]
    pub code: Option<String>,
    /// For a developer; may change.
    pub message: String,
}

/// Tokens. A repeated login with the same key gives the same ones, which have less time left.
#[derive(ToSchema)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// Whom it speaks for.
    pub access_token_claims: Claims,
    /// Seconds left.
    pub access_token_expires_in: i64,
    /// Unix seconds.
    pub access_token_expires_at: i64,
    /// For the next login.
    pub refresh_token: String,
    /// Seconds left.
    pub refresh_token_expires_in: i64,
    /// Unix seconds.
    pub refresh_token_expires_at: i64,
}

/// Whom a token speaks for.
#[derive(ToSchema)]
pub struct Claims {
    /// Environment.
    pub env: Env,
    /// The organisation.
    #[schema(format = Uuid)]
    pub organization_id: String,
}

/// Environment of a key and of everything made with it.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Env {
    /// For development.
    Test,
    /// For business, which Siegel is not certified for.
    Live,
}

/// Texts kept for the owner.
#[derive(ToSchema)]
pub struct Metadata(pub BTreeMap<String, String>);

/// Success without anything to tell.
#[derive(ToSchema)]
pub struct Nothing {}

/// State of a TSS.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TssState {
    /// Only just made; the PUK can be shown again.
    Created,
    /// The owner has the PUK.
    Uninitialized,
    /// Signs transactions.
    Initialized,
    /// Ended for good.
    Disabled,
    /// Ended for good by a fault.
    Defective,
}

/// A TSS that was only just made.
#[derive(ToSchema)]
pub struct TssCreated {
    /// DER in base64.
    pub certificate: String,
    /// SHA-256 of the public key in lower-case hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub serial_number: String,
    /// Uncompressed point in base64.
    pub public_key: String,
    /// How it signs.
    pub signature_algorithm: String,
    /// Form of the time in log messages.
    pub signature_timestamp_format: String,
    /// Encoding of texts that are signed.
    pub transaction_data_encoding: String,
    /// Clients that may be registered at a time.
    pub max_number_registered_clients: u32,
    /// Transactions that may be open at a time.
    pub max_number_active_transactions: u32,
    /// Updates are signed.
    pub supported_update_variants: String,
    /// Texts kept for the owner.
    pub metadata: Metadata,
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// `TSS`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
    /// Unix seconds.
    pub time_creation: i64,
    /// The only way to set the admin PIN. Never shown again after CREATED.
    #[schema(pattern = "^[0-9]{10}$")]
    pub admin_puk: String,
    /// `CREATED`
    pub state: TssState,
}

/// A TSS. Times that have not come are left out.
#[derive(ToSchema)]
pub struct Tss {
    /// Text of its owner, or a default that the operator sets.
    pub description: String,
    /// Where it stands.
    pub state: TssState,
    /// DER in base64.
    pub certificate: String,
    /// SHA-256 of the public key in lower-case hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub serial_number: String,
    /// Uncompressed point in base64.
    pub public_key: String,
    /// Signatures made, as text.
    #[schema(pattern = "^[0-9]+$")]
    pub signature_counter: String,
    /// How it signs.
    pub signature_algorithm: String,
    /// Form of the time in log messages.
    pub signature_timestamp_format: String,
    /// Transactions started, as text.
    #[schema(pattern = "^[0-9]+$")]
    pub transaction_counter: String,
    /// Encoding of texts that are signed.
    pub transaction_data_encoding: String,
    /// Clients registered now.
    pub number_registered_clients: u32,
    /// Clients that may be registered at a time.
    pub max_number_registered_clients: u32,
    /// Transactions open now.
    pub number_active_transactions: u32,
    /// Transactions that may be open at a time.
    pub max_number_active_transactions: u32,
    /// Updates are signed.
    pub supported_update_variants: String,
    /// Texts kept for the owner.
    pub metadata: Metadata,
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// `TSS`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
    /// Unix seconds.
    pub time_creation: i64,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_uninit: Option<i64>,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_init: Option<i64>,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_defective: Option<i64>,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_disable: Option<i64>,
    /// Always empty: there is no certification.
    pub bsi_certification_id: String,
}

/// A client.
#[derive(ToSchema)]
pub struct Client {
    /// Serial number of the till.
    pub serial_number: String,
    /// Whether it may sign.
    pub state: ClientState,
    /// Its TSS.
    #[schema(format = Uuid)]
    pub tss_id: String,
    /// Texts kept for the owner.
    pub metadata: Metadata,
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// `CLIENT`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
    /// Unix seconds.
    pub time_creation: i64,
    /// Unix seconds.
    pub time_update: i64,
}

/// A client as its registration is answered.
#[derive(ToSchema)]
pub struct ClientRegistered {
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// Whether it may sign.
    pub state: ClientState,
    /// Serial number of the till.
    pub serial_number: String,
    /// Unix seconds.
    pub time_creation: i64,
    /// Its TSS.
    #[schema(format = Uuid)]
    pub tss_id: String,
    /// `CLIENT`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
    /// Texts kept for the owner, where there are any.
    #[schema(nullable = false)]
    pub metadata: Option<Metadata>,
}

/// A transaction as it was at one of its revisions.
#[derive(ToSchema)]
pub struct Transaction {
    /// `{}` until something is given; then the form the till used and, as `raw`, what was signed.
    pub schema: TransactionSchema,
    /// Where it stood.
    pub state: TransactionState,
    /// Its TSS.
    #[schema(format = Uuid)]
    pub tss_id: String,
    /// Serial number of the TSS.
    pub tss_serial_number: String,
    /// Its till.
    #[schema(format = Uuid)]
    pub client_id: String,
    /// Serial number of the till.
    pub client_serial_number: String,
    /// This revision.
    #[schema(minimum = 1)]
    pub revision: u64,
    /// The latest one.
    #[schema(minimum = 1)]
    pub latest_revision: u64,
    /// Its number at the TSS.
    #[schema(minimum = 1)]
    pub number: u64,
    /// Unix seconds of the start.
    pub time_start: i64,
    /// Unix seconds of the end, once it has ended.
    #[schema(nullable = false)]
    pub time_end: Option<i64>,
    /// Texts kept for the owner, where there are any.
    #[schema(nullable = false)]
    pub metadata: Option<Metadata>,
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// `TRANSACTION`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
    /// Of the log message of this revision.
    pub signature: Signature,
    /// The log message of this revision.
    pub log: Log,
    /// Text of the QR code for the receipt, once it has ended.
    #[schema(nullable = false)]
    pub qr_code_data: Option<String>,
}

/// A signature.
#[derive(ToSchema)]
pub struct Signature {
    /// `r || s` in base64.
    pub value: String,
    /// How it was made.
    pub algorithm: String,
    /// Its number. A number here, whereas the counters of a TSS are text.
    #[schema(minimum = 1)]
    pub counter: u64,
    /// Uncompressed point in base64.
    pub public_key: String,
}

/// What a log message says.
#[derive(ToSchema)]
pub struct Log {
    /// `Start`, `Update` or `Finish`; a cancellation is a `Finish`, too.
    pub operation: String,
    /// Unix seconds.
    pub timestamp: i64,
    /// `unixTime`
    pub timestamp_format: String,
}

/// State of an export.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExportState {
    /// Waiting.
    Pending,
    /// Being counted.
    Working,
    /// Can be downloaded.
    Completed,
    /// Ended by a caller.
    Cancelled,
    /// Failed; `exception` says why.
    Error,
}

/// An export. Times that have not come are left out.
#[derive(ToSchema)]
pub struct Export {
    /// Where it stands.
    pub state: ExportState,
    /// Unix seconds.
    pub time_request: i64,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_start: Option<i64>,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_end: Option<i64>,
    /// Unix seconds; the file is gone then.
    #[schema(nullable = false)]
    pub time_expiration: Option<i64>,
    /// Unix seconds.
    #[schema(nullable = false)]
    pub time_error: Option<i64>,
    /// Unix seconds; when it is expected to end, as long as it has not.
    #[schema(nullable = false)]
    pub estimated_time_of_completion: Option<i64>,
    /// Why it failed.
    #[schema(nullable = false)]
    pub exception: Option<String>,
    /// Texts kept for the owner.
    pub metadata: Metadata,
    /// Its TSS.
    #[schema(format = Uuid)]
    pub tss_id: String,
    /// `EXPORT`
    pub _type: String,
    /// Its id.
    #[schema(format = Uuid)]
    pub _id: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
}
