//! Which of a token and its standby signs: one row for all nodes, with an epoch that counts the switches.

use super::connection::{EitherConnection, is_unique_violation, unavailable};
use super::store::Store;
use super::tables::token_pair;
use super::values::{signed, unsigned};
use super::{ActiveToken, LedgerError, postgres, sqlite};
use crate::terms::SeTime;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use std::collections::{BTreeMap, BTreeSet};

type Result<T> = std::result::Result<T, LedgerError>;

const READ: &str = "read which token is active";
const WRITE: &str = "write which token is active";

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = token_pair)]
pub(super) struct PairRecord {
    label: String,
    active: String,
    epoch: i64,
}

impl PairRecord {
    pub fn into_active(self) -> Result<ActiveToken> {
        Ok(ActiveToken {
            label: self.label,
            section: self.active,
            epoch: unsigned("token_pair.epoch", self.epoch)?,
        })
    }
}

/// Those of these labels that have a row.
pub(super) fn of(
    connection: &mut EitherConnection,
    labels: BTreeSet<String>,
) -> Result<BTreeMap<String, ActiveToken>> {
    if labels.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<PairRecord> = token_pair::table
        .filter(token_pair::label.eq_any(labels))
        .select(PairRecord::as_select())
        .load(connection)
        .map_err(unavailable(READ))?;
    let named = |row: PairRecord| Ok((row.label.clone(), row.into_active()?));
    rows.into_iter().map(named).collect()
}

/// The epoch, which stays until the end of the transaction. On SQLite the transaction itself sees to that.
pub(super) fn hold_epoch(
    connection: &mut EitherConnection,
    label: &str,
) -> QueryResult<Option<i64>> {
    if let EitherConnection::Postgres(postgres) = connection {
        postgres::hold_pair(postgres, label)?;
    }
    token_pair::table
        .find(label)
        .select(token_pair::epoch)
        .first(connection)
        .optional()
}

/// What a switch has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    /// From now on this one is active.
    Done(ActiveToken),
    /// It was before.
    WasAlready(ActiveToken),
    /// Somebody else has switched since the expected epoch; this is what holds.
    Overtaken(ActiveToken),
    /// No server has ever started with a standby for this token.
    NoPair,
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Makes the row of a token with a standby unless there is one. At first this section is active.
    pub fn pair_up(&self, label: &str, section: &str, now: SeTime) -> Result<ActiveToken> {
        if let Some(known) = self.active_token(label)? {
            return Ok(known);
        }
        let row = (
            token_pair::label.eq(label),
            token_pair::active.eq(section),
            token_pair::epoch.eq(1),
            token_pair::time_switch.eq(now.unix_seconds()),
        );
        let inserted = diesel::insert_into(token_pair::table)
            .values(row)
            .execute(&mut *self.writing()?);
        match inserted {
            Ok(_) => {}
            // Another node was faster.
            Err(error) if is_unique_violation(&error) => {}
            Err(error) => return Err(unavailable(WRITE)(error)),
        }
        self.active_token(label)?
            .ok_or_else(|| super::values::damaged("token_pair.label"))
    }

    /// Which one is active; `None` for a token that never had a standby.
    pub fn active_token(&self, label: &str) -> Result<Option<ActiveToken>> {
        let found: Option<PairRecord> = token_pair::table
            .find(label)
            .select(PairRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable(READ))?;
        found.map(PairRecord::into_active).transpose()
    }

    /// The same for all tokens that have a standby.
    pub fn active_tokens(&self) -> Result<Vec<ActiveToken>> {
        let rows: Vec<PairRecord> = token_pair::table
            .order(token_pair::label)
            .select(PairRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable(READ))?;
        rows.into_iter().map(PairRecord::into_active).collect()
    }

    /// Makes this section the active one, if the epoch is still the expected one or none is expected. After
    /// `Ok` nothing that another one has signed is committed unseen.
    pub fn switch_token(
        &self,
        label: &str,
        section: &str,
        expected_epoch: Option<u64>,
        now: SeTime,
    ) -> Result<Switched> {
        let mut connection = self.writing()?;
        let expected_epoch = expected_epoch.map(signed);
        let switched = begin(&mut connection, label)
            .and_then(|()| switch(&mut connection, label, section, expected_epoch, now))
            .and_then(|switched| connection.batch_execute("COMMIT").map(|()| switched));
        if switched.is_err() {
            // After a COMMIT without an answer there is nothing to take back, and the epoch tells.
            let _ = connection.batch_execute("ROLLBACK");
        }
        match switched.map_err(unavailable(WRITE))? {
            Some((record, outcome)) => Ok(outcome(record.into_active()?)),
            None => Ok(Switched::NoPair),
        }
    }
}

/// On SQLite another process may be writing: whoever reads first and writes then would be refused.
fn begin(connection: &mut EitherConnection, label: &str) -> QueryResult<()> {
    match connection {
        EitherConnection::Sqlite(connection) => connection.batch_execute(sqlite::BEGIN),
        EitherConnection::Postgres(connection) => {
            connection.batch_execute(postgres::BEGIN)?;
            postgres::take_pair(connection, label)
        }
    }
}

type Outcome = fn(ActiveToken) -> Switched;

fn switch(
    connection: &mut EitherConnection,
    label: &str,
    section: &str,
    expected_epoch: Option<i64>,
    now: SeTime,
) -> std::result::Result<Option<(PairRecord, Outcome)>, QueryError> {
    let found: Option<PairRecord> = token_pair::table
        .find(label)
        .select(PairRecord::as_select())
        .first(connection)
        .optional()?;
    let Some(mut record) = found else {
        return Ok(None);
    };
    if record.active == section {
        return Ok(Some((record, Switched::WasAlready)));
    }
    if expected_epoch.is_some_and(|expected| expected != record.epoch) {
        return Ok(Some((record, Switched::Overtaken)));
    }
    section.clone_into(&mut record.active);
    record.epoch = record.epoch.saturating_add(1);
    diesel::update(token_pair::table.find(label))
        .set((
            token_pair::active.eq(section),
            token_pair::epoch.eq(record.epoch),
            token_pair::time_switch.eq(now.unix_seconds()),
        ))
        .execute(connection)?;
    Ok(Some((record, Switched::Done)))
}
