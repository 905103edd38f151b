//! The lane's side of the ledger: lock, load, commit, on a connection of its own.

use super::connection::{ConnectError, EitherConnection, Manager, unavailable};
use super::lane::{Batch, CommitError, Held, LaneLedger, LoadedTss, WithheldDevices};
use super::loading::{DeviceChoice, load};
use super::locking::{begin, lock_rows, rolled_back_politely};
use super::sqlite::{LaneTurn, Turns};
use super::survey::server;
use super::tables::{device, log_message};
use super::values::signed;
use super::{Clearance, LedgerError, Released, committing, postgres, sqlite};
use crate::sma::Needs;
use crate::terms::{SerialNumber, SignatureCounter, TssId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LOCK: &str = "lock a TSS";

/// How long one lock is waited for, in milliseconds, before the TSSs that are free go on without it. Longer than
/// a batch of another node usually takes, because whoever waits keeps its place in the line.
const LOCK_WAIT_MS: u32 = 250;

/// The same after a wait in vain: whoever holds the lock may be frozen, and the other TSSs of the lane wait, too.
const LOCK_WAIT_AGAIN_MS: u32 = 100;

/// One lane's connection. Whatever fails on it, the next use opens another one: after a failed commit
/// nobody knows what the old one still thinks.
pub(super) struct LaneConnection {
    manager: Manager,
    /// Only on SQLite.
    turns: Option<Arc<Turns>>,
    choice: DeviceChoice,
    witnesses: LaneWitnesses,
    /// What stands behind the connection, in the sense of [`Clearance`].
    server: String,
    /// Whether a commit ended without a clear answer.
    needs_confirmation: bool,
    connection: Option<EitherConnection>,
    /// Those that the last lock has not got.
    late: BTreeSet<TssId>,
}

/// What a lane asks before it signs, and tells afterwards.
pub(super) struct LaneWitnesses {
    pub clearance: Clearance,
    pub released: Released,
}

impl LaneConnection {
    /// `choice`: which free devices to take.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn new(
        manager: Manager,
        turns: Option<Arc<Turns>>,
        choice: DeviceChoice,
        witnesses: LaneWitnesses,
        mut connection: EitherConnection,
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            manager,
            turns,
            choice,
            witnesses,
            server: server(&mut connection)?,
            needs_confirmation: false,
            connection: Some(connection),
            late: BTreeSet::new(),
        })
    }

    /// After a commit without a clear answer: waits until all that this server has committed is where it
    /// has to be, so that what is found in the ledger may be told.
    fn confirm(&mut self) -> Result<(), LedgerError> {
        if !self.needs_confirmation {
            return Ok(());
        }
        let (connection, confirmed) = self.begin_with(LOCK, |connection| match connection {
            EitherConnection::Sqlite(_) => Ok(true),
            EitherConnection::Postgres(connection) => postgres::is_confirmed(connection),
        })?;
        self.connection = Some(connection);
        if !confirmed {
            return Err(unavailable(LOCK)(NotConfirmed));
        }
        self.needs_confirmation = false;
        Ok(())
    }

    /// What nobody has compared is not signed with: it may know less than was told.
    fn require_clearance(&self) -> Result<(), LedgerError> {
        if self.witnesses.clearance.is_server_cleared(&self.server) {
            return Ok(());
        }
        Err(unavailable(LOCK)(NotCompared))
    }

    /// Does the first thing on the connection, which is taken out. One that broke while nobody used it
    /// is opened anew, because nothing can have been lost with it.
    fn begin_with<T>(
        &mut self,
        action: &'static str,
        first: impl Fn(&mut EitherConnection) -> QueryResult<T>,
    ) -> Result<(EitherConnection, T), LedgerError> {
        if let Some(mut kept) = self.connection.take()
            && let Ok(done) = first(&mut kept)
        {
            return Ok((kept, done));
        }
        let mut fresh = self.manager.open().map_err(connect_error)?;
        self.server = server(&mut fresh)?;
        let done = first(&mut fresh).map_err(unavailable(action))?;
        Ok((fresh, done))
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

/// Another server, or the same one after a restart.
#[derive(Debug, thiserror::Error)]
#[error("what stands there was not compared with its witnesses yet")]
struct NotCompared;

/// Told to nobody until it is.
#[derive(Debug, thiserror::Error)]
#[error("no standby has confirmed the last commit yet")]
struct NotConfirmed;

/// The lane that has its turn does not end.
#[derive(Debug, thiserror::Error)]
#[error("another lane holds the lock for too long")]
struct LaneBusy;

impl LaneLedger for LaneConnection {
    fn lock(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Box<dyn Held + '_>, LedgerError> {
        let turn = match &self.turns {
            Some(turns) => Some(
                turns
                    .take_lane()
                    .ok_or(LaneBusy)
                    .map_err(unavailable(LOCK))?,
            ),
            None => None,
        };
        if let Some(turn) = &turn {
            turn.check_file()?;
        }
        self.confirm()?;
        let has_waited = needs.keys().any(|id| self.late.contains(id));
        let wait_ms = if has_waited {
            LOCK_WAIT_AGAIN_MS
        } else {
            LOCK_WAIT_MS
        };
        // Taken out, so that it is gone if anything fails before the end.
        let (mut connection, ()) =
            self.begin_with(LOCK, |connection| begin(connection, wait_ms))?;
        if let Err(error) = self.require_clearance() {
            if rolled_back_politely(&mut connection) {
                self.connection = Some(connection);
            }
            return Err(error);
        }
        self.late = match &mut connection {
            EitherConnection::Sqlite(_) => BTreeSet::new(),
            EitherConnection::Postgres(connection) => {
                lock_rows(connection, needs, wait_ms).map_err(unavailable(LOCK))?
            }
        };
        let mut needs = needs.clone();
        needs.retain(|id, _| !self.late.contains(id));
        let loaded = load(&mut connection, &needs, &self.choice)?;
        Ok(Box::new(HeldRows {
            lane: self,
            connection: Some(connection),
            locked: needs.into_keys().collect(),
            loaded,
            turn,
        }))
    }

    fn message(
        &mut self,
        tss: TssId,
        counter: SignatureCounter,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let key = (tss.to_string(), signed(counter.value()));
        let (connection, found) = self.begin_with("read a log message", |connection| {
            log_message::table
                .find(key.clone())
                .select(log_message::der)
                .first(connection)
                .optional()
        })?;
        self.connection = Some(connection);
        Ok(found)
    }

    fn is_device_taken(&mut self, device: SerialNumber) -> Result<bool, LedgerError> {
        let (connection, taken) = self.begin_with("read a device", |connection| {
            device::table
                .filter(device::serial_number.eq(device.to_string()))
                .filter(device::tss_id.is_not_null())
                .count()
                .get_result::<i64>(connection)
        })?;
        self.connection = Some(connection);
        Ok(taken > 0)
    }

    fn set_device_aside(&mut self, device: SerialNumber, reason: &str) -> Result<(), LedgerError> {
        let turns = self.turns.clone();
        let _writer = turns.as_ref().map(|turns| turns.take_writer());
        let (connection, _) = self.begin_with("set a device aside", |connection| {
            let free = device::table
                .filter(device::serial_number.eq(device.to_string()))
                .filter(device::tss_id.is_null());
            diesel::update(free)
                .set(device::unusable_reason.eq(Some(reason)))
                .execute(connection)
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    fn withheld(&self) -> WithheldDevices {
        self.choice.withheld.clone()
    }

    fn clearance(&self) -> Clearance {
        self.witnesses.clearance.clone()
    }

    fn released(&mut self, batch: &Batch) {
        self.witnesses.released.note(batch);
    }
}

/// Locks, held by an open transaction (PostgreSQL) or by the lane's turn (SQLite).
struct HeldRows<'a> {
    lane: &'a mut LaneConnection,
    connection: Option<EitherConnection>,
    locked: BTreeSet<TssId>,
    loaded: BTreeMap<TssId, LoadedTss>,
    /// Last, so that it ends after the connection.
    turn: Option<LaneTurn>,
}

impl Held for HeldRows<'_> {
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss> {
        std::mem::take(&mut self.loaded)
    }

    fn late(&self) -> &BTreeSet<TssId> {
        &self.lane.late
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), CommitError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(rolled_back("the connection is gone"));
        };
        let locked = |entry: &super::TssBatch| self.locked.contains(&entry.tss);
        if !batch.entries.iter().all(locked) {
            self.connection = Some(connection);
            return Err(rolled_back("the batch changes a TSS that is not locked"));
        }
        let _writer = self.turn.as_ref().map(LaneTurn::take_writer);
        if let Some(turn) = &self.turn {
            turn.check_file().map_err(rolled_back)?;
        }
        if let EitherConnection::Sqlite(connection) = &mut connection {
            connection
                .batch_execute(sqlite::BEGIN)
                .map_err(rolled_back)?;
        }
        if let Err(error) = committing::write(&mut connection, batch) {
            // COMMIT was never sent, so this transaction can only end without a trace. The connection
            // is dropped with it; a polite ROLLBACK makes that immediate.
            let _ = connection.batch_execute("ROLLBACK");
            return Err(rolled_back(error));
        }
        let committed = match &mut connection {
            EitherConnection::Sqlite(connection) => connection.batch_execute("COMMIT"),
            EitherConnection::Postgres(connection) => postgres::commit(connection),
        };
        if let Err(error) = committed {
            // What is found in the ledger afterwards counts only once a standby has it, too.
            self.lane.needs_confirmation = true;
            return Err(commit_error(error));
        }
        self.lane.connection = Some(connection);
        Ok(())
    }
}

fn rolled_back(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CommitError {
    CommitError::RolledBack {
        source: source.into(),
    }
}

/// An answer that names a broken rule promises that nothing is there. After any other one a server
/// may have taken the batch and died before it said so, or a disk may have kept half of it.
fn commit_error(error: QueryError) -> CommitError {
    let refused = matches!(
        error,
        QueryError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction,
            _
        )
    );
    if refused {
        rolled_back(error)
    } else {
        CommitError::Unknown {
            source: Box::new(error),
        }
    }
}

impl Drop for HeldRows<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if rolled_back_politely(&mut connection) {
            self.lane.connection = Some(connection);
        }
    }
}
