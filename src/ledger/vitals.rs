//! How much there is in the ledger: a few sums over TSSs, devices and exports, none over messages. For
//! whoever watches the node, every few seconds and never on the way of a signature.

use super::LedgerError;
use super::connection::{EitherConnection, unavailable};
use super::store::{Store, StoreConfig};
use super::tables::{device, export, tss};
use super::values::{damaged, named, parse, time, unsigned};
use crate::sma::TssState;
use crate::terms::{Environment, SeTime};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

type Result<T> = std::result::Result<T, LedgerError>;

/// Sizes of the ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerVitals {
    /// TSSs by environment and state, where there are any.
    pub tss: Vec<TssCount>,
    /// The device whose certificate ends first, among TSSs that still sign.
    pub certificates: Vec<FirstExpiry>,
    /// Devices that wait for a TSS.
    pub free_devices: Vec<FreeDevices>,
    /// Exports that wait for the worker.
    pub exports_pending: u64,
    /// Exports that a worker is at.
    pub exports_working: u64,
    /// Bytes of the database, with the write-ahead log of SQLite.
    pub bytes: u64,
    /// Bytes left on the file system of a SQLite ledger; unknown for PostgreSQL.
    pub disk_free_bytes: Option<u64>,
}

/// TSSs of one environment in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TssCount {
    /// What they are for.
    pub environment: Environment,
    /// Where they stand.
    pub state: TssState,
    /// How many.
    pub count: u64,
    /// Log messages of all of them, by their signature counters.
    pub messages: u64,
    /// Transactions that have begun and not ended.
    pub transactions_open: u64,
}

/// The earliest end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstExpiry {
    /// What the TSSs are for.
    pub environment: Environment,
    /// Label of the token with their keys.
    pub token: String,
    /// When the first of their certificates ends.
    pub not_after: SeTime,
}

/// Prepared devices in one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeDevices {
    /// What they are for.
    pub environment: Environment,
    /// Label of the token.
    pub token: String,
    /// How many.
    pub count: u64,
}

/// Connections to the database that are not those of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionUse {
    /// At work now.
    pub in_use: u32,
    /// Most that may be.
    pub max: u32,
}

impl Store {
    /// Looks.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when the database does not answer, [`LedgerError::Damaged`] when it
    /// holds a word that is not one of ours.
    pub fn vitals(&self) -> Result<LedgerVitals> {
        let mut connection = self.connection()?;
        let connection = &mut *connection;
        let exports = exports(connection)?;
        let count = |state: &str| {
            let found = exports.iter().find(|(name, _)| name == state);
            found.map_or(Ok(0), |(_, count)| unsigned("export", *count))
        };
        Ok(LedgerVitals {
            tss: tss_counts(connection)?,
            certificates: certificates(connection)?,
            free_devices: free_devices(connection)?,
            exports_pending: count("PENDING")?,
            exports_working: count("WORKING")?,
            bytes: self.bytes(connection)?,
            disk_free_bytes: self.disk_free_bytes(),
        })
    }

    /// How many connections are in use. Asks the database nothing.
    pub fn connection_use(&self) -> ConnectionUse {
        let pool = self.pool();
        let state = pool.state();
        ConnectionUse {
            in_use: state.connections.saturating_sub(state.idle_connections),
            max: pool.max_size(),
        }
    }

    fn bytes(&self, connection: &mut EitherConnection) -> Result<u64> {
        match self.config() {
            StoreConfig::Sqlite { path } => {
                let mut log = path.clone().into_os_string();
                log.push("-wal");
                let len = |file: &std::path::Path| file.metadata().map_or(0, |file| file.len());
                Ok(len(path).saturating_add(len(log.as_ref())))
            }
            StoreConfig::Postgres { .. } => {
                let size = diesel::dsl::sql::<BigInt>("pg_database_size(current_database())");
                let bytes: i64 = diesel::select(size)
                    .get_result(connection)
                    .map_err(unavailable("measure itself"))?;
                unsigned("pg_database_size", bytes)
            }
        }
    }

