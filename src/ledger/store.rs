//! Opening the ledger. What can be asked of it stands in `accounts`, `devices`, `reading`, `exports`.

use super::checkpoints::Checkpoints;
use super::connection::{
    EitherConnection, Manager, Pooled, Writing, is_unique_violation, unavailable,
};
use super::lane::{LaneLedger, WithheldDevices};
use super::lane_connection::{LaneConnection, LaneWitnesses};
use super::line::{Line, connect_error};
use super::loading::DeviceChoice;
use super::sqlite::ProcessLock;
use super::tables::ledger_meta;
use super::turns::{TurnOfAnother, Turns};
use super::{Clearance, LedgerError, Released, postgres, sqlite};
use crate::terms::Entropy;
use diesel::prelude::*;
use diesel::r2d2::Pool;
use diesel_migrations::MigrationHarness as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Where the ledger is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, one process.
    Sqlite {
        /// The database file; its directory must be on a local disk.
        path: PathBuf,
    },
    /// Shared by any number of nodes.
    Postgres {
        /// libpq connection string or URL; may hold a password.
        url: String,
        /// Connections for reading.
        connections_max: u32,
        /// Longest wait for a lock, in milliseconds.
        lock_timeout_ms: u32,
        /// How long a transaction of this node may stand still, in milliseconds. Then PostgreSQL ends it,
        /// because its node is frozen or cut off, and others wait for its locks.
        standstill_ms: u32,
    },
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "Sqlite({})", path.display()),
            Self::Postgres { .. } => f.write_str("Postgres(..)"),
        }
    }
}

/// The ledger, opened and migrated. Clones share one pool. All calls block.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    manager: Manager,
    pool: Pool<Manager>,
    ledger_id: String,
    /// Only on SQLite.
    turns: Option<Arc<Turns>>,
    /// Only on SQLite: what all lanes share.
    line: OnceLock<Line>,
    withheld: WithheldDevices,
    clearance: Clearance,
    released: Released,
    /// Before the lock, so that it ends earlier.
    checkpoints: Option<Checkpoints>,
    _lock: Option<ProcessLock>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.manager).finish()
    }
}

pub(super) const LEDGER_ID: &str = "ledger_id";

impl Store {
    /// Opens, takes the process lock (SQLite), checks durability settings, migrates.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] for settings under which signatures could be lost, and for a SQLite
    /// file that another process has open; [`LedgerError::Unavailable`] when the database does not
    /// answer or cannot be migrated.
    pub fn open(config: &StoreConfig, entropy: &dyn Entropy) -> Result<Self, LedgerError> {
        let lock = match config {
            StoreConfig::Sqlite { path } => Some(sqlite::take_process_lock(path)?),
            StoreConfig::Postgres { .. } => None,
        };
        let manager = Manager::new(config)?;
        let mut connection = manager.open().map_err(connect_error)?;
        migrate(&mut connection)?;
        let ledger_id = ledger_id(&mut connection, entropy)?;
        Self::with(manager, ledger_id, lock)
    }

    /// Opens the ledger beside a server that may be running, without the process lock and without bringing
    /// its tables up to date: only to look, and to write what needs no lane.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] when there is no ledger, or one of another version.
    pub fn open_beside(config: &StoreConfig) -> Result<Self, LedgerError> {
        if let StoreConfig::Sqlite { path } = config
            && !path.is_file()
        {
            let path = path.display();
            return Err(LedgerError::Unsafe(format!("there is no ledger {path}")));
        }
        let manager = Manager::new(config)?;
        let mut connection = manager.open().map_err(connect_error)?;
        let is_pending = match &mut connection {
            EitherConnection::Sqlite(connection) => {
                connection.has_pending_migration(sqlite::MIGRATIONS)
            }
            EitherConnection::Postgres(connection) => {
                connection.has_pending_migration(postgres::MIGRATIONS)
            }
        };
        if !matches!(is_pending, Ok(false)) {
            let message = "the ledger is of an older version; start a server of this version once";
            return Err(LedgerError::Unsafe(message.to_owned()));
        }
        let ledger_id = stored_id(&mut connection)?;
        let ledger_id = ledger_id.ok_or_else(|| super::values::damaged("ledger_meta.value"))?;
        Self::with(manager, ledger_id, None)
    }

