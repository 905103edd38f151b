//! The state of a TSS, rebuilt from its log messages one by one.

use super::restore::{LostMessage, Parsed, RestoreError};
use super::signature::{check_signature, log_time};
use crate::asn1::{LogFileName, ReadEvent, ReadKind, ReadLogMessage, TransactionPhase};
use crate::csp::PublicKey;
use crate::ledger::lane::SignedKind;
use crate::ledger::{ReleasedMessage, SignedMessage, TssBatch};
use crate::sma::{
    Client, ClientState, Metadata, Slice, Transaction, TransactionState, TransactionStep, Tss,
    TssChange, TssState,
};
use crate::terms::{
    ClientId, ClientSerial, ProcessData, ProcessType, Revision, SeTime, SignatureCounter,
    TransactionId, TransactionNumber, TssId,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The state of a TSS on its way back.
pub(super) struct Rebuilding {
    pub slice: Slice,
    pub tss: Tss,
    pub messages: Vec<SignedMessage>,
}

impl Rebuilding {
    pub fn into_entry(mut self, tss: TssId, expected: SignatureCounter) -> TssBatch {
        self.slice.changed.tss = TssChange::Anything;
        self.slice.tss = Some(self.tss);
        TssBatch {
            tss,
            expected_counter: Some(expected),
            slice: self.slice,
            // No token signs what comes back.
            active: None,
            messages: self.messages,
        }
    }

    /// Puts the next message back.
    pub fn take(&mut self, key: &PublicKey, message: Parsed) -> Result<(), RestoreError> {
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
            // Log messages say nothing of it; a repeat then brings its pairs as one of an older ledger does.
            metadata_digest: None,
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
