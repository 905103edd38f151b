//! Beginning a batch, and the locks of its rows.

use super::connection::EitherConnection;
use super::row_versions::{RowVersions, lock_tss};
use super::{postgres, sqlite};
use crate::sma::Needs;
use crate::terms::{ClientId, TssId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::collections::{BTreeMap, BTreeSet};

/// On PostgreSQL the transaction holds the locks; on SQLite it is only for loading, and the one that writes opens
/// after signing (design decision 2).
pub(super) fn begin(connection: &mut EitherConnection, lock_wait_ms: u32) -> QueryResult<()> {
    match connection {
        EitherConnection::Sqlite(connection) => connection.batch_execute(sqlite::BEGIN_TO_READ),
        EitherConnection::Postgres(connection) => begin_on_postgres(connection, lock_wait_ms),
    }
}

fn begin_on_postgres(connection: &mut PgConnection, lock_wait_ms: u32) -> QueryResult<()> {
    let begin = postgres::BEGIN;
    connection.batch_execute(&format!("{begin}; SET LOCAL lock_timeout = {lock_wait_ms}"))
}

/// For the rest of the transaction: as long as any other connection waits for a lock.
pub(super) fn wait_as_usual(
    connection: &mut EitherConnection,
    lock_wait_ms: u32,
) -> QueryResult<()> {
    match connection {
        EitherConnection::Sqlite(_) => Ok(()),
        EitherConnection::Postgres(connection) => {
            connection.batch_execute(&format!("SET LOCAL lock_timeout = {lock_wait_ms}"))
        }
    }
}

/// What came of locking rows.
pub(super) struct LockedRows {
    /// Those that somebody else holds.
    pub late: BTreeSet<TssId>,
    /// The transactions that have written those of the others that exist; none where that was not asked.
    pub versions: RowVersions,
}

/// Locks all of them, or what can be had without waiting any longer.
pub(super) fn lock_rows(
    connection: &mut PgConnection,
    needs: &BTreeMap<TssId, Needs>,
    lock_wait_ms: u32,
) -> QueryResult<LockedRows> {
    match lock_all_rows(connection, needs) {
        Ok(versions) => Ok(LockedRows {
            late: BTreeSet::new(),
            versions,
        }),
        Err(QueryError::DatabaseError(kind, _)) if kind != DatabaseErrorKind::ClosedConnection => {
            connection.batch_execute("ROLLBACK")?;
            begin_on_postgres(connection, lock_wait_ms)?;
            Ok(LockedRows {
                late: lock_free_rows(connection, needs)?,
                versions: RowVersions::new(),
            })
        }
        Err(error) => Err(error),
    }
}

/// Rows first, in id order; then the right to create what does not exist yet, in one order too.
fn lock_all_rows(
    connection: &mut PgConnection,
    needs: &BTreeMap<TssId, Needs>,
) -> QueryResult<RowVersions> {
    let ids: Vec<String> = needs.keys().map(ToString::to_string).collect();
    let present = lock_tss(connection, &ids)?;
    let created: Vec<String> = needs
        .iter()
        .filter(|(id, needs)| needs.free_device.is_some() && !present.contains_key(id))
        .map(|(id, _)| id.to_string())
        .collect();
    postgres::lock_absent(connection, &created)?;
    if !created.is_empty() {
        // While we waited for that right, its last holder may have used it.
        lock_tss(connection, &created)?;
    }
    postgres::lock_absent(connection, &new_clients(needs))?;
    Ok(present)
}

/// Ids of the clients that come into being, each once and in order.
fn new_clients(needs: &BTreeMap<TssId, Needs>) -> Vec<String> {
    let ids = needs.values().flat_map(|needs| &needs.client_ids_new);
    let ids: BTreeSet<String> = ids.map(ToString::to_string).collect();
    ids.into_iter().collect()
}

/// The same without waiting for anybody.
fn lock_free_rows(
    connection: &mut PgConnection,
    needs: &BTreeMap<TssId, Needs>,
) -> QueryResult<BTreeSet<TssId>> {
    let named = |ids: Vec<&TssId>| -> Vec<String> { ids.iter().map(ToString::to_string).collect() };
    let is_in = |ids: &[String], id: &TssId| ids.contains(&id.to_string());
    let mut locked = postgres::lock_free_tss(connection, &named(needs.keys().collect()))?;
    let others = needs.keys().filter(|id| !is_in(&locked, id)).collect();
    let creatable = needs
        .iter()
        .filter(|(id, needs)| needs.free_device.is_some() && !is_in(&locked, id))
        .map(|(id, _)| id)
        .collect();
    let created = postgres::lock_free_absent(connection, &named(creatable))?;
    // The last holder of that right may have used it, and somebody may have locked what came of it.
    locked.extend(postgres::lock_free_tss(connection, &created)?);
    let present = postgres::present_tss(connection, &named(others))?;
    let clients = postgres::lock_free_absent(connection, &new_clients(needs))?;
    let is_late = |id: &TssId, needs: &Needs| {
        let has_row = is_in(&locked, id);
        let has_right = needs.free_device.is_none() || is_in(&created, id);
        let makes = |client: &ClientId| clients.contains(&client.to_string());
        (!has_row && (is_in(&present, id) || !has_right)) || !needs.client_ids_new.iter().all(makes)
    };
    let late = needs.iter().filter(|(id, needs)| is_late(id, needs));
    Ok(late.map(|(id, _)| *id).collect())
}

/// Ends what [`begin`] began; whether the connection can be used on.
pub(super) fn rolled_back_politely(connection: &mut EitherConnection) -> bool {
    connection.batch_execute("ROLLBACK").is_ok()
}
