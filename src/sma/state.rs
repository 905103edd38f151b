//! What a TSS remembers, as far as a batch of commands needs it.

use super::metadata::Metadata;
use crate::asn1::TransactionPhase;
use crate::receipt::Schema;
use crate::terms::{
    ClientId, ClientSerial, Environment, LogFormat, OrganizationId, ProcessData, ProcessType,
    Revision, SeTime, SerialNumber, SessionId, SignatureAlgorithm, SignatureCounter, TransactionId,
    TransactionNumber, TssId,
};
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq as _;

/// Where a TSS stands in its life (TR-03153-1 §3.9, mapped to the HTTP dialect's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TssState {
    /// Assigned to its owner; the PUK can be shown again.
    Created,
    /// Taken over; PIN and clients can be set.
    Uninitialized,
    /// Signs transactions.
    Initialized,
    /// Ended for good by its owner; exports work.
    Disabled,
    /// Ended for good by a fault; exports work.
    Defective,
}

impl TssState {
    /// Every state there is.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Uninitialized,
        Self::Initialized,
        Self::Disabled,
        Self::Defective,
    ];

    /// As written on the wire and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Uninitialized => "UNINITIALIZED",
            Self::Initialized => "INITIALIZED",
            Self::Disabled => "DISABLED",
            Self::Defective => "DEFECTIVE",
        }
    }
}

/// Argon2id of a PIN or PUK. Compared in constant time, never printed.
#[derive(Clone, Copy)]
pub struct CredentialDigest([u8; 32]);

impl CredentialDigest {
    /// Wraps the hash value.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The hash value, for the ledger.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for CredentialDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CredentialDigest {}

impl std::fmt::Debug for CredentialDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialDigest(..)")
    }
}

/// The one user of a TSS that logs in: `admin` (rules U-1, U-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUser {
    /// Salt of both digests.
    pub salt: [u8; 16],
    /// `None` until the PUK has set a PIN for the first time.
    pub pin: Option<CredentialDigest>,
    /// Wrong PINs left; 0 means blocked.
    pub pin_retries: u32,
    /// The PUK.
    pub puk: CredentialDigest,
    /// Wrong PUKs in a row.
    pub puk_failures: u32,
    /// No PUK is looked at before this time.
    pub puk_blocked_until: SeTime,
    /// The PUK itself, encrypted; only while the TSS is [`TssState::Created`].
    pub sealed_puk: Option<Vec<u8>>,
    /// Who is logged in (design decision 10).
    pub session: Option<SessionId>,
}

/// A key with its certificate, prepared ahead and not yet assigned (design decision 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Hash of its public key.
    pub serial_number: SerialNumber,
    /// How it signs.
    pub algorithm: SignatureAlgorithm,
    /// `04 || X || Y`.
    pub public_point: Vec<u8>,
    /// Signatures made so far: 1, the certificate request.
    pub signature_counter: SignatureCounter,
    /// End of its certificate.
    pub certificate_not_after: SeTime,
}

/// One TSS: everything that is not per client or per transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tss {
    /// Its identifier.
    pub id: TssId,
    /// Its owner.
    pub organization: OrganizationId,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Version of its log messages.
    pub format: LogFormat,
    /// Key, certificate and number of signatures made.
    pub device: Device,
    /// Where it stands.
    pub state: TssState,
    /// Empty until initialised or described.
    pub description: String,
    /// Number of the latest transaction; 0 before the first one.
    pub transaction_counter: TransactionNumber,
    /// Time of the latest message; no later message is earlier.
    pub last_se_time: SeTime,
    /// Clients in state REGISTERED.
    pub clients_registered: u32,
    /// Transactions in state ACTIVE.
    pub transactions_open: u32,
    /// Its administrator.
    pub admin: AdminUser,
    /// Texts kept for the owner.
    pub metadata: Metadata,
    /// When it was assigned.
    pub time_creation: SeTime,
    /// When it became UNINITIALIZED.
    pub time_uninit: Option<SeTime>,
    /// When it was initialised.
    pub time_init: Option<SeTime>,
    /// When it was disabled.
    pub time_disable: Option<SeTime>,
    /// When it became DEFECTIVE.
    pub time_defective: Option<SeTime>,
}

/// Whether a client may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientState {
    /// May sign.
    Registered,
    /// May not; can be registered again.
    Deregistered,
}

