//! Steps: what was decided, then stamped with counter and time, then recorded.

use super::metadata::Metadata;
use super::state::{
    Client, ClientState, CredentialDigest, Slice, Transaction, TransactionStep, Tss, TssChange,
    TssState,
};
use crate::asn1::{Content, Header, Origin, SystemEvent};
use crate::terms::{
    ClientId, ClockStep, Revision, Role, SeTime, SessionId, SignatureCounter, TransactionNumber,
};

/// One fact to record, and the message that testifies to it, if it is one that is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to sign.
    pub message: Option<Content>,
    /// What changes with it.
    pub changes: Vec<Change>,
}

/// What a step changes. Absolute values only, so that recording cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The TSS comes into being.
    CreateTss(Box<Tss>),
    /// Its life cycle; the time goes into the matching `time_*`.
    State(TssState),
    /// Its description.
    Description(String),
    /// The admin's PIN, with a full retry counter.
    Pin(CredentialDigest),
    /// Wrong PINs left.
    PinRetries(u32),
    /// Wrong PUKs so far, and until when none is looked at.
    PukFailures {
        /// In a row.
        count: u32,
        /// Earliest next try.
        blocked_until: SeTime,
    },
    /// The encrypted PUK is forgotten.
    ForgetPuk,
    /// Who is logged in.
    Session(Option<SessionId>),
    /// A client, new or changed.
    Client(Box<Client>),
    /// A transaction, new or changed; counts and the transaction counter follow from it.
    Transaction(Box<Transaction>),
    /// A step of a transaction; takes counter and time of the message.
    TransactionStep(Box<TransactionStep>),
    /// Metadata of the TSS.
    TssMetadata(Metadata),
    /// Metadata of a client.
    ClientMetadata(ClientId, Metadata),
    /// Metadata of a transaction.
    TransactionMetadata(TransactionNumber, Metadata),
}

/// A message with its number and time, ready to be encoded and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedMessage {
    /// Number, time, key.
    pub header: Header,
    /// What it says.
    pub content: Content,
    /// The transaction step that wants the signature, if any.
    pub transaction_step: Option<(TransactionNumber, Revision)>,
}

/// The message a TSS owes after a correction of its clock, before it signs anything else.
pub fn time_update(step: &ClockStep) -> Step {
    Step::signed(
        SystemEvent::UpdateTime {
            before: step.before,
            after: step.after,
        },
        Origin::Csp,
        None,
        Vec::new(),
    )
}

impl Step {
    /// A step testified by a system message.
    pub fn signed(
        event: SystemEvent,
        origin: Origin,
        triggered_by: Option<Role>,
        changes: Vec<Change>,
    ) -> Self {
        Self {
            message: Some(Content::System {
                event,
                origin,
                triggered_by,
            }),
            changes,
        }
    }

    /// A step that is not logged.
    pub const fn unsigned(changes: Vec<Change>) -> Self {
        Self {
            message: None,
            changes,
        }
    }
}

impl Slice {
    /// Records a step: gives its message the next counter and a time that never goes back, and takes
    /// its changes over. Returns what there is to sign, if anything.
    ///
    /// # Panics
    /// When the signature counter is at its end, which [`decide`](super::decide()) has made sure it is
    /// not: a number that exists must never be given again.
    pub fn record(&mut self, step: &Step, now: SeTime) -> Option<StampedMessage> {
        let Some(content) = &step.message else {
            step.changes
                .iter()
                .for_each(|change| self.take_over(change, None, now));
            return None;
        };
        let (last_counter, last_time) = self.last_stamp(step)?;
        let counter = last_counter.next();
        assert!(
            counter.is_some(),
            "a message was decided although the signature counter is at its end"
        );
        let time = now.max(last_time);
        step.changes
            .iter()
            .for_each(|change| self.take_over(change, counter, time));
        let tss = self.tss.as_mut()?;
        tss.device.signature_counter = counter?;
        tss.last_se_time = time;
        self.changed.note_tss(TssChange::Counters);
        let header = Header {
            format: tss.format,
            serial_number: tss.device.serial_number,
            algorithm: tss.device.algorithm,
            signature_counter: counter?,
            time,
        };
        let transaction_step = step.changes.iter().find_map(|change| {
            let Change::TransactionStep(step) = change else {
                return None;
            };
            Some((step.number, step.revision))
        });
        Some(StampedMessage {
            header,
            content: content.clone(),
            transaction_step,
        })
    }

    /// Counter and time of the latest message, also for a TSS that this very step creates.
    fn last_stamp(&self, step: &Step) -> Option<(SignatureCounter, SeTime)> {
        let created = step.changes.iter().find_map(|change| {
            let Change::CreateTss(tss) = change else {
                return None;
            };
            Some(tss.as_ref())
        });
        let tss = created.or(self.tss.as_ref())?;
        Some((tss.device.signature_counter, tss.last_se_time))
    }

