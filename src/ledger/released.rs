//! What this process has released: its own memory of how far the ledger was.
//!
//! Invariant: filled after a commit and before its answers, read by whoever keeps the witness file.
//! Bounded: one mark per TSS, and the newest messages up to [`WAITING_BYTES_MAX`].

use super::lane::{Batch, SignedKind, SignedMessage, TssBatch};
use crate::sma::TransactionState;
use crate::terms::{
    ClientId, ClientSerial, SerialNumber, SignatureCounter, TransactionId, TransactionNumber, TssId,
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of messages that wait to be taken; older ones are let go, their marks stay.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far a TSS was when its latest message was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose key has signed.
    pub device: SerialNumber,
    /// Of the latest message.
    pub signature_counter: SignatureCounter,
    /// Latest number given to a transaction.
    pub transaction: TransactionNumber,
    /// SHA-256 of the latest message.
    pub digest: [u8; 32],
}

/// A message that was released, with what its bytes do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedMessage {
    /// Whose.
    pub tss: TssId,
    /// As it is kept.
    pub message: SignedMessage,
    /// The till's name for the transaction.
    pub transaction: Option<TransactionId>,
    /// Digest of the request that led to it.
    pub request_digest: Option<[u8; 32]>,
    /// State the transaction had afterwards.
    pub state: Option<TransactionState>,
    /// Ids of the clients that changed with it, and of those beside it in its batch.
    pub clients: Vec<(ClientId, ClientSerial)>,
}

/// Clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct Released(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    is_kept: bool,
    marks: BTreeMap<TssId, Mark>,
    changed: BTreeSet<TssId>,
    waiting: VecDeque<ReleasedMessage>,
    waiting_bytes: usize,
}

/// What has come since the last time.
#[derive(Debug, Default)]
pub struct Fresh {
    /// Marks that have changed.
    pub marks: BTreeMap<TssId, Mark>,
    /// Messages in the order they were released.
    pub messages: Vec<ReleasedMessage>,
}

impl Released {
    /// From now on somebody reads it.
    pub fn keep(&self) {
        self.memory().is_kept = true;
    }

    /// Takes marks of an earlier life over; a higher one that is here stays.
    pub fn remember(&self, marks: BTreeMap<TssId, Mark>) {
        let mut memory = self.memory();
        for (tss, mark) in marks {
            let known = memory.marks.get(&tss);
            if known.is_none_or(|known| known.signature_counter < mark.signature_counter) {
                memory.marks.insert(tss, mark);
            }
        }
    }

    /// All marks at this moment.
    pub fn marks(&self) -> BTreeMap<TssId, Mark> {
        self.memory().marks.clone()
    }

    /// What has come since the last call.
    pub fn take_fresh(&self) -> Fresh {
        let mut memory = self.memory();
        let changed = std::mem::take(&mut memory.changed);
        memory.waiting_bytes = 0;
        let messages = std::mem::take(&mut memory.waiting).into();
        let mark = |tss: TssId| Some((tss, memory.marks.get(&tss)?.clone()));
        Fresh {
            marks: changed.into_iter().filter_map(mark).collect(),
            messages,
        }
    }

    /// A batch that is kept and will be told.
    pub fn note(&self, batch: &Batch) {
        if !self.memory().is_kept {
            return;
        }
        // Hashing and copying come before the lock, which other lanes wait for.
        let noted: Vec<_> = batch.entries.iter().filter_map(noted).collect();
        let mut memory = self.memory();
        for (tss, mark, messages) in noted {
            memory.marks.insert(tss, mark);
            memory.changed.insert(tss);
            for message in messages {
                memory.waiting_bytes += message.message.der.len();
                memory.waiting.push_back(message);
            }
        }
        while memory.waiting_bytes > WAITING_BYTES_MAX {
            let Some(oldest) = memory.waiting.pop_front() else {
                break;
            };
            memory.waiting_bytes -= oldest.message.der.len();
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn noted(entry: &TssBatch) -> Option<(TssId, Mark, Vec<ReleasedMessage>)> {
    let (state, last) = (entry.slice.tss.as_ref()?, entry.messages.last()?);
    let mark = Mark {
        device: state.device.serial_number,
        signature_counter: last.signature_counter,
        transaction: state.transaction_counter,
        digest: Sha256::digest(&last.der).into(),
    };
    let changed = entry.slice.changed.clients.iter();
    let clients: Vec<_> = changed
        .filter_map(|id| Some((*id, entry.slice.clients.get(id)?.serial.clone())))
        .collect();
    let messages = entry.messages.iter().map(|message| {
        let step = match &message.kind {
            SignedKind::Transaction {
                number, revision, ..
            } => entry.slice.steps.get(&(*number, *revision)),
            SignedKind::System | SignedKind::Audit => None,
        };
        let transaction = step.and_then(|step| entry.slice.transactions.get(&step.number));
        ReleasedMessage {
            tss: entry.tss,
            message: message.clone(),
            transaction: transaction.map(|transaction| transaction.id),
            request_digest: step.map(|step| step.request_digest),
            state: step.map(|step| step.state),
            clients: match message.kind {
                SignedKind::System => clients.clone(),
                SignedKind::Transaction { .. } | SignedKind::Audit => Vec::new(),
            },
        }
    });
    Some((entry.tss, mark, messages.collect()))
}
