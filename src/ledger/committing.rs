//! Writing one batch inside the transaction that holds its locks.

use super::bulk;
use super::connection::EitherConnection;
use super::lane::{Batch, TssBatch};
use super::one_by_one;
use super::records::{
    ClientRecord, CountersRecord, MessageRecord, StepRecord, TransactionRecord, TssRecord,
};
use super::row_versions::RowVersions;
use super::tables::{client, device, log_message, transaction_step, tss, tss_transaction};
use super::token_pairs;
use super::values::signed;
use crate::sma::{Tss, TssChange};
use crate::terms::Revision;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use std::collections::BTreeSet;

/// Why a batch could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the database refused the batch")]
    Database(#[from] QueryError),
    #[error("the batch does not fit what is stored: {0}")]
    Mismatch(&'static str),
}

/// Everything that a batch writes, ready to be written: whoever writes keeps others waiting.
#[derive(Default)]
pub(super) struct Prepared {
    /// TSSs that come into being, each with the counter of its device before.
    created: Vec<(TssRecord, i64)>,
    clients: Vec<ClientRecord>,
    rows: Rows,
    /// Labels of tokens that have a standby, and the epoch in which they have signed. In the order of the labels, so
    /// that two lanes do not wait for each other.
    epochs: BTreeSet<(String, i64)>,
}

impl Prepared {
    /// What this batch writes.
    pub fn of(batch: &Batch) -> Result<Self, WriteError> {
        let mut prepared = Self::default();
        for entry in &batch.entries {
            prepared.collect_tss(entry)?;
            prepared.collect_clients(entry)?;
            prepared.rows.collect(entry)?;
            if let Some(active) = &entry.active {
                let epoch = (active.label.clone(), signed(active.epoch));
                prepared.epochs.insert(epoch);
            }
        }
        Ok(prepared)
    }

    /// Writes everything but the COMMIT. Returns the versions that its TSSs have since; none on SQLite.
    pub fn write(
        &self,
        connection: &mut EitherConnection,
    ) -> Result<Option<RowVersions>, WriteError> {
        for (record, device_counter) in &self.created {
            create_tss(connection, record, *device_counter)?;
        }
        for record in &self.clients {
            write_client(connection, record)?;
        }
        let versions = self.rows.write(connection)?;
        // The fence between two tokens with the same keys. Last, because on PostgreSQL a switch waits from here until
        // the COMMIT.
        for (label, epoch) in &self.epochs {
            if token_pairs::hold_epoch(connection, label)? != Some(*epoch) {
                return Err(WriteError::Mismatch("another token is active by now"));
            }
        }
        Ok(versions)
    }

    /// The TSS row, guarded by the counter that the batch was decided on.
    fn collect_tss(&mut self, entry: &TssBatch) -> Result<(), WriteError> {
        let Some(state) = &entry.slice.tss else {
            return Err(WriteError::Mismatch("there is no TSS"));
        };
        check_counters(entry, state)?;
        let Some(expected) = entry.expected_counter else {
            let first = first_counter(entry, state);
            self.created.push((TssRecord::from(state), first));
            return Ok(());
        };
        let expected = signed(expected.value());
        match entry.slice.changed.tss {
            TssChange::Counters => self.rows.counters.push((state.into(), expected)),
            // A batch that has changed only a client, or what a till has added to a transaction, writes the row as
            // well: it is guarded by its counter, and whoever remembers the TSS sees that there is something new.
            TssChange::Nothing | TssChange::Anything => {
                self.rows.tss.push((state.into(), expected));
            }
        }
        Ok(())
    }

    fn collect_clients(&mut self, entry: &TssBatch) -> Result<(), WriteError> {
        for id in &entry.slice.changed.clients {
            let Some(state) = entry.slice.clients.get(id) else {
                return Err(WriteError::Mismatch("a client is missing"));
            };
            self.clients.push(ClientRecord::new(entry.tss, state));
        }
        Ok(())
    }
}

/// The lanes give every message the next counter; here is where a gap would become durable.
fn check_counters(entry: &TssBatch, state: &Tss) -> Result<(), WriteError> {
    let counters = entry
        .messages
        .iter()
        .map(|message| message.signature_counter);
    // A TSS that comes into being goes on from its device's counter; `create_tss` guards that.
    let mut last = entry.expected_counter;
    for counter in counters {
        let follows = last.is_none_or(|last| last.next() == Some(counter));
        if !follows {
            return Err(WriteError::Mismatch("its messages leave a gap"));
        }
        last = Some(counter);
    }
    if last.is_some_and(|last| last != state.device.signature_counter) {
        return Err(WriteError::Mismatch("its messages and its counter differ"));
    }
    Ok(())
}

/// Counter of the device before the first message of a TSS that comes into being.
fn first_counter(entry: &TssBatch, state: &Tss) -> i64 {
    match entry.messages.first() {
        Some(first) => signed(first.signature_counter.value()) - 1,
        None => signed(state.device.signature_counter.value()),
    }
}

fn create_tss(
    connection: &mut EitherConnection,
    record: &TssRecord,
    device_counter: i64,
) -> Result<(), WriteError> {
    diesel::insert_into(tss::table)
        .values(record)
        .execute(connection)?;
    // Not asked: whether it was set aside meanwhile. Its key has signed for this TSS.
    let free = device::table
        .filter(device::serial_number.eq(&record.device_serial))
        .filter(device::signature_counter.eq(device_counter))
        .filter(device::tss_id.is_null());
    let taken = diesel::update(free)
        .set(device::tss_id.eq(Some(&record.id)))
        .execute(connection)?;
    match taken {
        1 => Ok(()),
        _ => Err(WriteError::Mismatch(
            "its device is not free or has another counter",
        )),
    }
}

fn write_client(connection: &mut EitherConnection, record: &ClientRecord) -> QueryResult<()> {
    let stored = client::table
        .filter(client::id.eq(&record.id))
        .filter(client::tss_id.eq(&record.tss_id));
    let changed = diesel::update(stored).set(record).execute(connection)?;
    if changed == 0 {
        diesel::insert_into(client::table)
            .values(record)
            .execute(connection)?;
    }
    Ok(())
}

/// Rows of the whole batch, written together as it suits the database. On PostgreSQL a statement is a round
/// trip, so all rows go into one ([`bulk`]). On SQLite it is a call, and what costs is its text: a
/// statement for one row is prepared once.
#[derive(Default)]
pub(super) struct Rows {
    /// TSSs of which anything may have changed, each with the counter that the batch was decided on.
    pub tss: Vec<(TssRecord, i64)>,
    /// The same for TSSs of which only the counters have changed, which is what nearly all batches are about.
    pub counters: Vec<(CountersRecord, i64)>,
    pub transactions_changed: Vec<TransactionRecord>,
    pub transactions: Vec<TransactionRecord>,
    pub steps: Vec<StepRecord>,
    pub messages: Vec<MessageRecord>,
}

impl Rows {
    fn collect(&mut self, entry: &TssBatch) -> Result<(), WriteError> {
        let slice = &entry.slice;
        for number in &slice.changed.transactions {
            let Some(state) = slice.transactions.get(number) else {
                return Err(WriteError::Mismatch("a transaction is missing"));
            };
            let record = TransactionRecord::new(entry.tss, state);
            if slice.changed.steps.contains(&(*number, Revision::new(1))) {
                self.transactions.push(record);
            } else {
                self.transactions_changed.push(record);
            }
        }
        for key in &slice.changed.steps {
            let Some(step) = slice.steps.get(key) else {
                return Err(WriteError::Mismatch("a step is missing"));
            };
            self.steps.push(StepRecord::new(entry.tss, step));
        }
        let messages = entry.messages.iter();
        self.messages
            .extend(messages.map(|message| MessageRecord::new(entry.tss, message)));
        Ok(())
    }

    fn write(&self, connection: &mut EitherConnection) -> Result<Option<RowVersions>, WriteError> {
        let (tss, transactions, versions) = match connection {
            EitherConnection::Sqlite(connection) => {
                let (tss, transactions) = self.write_one_by_one(connection)?;
                (tss, transactions, None)
            }
            EitherConnection::Postgres(connection) => {
                let updated = bulk::write(connection, self)?;
                (updated.tss.len(), updated.transactions, Some(updated.tss))
            }
        };
        if tss != self.tss.len() + self.counters.len() {
            return Err(WriteError::Mismatch("its signature counter is another"));
        }
        if transactions != self.transactions_changed.len() {
            return Err(WriteError::Mismatch("a transaction is not stored"));
        }
        Ok(versions)
    }

    /// Returns how many TSSs and transactions were updated.
    fn write_one_by_one(&self, connection: &mut SqliteConnection) -> QueryResult<(usize, usize)> {
        let mut updated = (0, 0);
        for (record, expected) in &self.tss {
            updated.0 += one_by_one::update_tss(connection, record, *expected)?;
        }
        for (record, expected) in &self.counters {
            updated.0 += one_by_one::update_counters(connection, record, *expected)?;
        }
        for record in &self.transactions_changed {
            updated.1 += one_by_one::update_transaction(connection, record)?;
        }
        for row in &self.transactions {
            let insert = diesel::insert_into(tss_transaction::table).values(row);
            insert.execute(connection)?;
        }
        for row in &self.steps {
            let insert = diesel::insert_into(transaction_step::table).values(row);
            insert.execute(connection)?;
        }
        for row in &self.messages {
            let insert = diesel::insert_into(log_message::table).values(row);
            insert.execute(connection)?;
        }
        Ok(updated)
    }
}
