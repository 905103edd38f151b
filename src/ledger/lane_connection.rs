//! The lane's side of the ledger: lock, load, commit, on a connection of its own.

use super::connection::{ConnectError, EitherConnection, Manager, unavailable};
use super::lane::{Batch, CommitError, Held, LaneLedger, LoadedTss};
use super::loading::load;
use super::tables::log_message;
use super::values::signed;
use super::{LedgerError, committing, postgres, sqlite};
use crate::sma::Needs;
use crate::terms::{SignatureCounter, TssId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LOCK: &str = "lock a TSS";

/// One lane's connection. Whatever fails on it, the next use opens another one: after a failed commit
/// nobody knows what the old one still thinks.
pub(super) struct LaneConnection {
    manager: Manager,
    token: Option<String>,
    connection: Option<EitherConnection>,
}

impl LaneConnection {
    /// `token`: take free devices from this token only.
    pub fn new(manager: Manager, token: Option<String>, connection: EitherConnection) -> Self {
        Self {
            manager,
            token,
            connection: Some(connection),
        }
    }

    fn take(&mut self) -> Result<EitherConnection, LedgerError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.manager.open().map_err(connect_error),
        }
    }
}

pub(super) fn connect_error(error: ConnectError) -> LedgerError {
    match error {
        ConnectError::Ledger(error) => error,
        error @ (ConnectError::Connection(_) | ConnectError::Setup(_)) => {
            unavailable("connect")(error)
        }
    }
}

impl LaneLedger for LaneConnection {
    fn lock(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Box<dyn Held + '_>, LedgerError> {
        // Taken out, so that it is gone if anything fails before the end.
        let mut connection = self.take()?;
        take_locks(&mut connection, needs)?;
        let loaded = load(&mut connection, needs, self.token.as_deref())?;
        Ok(Box::new(HeldRows {
            lane: self,
            connection: Some(connection),
            loaded,
        }))
    }

    fn message(
        &mut self,
        tss: TssId,
        counter: SignatureCounter,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut connection = self.take()?;
        let found = log_message::table
            .filter(log_message::tss_id.eq(tss.to_string()))
            .filter(log_message::signature_counter.eq(signed(counter.value())))
            .select(log_message::der)
            .first(&mut connection)
            .optional()
            .map_err(unavailable("read a log message"))?;
        self.connection = Some(connection);
        Ok(found)
    }
}

fn take_locks(
    connection: &mut EitherConnection,
    needs: &BTreeMap<TssId, Needs>,
) -> Result<(), LedgerError> {
    match connection {
        // One writer at a time: its lock covers everything.
        EitherConnection::Sqlite(connection) => connection.batch_execute(sqlite::BEGIN),
        EitherConnection::Postgres(connection) => lock_rows(connection, needs),
    }
    .map_err(unavailable(LOCK))
}

/// Rows first, in id order; then the right to create what does not exist yet, in id order.
fn lock_rows(connection: &mut PgConnection, needs: &BTreeMap<TssId, Needs>) -> QueryResult<()> {
    connection.batch_execute(postgres::BEGIN)?;
    let ids: BTreeSet<String> = needs.keys().map(ToString::to_string).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let present = postgres::lock_tss(connection, &ids)?;
    let created: BTreeSet<String> = needs
        .iter()
        .filter(|(_, needs)| needs.free_device.is_some())
        .map(|(id, _)| id.to_string())
        .filter(|id| !present.contains(id))
        .collect();
    for id in &created {
        postgres::lock_absent(connection, id)?;
    }
    if !created.is_empty() {
        // While we waited for that right, its last holder may have used it.
        let created: Vec<String> = created.into_iter().collect();
        postgres::lock_tss(connection, &created)?;
    }
    let clients: BTreeSet<String> = needs
        .values()
        .flat_map(|needs| needs.client_ids_new.iter().map(ToString::to_string))
        .collect();
    clients
        .iter()
        .try_for_each(|id| postgres::lock_absent(connection, id))
}

/// Locks, held by an open transaction.
struct HeldRows<'a> {
    lane: &'a mut LaneConnection,
    connection: Option<EitherConnection>,
    loaded: BTreeMap<TssId, LoadedTss>,
}

impl Held for HeldRows<'_> {
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss> {
        std::mem::take(&mut self.loaded)
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), CommitError> {
        let Some(mut connection) = self.connection.take() else {
            let source = "the connection is gone".into();
            return Err(CommitError::RolledBack { source });
        };
        if let Err(error) = committing::write(&mut connection, batch) {
            // COMMIT was never sent, so this transaction can only end without a trace. The connection
            // is dropped with it; a polite ROLLBACK makes that immediate.
            let _ = connection.batch_execute("ROLLBACK");
            let source = error.into();
            return Err(CommitError::RolledBack { source });
        }
        if let Err(error) = connection.batch_execute("COMMIT") {
            // A server may have taken it and died before it said so; a disk may have kept half of it.
            return Err(CommitError::Unknown {
                source: Box::new(error),
            });
        }
        self.lane.connection = Some(connection);
        Ok(())
    }
}

impl Drop for HeldRows<'_> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.batch_execute("ROLLBACK").is_ok()
        {
            self.lane.connection = Some(connection);
        }
    }
}
