//! The lane's side of the ledger: lock, load, commit, on its connection.

use super::connection::{EitherConnection, unavailable};
use super::known::{Split, Versions};
use super::lane::{Batch, CommitError, Held, LaneLedger, LoadedTss, WithheldDevices};
use super::line::{Line, Wire};
use super::loading::{DeviceChoice, load};
use super::locking::{begin, lock_rows, rolled_back_politely, wait_as_usual};
use super::row_versions::RowVersions;
use super::tables::{device, log_message};
use super::turns::{LockedNames, Turns};
use super::values::signed;
use super::{Clearance, LedgerError, Released, committing, postgres, sqlite, token_pairs};
use crate::sma::Needs;
use crate::terms::{SerialNumber, SignatureCounter, TssId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LOCK: &str = "lock a TSS";
const COMMIT: &str = "commit a batch";

/// How long one lock is waited for, in milliseconds, before the TSSs that are free go on without it. Longer than
/// a batch of another node usually takes, because whoever waits keeps its place in the line.
const LOCK_WAIT_MS: u32 = 250;

/// The same after a wait in vain: whoever holds the lock may be frozen, and the other TSSs of the lane wait, too.
const LOCK_WAIT_AGAIN_MS: u32 = 100;

/// One lane.
pub(super) struct LaneConnection {
    line: Line,
    /// Only on SQLite.
    turns: Option<Arc<Turns>>,
    choice: DeviceChoice,
    witnesses: LaneWitnesses,
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
    pub const fn new(
        line: Line,
        turns: Option<Arc<Turns>>,
        choice: DeviceChoice,
        witnesses: LaneWitnesses,
    ) -> Self {
        Self {
            line,
            turns,
            choice,
            witnesses,
            late: BTreeSet::new(),
        }
    }

    /// Reads what is not known at these versions; on SQLite at that of the database.
    fn load(
        &self,
        wire: &mut Wire,
        connection: &mut EitherConnection,
        needs: &BTreeMap<TssId, Needs>,
        versions: RowVersions,
    ) -> Result<BTreeMap<TssId, LoadedTss>, LedgerError> {
        let versions = match connection {
            EitherConnection::Sqlite(connection) => {
                let version = sqlite::data_version(connection);
                Versions::OfAll(version.map_err(unavailable(LOCK))?)
            }
            EitherConnection::Postgres(_) => Versions::OfEach(versions),
        };
        let Split {
            mut loaded,
            missing,
        } = wire.known.split(needs, &versions);
        if let EitherConnection::Postgres(_) = connection {
            token_pairs::set_active(connection, loaded.values_mut())?;
        }
        let loaded = load(connection, &missing, loaded, &self.choice)?;
        wire.known.learn(&loaded, &versions);
        Ok(loaded)
    }

    /// What nobody has compared is not signed with: it may know less than was told.
    fn require_clearance(&self, server: &str) -> Result<(), LedgerError> {
        if self.witnesses.clearance.is_server_cleared(server) {
            return Ok(());
        }
        Err(unavailable(LOCK)(NotCompared))
    }
}

/// Another server, or the same one after a restart.
#[derive(Debug, thiserror::Error)]
#[error("what stands there was not compared with its witnesses yet")]
struct NotCompared;

impl LaneLedger for LaneConnection {
    fn lock(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Box<dyn Held + '_>, LedgerError> {
        let has_waited = needs.keys().any(|id| self.late.contains(id));
        let wait_ms = if has_waited {
            LOCK_WAIT_AGAIN_MS
        } else {
            LOCK_WAIT_MS
        };
        self.late.clear();
        let names = match &self.turns {
            Some(turns) => {
                turns.check_file()?;
                let token = self.choice.token.as_deref();
                let (names, late) = turns.lock(needs, token, wait_ms);
                self.late = late;
                Some(names)
            }
            None => None,
        };
        let mut wire = self.line.take();
        wire.confirm(LOCK)?;
        // Taken out, so that it is gone if anything fails before the end.
        let (mut connection, ()) =
            wire.begin_with(LOCK, |connection| begin(connection, wait_ms))?;
        if let Err(error) = self.require_clearance(wire.server()) {
            if rolled_back_politely(&mut connection) {
                wire.put_back(connection);
            }
            return Err(error);
        }
        let mut versions = RowVersions::new();
        if let EitherConnection::Postgres(connection) = &mut connection {
            let locked = lock_rows(connection, needs, wait_ms).map_err(unavailable(LOCK))?;
            (self.late, versions) = (locked.late, locked.versions);
        }
        let mut needs = needs.clone();
        needs.retain(|id, _| !self.late.contains(id));
        let loaded = self.load(&mut wire, &mut connection, &needs, versions)?;
        if loaded.values().any(|tss| tss.active.is_some()) {
            // A switch that is under way takes longer than a batch of another node.
            wait_as_usual(&mut connection, wire.lock_wait_ms()).map_err(unavailable(LOCK))?;
        }
        let connection = match names.is_some() {
            true => {
                if rolled_back_politely(&mut connection) {
                    wire.put_back(connection);
                }
                None
            }
            false => Some(connection),
        };
        drop(wire);
        Ok(Box::new(HeldRows {
            lane: self,
            connection,
            locked: needs.into_keys().collect(),
            loaded,
            _names: names,
        }))
    }

    fn is_device_taken(&mut self, device: SerialNumber) -> Result<bool, LedgerError> {
        let taken = self.line.take().ask("read a device", |connection| {
            device::table
                .filter(device::serial_number.eq(device.to_string()))
                .filter(device::tss_id.is_not_null())
                .count()
                .get_result::<i64>(connection)
        })?;
        Ok(taken > 0)
    }

    fn set_device_aside(&mut self, device: SerialNumber, reason: &str) -> Result<(), LedgerError> {
        let _writer = self.turns.as_ref().map(|turns| turns.take_writer());
        let set_aside = |connection: &mut EitherConnection| {
            let free = device::table
                .filter(device::serial_number.eq(device.to_string()))
                .filter(device::tss_id.is_null());
            diesel::update(free)
                .set(device::unusable_reason.eq(Some(reason)))
                .execute(connection)
        };
        self.line
            .take()
            .ask("set a device aside", set_aside)
            .map(drop)
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

/// Locks, held by an open transaction (PostgreSQL) or by their names (SQLite).
struct HeldRows<'a> {
    lane: &'a mut LaneConnection,
    /// Only on PostgreSQL; on SQLite other lanes use it until the commit.
    connection: Option<EitherConnection>,
    locked: BTreeSet<TssId>,
    loaded: BTreeMap<TssId, LoadedTss>,
    /// Last, so that they end after the connection.
    _names: Option<LockedNames>,
}

impl HeldRows<'_> {
    /// Everything but COMMIT was done, or nothing of it will be there.
    fn write(
        &self,
        connection: &mut EitherConnection,
        batch: &Batch,
    ) -> Result<Option<RowVersions>, CommitError> {
        if let EitherConnection::Sqlite(connection) = connection {
            connection
                .batch_execute(sqlite::BEGIN)
                .map_err(rolled_back)?;
        }
        committing::write(connection, batch).map_err(|error| {
            // COMMIT was never sent, so this transaction can only end without a trace. The connection
            // is dropped with it; a polite ROLLBACK makes that immediate.
            let _ = connection.batch_execute("ROLLBACK");
            rolled_back(error)
        })
    }
}

impl Held for HeldRows<'_> {
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss> {
        std::mem::take(&mut self.loaded)
    }

    fn late(&self) -> &BTreeSet<TssId> {
        &self.lane.late
    }

    fn message(
        &mut self,
        tss: TssId,
        counter: SignatureCounter,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        const ACTION: &str = "read a log message";
        let key = (tss.to_string(), signed(counter.value()));
        let find = |connection: &mut EitherConnection| {
            log_message::table
                .find(key.clone())
                .select(log_message::der)
                .first(connection)
                .optional()
        };
        match &mut self.connection {
            Some(connection) => find(connection).map_err(unavailable(ACTION)),
            None => self.lane.line.take().ask(ACTION, find),
        }
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), CommitError> {
        let locked = |entry: &super::TssBatch| self.locked.contains(&entry.tss);
        if !batch.entries.iter().all(locked) {
            return Err(rolled_back("the batch changes a TSS that is not locked"));
        }
        let turns = self.lane.turns.clone();
        // Before the line, so that whoever waits for other writers keeps no lane from loading.
        let _writer = turns.as_ref().map(|turns| turns.take_writer());
        if let Some(turns) = &turns {
            turns.check_file().map_err(rolled_back)?;
        }
        let line = self.lane.line.clone();
        let mut wire = line.take();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => wire.begin_with(COMMIT, |_| Ok(())).map_err(rolled_back)?.0,
        };
        // Forgotten unless all goes well.
        let known = std::mem::take(&mut wire.known);
        let versions = self.write(&mut connection, batch)?;
        let committed = match &mut connection {
            EitherConnection::Sqlite(connection) => connection.batch_execute("COMMIT"),
            EitherConnection::Postgres(connection) => postgres::commit(connection),
        };
        if let Err(error) = committed {
            // What is found in the ledger afterwards counts only once a standby has it, too.
            wire.needs_confirmation = true;
            return Err(commit_error(error));
        }
        wire.known = known.wrote(batch, versions.as_ref());
        wire.put_back(connection);
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
            self.lane.line.take().put_back(connection);
        }
    }
}
