//! What a lane has locked and loaded, until it is committed.

use super::LedgerError;
use super::commits::{Piece, commit_alone, rolled_back};
use super::committing::Prepared;
use super::connection::{EitherConnection, unavailable};
use super::lane::{Batch, CommitError, Held, LoadedTss};
use super::lane_connection::LaneConnection;
use super::locking::rolled_back_politely;
use super::memory::Moment;
use super::row_versions::RowVersions;
use super::tables::log_message;
use super::turns::LockedNames;
use super::values::signed;
use crate::terms::{SignatureCounter, TssId};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Locks, held by an open transaction (PostgreSQL) or by their names (SQLite).
pub(super) struct HeldRows<'a> {
    lane: &'a LaneConnection,
    /// Only on PostgreSQL; on SQLite other lanes use it until the commit.
    connection: Option<EitherConnection>,
    locked: BTreeSet<TssId>,
    loaded: Loaded,
    /// Last, so that they end after the connection.
    _names: Option<LockedNames>,
}

/// What was loaded for a batch.
pub(super) struct Loaded {
    pub states: BTreeMap<TssId, LoadedTss>,
    /// Where the database stood; only on SQLite.
    pub moment: Option<Moment>,
}

impl<'a> HeldRows<'a> {
    pub const fn new(
        lane: &'a LaneConnection,
        connection: Option<EitherConnection>,
        locked: BTreeSet<TssId>,
        loaded: Loaded,
        names: Option<LockedNames>,
    ) -> Self {
        Self {
            lane,
            connection,
            locked,
            loaded,
            _names: names,
        }
    }

    fn commit_prepared(&mut self, prepared: Prepared) -> Result<Option<RowVersions>, CommitError> {
        let line = self.lane.line();
        if let Some(turns) = self.lane.turns() {
            let piece = Piece {
                prepared,
                moment: self.loaded.moment,
            };
            return turns.commits().commit(piece, turns, line).map(|()| None);
        }
        let Some(connection) = self.connection.take() else {
            return Err(rolled_back("nothing is locked"));
        };
        commit_alone(&mut line.take(), connection, &prepared)
    }
}

impl Held for HeldRows<'_> {
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss> {
        std::mem::take(&mut self.loaded.states)
    }

    fn late(&self) -> &BTreeSet<TssId> {
        self.lane.late()
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
            None => self.lane.line().take().ask(ACTION, find),
        }
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), CommitError> {
        let locked = |entry: &super::TssBatch| self.locked.contains(&entry.tss);
        if !batch.entries.iter().all(locked) {
            return Err(rolled_back("the batch changes a TSS that is not locked"));
        }
        let prepared = Prepared::of(batch).map_err(rolled_back)?;
        let memory = self.lane.line().memory();
        // Not known again unless all goes well.
        let taken = memory.take_out(batch);
        let versions = self.commit_prepared(prepared)?;
        memory.wrote(taken, batch, versions.as_ref());
        Ok(())
    }
}

impl Drop for HeldRows<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if rolled_back_politely(&mut connection) {
            self.lane.line().take().put_back(connection);
        }
    }
}
