//! A connection to either database, and the pool of them.

use super::postgres::Patience;
use super::store::StoreConfig;
use super::turns::{OpenFile, TurnOfAnother};
use super::{LedgerError, postgres, sqlite};
use diesel::connection::SimpleConnection as _;
use diesel::r2d2::{ManageConnection, Pool, PooledConnection};
use diesel::result::Error as QueryError;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// Either database, behind one set of queries.
#[derive(diesel::MultiConnection)]
pub(super) enum EitherConnection {
    Sqlite(diesel::SqliteConnection),
    Postgres(diesel::PgConnection),
}

/// What all queries are written for.
pub(super) type Database = <EitherConnection as diesel::Connection>::Backend;

/// Longest wait for a connection of the pool.
const POOL_WAIT: Duration = Duration::from_secs(5);

/// Connections to SQLite; one of them at a time writes (`turns::Turns`).
const SQLITE_CONNECTIONS: u32 = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection")]
    Connection(#[from] diesel::ConnectionError),
    #[error("the connection could not be set up")]
    Setup(#[from] QueryError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Opens connections.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    config: StoreConfig,
    /// Only on SQLite.
    file: Option<Arc<OpenFile>>,
}

impl Manager {
    /// For this database.
    ///
    /// # Errors
    /// When it should be a file, and there is none.
    pub fn new(config: &StoreConfig) -> Result<Self, LedgerError> {
        let file = match config {
            StoreConfig::Sqlite { path } => Some(OpenFile::at(path)?),
            StoreConfig::Postgres { .. } => None,
        };
        Ok(Self {
            config: config.clone(),
            file,
        })
    }

    /// Where the ledger is.
    pub const fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// On SQLite, the file that was opened.
    pub const fn file(&self) -> Option<&Arc<OpenFile>> {
        self.file.as_ref()
    }

    /// A connection with durable settings, checked.
    pub fn open(&self) -> Result<EitherConnection, ConnectError> {
        match &self.config {
            StoreConfig::Sqlite { path } => {
                self.file.as_ref().map_or(Ok(()), |file| file.check())?;
                sqlite::connect(path).map(EitherConnection::Sqlite)
            }
            StoreConfig::Postgres {
                url,
                lock_timeout_ms,
                standstill_ms,
                ..
            } => {
                let patience = Patience {
                    lock_timeout_ms: *lock_timeout_ms,
                    standstill_ms: *standstill_ms,
                };
                postgres::connect(url, patience).map(EitherConnection::Postgres)
            }
        }
    }

    pub fn pool(self) -> Result<Pool<Self>, LedgerError> {
        let size = match &self.config {
            StoreConfig::Sqlite { .. } => SQLITE_CONNECTIONS,
            StoreConfig::Postgres {
                connections_max, ..
            } => (*connections_max).max(1),
        };
        // Lazy, because the first connection has been opened and checked already.
        Ok(Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            .connection_timeout(POOL_WAIT)
            .test_on_check_out(true)
            .build_unchecked(self))
    }
}

impl ManageConnection for Manager {
    type Connection = EitherConnection;
    type Error = ConnectError;

    fn connect(&self) -> Result<EitherConnection, ConnectError> {
        self.open()
    }

    fn is_valid(&self, connection: &mut EitherConnection) -> Result<(), ConnectError> {
        Ok(connection.batch_execute("SELECT 1")?)
    }

    fn has_broken(&self, connection: &mut EitherConnection) -> bool {
        use diesel::r2d2::R2D2Connection as _;
        std::thread::panicking() || connection.is_broken()
    }
}

/// A connection of the pool.
pub(super) type Pooled = PooledConnection<Manager>;

/// A connection of the pool whose turn it is to write.
pub(super) struct Writing<'a> {
    pub connection: Pooled,
    /// After the connection, so that it ends later.
    pub _turn: Option<TurnOfAnother<'a>>,
}

impl Deref for Writing<'_> {
    type Target = EitherConnection;

    fn deref(&self) -> &EitherConnection {
        &self.connection
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut EitherConnection {
        &mut self.connection
    }
}

/// For `map_err`: the database did not do it.
pub(super) fn unavailable<E>(action: &'static str) -> impl FnOnce(E) -> LedgerError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| LedgerError::Unavailable {
        action,
        source: Box::new(source),
    }
}

/// For `map_err` of an insert: a row with this identity may exist already.
pub(super) fn exists_or(
    what: &'static str,
    action: &'static str,
) -> impl FnOnce(QueryError) -> LedgerError {
    move |error| {
        if is_unique_violation(&error) {
            LedgerError::Exists(what)
        } else {
            unavailable(action)(error)
        }
    }
}

pub(super) fn is_unique_violation(error: &QueryError) -> bool {
    matches!(
        error,
        QueryError::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, _)
    )
}
