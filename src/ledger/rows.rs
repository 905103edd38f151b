//! What the ledger hands out, and how it can be asked.

use crate::sma::{
    Client, ClientState, Metadata, Transaction, TransactionState, TransactionStep, Tss, TssState,
};
use crate::terms::{
    ClientId, ClientSerial, Environment, ExportId, OrganizationId, SeTime, SerialNumber, SessionId,
    SignatureAlgorithm, SignatureCounter, TransactionNumber, TssId,
};
use sha2::{Digest as _, Sha256};
use std::ops::RangeInclusive;
use uuid::Uuid;

/// An owner of TSSs and API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationRow {
    /// Identifier.
    pub id: OrganizationId,
    /// Name, for people.
    pub name: String,
    /// When it was made.
    pub time_creation: SeTime,
}

/// Whether an API key may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyStatus {
    /// It may.
    Enabled,
    /// It may not for now, and its tokens are refused.
    Disabled,
    /// The same for good.
    Revoked,
}

impl ApiKeyStatus {
    /// Every status there is.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Revoked];

    /// As written on the wire and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// An API key; the secret is known by its SHA-256 only (it is long and random, so no slow hash).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The text clients send as `api_key`.
    pub key: String,
    /// Whose.
    pub organization: OrganizationId,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Name, for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// May it log in?
    pub status: ApiKeyStatus,
    /// When it was made.
    pub time_creation: SeTime,
}

impl ApiKey {
    /// Its identifier where the key itself is not to be shown. It is computed from the key, so that
    /// every key has one.
    pub fn id(&self) -> Uuid {
        Self::id_of(&self.key)
    }

    /// The identifier of the key with this text.
    pub fn id_of(key: &str) -> Uuid {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut bytes = [0; 16];
        for (byte, of_digest) in bytes.iter_mut().zip(digest) {
            *byte = of_digest;
        }
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// One login of an API key. The tokens themselves are not stored: they are signed anew, byte by byte
/// the same, from these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Survives refresh.
    pub id: SessionId,
    /// Which key logged in.
    pub api_key: String,
    /// When the present pair of tokens was issued.
    pub time_issued: SeTime,
    /// When the access token expires.
    pub access_expires: SeTime,
    /// When the refresh token expires.
    pub refresh_expires: SeTime,
    /// Which token-signing secret signed them.
    pub secret_id: String,
}

/// A token-signing secret, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSecret {
    /// Key id in token headers.
    pub id: String,
    /// Encrypted bytes.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub time_creation: SeTime,
}

/// A TSS with its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TssRow {
    /// Its state.
    pub tss: Tss,
    /// DER of its certificate.
    pub certificate: Vec<u8>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most items.
    pub limit: u32,
    /// Items to skip.
    pub offset: u64,
    /// Sort column by its HTTP dialect name; an unknown one never gets here.
    pub order_by: &'static str,
    /// Direction.
    pub order: ListOrder,
}

/// Direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// Which clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Only of this TSS.
    pub tss: Option<TssId>,
    /// Only in this state.
    pub state: Option<ClientState>,
    /// Only with this serial number.
    pub serial: Option<ClientSerial>,
}

/// Which transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Only of this TSS.
    pub tss: Option<TssId>,
    /// Only those whose latest step is this client's.
    pub client: Option<ClientId>,
    /// Only in one of these states; empty means any.
    pub states: Vec<TransactionState>,
}

/// A transaction with its latest step, and what its TSS adds to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRow {
    /// Its TSS.
    pub tss: TssId,
    /// The transaction.
    pub transaction: Transaction,
    /// The step to show.
    pub step: TransactionStep,
    /// Serial number of the TSS.
    pub serial_number: SerialNumber,
    /// How it signs.
    pub algorithm: SignatureAlgorithm,
    /// `04 || X || Y`.
    pub public_point: Vec<u8>,
}

/// State of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// Not counted yet.
    Pending,
    /// Being counted.
    Working,
    /// Can be downloaded.
    Completed,
    /// Failed; see `exception`.
    Error,
    /// Cancelled by its owner.
    Cancelled,
}

impl ExportState {
    /// Every state there is.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Working,
        Self::Completed,
        Self::Error,
        Self::Cancelled,
    ];

    /// As written on the wire and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Working => "WORKING",
            Self::Completed => "COMPLETED",
            Self::Error => "ERROR",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// An export that waits for a worker, or is being worked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedExport {
    /// Its TSS.
    pub tss: TssId,
    /// Identifier within the TSS.
    pub id: ExportId,
    /// Messages that may have to be looked at.
    pub messages: u64,
}

/// An export as requested, and what was frozen at its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow {
    /// Its TSS.
    pub tss: TssId,
    /// Identifier within the TSS.
    pub id: ExportId,
    /// Where it stands.
    pub state: ExportState,
    /// The request's filters in canonical text, to find duplicates.
    pub filter: String,
    /// Which messages; `None` until a worker has resolved the filters.
    pub selection: Option<Selection>,
    /// Number of messages selected.
    pub messages: Option<u64>,
    /// Most messages allowed.
    pub messages_max: u64,
    /// Signature counter of the TSS at the request; nothing later is exported.
    pub counter_at_request: SignatureCounter,
    /// SE time at the request: mtime of the archive's members.
    pub time_request: SeTime,
    /// `info.csv` as it was at the request.
    pub info_csv: Vec<u8>,
    /// Certificates as they were at the request: file name and DER.
    pub certificates: Vec<(String, Vec<u8>)>,
    /// When a worker took it up.
    pub time_start: Option<SeTime>,
    /// When it was completed.
    pub time_end: Option<SeTime>,
    /// When it can no longer be downloaded.
    pub time_expiration: Option<SeTime>,
    /// When it failed.
    pub time_error: Option<SeTime>,
    /// Code of the failure.
    pub exception: Option<String>,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

/// Which messages of a TSS an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Signature counters; system and audit messages inside are always included.
    pub counters: RangeInclusive<u64>,
    /// Only transaction messages of this client.
    pub client: Option<ClientId>,
    /// Only transaction messages with these numbers.
    pub transactions: Option<RangeInclusive<u64>>,
    /// Only messages with a log time in this interval, in unix seconds.
    pub times: Option<RangeInclusive<i64>>,
}

/// Kind of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Transaction log.
    Transaction,
    /// System log.
    System,
    /// Audit log.
    Audit,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its number.
    pub signature_counter: SignatureCounter,
    /// Its name in exports.
    pub file_name: String,
    /// The exact bytes.
    pub der: Vec<u8>,
}

/// A client with its TSS.
pub type ClientRow = (TssId, Client);

/// TSS states and order of a list, kept for symmetry with the other filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TssFilter {
    /// Only in one of these states; empty means any.
    pub states: Vec<TssState>,
}

/// Which exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportFilter {
    /// Only of this TSS.
    pub tss: Option<TssId>,
    /// Only in one of these states; empty means any.
    pub states: Vec<ExportState>,
}

/// Bounds of the transactions that match export filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterBounds {
    /// Smallest signature counter of a matching transaction message.
    pub first: SignatureCounter,
    /// Greatest one.
    pub last: SignatureCounter,
    /// Greatest matching transaction number.
    pub transaction_last: TransactionNumber,
}
