//! What is different on SQLite: one process, one writer, durability by pragma.

use super::LedgerError;
use super::connection::ConnectError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// WAL with a sync per commit: an acknowledged commit survives a power cut (design decision 2). A commit brings
/// the log into the file by itself only when `checkpoints` does not keep up, at 256 MiB.
const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; \
    PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 65536;";

/// For the one connection that signs. It keeps 32 MiB of pages. What a row refers to it writes itself, in the same
/// commit, and counts whether it was there (`committing`), so that nobody has to look again.
const SIGN: &str = "PRAGMA cache_size = -32768; PRAGMA foreign_keys = OFF";

/// For the one that makes checkpoints: it is not to wait for readers while others wait for it.
const BE_BRIEF: &str = "PRAGMA busy_timeout = 20";

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
struct DataVersion {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = BigInt)]
    busy: i64,
    #[diesel(sql_type = BigInt)]
    log: i64,
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

/// How often, and after which pauses, a database that is in use is tried again.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

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

/// Opens the file that is there. One that is not there is not made: that was done once, with the lock.
///
/// Tries for a moment: whoever closes the last connection to a file cleans up behind it, and SQLite refuses those
/// who come just then, without waiting.
pub(super) fn connect(path: &Path) -> Result<SqliteConnection, ConnectError> {
    for _ in 0..LOCK_TRIES {
        match connect_once(path) {
            Err(ConnectError::Setup(error)) if is_locked(&error) => thread::sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
    connect_once(path)
}

fn is_locked(error: &QueryError) -> bool {
    matches!(error, QueryError::DatabaseError(_, answer) if answer.message() == "database is locked")
}

fn connect_once(path: &Path) -> Result<SqliteConnection, ConnectError> {
    let mut connection = SqliteConnection::establish(&existing(path)?)?;
    refuse_old_library(&mut connection)?;
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

/// The oldest version that is signed with. Older ones may lose commits when one connection merges the log while
/// another one begins it anew. Siegel brings a newer one along, but whoever builds it can have it use the library of
/// the system.
const OLDEST: [u32; 3] = [3, 51, 3];

fn refuse_old_library(connection: &mut SqliteConnection) -> Result<(), ConnectError> {
    let found: Version =
        diesel::sql_query("SELECT sqlite_version() AS version").get_result(connection)?;
    if is_new_enough(&found.version) {
        return Ok(());
    }
    Err(LedgerError::Unsafe(format!(
        "SQLite {} is too old: under load it can lose commits; {} is needed",
        found.version,
        OLDEST.map(|part| part.to_string()).join(".")
    ))
    .into())
}

fn is_new_enough(version: &str) -> bool {
    let parts: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    parts.is_ok_and(|parts| parts.as_slice() >= OLDEST.as_slice())
}

/// The file as a URI, the one way to tell SQLite that it must exist.
fn existing(path: &Path) -> Result<String, LedgerError> {
    let text = path.to_str().ok_or_else(|| {
        LedgerError::Unsafe("the path of the ledger must be valid UTF-8".to_owned())
    })?;
    let text = text.replace('%', "%25");
    let text = text.replace('?', "%3f").replace('#', "%23");
    // What follows two slashes would be the name of a machine.
    let no_machine = if path.is_absolute() { "//" } else { "" };
    Ok(format!("file:{no_machine}{text}?mode=rw"))
}

/// For a connection that lanes sign on.
pub(super) fn prepare_to_sign(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(SIGN)
}

/// Is another number as soon as a connection other than this one has written. To be asked in the transaction that
/// is to see the same state.
pub(super) fn data_version(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let found: DataVersion = diesel::sql_query("PRAGMA data_version").get_result(connection)?;
    Ok(found.data_version)
}

/// For a connection that makes checkpoints.
pub(super) fn be_brief(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(BE_BRIEF)
}

/// Brings as much of the write-ahead log into the file as is possible beside everybody else. Answers with the
/// pages that the log has.
pub(super) fn checkpoint_beside(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let outcome: Checkpoint =
        diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)?;
    Ok(outcome.log)
}

/// Pages of the write-ahead log that are not in the file yet.
pub(super) fn log_pages(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let outcome: Checkpoint =
        diesel::sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(connection)?;
    Ok(outcome.log.saturating_sub(outcome.checkpointed))
}

/// Brings the rest into the file while nobody writes, so that the log begins anew. `false` when a reader is in
/// the way.
pub(super) fn checkpoint_whole(connection: &mut SqliteConnection) -> QueryResult<bool> {
    let outcome: Checkpoint =
        diesel::sql_query("PRAGMA wal_checkpoint(RESTART)").get_result(connection)?;
    Ok(outcome.busy == 0)
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

/// Sees one state, whatever is committed meanwhile, and takes SQLite's own locks once for all queries.
pub(super) const BEGIN_TO_READ: &str = "BEGIN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_library_is_known_by_its_version() {
        for new in ["3.51.3", "3.53.0", "4.0.0", "3.51.10"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["3.51.2", "3.9.9", "2.60.7", "3.51", "unknown", ""] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[derive(QueryableByName)]
    struct CompileOption {
        #[diesel(sql_type = Text)]
        compile_options: String,
    }

    #[test]
    fn sqlite_takes_no_locks_for_the_whole_process() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let options: Vec<CompileOption> = diesel::sql_query("PRAGMA compile_options")
            .load(&mut connection)
            .unwrap();
        let has = |option: &str| options.iter().any(|one| one.compile_options == option);
        assert!(has("THREADSAFE=2") && has("DEFAULT_MEMSTATUS=0"));
        assert!(!has("ENABLE_MEMORY_MANAGEMENT") && !has("ENABLE_API_ARMOR"));
    }
}