impl ClientState {
    /// As written on the wire and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "REGISTERED",
            Self::Deregistered => "DEREGISTERED",
        }
    }
}

/// A till.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Unique system-wide.
    pub id: ClientId,
    /// Unique within its TSS; what is signed.
    pub serial: ClientSerial,
    /// Whether it may sign.
    pub state: ClientState,
    /// When it was first registered.
    pub time_creation: SeTime,
    /// When it last changed.
    pub time_update: SeTime,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    /// Started, not ended.
    Active,
    /// Ended by its till.
    Finished,
    /// Ended by its till as aborted.
    Cancelled,
}

impl TransactionState {
    /// As written on the wire and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Finished => "FINISHED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Number within its TSS.
    pub number: TransactionNumber,
    /// Its till's name for it.
    pub id: TransactionId,
    /// Where it stands.
    pub state: TransactionState,
    /// Number of its latest step.
    pub latest_revision: Revision,
    /// Client of its latest step.
    pub client: ClientId,
    /// Time of its start message.
    pub time_start: SeTime,
    /// Time of its finish message.
    pub time_end: Option<SeTime>,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

/// One signed step of a transaction, complete enough to be answered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionStep {
    /// Of which transaction.
    pub number: TransactionNumber,
    /// Its place.
    pub revision: Revision,
    /// State it led to.
    pub state: TransactionState,
    /// What was signed it was.
    pub phase: TransactionPhase,
    /// The till.
    pub client: ClientId,
    /// Serial number as signed.
    pub client_serial: ClientSerial,
    /// The schema in force; `None` as long as none was given.
    pub schema: Option<Schema>,
    /// processType as signed.
    pub process_type: ProcessType,
    /// processData as signed.
    pub process_data: ProcessData,
    /// Digest of the request that made it (see [`super::decide`]).
    pub request_digest: [u8; 32],
    /// Digest of the metadata that came with that request; `None` in steps from before it was kept.
    pub metadata_digest: Option<[u8; 32]>,
    /// Number of the signature.
    pub signature_counter: SignatureCounter,
    /// Time in the message.
    pub log_time: SeTime,
    /// Plain `r || s`; empty until it was signed.
    pub signature: Vec<u8>,
}

/// The part of a TSS that a batch names. Loaded under the lock, changed only by
/// [`Slice::record`](Slice::record), written back as far as `changed` names it.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Which TSS this is about, whether it exists or not.
    pub tss_id: Option<TssId>,
    /// `None` when there is no such TSS.
    pub tss: Option<Tss>,
    /// A free device for [`Command::Assign`](super::Command::Assign), when the pool has one.
    pub free_device: Option<Device>,
    /// The named clients of this TSS that exist.
    pub clients: BTreeMap<ClientId, Client>,
    /// Named client ids that belong to another TSS, or are being taken by one right now.
    pub clients_elsewhere: BTreeSet<ClientId>,
    /// Named serial numbers that exist at this TSS, with their owners.
    pub serials: BTreeMap<ClientSerial, ClientId>,
    /// The named transactions that exist.
    pub transactions: BTreeMap<TransactionNumber, Transaction>,
    /// Their ids.
    pub transaction_ids: BTreeMap<TransactionId, TransactionNumber>,
    /// Of the named transactions: the named revisions and the latest one.
    pub steps: BTreeMap<(TransactionNumber, Revision), TransactionStep>,
    /// What was recorded since loading.
    pub changed: Changed,
}

/// How much of the row of a TSS has to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TssChange {
    /// None of it.
    #[default]
    Nothing,
    /// What each message and each transaction moves on: the signature counter, the time of the latest message, the
    /// transaction counter, and how many transactions are open. The number of registered clients is not among them.
    Counters,
    /// Other columns, too.
    Anything,
}

/// What has to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The TSS itself.
    pub tss: TssChange,
    /// Clients.
    pub clients: BTreeSet<ClientId>,
    /// Transactions.
    pub transactions: BTreeSet<TransactionNumber>,
    /// New steps.
    pub steps: BTreeSet<(TransactionNumber, Revision)>,
}

impl Changed {
    /// The TSS has changed so far at least.
    pub fn note_tss(&mut self, how: TssChange) {
        self.tss = self.tss.max(how);
    }
}
