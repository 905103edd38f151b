//! What is different on SQLite: one process, one writer, durability by pragma.

use super::LedgerError;
use super::connection::ConnectError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = BigInt)]
    busy: i64,
}

/// How often, and after which pauses, a database that is in use is tried again.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Longest wait of a lane for the lane before it. Longer than any batch takes.
const LANE_WAIT: Duration = Duration::from_secs(30);

/// Whose turn it is within this process. SQLite's own answer to two writers is to let one of them try
/// again and again until it gives up; waiting in line is quicker and always ends.
#[derive(Debug)]
pub(super) struct Turns {
    file: OpenFile,
    lane_busy: Mutex<bool>,
    lane_free: Condvar,
    writer: Mutex<()>,
}

/// The right to sign: from the lock of a batch to its end. Nobody else changes what a lane loads, so
/// the write transaction opens after signing, and a slow token does not keep logins waiting.
#[derive(Debug)]
pub(super) struct LaneTurn(Arc<Turns>);

/// The database file as it was when the store was opened. SQLite goes on with a file that somebody has removed
/// or replaced meanwhile, and what it commits there is gone with the process.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Whether it was ever found otherwise: some connections may read the other file from then on.
    is_gone: AtomicBool,
}

impl OpenFile {
    /// Device and number of the file at this place, if there is one.
    fn identity(path: &Path) -> Option<(u64, u64)> {
        let found = metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    }
}

impl Turns {
    /// For the database that was opened there.
    ///
    /// # Errors
    /// When it is not there.
    pub fn new(path: &Path) -> Result<Self, LedgerError> {
        let found = OpenFile::identity(path);
        let identity = found.ok_or_else(|| file_changed(path))?;
        Ok(Self {
            file: OpenFile {
                path: path.to_owned(),
                identity,
                is_gone: AtomicBool::new(false),
            },
            lane_busy: Mutex::default(),
            lane_free: Condvar::default(),
            writer: Mutex::default(),
        })
    }

    /// Whether the file that was opened has always been the one at its place. Cheap enough for every batch.
    ///
    /// # Errors
    /// When it is not, or once was not.
    pub fn check_file(&self) -> Result<(), LedgerError> {
        let file = &self.file;
        let is_other = OpenFile::identity(&file.path) != Some(file.identity);
        if is_other {
            file.is_gone.store(true, Ordering::Release);
        }
        if is_other || file.is_gone.load(Ordering::Acquire) {
            return Err(file_changed(&file.path));
        }
        Ok(())
    }

    /// `None` when the lane before does not end.
    pub fn take_lane(self: &Arc<Self>) -> Option<LaneTurn> {
        let busy = self
            .lane_busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut busy, waited) = self
            .lane_free
            .wait_timeout_while(busy, LANE_WAIT, |busy| *busy)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *busy = true;
        Some(LaneTurn(Arc::clone(self)))
    }

    /// The right to write, for one transaction.
    pub fn take_writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_changed(path: &Path) -> LedgerError {
    LedgerError::Unsafe(format!(
        "the ledger {} was removed or replaced while it is in use: nothing is signed; stop the server, put the \
         file back together with its -wal file, and start anew",
        path.display()
    ))
}

impl LaneTurn {
    /// As [`Turns::check_file`].
    pub fn check_file(&self) -> Result<(), LedgerError> {
        self.0.check_file()
    }

    /// The right to write, for the commit of the batch.
    pub fn take_writer(&self) -> MutexGuard<'_, ()> {
        self.0.take_writer()
    }
}

impl Drop for LaneTurn {
    fn drop(&mut self) {
        *self
            .0
            .lane_busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
        self.0.lane_free.notify_one();
    }
}

/// Makes sure that this is the only process with this database, and that the file is private.
pub(super) fn take_process_lock(path: &Path) -> Result<ProcessLock, LedgerError> {
    // The lock comes first: opening and closing the file itself would take SQLite's own locks away
    // from a store that this very process has open.
    let path = resolved(path)?;
    refuse_network_storage(&path)?;
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let file = open_private(Path::new(&lock_path))?;
    lock_patiently(&file).map_err(|error| {
        let path = path.display();
        LedgerError::Unsafe(if error == Errno::WOULDBLOCK {
            format!("the ledger {path} is in use by another process; SQLite serves one at a time")
        } else {
            format!("the ledger {path} cannot be locked: {error}; put it on a local disk")
        })
    })?;
    open_private(&path)?;
    Ok(ProcessLock { _file: file })
}

/// Tries for a moment: a server that is being replaced may not have ended, and a program that this
/// process has just started holds its files until it has begun.
fn lock_patiently(file: &File) -> Result<(), Errno> {
    for _ in 0..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// The same path for the same file, whatever links lead to it, so that there is one lock for it.
fn resolved(path: &Path) -> Result<PathBuf, LedgerError> {
    if let Ok(found) = path.canonicalize() {
        return Ok(found);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => Ok(folder.join(name)),
        (Err(_), _) | (_, None) => Err(LedgerError::Unsafe(format!(
            "the folder of the ledger {} does not exist",
            path.display()
        ))),
    }
}

fn open_private(path: &Path) -> Result<File, LedgerError> {
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
}

/// Neither locks nor syncs can be relied on over a network (design decision 2).
fn refuse_network_storage(path: &Path) -> Result<(), LedgerError> {
    /// NFS, SMB in its three generations, AFS, Ceph, Coda, GFS2, OCFS2, Lustre, GPFS: numbers of
    /// statfs(2).
    const NETWORK: [i64; 11] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x5346_414F,
        0x00C3_6400,
        0x7375_7245,
        0x0116_1970,
        0x7461_636F,
        0x0BD0_0BD0,
        0x4750_4653,
    ];
    let folder = path.parent().unwrap_or(path);
    let kind = statfs(folder).map(|found| found.f_type);
    if kind.is_ok_and(|kind| NETWORK.contains(&kind)) {
        return Err(LedgerError::Unsafe(format!(
            "the ledger {} is on a network file system; put it on a local disk",
            path.display()
        )));
    }
    Ok(())
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

/// Brings the write-ahead log into the file and empties it. `false` when a reader is in the way.
pub(super) fn merge_log(connection: &mut SqliteConnection) -> QueryResult<bool> {
    let outcome: Checkpoint =
        diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(connection)?;
    Ok(outcome.busy == 0)
}

/// Writes a copy of the whole database as one transaction sees it, which no other one waits for. It counts
/// as written when it is on the disk.
pub(super) fn back_up(
    connection: &mut SqliteConnection,
    path: &Path,
    text: &str,
) -> Result<(), LedgerError> {
    let failed = |error: std::io::Error| {
        LedgerError::Unsafe(format!(
            "the backup {} cannot be made: {error}",
            path.display()
        ))
    };
    // Made first, so that nobody else can read it at any time; SQLite takes an empty file as a new one.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(text)
        .execute(connection)
        .map_err(super::connection::unavailable("be copied"))?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed)
}

/// Takes the one right to write before anything is read.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
