//! Puts lost messages back into the ledger, byte for byte, and rebuilds what follows from them.
//!
//! Invariant: a message is put back only where it fits exactly: its bytes verify under the key of its
//! TSS, and its counters follow what is stored. What its bytes do not say stays as it is.

use crate::asn1::{
    LogFileName, LogTime, ReadEvent, ReadKind, ReadLogMessage, TransactionPhase, read,
};
use crate::csp::{PublicKey, check};
use crate::ledger::lane::SignedKind;
use crate::ledger::{
    Batch, CommitError, LaneLedger, LedgerError, ReleasedMessage, SignedMessage, TssBatch,
};
use crate::sma::{
    Client, ClientState, Metadata, Needs, Slice, Transaction, TransactionRef, TransactionState,
    TransactionStep, Tss, TssState,
};
use crate::terms::{
    ClientId, ClientSerial, Hash, ProcessData, ProcessType, Revision, SeTime, SignatureCounter,
    TransactionId, TransactionNumber, TssId,
};
use openssl::hash::{MessageDigest, hash};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

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
struct Parsed {
    lost: LostMessage,
    read: ReadLogMessage,
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
        let loaded = held.take_loaded().remove(&tss);
        loaded
            .map(|loaded| loaded.slice.serials)
            .unwrap_or_default()
    };
    needs.clients.extend(serials.values());
    let first = messages
        .first()
        .map(|message| message.read.signature_counter);
    let mut stored = BTreeMap::new();
    for message in &messages {
        let counter = SignatureCounter::new(message.read.signature_counter);
        stored.insert(counter.value(), lane.message(tss, counter)?);
    }
    let mut held = lane.lock(&BTreeMap::from([(tss, needs)]))?;
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

/// The state of a TSS on its way back.
struct Rebuilding {
    slice: Slice,
    tss: Tss,
    messages: Vec<SignedMessage>,
}

impl Rebuilding {
    fn into_entry(mut self, tss: TssId, expected: SignatureCounter) -> TssBatch {
        self.slice.changed.tss = true;
        self.slice.tss = Some(self.tss);
        TssBatch {
            tss,
            expected_counter: Some(expected),
            slice: self.slice,
            messages: self.messages,
        }
    }

    fn take(&mut self, key: &PublicKey, message: Parsed) -> Result<(), RestoreError> {
        let Parsed { lost, read } = message;
        let counter = read.signature_counter;
        let unfit = |reason| RestoreError::Unfit { counter, reason };
        let next = self.tss.device.signature_counter.next();
        match next {
            Some(next) if next.value() == counter => {}
            Some(next) if next.value() < counter => {
                return Err(RestoreError::Gap {
                    counter: next.value(),
                });
            }
            Some(_) | None => return Err(unfit("its number is spent already")),
        }
        check_signature(&self.tss, key, &read, &lost.der).map_err(unfit)?;
        let time = log_time(&read).ok_or_else(|| unfit("its time is of another form"))?;
        if time < self.tss.last_se_time {
            return Err(unfit("it is older than the message before it"));
        }
        let name = LogFileName::of_message(&read).ok_or_else(|| unfit("it has no file name"))?;
        self.tss.device.signature_counter = SignatureCounter::new(counter);
        self.tss.last_se_time = time;
        let kind = match &read.kind {
            ReadKind::Transaction { .. } => self.transaction(&read, &lost, time).map_err(unfit)?,
            ReadKind::System { .. } => self.system(&read, &lost, time).map_err(unfit)?,
            ReadKind::Audit { .. } => SignedKind::Audit,
        };
        self.messages.push(SignedMessage {
            signature_counter: SignatureCounter::new(counter),
            log_time: time,
            file_name: name.to_string(),
            kind,
            der: lost.der,
        });
        Ok(())
    }

