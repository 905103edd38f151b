//! What is different on PostgreSQL: many nodes, row locks, durability by the server's settings.

use super::LedgerError;
use super::connection::ConnectError;
use super::tables::{device, tss};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// "siegel" in ASCII; while it is held, the schema is this node's to change.
const MIGRATION_LOCK: i64 = 0x0073_6965_6765_6c00;

/// A node that stops in the middle of a batch, frozen or cut off, loses its locks after this time, so
/// that another one can go on. Its own commit then fails. Longer than any batch takes.
const IDLE_IN_TRANSACTION_S: u32 = 30;

/// READ COMMITTED, so that what is read under a row lock is what was committed last.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    setting: String,
}

pub(super) fn connect(url: &str, lock_timeout_ms: u32) -> Result<PgConnection, ConnectError> {
    let mut connection = PgConnection::establish(url)?;
    connection.batch_execute(&format!(
        "SET synchronous_commit = on; SET lock_timeout = {lock_timeout_ms}; \
         SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'; \
         SET client_min_messages = warning; SET timezone = 'UTC'"
    ))?;
    for name in ["fsync", "full_page_writes"] {
        let found: Setting = diesel::sql_query("SELECT current_setting($1) AS setting")
            .bind::<Text, _>(name)
            .get_result(&mut connection)?;
        if found.setting != "on" {
            return Err(LedgerError::Unsafe(format!(
                "PostgreSQL runs with {name} = {}; set it to on, or signatures can be lost",
                found.setting
            ))
            .into());
        }
    }
    Ok(connection)
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

/// Locks those of these TSSs that exist, in id order, so that two lanes cannot wait for each other.
pub(super) fn lock_tss(connection: &mut PgConnection, ids: &[String]) -> QueryResult<Vec<String>> {
    tss::table
        .filter(tss::id.eq_any(ids))
        .order(tss::id)
        .select(tss::id)
        .for_update()
        .load(connection)
}

/// The right to create the TSS or client with this id, until the end of the transaction.
pub(super) fn lock_absent(connection: &mut PgConnection, id: &str) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind::<Text, _>(id)
        .execute(connection)
        .map(drop)
}

/// Serial numbers of free devices that no other lane is about to take.
pub(super) fn reserve_devices(
    connection: &mut PgConnection,
    environment: &str,
    token: Option<&str>,
    count: i64,
) -> QueryResult<Vec<String>> {
    // A boxed query cannot lock rows, so the optional filter is a condition of the query itself.
    let any_token = token.is_none();
    device::table
        .filter(device::tss_id.is_null())
        .filter(device::environment.eq(environment))
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
