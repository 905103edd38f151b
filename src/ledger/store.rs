//! Everything but signing: opening, reading, and the rows that no lane owns.
//!
//! All calls block; the async rooms run them off their workers.
#![allow(unused_variables, reason = "first cut")]
#![allow(missing_docs, reason = "first cut")]

use super::LedgerError;
use super::lane::LaneLedger;
use super::rows::*;
use crate::csp::KeyId;
use crate::sma::{Client, MetadataPatch, TransactionRef};
use crate::terms::{
    ClientId, Entropy, Environment, ExportId, OrganizationId, Revision, SeTime, SessionId,
    SignatureCounter, TransactionNumber, TssId,
};
use std::path::PathBuf;

/// Where the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, one process.
    Sqlite {
        /// The database file; its directory must be on a local disk.
        path: PathBuf,
    },
    /// Shared by any number of nodes.
    Postgres {
        /// libpq connection string or URL.
        url: String,
        /// Connections for reading.
        connections_max: u32,
        /// Longest wait for a lock, in milliseconds.
        lock_timeout_ms: u32,
    },
}

/// The ledger, opened and migrated. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    config: StoreConfig,
}

type Result<T> = std::result::Result<T, LedgerError>;

impl Store {
    /// Opens, takes the process lock (SQLite), checks durability settings, migrates.
    pub fn open(config: &StoreConfig, entropy: &dyn Entropy) -> Result<Self> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Like [`Self::lane`], but free devices are taken from this token only.
    pub fn lane_for_token(&self, token: &str) -> Result<Box<dyn LaneLedger>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// A connection for one signing lane. On SQLite there can be only one at a time.
    pub fn lane(&self) -> Result<Box<dyn LaneLedger>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// How many lanes may sign at a time: 1 on SQLite, `None` = as many as wanted.
    pub fn lanes_max(&self) -> Option<usize> {
        match self.config {
            StoreConfig::Sqlite { .. } => Some(1),
            StoreConfig::Postgres { .. } => None,
        }
    }
    /// Identifier of this ledger, made with it.
    pub fn ledger_id(&self) -> Result<String> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Cheap proof that the database answers.
    pub fn check_health(&self) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }

    // organisations, API keys, sessions, token secrets
    pub fn add_organization(&self, organization: &OrganizationRow) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn organization(&self, id: OrganizationId) -> Result<Option<OrganizationRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn organizations(&self) -> Result<Vec<OrganizationRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn add_api_key(&self, key: &ApiKey) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn api_key(&self, key: &str) -> Result<Option<ApiKey>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn api_keys(&self, organization: OrganizationId) -> Result<Vec<ApiKey>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn set_api_key_status(&self, key: &str, status: ApiKeyStatus) -> Result<bool> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// The session of this key whose access token lives longest, if any lives at `now`.
    pub fn live_session(&self, api_key: &str, now: SeTime) -> Result<Option<Session>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn session(&self, id: SessionId) -> Result<Option<Session>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Inserts or replaces by id.
    pub fn put_session(&self, session: &Session) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Removes sessions whose refresh token expired before `now`.
    pub fn forget_expired_sessions(&self, now: SeTime) -> Result<u64> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Inserts unless one with this id exists.
    pub fn add_token_secret(&self, secret: &TokenSecret) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Newest first.
    pub fn token_secrets(&self) -> Result<Vec<TokenSecret>> {
        Err(LedgerError::Damaged(String::new()))
    }

    // devices and certificates
    pub fn add_device(&self, device: &PreparedDevice) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn free_devices(&self, environment: Environment) -> Result<u64> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// CKA_IDs of all keys of this token that the ledger knows (devices and CAs), for orphan detection.
    pub fn known_keys(&self, token: &str) -> Result<Vec<KeyId>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn add_ca(&self, ca: &CaCertificate) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn cas(&self, environment: Environment) -> Result<Vec<CaCertificate>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// The certificates of a TSS, leaf first, root last: hash of the public key and DER.
    pub fn chain(&self, tss: TssId) -> Result<Vec<(crate::terms::SerialNumber, Vec<u8>)>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Label of the token that holds the key of this TSS.
    pub fn token_of(&self, tss: TssId) -> Result<Option<String>> {
        Err(LedgerError::Damaged(String::new()))
    }

    // reading
    pub fn tss(&self, id: TssId) -> Result<Option<TssRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn tss_list(
        &self,
        owner: (OrganizationId, Environment),
        filter: &TssFilter,
        page: &Page,
    ) -> Result<Vec<TssRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn client(&self, tss: TssId, id: ClientId) -> Result<Option<Client>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn clients(
        &self,
        owner: (OrganizationId, Environment),
        filter: &ClientFilter,
        page: &Page,
    ) -> Result<Vec<ClientRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// The transaction with its step of this revision (`None`: the latest).
    pub fn transaction(
        &self,
        tss: TssId,
        which: TransactionRef,
        revision: Option<Revision>,
    ) -> Result<TransactionLookup> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn transactions(
        &self,
        owner: (OrganizationId, Environment),
        filter: &TransactionFilter,
        page: &Page,
    ) -> Result<Vec<TransactionRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn message(&self, tss: TssId, counter: SignatureCounter) -> Result<Option<MessageRow>> {
        Err(LedgerError::Damaged(String::new()))
    }

    // exports
    /// Err(Exists) when the id is in use at this TSS.
    pub fn add_export(&self, export: &ExportRow) -> Result<()> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn export(&self, tss: TssId, id: ExportId) -> Result<Option<ExportRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn exports(
        &self,
        owner: (OrganizationId, Environment),
        filter: &ExportFilter,
        page: &Page,
    ) -> Result<Vec<ExportRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// PENDING or WORKING exports of a TSS (for limits and duplicates).
    pub fn running_exports(&self, tss: TssId) -> Result<Vec<ExportRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Takes the oldest PENDING export up: it becomes WORKING, by this call alone.
    pub fn take_pending_export(&self, now: SeTime) -> Result<Option<ExportRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Writes state, selection, counts, times and exception, if its state is still `from`.
    pub fn update_export(&self, from: ExportState, export: &ExportRow) -> Result<bool> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Puts WORKING exports of a crashed worker back to PENDING (at start).
    pub fn requeue_exports(&self) -> Result<u64> {
        Err(LedgerError::Damaged(String::new()))
    }
    pub fn merge_export_metadata(
        &self,
        tss: TssId,
        id: ExportId,
        patch: &MetadataPatch,
    ) -> Result<Option<crate::sma::Metadata>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Bounds of the transaction messages of this client and these numbers up to a counter.
    pub fn transaction_bounds(
        &self,
        tss: TssId,
        client: Option<ClientId>,
        numbers: Option<std::ops::RangeInclusive<TransactionNumber>>,
        up_to: SignatureCounter,
    ) -> Result<Option<CounterBounds>> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Number of messages selected, counting stops above `max`.
    pub fn count_messages(&self, tss: TssId, selection: &Selection, max: u64) -> Result<u64> {
        Err(LedgerError::Damaged(String::new()))
    }
    /// Messages selected with a counter above `after`, in counter order, at most `limit`.
    pub fn messages(
        &self,
        tss: TssId,
        selection: &Selection,
        after: SignatureCounter,
        limit: u32,
    ) -> Result<Vec<MessageRow>> {
        Err(LedgerError::Damaged(String::new()))
    }
}

/// Result of looking for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionLookup {
    /// Here it is.
    Found(Box<TransactionRow>),
    /// No such transaction.
    NoTransaction,
    /// The transaction exists, this revision does not.
    NoRevision,
}