    fn with(
        manager: Manager,
        ledger_id: String,
        lock: Option<ProcessLock>,
    ) -> Result<Self, LedgerError> {
        let pool = manager.clone().pool()?;
        let file = manager.file().map(Arc::clone);
        let turns = file.map(|file| Arc::new(Turns::new(file)));
        let checkpoints = match (&turns, &lock) {
            (Some(turns), Some(_)) => Some(Checkpoints::start(manager.clone(), Arc::clone(turns))?),
            // PostgreSQL makes its own; beside a server that runs, the server does.
            (None, _) | (_, None) => None,
        };
        let inner = Inner {
            manager,
            pool,
            ledger_id,
            turns,
            line: OnceLock::new(),
            withheld: WithheldDevices::default(),
            clearance: Clearance::default(),
            released: Released::default(),
            checkpoints,
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A connection for one signing lane; on SQLite all lanes share one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn lane(&self) -> Result<Box<dyn LaneLedger>, LedgerError> {
        self.new_lane(None)
    }

    /// Like [`Self::lane`], but free devices are taken from this token only.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn lane_for_token(&self, token: &str) -> Result<Box<dyn LaneLedger>, LedgerError> {
        self.new_lane(Some(token.to_owned()))
    }

    fn new_lane(&self, token: Option<String>) -> Result<Box<dyn LaneLedger>, LedgerError> {
        let choice = DeviceChoice {
            token,
            withheld: self.withheld().clone(),
        };
        let witnesses = LaneWitnesses {
            clearance: self.clearance().clone(),
            released: self.released().clone(),
        };
        let turns = self.inner.turns.clone();
        let lane = LaneConnection::new(self.line()?, turns, choice, witnesses);
        Ok(Box::new(lane))
    }

    /// The connection of a lane.
    fn line(&self) -> Result<Line, LedgerError> {
        let new = || Line::open(self.manager().clone());
        if self.inner.turns.is_none() {
            return new();
        }
        match self.inner.line.get() {
            Some(line) => Ok(line.clone()),
            None => {
                let line = new()?;
                Ok(self.inner.line.get_or_init(|| line).clone())
            }
        }
    }

    /// Whether other nodes may share it; SQLite serves one process.
    pub fn is_shared(&self) -> bool {
        self.inner.turns.is_none()
    }

    /// Identifier of this ledger, made with it.
    pub fn ledger_id(&self) -> &str {
        &self.inner.ledger_id
    }

    /// Cheap proof that the database answers, and that it is the one that was opened.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_health(&self) -> Result<(), LedgerError> {
        if let Some(turns) = &self.inner.turns {
            turns.check_file()?;
        }
        // Taking a connection out of the pool asks the database something.
        self.connection().map(drop)
    }

    /// Brings everything into the one file on SQLite, so that a copy of it is the whole ledger; `false` when
    /// somebody still reads. For the end: the newest commits would stay beside it when the process goes.
    ///
    /// # Errors
    /// When the database does not do it. Nothing is lost then.
    pub fn settle(&self) -> Result<bool, LedgerError> {
        // While it is at work it keeps everybody else from doing the same.
        if let Some(checkpoints) = &self.inner.checkpoints {
            checkpoints.stop();
        }
        match &mut *self.writing()? {
            EitherConnection::Sqlite(connection) => {
                sqlite::merge_log(connection).map_err(unavailable("merge its write-ahead log"))
            }
            EitherConnection::Postgres(_) => Ok(true),
        }
    }

    pub(super) fn pool(&self) -> &Pool<Manager> {
        &self.inner.pool
    }

    pub(super) fn config(&self) -> &StoreConfig {
        self.inner.manager.config()
    }