    fn disk_free_bytes(&self) -> Option<u64> {
        match self.config() {
            StoreConfig::Sqlite { path } => {
                let found = rustix::fs::statvfs(path).ok()?;
                Some(found.f_bavail.saturating_mul(found.f_frsize))
            }
            StoreConfig::Postgres { .. } => None,
        }
    }
}

/// What a sum is on both databases: PostgreSQL would make a number without bounds of it.
fn sum(column: &'static str) -> diesel::expression::SqlLiteral<Nullable<BigInt>> {
    diesel::dsl::sql(column)
}

fn tss_counts(connection: &mut EitherConnection) -> Result<Vec<TssCount>> {
    type Row = (String, String, i64, Option<i64>, Option<i64>);
    let rows: Vec<Row> = tss::table
        .group_by((tss::environment, tss::state))
        .select((
            tss::environment,
            tss::state,
            diesel::dsl::count_star(),
            sum("CAST(SUM(signature_counter) AS BIGINT)"),
            sum("CAST(SUM(transactions_open) AS BIGINT)"),
        ))
        .load(connection)
        .map_err(unavailable("count TSSs"))?;
    let count = |(environment, state, count, signatures, open): Row| {
        let count = unsigned("tss", count)?;
        let signatures: u64 = unsigned("tss.signature_counter", signatures.unwrap_or_default())?;
        Ok(TssCount {
            environment: parse("tss.environment", &environment)?,
            state: named("tss.state", &TssState::ALL, TssState::as_str, &state)?,
            count,
            // The first signature of each key is that of its certificate request.
            messages: signatures.saturating_sub(count),
            transactions_open: unsigned("tss.transactions_open", open.unwrap_or_default())?,
        })
    };
    rows.into_iter().map(count).collect()
}

fn certificates(connection: &mut EitherConnection) -> Result<Vec<FirstExpiry>> {
    let over = [TssState::Disabled, TssState::Defective].map(TssState::as_str);
    let rows: Vec<(String, String, Option<i64>)> = device::table
        .inner_join(tss::table.on(tss::device_serial.eq(device::serial_number)))
        .filter(tss::state.ne_all(over))
        .group_by((device::environment, device::token))
        .select((
            device::environment,
            device::token,
            diesel::dsl::min(device::certificate_not_after),
        ))
        .load(connection)
        .map_err(unavailable("look at certificates"))?;
    let expiry = |(environment, token, not_after): (String, String, Option<i64>)| {
        let column = "device.certificate_not_after";
        Ok(FirstExpiry {
            environment: parse("device.environment", &environment)?,
            token,
            not_after: time(column, not_after.ok_or_else(|| damaged(column))?)?,
        })
    };
    rows.into_iter().map(expiry).collect()
}

fn free_devices(connection: &mut EitherConnection) -> Result<Vec<FreeDevices>> {
    let rows: Vec<(String, String, i64)> = device::table
        .filter(device::tss_id.is_null())
        .filter(device::unusable_reason.is_null())
        .group_by((device::environment, device::token))
        .select((
            device::environment,
            device::token,
            diesel::dsl::count_star(),
        ))
        .load(connection)
        .map_err(unavailable("count devices"))?;
    let count = |(environment, token, count): (String, String, i64)| {
        Ok(FreeDevices {
            environment: parse("device.environment", &environment)?,
            token,
            count: unsigned("device", count)?,
        })
    };
    rows.into_iter().map(count).collect()
}

fn exports(connection: &mut EitherConnection) -> Result<Vec<(String, i64)>> {
    export::table
        .filter(export::state.eq_any(["PENDING", "WORKING"]))
        .group_by(export::state)
        .select((export::state, diesel::dsl::count_star()))
        .load(connection)
        .map_err(unavailable("count exports"))
}
