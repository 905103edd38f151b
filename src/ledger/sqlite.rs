//! What is different on SQLite: one process, one writer, durability by pragma.

use super::LedgerError;
use super::connection::ConnectError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// WAL with a sync per commit: an acknowledged commit survives a power cut (design decision 2).
const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; \
    PRAGMA temp_store = MEMORY;";

/// Held as long as the store is open: SQLite's own locks would let two servers take turns, and each
/// would believe that it alone knows its TSSs.
#[derive(Debug)]
pub(super) struct ProcessLock {
    _file: File,
}

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

#[derive(QueryableByName)]
struct Synchronous {
    #[diesel(sql_type = BigInt)]
    synchronous: i64,
}

/// Makes sure that this is the only process with this database, and that the file is private.
pub(super) fn take_process_lock(path: &Path) -> Result<ProcessLock, LedgerError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let private = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| {
                let path = path.display();
                LedgerError::Unsafe(if error.kind() == ErrorKind::NotFound {
                    format!("the folder of the ledger {path} does not exist")
                } else {
                    format!("the ledger {path} cannot be opened: {error}")
                })
            })
    };
    let file = private(Path::new(&lock_path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let path = path.display();
        LedgerError::Unsafe(format!(
            "the ledger {path} is in use by another process; SQLite serves one at a time"
        ))
    })?;
    private(path)?;
    Ok(ProcessLock { _file: file })
}

pub(super) fn connect(path: &Path) -> Result<SqliteConnection, ConnectError> {
    let text = path.to_str().ok_or_else(|| {
        LedgerError::Unsafe("the path of the ledger must be valid UTF-8".to_owned())
    })?;
    let mut connection = SqliteConnection::establish(text)?;
    connection.batch_execute(SETTINGS)?;
    let mode: JournalMode = diesel::sql_query("PRAGMA journal_mode").get_result(&mut connection)?;
    let sync: Synchronous = diesel::sql_query("PRAGMA synchronous").get_result(&mut connection)?;
    if mode.journal_mode != "wal" || sync.synchronous != 2 {
        let message = "SQLite does not accept write-ahead logging with full synchronisation here; \
            put the ledger on a local disk";
        return Err(LedgerError::Unsafe(message.to_owned()).into());
    }
    Ok(connection)
}

/// Takes the one right to write before anything is read.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