    fn transaction(
        &mut self,
        read: &ReadLogMessage,
        lost: &LostMessage,
        time: SeTime,
    ) -> Result<SignedKind, &'static str> {
        let ReadKind::Transaction {
            operation_type,
            client_id,
            process_data,
            process_type,
            transaction_number,
            ..
        } = &read.kind
        else {
            return Err("it is no transaction message");
        };
        let phase = TransactionPhase::from_operation_type(operation_type)
            .ok_or("its operation is unknown")?;
        let serial = ClientSerial::try_from(client_id.as_str())
            .map_err(|_| "its client cannot be a client")?;
        let client = *self
            .slice
            .serials
            .get(&serial)
            .ok_or("its client is not registered")?;
        let number = TransactionNumber::new(*transaction_number);
        let more = lost.more.as_ref();
        let state = match (phase, more.and_then(|more| more.state)) {
            (_, Some(state)) => state,
            (TransactionPhase::Start | TransactionPhase::Update, None) => TransactionState::Active,
            (TransactionPhase::Finish, None) => TransactionState::Finished,
        };
        let mut transaction = self.transaction_before(phase, number, client, more, time)?;
        transaction.latest_revision = transaction.latest_revision.next().ok_or("too many steps")?;
        transaction.state = state;
        transaction.client = client;
        if state != TransactionState::Active {
            transaction.time_end = Some(time);
            self.tss.transactions_open = self.tss.transactions_open.saturating_sub(1);
        }
        let revision = transaction.latest_revision;
        let step = TransactionStep {
            number,
            revision,
            state,
            phase,
            client,
            client_serial: serial.clone(),
            schema: None,
            process_type: ProcessType::try_from(process_type.as_deref().unwrap_or_default())
                .map_err(|_| "its processType cannot be one")?,
            process_data: ProcessData::new(process_data.clone()),
            request_digest: more
                .and_then(|more| more.request_digest)
                .unwrap_or_default(),
            signature_counter: SignatureCounter::new(read.signature_counter),
            log_time: time,
            signature: read.signature.clone(),
        };
        self.slice.changed.transactions.insert(number);
        self.slice.changed.steps.insert((number, revision));
        self.slice.transactions.insert(number, transaction);
        self.slice.steps.insert((number, revision), step);
        Ok(SignedKind::Transaction {
            number,
            revision,
            client,
            client_serial: serial,
        })
    }

    /// The transaction before this step.
    fn transaction_before(
        &mut self,
        phase: TransactionPhase,
        number: TransactionNumber,
        client: ClientId,
        more: Option<&ReleasedMessage>,
        time: SeTime,
    ) -> Result<Transaction, &'static str> {
        if phase != TransactionPhase::Start {
            let known = self.slice.transactions.get(&number).cloned();
            return known
                .filter(|known| known.state == TransactionState::Active)
                .ok_or("its transaction is not open");
        }
        if self.tss.transaction_counter.next() != Some(number) {
            return Err("its transaction number does not follow the stored one");
        }
        self.tss.transaction_counter = number;
        self.tss.transactions_open += 1;
        let made = || TransactionId::new(made_id(self.tss.id, &format!("transaction {number}")));
        Ok(Transaction {
            number,
            id: more.and_then(|more| more.transaction).unwrap_or_else(made),
            state: TransactionState::Active,
            latest_revision: Revision::new(0),
            client,
            time_start: time,
            time_end: None,
            metadata: Metadata::default(),
        })
    }

    fn system(
        &mut self,
        read: &ReadLogMessage,
        lost: &LostMessage,
        time: SeTime,
    ) -> Result<SignedKind, &'static str> {
        let ReadKind::System {
            event_type, event, ..
        } = &read.kind
        else {
            return Err("it is no system message");
        };
        let client = match event {
            ReadEvent::Known { client_id, .. } => client_id.as_deref(),
            ReadEvent::Malformed | ReadEvent::Unknown => None,
        };
        match (event_type.as_str(), client) {
            ("registerClient", Some(client)) => {
                self.client(client, ClientState::Registered, lost, time)?;
            }
            ("deregisterClient", Some(client)) => {
                self.client(client, ClientState::Deregistered, lost, time)?;
            }
            ("initialize", _) => {
                self.tss.state = TssState::Initialized;
                self.tss.time_init = Some(time);
            }
            ("disableSecureElement", _) => {
                self.tss.state = TssState::Disabled;
                self.tss.time_disable = Some(time);
                self.tss.admin.session = None;
            }
            // Who was logged in must log in again.
            ("authenticateUser" | "logOut", _) => self.tss.admin.session = None,
            _ => {}
        }
        Ok(SignedKind::System)
    }

    fn client(
        &mut self,
        serial: &str,
        state: ClientState,
        lost: &LostMessage,
        time: SeTime,
    ) -> Result<(), &'static str> {
        let serial = ClientSerial::try_from(serial).map_err(|_| "its client cannot be a client")?;
        let named = lost.more.iter().flat_map(|more| &more.clients);
        let named = named.clone().find(|(_, named)| *named == serial);
        let id = match (self.slice.serials.get(&serial), named) {
            (Some(id), _) => *id,
            (None, Some((id, _))) => *id,
            (None, None) => ClientId::new(made_id(self.tss.id, &format!("client {serial}"))),
        };
        let mut client = self.slice.clients.get(&id).cloned().unwrap_or(Client {
            id,
            serial: serial.clone(),
            state: ClientState::Deregistered,
            time_creation: time,
            time_update: time,
            metadata: Metadata::default(),
        });
        match (client.state, state) {
            (ClientState::Deregistered, ClientState::Registered) => {
                self.tss.clients_registered += 1;
            }
            (ClientState::Registered, ClientState::Deregistered) => {
                self.tss.clients_registered = self.tss.clients_registered.saturating_sub(1);
            }
            (ClientState::Registered, ClientState::Registered)
            | (ClientState::Deregistered, ClientState::Deregistered) => {}
        }
        client.state = state;
        client.time_update = time;
        self.slice.serials.insert(serial, id);
        self.slice.changed.clients.insert(id);
        self.slice.clients.insert(id, client);
        Ok(())
    }
}

