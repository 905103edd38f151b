//! What is different on PostgreSQL: many nodes, row locks, durability by the server's settings.

use super::connection::ConnectError;
use super::locking::LOCK_WAIT_MS;
use super::tables::{device, tss};
use super::{LedgerError, postgres_url};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::time::{Duration, Instant};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// "siegel" in ASCII; while it is held, the schema is this node's to change.
const MIGRATION_LOCK: i64 = 0x0073_6965_6765_6c00;

/// READ COMMITTED, so that what is read under a row lock is what was committed last.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

#[derive(QueryableByName)]
struct Settings {
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = Text)]
    full_page_writes: String,
    #[diesel(sql_type = Text)]
    synchronous_commit: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
}

/// How long a session waits, and how long others wait for it.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Longest wait for a lock, in milliseconds.
    pub lock_timeout_ms: u32,
    /// How long its transactions may stand still, in milliseconds.
    pub standstill_ms: u32,
}

pub(super) fn connect(url: &str, patience: Patience) -> Result<PgConnection, ConnectError> {
    let Patience {
        lock_timeout_ms,
        standstill_ms,
    } = patience;
    let mut connection = PgConnection::establish(&postgres_url::with_defaults(url))?;
    let found: Settings = diesel::sql_query(
        "SELECT current_setting('fsync') AS fsync, \
         current_setting('full_page_writes') AS full_page_writes, \
         current_setting('synchronous_commit') AS synchronous_commit, \
         pg_is_in_recovery() AS is_standby",
    )
    .get_result(&mut connection)?;
    if found.is_standby {
        let message = "this PostgreSQL is a standby; name its primary, or promote it";
        return Err(LedgerError::Unsafe(message.to_owned()).into());
    }
    let durable = [
        ("fsync", &found.fsync, &["on"][..]),
        ("full_page_writes", &found.full_page_writes, &["on"]),
        (
            "synchronous_commit",
            &found.synchronous_commit,
            &["on", "remote_apply"],
        ),
    ];
    for (name, setting, enough) in durable {
        if !enough.contains(&setting.as_str()) {
            return Err(LedgerError::Unsafe(format!(
                "PostgreSQL runs with {name} = {setting}; set it to on, or signatures can be lost"
            ))
            .into());
        }
    }
    // Set for the session, so that a reload of the server's settings does not weaken it later. A
    // statement timeout would end the wait for a standby with a mere warning, so there is none.
    connection.batch_execute(&format!(
        "SET synchronous_commit = {}; SET statement_timeout = 0; \
         SET lock_timeout = {lock_timeout_ms}; \
         SET idle_in_transaction_session_timeout = {standstill_ms}; \
         SET client_min_messages = warning; SET timezone = 'UTC'",
        found.synchronous_commit
    ))?;
    Ok(connection)
}

/// Where the database's server runs on glibc, its session gives memory back to the system at the end of each statement, and
/// takes it again for the next one. Once a block of this size was freed, glibc keeps up to twice as much.
const KEEP_MEMORY: &str = "SELECT octet_length(repeat(repeat('x', 1000), 8000))";

/// For a connection that lanes sign on: all they ask for are rows by their keys, of which there may be many in one
/// question. However few rows PostgreSQL thinks a table has, it is to take the index, and to plan that once; and
/// it is not to compile what takes a millisecond. A lock is waited for as long as a batch usually waits. The server keeps
/// the memory of a statement for the next one.
pub(super) fn prepare_to_sign(connection: &mut PgConnection) -> QueryResult<()> {
    connection.batch_execute(&format!(
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
         SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
         SET lock_timeout = {LOCK_WAIT_MS}; {KEEP_MEMORY}"
    ))
}

/// Waits until no other node changes the schema.
pub(super) fn take_migration_lock(connection: &mut PgConnection) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_lock($1)")
        .bind::<BigInt, _>(MIGRATION_LOCK)
        .execute(connection)
        .map(drop)
}

pub(super) fn release_migration_lock(connection: &mut PgConnection) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_unlock($1)")
        .bind::<BigInt, _>(MIGRATION_LOCK)
        .execute(connection)
        .map(drop)
}

