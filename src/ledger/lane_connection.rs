//! The lane's side of the ledger: lock and load, on its connection or beside it. What comes of that: `held_rows`.

use super::connection::{EitherConnection, unavailable};
use super::held_rows::{HeldRows, Loaded};
use super::known::{Split, Versions};
use super::lane::{Batch, Held, LaneLedger, LoadedTss, WithheldDevices};
use super::line::{Line, Wire};
use super::loading::{DeviceChoice, load};
use super::locking::{LOCK_WAIT_MS, begin, lock_rows, rolled_back_politely, wait_as_usual};
use super::row_versions::Locked;
use super::survey::NO_SERVER;
use super::tables::device;
use super::turns::{LockedNames, Turns};
use super::{Clearance, LedgerError, Released};
use crate::sma::Needs;
use crate::terms::{SerialNumber, TssId};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LOCK: &str = "lock a TSS";

/// How long a lock is waited for after a wait in vain: whoever holds the lock may be frozen, and the other TSSs of the lane wait, too.
const LOCK_WAIT_AGAIN_MS: u32 = 100;

/// One lane.
pub(super) struct LaneConnection {
    line: Line,
    /// Only on SQLite.
    turns: Option<Arc<Turns>>,
    choice: DeviceChoice,
    witnesses: LaneWitnesses,
    /// To read on while another lane uses the line; only on SQLite.
    aside: Option<EitherConnection>,
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
            aside: None,
            late: BTreeSet::new(),
        }
    }

    /// Reads what is not known at these versions; on SQLite at that of the database.
    fn load(
        &self,
        wire: &Wire,
        connection: &mut EitherConnection,
        needs: &BTreeMap<TssId, Needs>,
        told: Locked,
    ) -> Result<Loaded, LedgerError> {
        let (versions, moment) = match connection {
            EitherConnection::Sqlite(connection) => {
                let moment = wire.moment(connection, self.turns_of_others());
                let moment = moment.map_err(unavailable(LOCK))?;
                wire.memory.is_at(moment);
                (Versions::OfAll(moment.version), Some(moment))
            }
            EitherConnection::Postgres(_) => (Versions::OfEach(told.versions), None),
        };
        let Split {
            mut loaded,
            missing,
        } = wire.memory.split(needs, &versions).without(&told.absent);
        if let EitherConnection::Postgres(_) = connection {
            for tss in loaded.values_mut() {
                let pair = tss.token.as_ref().and_then(|label| told.pairs.get(label));
                tss.active = pair.cloned();
            }
        }
        let states = load(connection, &missing, loaded, &self.choice)?;
        wire.memory.learn(&states, &versions);
        Ok(Loaded { states, moment })
    }

    /// The connection and what is known of it.
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Only on SQLite.
    pub fn turns(&self) -> Option<&Turns> {
        self.turns.as_deref()
    }

    /// Those that the last lock has not got.
    pub const fn late(&self) -> &BTreeSet<TssId> {
        &self.late
    }

    fn turns_of_others(&self) -> u64 {
        let turns = self.turns.as_ref();
        turns.map_or(0, |turns| turns.of_others())
    }

    /// What can be had without the connection, which another lane is using: nobody waits for its disk. What is not
    /// known is read on a connection of this lane's own.
    fn recall(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Option<Loaded>, LedgerError> {
        let turns = self.turns_of_others();
        let Some((split, moment)) = self.line.memory().recall(needs, turns) else {
            return Ok(None);
        };
        self.require_clearance(NO_SERVER)?;
        let states = match split.missing.is_empty() {
            true => split.loaded,
            false => match self.read_aside(split) {
                Ok(states) => states,
                // On the line there may be more to be had.
                Err(LedgerError::Unavailable { .. }) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        self.line.memory().learn_aside(&states, moment);
        let moment = Some(moment);
        Ok(Some(Loaded { states, moment }))
    }

    /// Whatever was committed before the TSSs were locked is seen there, too.
    fn read_aside(&mut self, split: Split) -> Result<BTreeMap<TssId, LoadedTss>, LedgerError> {
        let Split { loaded, missing } = split;
        // Taken out, so that it is gone if anything fails.
        let mut connection = match self.aside.take() {
            Some(connection) => connection,
            None => self.line.open_aside()?,
        };
        begin(&mut connection, 0).map_err(unavailable(LOCK))?;
        let loaded = load(&mut connection, &missing, loaded, &self.choice)?;
        if rolled_back_politely(&mut connection) {
            self.aside = Some(connection);
        }
        Ok(loaded)
    }

    fn held(
        &mut self,
        needs: BTreeMap<TssId, Needs>,
        loaded: Loaded,
        connection: Option<EitherConnection>,
        names: Option<LockedNames>,
    ) -> Box<dyn Held + '_> {
        let locked = needs.into_keys().collect();
        Box::new(HeldRows::new(self, connection, locked, loaded, names))
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
        let line = self.line.clone();
        let mut wire = match line.take_if_free() {
            Some(wire) => wire,
            None => {
                let mut free = needs.clone();
                free.retain(|id, _| !self.late.contains(id));
                if names.is_some()
                    && let Some(loaded) = self.recall(&free)?
                {
                    return Ok(self.held(free, loaded, None, names));
                }
                line.take()
            }
        };
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
        let mut told = Locked::default();
        if let EitherConnection::Postgres(connection) = &mut connection {
            let asked = wire.memory.unheard_of(needs);
            let locked = lock_rows(connection, needs, &asked, wait_ms);
            let locked = locked.map_err(unavailable(LOCK))?;
            (self.late, told) = (locked.late, locked.told);
        }
        let mut needs = needs.clone();
        needs.retain(|id, _| !self.late.contains(id));
        let loaded = match self.load(&wire, &mut connection, &needs, told) {
            Ok(loaded) => loaded,
            Err(error) => {
                // Damaged rows of one TSS are no reason to take the connection from the others.
                if matches!(error, LedgerError::Damaged(_)) && rolled_back_politely(&mut connection)
                {
                    wire.put_back(connection);
                }
                return Err(error);
            }
        };
        if loaded.states.values().any(|tss| tss.active.is_some()) {
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
        Ok(self.held(needs, loaded, connection, names))
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
