//! The port that signing lanes use: lock, load, commit.

use super::{Clearance, LedgerError};
use crate::csp::KeyPair;
use crate::sma::{Needs, Slice};
use crate::terms::{
    ClientId, ClientSerial, Revision, SeTime, SerialNumber, SignatureCounter, TransactionNumber,
    TssId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a lane needs of the ledger.
///
/// Contract, proven for every adapter by `tests/it/contract/ledger.rs`:
/// - between `lock` and the end of the `Held` no other lane, thread, process or node can commit for the
///   locked TSSs; rows are locked in id order; waiting for a lock is bounded;
/// - a TSS that somebody else holds for longer than a moment keeps nobody from the others: it is `late`,
///   and neither locked nor loaded;
/// - `Ok` of `commit` means every message and every state of the batch survives a power cut;
/// - `RolledBack` means nothing of it is there and nothing will be; `Unknown` means all or nothing is
///   there, and only a look can tell;
/// - a batch whose expected counters do not match what is stored is rolled back (`RolledBack`), and a
///   message `(TSS, signature counter)` that exists is never replaced, not even by equal bytes;
/// - a batch is rolled back whose `active` is not the active token any more: who thinks that the old one
///   still is, as a node that was frozen does, cannot commit;
/// - a device that is withheld when its row is reserved, or that was set aside, is loaded for no new TSS.
pub trait LaneLedger: Send {
    /// Locks these TSSs and loads what the needs name. A TSS that does not exist is loaded as a slice
    /// without `tss`; the right to create it is part of the lock.
    fn lock(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Box<dyn Held + '_>, LedgerError>;

    /// Whether this device belongs to a TSS. Used after a refused commit, outside any lock.
    fn is_device_taken(&mut self, device: SerialNumber) -> Result<bool, LedgerError>;

    /// Makes no TSS of this device any more; a device that a TSS has stays as it is. `reason` is for
    /// people. Used outside any lock.
    fn set_device_aside(&mut self, device: SerialNumber, reason: &str) -> Result<(), LedgerError>;

    /// The devices that are withheld in this process: one set for all its lanes.
    fn withheld(&self) -> WithheldDevices;

    /// Whether what this process signs with was compared with its witnesses: one for all its lanes.
    fn clearance(&self) -> Clearance {
        Clearance::default()
    }

    /// Tells the witnesses of this process that the batch is kept and will be told. Called once for each
    /// batch, before its answers; does not wait for anything.
    fn released(&mut self, _batch: &Batch) {}
}

/// Devices that look free to the ledger, and that no lane of this process may give to a TSS: their keys
/// have signed what waits for its commit, or do not sign. Clones share one set.
#[derive(Clone, Debug, Default)]
pub struct WithheldDevices(Arc<Mutex<BTreeSet<SerialNumber>>>);

impl WithheldDevices {
    /// From now on it is given to nobody. To be called before the lock is released under which it was
    /// loaded.
    pub fn withhold(&self, device: SerialNumber) {
        self.set().insert(device);
    }

    /// From now on only the ledger decides.
    pub fn release(&self, device: SerialNumber) {
        self.set().remove(&device);
    }

    /// All of them at this moment.
    pub fn all(&self) -> BTreeSet<SerialNumber> {
        self.set().clone()
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<SerialNumber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locked TSSs. Dropping it releases the locks and commits nothing.
pub trait Held {
    /// Takes the loaded state out.
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss>;

    /// Those of the named TSSs that are not locked, because somebody else holds them for too long.
    fn late(&self) -> &BTreeSet<TssId>;

    /// For whoever can do nothing with a part.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when one of them is late.
    fn require_all(&self) -> Result<(), LedgerError> {
        if self.late().is_empty() {
            return Ok(());
        }
        Err(LedgerError::Unavailable {
            action: "lock a TSS",
            source: "another node or lane holds it".into(),
        })
    }

    /// The stored message with this counter, of a TSS that is locked. Used after an unknown outcome.
    ///
    /// # Errors
    /// When the database does not answer.
    fn message(
        &mut self,
        tss: TssId,
        counter: SignatureCounter,
    ) -> Result<Option<Vec<u8>>, LedgerError>;

    /// Writes the batch in one durable commit and releases the locks.
    fn commit(self: Box<Self>, batch: &Batch) -> Result<(), CommitError>;
}

/// One TSS as loaded.
#[derive(Clone, Debug)]
pub struct LoadedTss {
    /// The part of its state that was asked for.
    pub slice: Slice,
    /// Its key, or the key of `slice.free_device`; `None` when there is neither.
    pub key: Option<KeyPair>,
    /// Label of the token that holds this key.
    pub token: Option<String>,
    /// A witness knows more of it than the ledger: it signs nothing until a person decides.
    pub is_held: bool,
    /// Which of that token and its standby signs, where it has one.
    pub active: Option<ActiveToken>,
}

/// Which of two tokens with the same keys signs. One row of the ledger, so that all nodes see the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveToken {
    /// Label under which the ledger knows their keys.
    pub label: String,
    /// Name of the section of the one that signs.
    pub section: String,
    /// Counts the switches.
    pub epoch: u64,
}

/// Everything that one commit writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// One entry per TSS that changes.
    pub entries: Vec<TssBatch>,
}

impl Batch {
    /// Whether it changes this TSS.
    pub fn writes(&self, tss: TssId) -> bool {
        self.entries.iter().any(|entry| entry.tss == tss)
    }
}

/// What one commit writes for one TSS.
#[derive(Clone, Debug)]
pub struct TssBatch {
    /// Which TSS.
    pub tss: TssId,
    /// Signature counter that must be stored before; `None` for a TSS that this batch creates (its
    /// device must still be free).
    pub expected_counter: Option<SignatureCounter>,
    /// State after the batch; `slice.changed` names what to write.
    pub slice: Slice,
    /// Which token signed, where it has a standby. Must be the active one when this is committed.
    pub active: Option<ActiveToken>,
    /// New messages, in counter order. Their counters follow `expected_counter` without gap.
    pub messages: Vec<SignedMessage>,
}

impl TssBatch {
    /// The device of a TSS that this batch creates.
    pub fn new_device(&self) -> Option<SerialNumber> {
        let created = self.slice.tss.as_ref();
        created
            .filter(|_| self.expected_counter.is_none())
            .map(|tss| tss.device.serial_number)
    }
}

/// A signed log message as it will be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    /// Its number.
    pub signature_counter: SignatureCounter,
    /// Its time.
    pub log_time: SeTime,
    /// Its name in exports.
    pub file_name: String,
    /// What kind of message, with the columns that exports filter by.
    pub kind: SignedKind,
    /// The exact bytes; every other column can be rebuilt from them.
    pub der: Vec<u8>,
}

/// Kind of a signed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedKind {
    /// Transaction log.
    Transaction {
        /// Number of the transaction.
        number: TransactionNumber,
        /// Step.
        revision: Revision,
        /// Client that made it.
        client: ClientId,
        /// Its serial number as signed.
        client_serial: ClientSerial,
    },
    /// System log.
    System,
    /// Audit log.
    Audit,
}

/// Why a commit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it is there and nothing will be.
    #[error("the ledger refused the batch")]
    RolledBack {
        /// The database's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// All or nothing is there; look before signing anything else.
    #[error("it is not known whether the ledger took the batch")]
    Unknown {
        /// The database's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