/// Locks those of these TSSs that exist and that nobody else holds, in id order, without waiting.
pub(super) fn lock_free_tss(
    connection: &mut PgConnection,
    ids: &[String],
) -> QueryResult<Vec<String>> {
    tss::table
        .filter(tss::id.eq_any(ids))
        .order(tss::id)
        .select(tss::id)
        .for_update()
        .skip_locked()
        .load(connection)
}

/// Those of these TSSs that exist, locked or not.
pub(super) fn present_tss(
    connection: &mut PgConnection,
    ids: &[String],
) -> QueryResult<Vec<String>> {
    tss::table
        .filter(tss::id.eq_any(ids))
        .select(tss::id)
        .load(connection)
}

/// The right to create the TSSs or clients with these ids, until the end of the transaction. Taken in
/// one order by everybody.
pub(super) fn lock_absent(connection: &mut PgConnection, ids: &[String]) -> QueryResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "SELECT pg_advisory_xact_lock(place) FROM (\
         SELECT DISTINCT hashtextextended(id, 0) AS place FROM unnest($1) AS wanted (id) \
         ORDER BY place OFFSET 0) AS places",
    )
    .bind::<Array<Text>, _>(ids)
    .execute(connection)
    .map(drop)
}

#[derive(QueryableByName)]
struct Absent {
    #[diesel(sql_type = Text)]
    id: String,
}

/// The same without waiting: answers with those of the ids whose right nobody else has.
pub(super) fn lock_free_absent(
    connection: &mut PgConnection,
    ids: &[String],
) -> QueryResult<Vec<String>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Absent> = diesel::sql_query(
        "SELECT id FROM unnest($1) AS wanted (id) \
         WHERE pg_try_advisory_xact_lock(hashtextextended(id, 0))",
    )
    .bind::<Array<Text>, _>(ids)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Until the end of the transaction nobody switches between this token and its standby. Commits share the
/// right; a switch waits in line for those before it, and those after it wait for the switch. (Row locks that
/// are shared would let commits overtake a switch for ever.)
pub(super) fn hold_pair(connection: &mut PgConnection, label: &str) -> QueryResult<()> {
    diesel::sql_query(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('token_pair:' || $1, 0))",
    )
    .bind::<Text, _>(label)
    .execute(connection)
    .map(drop)
}

/// Waits for the commits of all nodes that hold it, and keeps others out.
pub(super) fn take_pair(connection: &mut PgConnection, label: &str) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended('token_pair:' || $1, 0))")
        .bind::<Text, _>(label)
        .execute(connection)
        .map(drop)
}