    fn take_over(&mut self, change: &Change, counter: Option<SignatureCounter>, time: SeTime) {
        match change {
            Change::CreateTss(tss) => {
                self.tss = Some(tss.as_ref().clone());
                self.changed.note_tss(TssChange::Anything);
            }
            Change::Client(client) => self.put_client(client, time),
            Change::Transaction(transaction) => self.put_transaction(transaction, time),
            Change::TransactionStep(step) => {
                let mut step = step.as_ref().clone();
                step.signature_counter = counter.unwrap_or_default();
                step.log_time = time;
                self.changed.steps.insert((step.number, step.revision));
                self.steps.insert((step.number, step.revision), step);
            }
            Change::ClientMetadata(id, metadata) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.metadata = metadata.clone();
                    client.time_update = time;
                    self.changed.clients.insert(*id);
                }
            }
            Change::TransactionMetadata(number, metadata) => {
                if let Some(transaction) = self.transactions.get_mut(number) {
                    transaction.metadata = metadata.clone();
                    self.changed.transactions.insert(*number);
                }
            }
            Change::State(_)
            | Change::Description(_)
            | Change::Pin(_)
            | Change::PinRetries(_)
            | Change::PukFailures { .. }
            | Change::ForgetPuk
            | Change::Session(_)
            | Change::TssMetadata(_) => {
                if let Some(tss) = &mut self.tss {
                    tss.take_over(change, time);
                    self.changed.note_tss(TssChange::Anything);
                }
            }
        }
    }

    fn put_client(&mut self, client: &Client, time: SeTime) {
        let mut client = client.clone();
        client.time_update = time;
        let before = self.clients.get(&client.id).map(|known| known.state);
        if before.is_none() {
            client.time_creation = time;
        }
        if let Some(tss) = &mut self.tss {
            let was = u32::from(before == Some(ClientState::Registered));
            let is = u32::from(client.state == ClientState::Registered);
            tss.clients_registered = tss
                .clients_registered
                .saturating_sub(was)
                .saturating_add(is);
            self.changed.note_tss(TssChange::Anything);
        }
        self.serials.insert(client.serial.clone(), client.id);
        self.changed.clients.insert(client.id);
        self.clients.insert(client.id, client);
    }

    fn put_transaction(&mut self, transaction: &Transaction, time: SeTime) {
        use super::state::TransactionState::Active;
        let mut transaction = transaction.clone();
        let before = self
            .transactions
            .get(&transaction.number)
            .map(|known| known.state);
        if before.is_none() {
            transaction.time_start = time;
        }
        if transaction.state != Active {
            transaction.time_end = Some(time);
        }
        if let Some(tss) = &mut self.tss {
            let was = u32::from(before == Some(Active));
            let is = u32::from(transaction.state == Active);
            tss.transactions_open = tss.transactions_open.saturating_sub(was).saturating_add(is);
            tss.transaction_counter = tss.transaction_counter.max(transaction.number);
            self.changed.note_tss(TssChange::Counters);
        }
        self.transaction_ids
            .insert(transaction.id, transaction.number);
        self.changed.transactions.insert(transaction.number);
        self.transactions.insert(transaction.number, transaction);
    }
}

impl Tss {
    fn take_over(&mut self, change: &Change, time: SeTime) {
        match change {
            Change::State(state) => {
                self.state = *state;
                match state {
                    TssState::Created => {}
                    TssState::Uninitialized => self.time_uninit = Some(time),
                    TssState::Initialized => self.time_init = Some(time),
                    TssState::Disabled => self.time_disable = Some(time),
                    TssState::Defective => self.time_defective = Some(time),
                }
            }
            Change::Description(text) => self.description.clone_from(text),
            Change::Pin(pin) => self.admin.pin = Some(*pin),
            Change::PinRetries(left) => self.admin.pin_retries = *left,
            Change::PukFailures {
                count,
                blocked_until,
            } => {
                self.admin.puk_failures = *count;
                self.admin.puk_blocked_until = *blocked_until;
            }
            Change::ForgetPuk => self.admin.sealed_puk = None,
            Change::Session(session) => self.admin.session = *session,
            Change::TssMetadata(metadata) => self.metadata = metadata.clone(),
            Change::CreateTss(_)
            | Change::Client(_)
            | Change::Transaction(_)
            | Change::TransactionStep(_)
            | Change::ClientMetadata(..)
            | Change::TransactionMetadata(..) => {}
        }
    }
}
