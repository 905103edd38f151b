//! Beginning a batch, and the locks of its rows.

use super::connection::EitherConnection;
use super::row_versions::{Locked, lock_tss};
use super::{postgres, sqlite};
use crate::sma::Needs;
use crate::terms::{ClientId, TransactionId, TssId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::collections::{BTreeMap, BTreeSet};

/// How long one lock is waited for, in milliseconds, before the TSSs that are free go on without it. Longer than
/// a batch of another node usually takes, because whoever waits keeps its place in the line.
pub(super) const LOCK_WAIT_MS: u32 = 250;

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
    if lock_wait_ms == LOCK_WAIT_MS {
        // The connection was prepared with it.
        return connection.batch_execute(begin);
    }
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
    /// What is known of the others; nothing where that was not asked.
    pub told: Locked,
}

/// Locks all of them, or what can be had without waiting any longer. Looks for these transactions beside.
pub(super) fn lock_rows(
    connection: &mut PgConnection,
    needs: &BTreeMap<TssId, Needs>,
    asked: &[(TssId, TransactionId)],
    lock_wait_ms: u32,
) -> QueryResult<LockedRows> {
    match lock_all_rows(connection, needs, asked) {
        Ok(told) => Ok(LockedRows {
            late: BTreeSet::new(),
            told,
        }),
        Err(QueryError::DatabaseError(kind, _)) if kind != DatabaseErrorKind::ClosedConnection => {
            connection.batch_execute("ROLLBACK")?;
            begin_on_postgres(connection, lock_wait_ms)?;
            Ok(LockedRows {
                late: lock_free_rows(connection, needs)?,
                told: Locked::default(),
            })
        }
        Err(error) => Err(error),
    }
}

/// Rows first, in id order; then the right to create what does not exist yet, in one order too.
fn lock_all_rows(
    connection: &mut PgConnection,
    needs: &BTreeMap<TssId, Needs>,
    asked: &[(TssId, TransactionId)],
) -> QueryResult<Locked> {
    let ids: Vec<String> = needs.keys().map(ToString::to_string).collect();
    let told = lock_tss(connection, &ids, asked)?;
    let present = &told.versions;
    let created: Vec<String> = needs
        .iter()
        .filter(|(id, needs)| needs.free_device.is_some() && !present.contains_key(id))
        .map(|(id, _)| id.to_string())
        .collect();
    postgres::lock_absent(connection, &created)?;
    if !created.is_empty() {
        // While we waited for that right, its last holder may have used it.
        lock_tss(connection, &created, &[])?;
    }
    postgres::lock_absent(connection, &new_clients(needs))?;
    Ok(told)
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