/// Serial numbers of free devices that no other lane is about to take, without those in `withheld`.
pub(super) fn reserve_devices(
    connection: &mut PgConnection,
    environment: &str,
    token: Option<&str>,
    withheld: &[String],
    count: i64,
) -> QueryResult<Vec<String>> {
    // A boxed query cannot lock rows, so the optional filter is a condition of the query itself.
    let any_token = token.is_none();
    device::table
        .filter(device::tss_id.is_null())
        .filter(device::unusable_reason.is_null())
        .filter(device::environment.eq(environment))
        .filter(device::serial_number.ne_all(withheld))
        .filter(
            device::token
                .eq(token.unwrap_or_default())
                .or(any_token.into_sql::<diesel::sql_types::Bool>()),
        )
        .order((device::time_creation, device::serial_number))
        .limit(count)
        .select(device::serial_number)
        .for_update()
        .skip_locked()
        .load(connection)
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Cluster, timeline, database, tables, and when the server was started: whatever may have put an older
/// state into place changes one of them. The timeline is read from the name of the file that is written
/// now, because the control file learns of a promotion only with the next checkpoint.
const SERVER: &str = "SELECT concat_ws('/', system_identifier, \
    left(pg_walfile_name(pg_current_wal_lsn()), 8), \
    (SELECT oid FROM pg_database WHERE datname = current_database()), \
    to_regclass('tss')::oid, extract(epoch FROM pg_postmaster_start_time())) AS name \
    FROM pg_control_system()";

pub(super) fn server(connection: &mut PgConnection) -> QueryResult<String> {
    let found: Named = diesel::sql_query(SERVER).get_result(connection)?;
    Ok(found.name)
}

/// Whole seconds of the server's clock, which all nodes share.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()))::bigint";

pub(super) fn take_lease(
    connection: &mut PgConnection,
    name: &str,
    holder: &str,
    seconds: u32,
) -> QueryResult<bool> {
    let taken = diesel::sql_query(format!(
        "INSERT INTO lease (name, holder, expires) VALUES ($1, $2, {NOW} + $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires \
         WHERE lease.holder = excluded.holder OR lease.expires < {NOW}"
    ))
    .bind::<Text, _>(name)
    .bind::<Text, _>(holder)
    .bind::<BigInt, _>(i64::from(seconds))
    .execute(connection)?;
    Ok(taken > 0)
}

pub(super) fn announce(connection: &mut PgConnection, node: &str, server: &str) -> QueryResult<()> {
    diesel::sql_query(format!(
        "INSERT INTO node (id, compared, time_seen) VALUES ($1, $2, {NOW}) ON CONFLICT (id) \
         DO UPDATE SET compared = excluded.compared, time_seen = excluded.time_seen"
    ))
    .bind::<Text, _>(node)
    .bind::<Text, _>(server)
    .execute(connection)
    .map(drop)
}

pub(super) fn leave(connection: &mut PgConnection, node: &str) -> QueryResult<()> {
    diesel::sql_query(
        "WITH gone AS (DELETE FROM lease WHERE holder = $1) DELETE FROM node WHERE id = $1",
    )
    .bind::<Text, _>(node)
    .execute(connection)
    .map(drop)
}

/// Nodes that share the ledger and have not compared what this server holds.
pub(super) fn not_compared(
    connection: &mut PgConnection,
    server: &str,
) -> QueryResult<Vec<String>> {
    let found: Vec<Named> = diesel::sql_query("SELECT id AS name FROM node WHERE compared <> $1")
        .bind::<Text, _>(server)
        .load(connection)?;
    Ok(found.into_iter().map(|found| found.name).collect())
}

/// Whether commits wait for a standby.
pub(super) fn has_synchronous_standby(connection: &mut PgConnection) -> QueryResult<bool> {
    let names: Named =
        diesel::sql_query("SELECT current_setting('synchronous_standby_names') AS name")
            .get_result(connection)?;
    Ok(!names.name.is_empty())
}

/// A commit that took at least this long may have waited for a standby, and somebody may have cancelled
/// that. PostgreSQL then says "done" with a warning, which Diesel hands to nobody.
const DOUBTFUL: Duration = Duration::from_millis(500);

/// Tries to confirm a commit.
const CONFIRMATIONS_MAX: u32 = 3;

/// Commits, and is back with `Ok` when the commit is where it has to be.
///
/// # Errors
/// Those of COMMIT, and one that says that no standby has confirmed it.
pub(super) fn commit(connection: &mut PgConnection) -> QueryResult<()> {
    if takes_long(|| connection.batch_execute("COMMIT"))? && !is_confirmed(connection)? {
        return Err(QueryError::QueryBuilderError(Box::new(NotConfirmed)));
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("no standby has confirmed the commit")]
struct NotConfirmed;

/// Whether all that was committed on this server so far is where it has to be. A standby that confirms a
/// later commit has all that comes before it, so one more is made, and believed if it was quick: nobody
/// cancels what he has not seen waiting.
pub(super) fn is_confirmed(connection: &mut PgConnection) -> QueryResult<bool> {
    if !has_synchronous_standby(connection)? {
        return Ok(true);
    }
    for _ in 0..CONFIRMATIONS_MAX {
        let emit = "SELECT pg_logical_emit_message(true, 'siegel', '')";
        if !takes_long(|| connection.batch_execute(emit))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[allow(
    clippy::disallowed_methods,
    reason = "only a difference is taken, and nothing that is stored or told comes of it"
)]
fn takes_long(work: impl FnOnce() -> QueryResult<()>) -> QueryResult<bool> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed() >= DOUBTFUL)
}