    /// What the lanes of this process may sign with.
    pub fn clearance(&self) -> &Clearance {
        &self.inner.clearance
    }

    /// What the lanes of this process have released.
    pub fn released(&self) -> &Released {
        &self.inner.released
    }

    pub(super) fn manager(&self) -> &Manager {
        &self.inner.manager
    }

    /// On SQLite the right to write, for a connection that is not of the pool.
    pub(super) fn turn_to_write(&self) -> Option<TurnOfAnother<'_>> {
        let turns = self.inner.turns.as_ref();
        turns.map(|turns| turns.take_writer_as_another())
    }

    /// Writes the whole ledger as it is at this moment into a new file; signing goes on meanwhile. SQLite
    /// only: PostgreSQL has its own programs for that.
    ///
    /// # Errors
    /// When the file exists, cannot be written, or the ledger is in PostgreSQL.
    pub fn back_up(&self, to: &Path) -> Result<(), LedgerError> {
        let text = to.to_str().ok_or_else(|| {
            LedgerError::Unsafe("the path of the backup must be valid UTF-8".to_owned())
        })?;
        match &mut *self.connection()? {
            EitherConnection::Sqlite(connection) => sqlite::back_up(connection, to, text),
            EitherConnection::Postgres(_) => Err(LedgerError::Unsafe(
                "this ledger is in PostgreSQL: back it up with pg_basebackup or pg_dump".to_owned(),
            )),
        }
    }

    /// The devices that the lanes of this process withhold.
    pub(super) fn withheld(&self) -> &WithheldDevices {
        &self.inner.withheld
    }

    /// A connection for reading.
    pub(super) fn connection(&self) -> Result<Pooled, LedgerError> {
        self.inner.pool.get().map_err(unavailable("connect"))
    }

    /// A connection for writing; on SQLite the only one at this moment.
    pub(super) fn writing(&self) -> Result<Writing<'_>, LedgerError> {
        // The turn first: whoever waits for it must not keep a connection from readers.
        let turn = self.turn_to_write();
        let connection = self.connection()?;
        Ok(Writing {
            connection,
            _turn: turn,
        })
    }
}

fn migrate(connection: &mut EitherConnection) -> Result<(), LedgerError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Unavailable {
        action: "bring its tables up to date",
        source,
    };
    match connection {
        EitherConnection::Sqlite(connection) => connection
            .run_pending_migrations(sqlite::MIGRATIONS)
            .map(drop)
            .map_err(failed),
        EitherConnection::Postgres(connection) => {
            postgres::take_migration_lock(connection).map_err(unavailable("lock its tables"))?;
            let migrated = connection
                .run_pending_migrations(postgres::MIGRATIONS)
                .map(drop)
                .map_err(failed);
            postgres::release_migration_lock(connection)
                .map_err(unavailable("unlock its tables"))?;
            migrated
        }
    }
}

fn ledger_id(
    connection: &mut EitherConnection,
    entropy: &dyn Entropy,
) -> Result<String, LedgerError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    let fresh = uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string();
    let row = (
        ledger_meta::name.eq(LEDGER_ID),
        ledger_meta::value.eq(&fresh),
    );
    if let Some(id) = stored_id(connection)? {
        return Ok(id);
    }
    let inserted = diesel::insert_into(ledger_meta::table)
        .values(row)
        .execute(connection);
    match inserted {
        Ok(_) => Ok(fresh),
        // Another node was faster.
        Err(error) if is_unique_violation(&error) => {
            stored_id(connection)?.ok_or_else(|| super::values::damaged("ledger_meta.value"))
        }
        Err(error) => Err(unavailable("write its identifier")(error)),
    }
}

fn stored_id(connection: &mut EitherConnection) -> Result<Option<String>, LedgerError> {
    ledger_meta::table
        .find(LEDGER_ID)
        .select(ledger_meta::value)
        .first::<String>(connection)
        .optional()
        .map_err(unavailable("read its identifier"))
}
