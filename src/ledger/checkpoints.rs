//! Bringing SQLite's write-ahead log into the file, beside the commits instead of within them.

use super::LedgerError;
use super::connection::{EitherConnection, Manager, unavailable};
use super::line::connect_error;
use super::sqlite;
use super::turns::Turns;
use crate::terms::{Background, Bell, chain};
use diesel::prelude::*;
use std::fmt;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

/// How often the log is looked at while it grows.
const PAUSE: Duration = Duration::from_millis(100);

/// Pages of 4 KiB from which on it is merged. The fewer they are, the more often a page is written that changes often;
/// the more they are, the longer commits wait for the disk meanwhile.
const LOG_PAGES_MERGED: i64 = 8_192;

/// A smaller log is merged after so many looks.
const LOOKS_MAX: u32 = 100;

/// For as long as nothing is written.
const IDLE: Duration = Duration::from_secs(3600);

/// Pages from which on the log is begun anew, for which writers wait until the last of it is in the file. A
/// larger log would slow down readers and the start after a crash.
const LOG_PAGES_MAX: i64 = 16_384;

/// Pages that may be left for the time in which writers wait. What has come while the others were merged and taken by the
/// disk is merged beside the writers in its turn, so that less is left each time; but not for ever.
const PAGES_LEFT: i64 = 256;
const ROUNDS_MAX: u32 = 8;

const MERGE: &str = "merge its write-ahead log";

/// The thread that does it.
pub(super) struct Checkpoints {
    thread: Background,
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checkpoints")
    }
}

impl Checkpoints {
    /// Starts it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(manager: Manager, turns: Arc<Turns>) -> Result<Self, LedgerError> {
        let bell = Arc::clone(turns.written());
        let work = move |bell: &Bell| run(&manager, &turns, bell);
        let thread = Background::start_on(bell, "checkpoints", work);
        let thread = thread.map_err(unavailable("start the thread of its checkpoints"))?;
        Ok(Self { thread })
    }

    /// Ends it after what is at hand, and waits for that.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(manager: &Manager, turns: &Turns, bell: &Bell) {
    let mut tools = Tools::default();
    let mut is_failing = false;
    while bell.wait(IDLE) {
        match merge_when_due(&mut tools, manager, turns, bell) {
            Ok(()) => is_failing = false,
            Err(error) => {
                tools.connection = None;
                // Meanwhile the log grows, and from some size on commits merge it themselves: nothing is lost
                // but speed.
                if !std::mem::replace(&mut is_failing, true) {
                    let error = chain(&error);
                    tracing::warn!(%error, "the write-ahead log of the ledger could not be merged: {error}");
                }
                bell.ring();
            }
        }
    }
}

/// What it works with.
#[derive(Default)]
struct Tools {
    connection: Option<SqliteConnection>,
    /// The database, opened beside SQLite. Never closed: to close a file takes the locks of all this process away that
    /// SQLite has on it.
    file: Option<ManuallyDrop<File>>,
}

/// Merges what was written, once that is much or has waited for long.
fn merge_when_due(
    tools: &mut Tools,
    manager: &Manager,
    turns: &Turns,
    bell: &Bell,
) -> Result<(), LedgerError> {
    for _ in 0..LOOKS_MAX {
        if !bell.rest(PAUSE) {
            return Ok(());
        }
        turns.check_file()?;
        let connection = match &mut tools.connection {
            Some(connection) => connection,
            None => tools.connection.insert(open(manager)?),
        };
        let grown = sqlite::log_pages(connection).map_err(unavailable(MERGE))?;
        if grown >= LOG_PAGES_MERGED {
            break;
        }
    }
    turns.check_file()?;
    match &mut tools.connection {
        Some(connection) => merge(connection, &mut tools.file, turns).map_err(unavailable(MERGE)),
        None => Ok(()),
    }
}

/// Merges the log beside the commits, and begins it anew where it has become long.
fn merge(
    connection: &mut SqliteConnection,
    file: &mut Option<ManuallyDrop<File>>,
    turns: &Turns,
) -> QueryResult<()> {
    if sqlite::checkpoint_beside(connection)? <= LOG_PAGES_MAX {
        return Ok(());
    }
    for _ in 0..ROUNDS_MAX {
        // SQLite itself has the disk take the pages only once nobody has written since, and that is while we keep
        // writers out. If this fails, it is what they wait for; SQLite does it anyway.
        if file.is_none() {
            *file = turns.open_file().ok().map(ManuallyDrop::new);
        }
        if let Some(file) = file {
            drop(file.sync_data());
        }
        if sqlite::log_pages(connection)? <= PAGES_LEFT {
            break;
        }
        sqlite::checkpoint_beside(connection)?;
    }
    let _writer = turns.keep_writers_out();
    sqlite::checkpoint_whole(connection).map(drop)
}

fn open(manager: &Manager) -> Result<SqliteConnection, LedgerError> {
    match manager.open().map_err(connect_error)? {
        EitherConnection::Sqlite(mut connection) => {
            sqlite::be_brief(&mut connection).map_err(unavailable("connect"))?;
            Ok(connection)
        }
        EitherConnection::Postgres(_) => Err(LedgerError::Unsafe(
            "PostgreSQL makes its checkpoints itself".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::turns::OpenFile;
    use super::*;
    use diesel::connection::SimpleConnection as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Locks that this process has on the file, as the system sees them.
    fn locks(path: &Path) -> usize {
        let (process, file) = (std::process::id(), std::fs::metadata(path).unwrap().ino());
        let all = std::fs::read_to_string("/proc/locks").unwrap();
        let is_ours = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_of = |word: &str| word.ends_with(&format!(":{file}"));
            words.contains(&process.to_string().as_str()) && words.iter().any(|word| is_of(word))
        };
        all.lines().filter(is_ours).count()
    }

    /// More than [`LOG_PAGES_MAX`].
    const FILL: &str = "CREATE TABLE filling (page BLOB); \
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 18) \
        INSERT INTO filling SELECT zeroblob(4000000) FROM n";

    #[test]
    fn a_long_log_begins_anew_beside_a_writer_and_sqlite_keeps_its_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("siegel.db");
        File::create_new(&path).unwrap();
        let turns = Turns::new(OpenFile::at(&path).unwrap());
        let mut writer = sqlite::connect(&path).unwrap();
        let mut connection = sqlite::connect(&path).unwrap();
        writer.batch_execute(FILL).unwrap();
        let before = locks(&path);
        assert!(before > 0);
        let mut file = None;
        let (is_over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let _turn = turns.take_writer();
                    let write = "INSERT INTO filling VALUES (zeroblob(100))";
                    writer.batch_execute(write).unwrap();
                    written.fetch_add(1, Ordering::AcqRel);
                }
            });
            while written.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let merged = merge(&mut connection, &mut file, &turns);
            is_over.store(true, Ordering::Release);
            merged.unwrap();
        });
        assert!(file.take().is_some(), "the disk has taken it before");
        assert_eq!(before, locks(&path));
        // Whoever writes next writes to the beginning of the log, if that is merged.
        let pages = sqlite::checkpoint_beside(&mut connection).unwrap();
        assert!(pages < LOG_PAGES_MAX, "{pages}");
    }
}
