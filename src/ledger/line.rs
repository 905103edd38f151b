//! The connection that lanes sign on, and what stands behind it.

use super::LedgerError;
use super::connection::{ConnectError, EitherConnection, Manager, unavailable};
use super::memory::{Memory, Moment};
use super::store::StoreConfig;
use super::survey::server;
use super::{postgres, sqlite};
use diesel::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// On PostgreSQL each lane has one of its own, whose transaction holds the locks. On SQLite all lanes share one:
/// there is one writer anyway, and a connection forgets every page it has read as soon as another one commits.
#[derive(Clone)]
pub(super) struct Line {
    wire: Arc<Mutex<Wire>>,
    /// Beside the connection, so that a lane can look into it while another one commits.
    memory: Arc<Memory>,
    manager: Manager,
}

/// Whatever fails on its connection, the next use opens another one: after a failed commit nobody knows what
/// the old one still thinks.
pub(super) struct Wire {
    manager: Manager,
    /// What stands behind the connection, in the sense of [`super::Clearance`].
    server: String,
    /// Whether a commit ended without a clear answer.
    pub needs_confirmation: bool,
    /// What its connection has read and written.
    pub memory: Arc<Memory>,
    /// How many connections were opened here.
    opened: u64,
    /// Not there while it is in use.
    connection: Option<EitherConnection>,
}

/// Told to nobody until it is.
#[derive(Debug, thiserror::Error)]
#[error("no standby has confirmed the last commit yet")]
struct NotConfirmed;

impl Line {
    /// Opens the first connection.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn open(manager: Manager) -> Result<Self, LedgerError> {
        let mut wire = Wire {
            manager: manager.clone(),
            server: String::new(),
            needs_confirmation: false,
            memory: Arc::default(),
            opened: 0,
            connection: None,
        };
        wire.connection = Some(wire.open()?);
        Ok(Self {
            memory: Arc::clone(&wire.memory),
            manager,
            wire: Arc::new(Mutex::new(wire)),
        })
    }

    /// What its connection has read and written.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Another connection to the same database, to read on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn open_aside(&self) -> Result<EitherConnection, LedgerError> {
        self.manager.open().map_err(connect_error)
    }

    /// Nobody else uses the connection while this is there.
    pub fn take(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same; `None` while somebody uses it.
    pub fn take_if_free(&self) -> Option<MutexGuard<'_, Wire>> {
        match self.wire.try_lock() {
            Ok(wire) => Some(wire),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Wire {
    /// What stands behind the connection, in the sense of [`super::Clearance`].
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How long a connection waits for a lock, in milliseconds; 0 where there are none.
    pub fn lock_wait_ms(&self) -> u32 {
        match self.manager.config() {
            StoreConfig::Sqlite { .. } => 0,
            StoreConfig::Postgres {
                lock_timeout_ms, ..
            } => *lock_timeout_ms,
        }
    }

    /// It has come through what it was used for.
    pub fn put_back(&mut self, connection: EitherConnection) {
        self.connection = Some(connection);
    }

    /// Does the first thing on the connection, which is taken out. One that broke while nobody used it
    /// is opened anew, because nothing can have been lost with it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn begin_with<T>(
        &mut self,
        action: &'static str,
        first: impl Fn(&mut EitherConnection) -> QueryResult<T>,
    ) -> Result<(EitherConnection, T), LedgerError> {
        if let Some(mut kept) = self.connection.take()
            && let Ok(done) = first(&mut kept)
        {
            return Ok((kept, done));
        }
        let mut fresh = self.open()?;
        let done = first(&mut fresh).map_err(unavailable(action))?;
        Ok((fresh, done))
    }

    /// The same for what is done with one query.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn ask<T>(
        &mut self,
        action: &'static str,
        query: impl Fn(&mut EitherConnection) -> QueryResult<T>,
    ) -> Result<T, LedgerError> {
        let (connection, answer) = self.begin_with(action, query)?;
        self.put_back(connection);
        Ok(answer)
    }

    /// After a commit without a clear answer: waits until all that this server has committed is where it
    /// has to be, so that what is found in the ledger may be told.
    ///
    /// # Errors
    /// When it is not there, or the database does not answer.
    pub fn confirm(&mut self, action: &'static str) -> Result<(), LedgerError> {
        if !self.needs_confirmation {
            return Ok(());
        }
        let confirmed = self.ask(action, |connection| match connection {
            EitherConnection::Sqlite(_) => Ok(true),
            EitherConnection::Postgres(connection) => postgres::is_confirmed(connection),
        })?;
        if !confirmed {
            return Err(unavailable(action)(NotConfirmed));
        }
        self.needs_confirmation = false;
        Ok(())
    }

    /// Where the database stands, for the connection that was taken out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn moment(
        &self,
        connection: &mut SqliteConnection,
        turns_of_others: u64,
    ) -> QueryResult<Moment> {
        Ok(Moment {
            connection: self.opened,
            version: sqlite::data_version(connection)?,
            turns_of_others,
            is_recalled: false,
        })
    }

    fn open(&mut self) -> Result<EitherConnection, LedgerError> {
        self.memory.forget();
        self.opened = self.opened.saturating_add(1);
        let mut fresh = self.manager.open().map_err(connect_error)?;
        let prepared = match &mut fresh {
            EitherConnection::Sqlite(connection) => sqlite::prepare_to_sign(connection),
            EitherConnection::Postgres(connection) => postgres::prepare_to_sign(connection),
        };
        prepared.map_err(unavailable("connect"))?;
        self.server = server(&mut fresh)?;
        Ok(fresh)
    }
}

pub(super) fn connect_error(error: ConnectError) -> LedgerError {
    match error {
        ConnectError::Ledger(error) => error,
        error @ (ConnectError::Connection(_) | ConnectError::Setup(_)) => {
            unavailable("connect")(error)
        }
    }
}