/// The same id each time for what no message names.
fn made_id(tss: TssId, what: &str) -> Uuid {
    let digest = Sha256::digest(format!("siegel restore {tss} {what}"));
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The time as our messages have it.
pub(super) fn log_time(read: &ReadLogMessage) -> Option<SeTime> {
    match read.time {
        LogTime::Unix(seconds) => SeTime::try_from(seconds).ok(),
        LogTime::Utc(_) | LogTime::Generalized(_) => None,
    }
}

fn check_signature(
    tss: &Tss,
    key: &PublicKey,
    message: &ReadLogMessage,
    der: &[u8],
) -> Result<(), &'static str> {
    if message.serial_number != tss.device.serial_number {
        return Err("it is of another device");
    }
    if message.algorithm.known() != Some(tss.device.algorithm) {
        return Err("it is signed in another way");
    }
    verifies(key, tss.device.algorithm.hash(), message, der)
}

/// Whether the signature of a message is that of this key.
pub(super) fn verifies(
    key: &PublicKey,
    algorithm: Hash,
    message: &ReadLogMessage,
    der: &[u8],
) -> Result<(), &'static str> {
    let algorithm = match algorithm {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
        Hash::Sha3_256 => MessageDigest::sha3_256(),
        Hash::Sha3_384 => MessageDigest::sha3_384(),
        Hash::Sha3_512 => MessageDigest::sha3_512(),
    };
    let signed = der.get(message.signed_range.clone());
    let signed = signed.ok_or("its signed bytes are not in it")?;
    let digest = hash(algorithm, signed).map_err(|_| "it cannot be hashed")?;
    check::verify(key, &digest, &message.signature).map_err(|_| "its signature does not verify")
}
