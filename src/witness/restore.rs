//! Puts lost messages back into the ledger, byte for byte, and rebuilds what follows from them.
//!
//! Invariant: a message is put back only where it fits exactly: its bytes verify under the key of its
//! TSS, and its counters follow what is stored. What its bytes do not say stays as it is.

use super::rebuild::Rebuilding;
use crate::asn1::{ReadEvent, ReadKind, ReadLogMessage, read};
use crate::ledger::{Batch, CommitError, LaneLedger, LedgerError, ReleasedMessage};
use crate::sma::{Needs, TransactionRef};
use crate::terms::{ClientSerial, SignatureCounter, TransactionNumber, TssId};
use std::collections::BTreeMap;

/// Messages in one commit.
const BATCH_LEN: usize = 200;

/// Why a message is not put back. What was put back before stays.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The ledger does not do it.
    #[error("the ledger could not take the messages back")]
    Ledger(#[from] LedgerError),
    /// The ledger did not commit it.
    #[error("the ledger could not take the messages back")]
    Commit(#[from] CommitError),
    /// The TSS is not in the ledger: its PIN, PUK and owner stand in no message.
    #[error("the ledger does not know the TSS {0}; it cannot be made anew")]
    NoTss(TssId),
    /// The source lacks a message.
    #[error("the source does not hold message {counter}; what follows it does not fit")]
    Gap {
        /// The first one that is missing.
        counter: u64,
    },
    /// A message does not fit.
    #[error("message {counter} does not fit: {reason}")]
    Unfit {
        /// Its number.
        counter: u64,
        /// Why.
        reason: &'static str,
    },
}

/// A message from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMessage {
    /// The exact bytes.
    pub der: Vec<u8>,
    /// What else is known, from a node file.
    pub more: Option<ReleasedMessage>,
}

/// A message that was read.
pub(super) struct Parsed {
    pub lost: LostMessage,
    pub read: ReadLogMessage,
}

/// Puts back what the ledger lacks of a TSS, and returns how many messages that were. Messages that it
/// has are passed over if they are the same.
///
/// # Errors
/// [`RestoreError`] at the first message that does not fit.
pub fn restore(
    lane: &mut dyn LaneLedger,
    tss: TssId,
    messages: Vec<LostMessage>,
) -> Result<u64, RestoreError> {
    let mut waiting = BTreeMap::<u64, Parsed>::new();
    for lost in messages {
        let Ok(read) = read(&lost.der) else {
            let reason = "its bytes are no log message";
            return Err(RestoreError::Unfit { counter: 0, reason });
        };
        let counter = read.signature_counter;
        let other = waiting.insert(counter, Parsed { lost, read });
        let now = waiting.get(&counter);
        if other
            .zip(now)
            .is_some_and(|(other, now)| other.lost.der != now.lost.der)
        {
            let reason = "the source holds two different ones";
            return Err(RestoreError::Unfit { counter, reason });
        }
    }
    let mut waiting: Vec<Parsed> = waiting.into_values().collect();
    let mut restored = 0;
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(BATCH_LEN));
        restored += restore_some(lane, tss, std::mem::replace(&mut waiting, rest))?;
    }
    Ok(restored)
}

fn needs_of(messages: &[Parsed]) -> Needs {
    let mut needs = Needs::default();
    for Parsed { read, lost } in messages {
        let clients = lost.more.iter().flat_map(|more| &more.clients);
        needs.clients.extend(clients.map(|(id, _)| *id));
        match &read.kind {
            ReadKind::Transaction {
                client_id,
                transaction_number,
                ..
            } => {
                let number = TransactionNumber::new(*transaction_number);
                needs.transactions.insert(TransactionRef::Number(number));
                needs
                    .serials
                    .extend(ClientSerial::try_from(client_id.as_str()).ok());
            }
            ReadKind::System { event, .. } => {
                if let ReadEvent::Known {
                    client_id: Some(client),
                    ..
                } = event
                {
                    needs
                        .serials
                        .extend(ClientSerial::try_from(client.as_str()).ok());
                }
            }
            ReadKind::Audit { .. } => {}
        }
    }
    needs
}

fn restore_some(
    lane: &mut dyn LaneLedger,
    tss: TssId,
    messages: Vec<Parsed>,
) -> Result<u64, RestoreError> {
    let mut needs = needs_of(&messages);
    let serials = {
        let mut held = lane.lock(&BTreeMap::from([(tss, needs.clone())]))?;
        held.require_all()?;
        let loaded = held.take_loaded().remove(&tss);
        loaded
            .map(|loaded| loaded.slice.serials)
            .unwrap_or_default()
    };
    needs.clients.extend(serials.values());
    let first = messages
        .first()
        .map(|message| message.read.signature_counter);
    let mut held = lane.lock(&BTreeMap::from([(tss, needs)]))?;
    held.require_all()?;
    let mut stored = BTreeMap::new();
    for message in &messages {
        let counter = SignatureCounter::new(message.read.signature_counter);
        stored.insert(counter.value(), held.message(tss, counter)?);
    }
    let loaded = held.take_loaded().remove(&tss);
    let (Some(loaded), Some(_)) = (loaded, first) else {
        return Err(RestoreError::NoTss(tss));
    };
    let (Some(state), Some(key)) = (loaded.slice.tss.clone(), loaded.key.clone()) else {
        return Err(RestoreError::NoTss(tss));
    };
    let expected = state.device.signature_counter;
    let mut rebuilding = Rebuilding {
        slice: loaded.slice,
        tss: state,
        messages: Vec::new(),
    };
    for message in messages {
        let counter = message.read.signature_counter;
        match stored.get(&counter) {
            Some(Some(der)) if *der == message.lost.der => continue,
            Some(Some(_)) => {
                let reason = "the ledger holds another one with this number";
                return Err(RestoreError::Unfit { counter, reason });
            }
            Some(None) | None => {}
        }
        rebuilding.take(&key.public_key, message)?;
    }
    let count = rebuilding.messages.len();
    if count > 0 {
        let entry = rebuilding.into_entry(tss, expected);
        held.commit(&Batch {
            entries: vec![entry],
        })?;
    }
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}
