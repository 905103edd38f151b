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
use std::io;
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

/// Pages that may be left for the time in which writers wait.
const PAGES_LEFT: i64 = 256;

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
            Err(Failure::NotTaken(error)) => end_at_once(&error),
            Err(Failure::NotMerged(error)) => {
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

/// Why the log was not merged.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// All is as it was.
    #[error(transparent)]
    NotMerged(#[from] LedgerError),
    /// Pages that count as merged may be lost, and nobody would write them again: the system takes them for written.
    #[error("the disk has not taken what was merged from the write-ahead log of the ledger")]
    NotTaken(#[source] io::Error),
}

/// The log still has everything, and whoever opens it after the end of this process reads and merges all of it. A
/// connection that is closed, or that goes on, would believe that it need not.
fn end_at_once(error: &io::Error) -> ! {
    tracing::error!(
        %error,
        "the disk has not taken what was merged from the write-ahead log of the ledger; the server ends, and the next \
         start reads the whole log: {error}"
    );
    std::process::abort()
}

/// What it works with.
#[derive(Default)]
struct Tools {
    connection: Option<SqliteConnection>,
    file: Option<ManuallyDrop<File>>,
}

/// Merges what was written, once that is much or has waited for long.
fn merge_when_due(
    tools: &mut Tools,
    manager: &Manager,
    turns: &Turns,
    bell: &Bell,
) -> Result<(), Failure> {
    let Tools { connection, file } = tools;
    for _ in 0..LOOKS_MAX {
        if !bell.rest(PAUSE) {
            return Ok(());
        }
        turns.check_file()?;
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(open(manager)?),
        };
        let grown = sqlite::log_pages(connection).map_err(unavailable(MERGE))?;
        if grown >= LOG_PAGES_MERGED {
            break;
        }
    }
    turns.check_file()?;
    let Some(connection) = connection else {
        return Ok(());
    };
    let file = match file {
        Some(file) => file,
        None => file.insert(turns.open_file()?),
    };
    merge(connection, file, turns)
}

/// Merges the log beside the commits, and begins it anew where it has become long.
fn merge(connection: &mut SqliteConnection, file: &File, turns: &Turns) -> Result<(), Failure> {
    let merged = try_merge(connection, file, turns);
    if let Err(Failure::NotMerged(_)) = &merged {
        // SQLite does not tell what has failed. If it was the disk, our own file knows of it, too.
        take(file)?;
    }
    merged
}

fn try_merge(connection: &mut SqliteConnection, file: &File, turns: &Turns) -> Result<(), Failure> {
    let pages = sqlite::checkpoint_beside(connection).map_err(unavailable(MERGE))?;
    if pages <= LOG_PAGES_MAX {
        return Ok(());
    }
    // Under load SQLite itself has the disk take the pages only while writers are kept out. What they would wait for
    // is done before; what has come meanwhile is merged in its turn, and each time that is less.
    let mut before = pages;
    loop {
        take(file)?;
        let left = sqlite::log_pages(connection).map_err(unavailable(MERGE))?;
        if left <= PAGES_LEFT || left >= before {
            break;
        }
        before = left;
        sqlite::checkpoint_beside(connection).map_err(unavailable(MERGE))?;
    }
    let _writer = turns.keep_writers_out();
    sqlite::checkpoint_whole(connection).map_err(unavailable(MERGE))?;
    Ok(())
}

/// Has the disk take all that was written to the file, by whomever.
fn take(file: &File) -> Result<(), Failure> {
    file.sync_data().map_err(Failure::NotTaken)
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
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use tempfile::TempDir;

    /// Whether this process has a lock on the file, as the system sees it. Asked more than once, because a line may be
    /// missed while other locks come and go.
    fn is_locked(path: &Path) -> bool {
        let (process, file) = (std::process::id(), std::fs::metadata(path).unwrap().ino());
        let (process, file) = (process.to_string(), format!(":{file}"));
        let is_ours = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.contains(&process.as_str()) && words.iter().any(|word| word.ends_with(&file))
        };
        let look = |_| std::fs::read_to_string("/proc/locks").unwrap();
        (0..20).map(look).any(|all| all.lines().any(is_ours))
    }

    /// More than [`LOG_PAGES_MAX`].
    const FILL: &str = "CREATE TABLE filling (page BLOB); \
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 18) \
        INSERT INTO filling SELECT zeroblob(4000000) FROM n";

    const PAGE: &str = "INSERT INTO filling VALUES (zeroblob(100))";

    /// A database whose log is longer than [`LOG_PAGES_MAX`], one connection that writes, and one that merges.
    fn long_log(folder: &TempDir) -> (PathBuf, Turns, SqliteConnection, SqliteConnection) {
        let path = folder.path().join("siegel.db");
        File::create_new(&path).unwrap();
        let turns = Turns::new(OpenFile::at(&path).unwrap());
        let mut writer = sqlite::connect(&path).unwrap();
        writer.batch_execute(FILL).unwrap();
        let connection = sqlite::connect(&path).unwrap();
        (path, turns, writer, connection)
    }

    /// As it happens under load.
    fn merge_beside_a_writer(
        writer: &mut SqliteConnection,
        connection: &mut SqliteConnection,
        turns: &Turns,
    ) {
        let file = turns.open_file().unwrap();
        let (is_over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let turn = turns.take_writer();
                    let outcome = writer.batch_execute(PAGE);
                    written.fetch_add(1, Ordering::AcqRel);
                    outcome.unwrap();
                    drop(turn);
                    std::thread::yield_now();
                }
            });
            while written.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let merged = merge(connection, &file, turns);
            is_over.store(true, Ordering::Release);
            merged.unwrap();
        });
    }

    #[test]
    fn what_the_disk_does_not_take_is_no_reason_to_begin_the_log_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (_, turns, _writer, mut connection) = long_log(&folder);
        // Nothing can be taken by a disk there.
        let nowhere = File::open("/dev/null").unwrap();
        let merged = merge(&mut connection, &nowhere, &turns);
        assert!(matches!(merged, Err(Failure::NotTaken(_))), "{merged:?}");
        // A merge that has failed for a reason of its own is followed by the same question.
        connection
            .batch_execute("BEGIN; SELECT * FROM filling LIMIT 1")
            .unwrap();
        let merged = merge(&mut connection, &nowhere, &turns);
        assert!(matches!(merged, Err(Failure::NotTaken(_))), "{merged:?}");
    }

    #[test]
    fn a_long_log_begins_anew_beside_a_writer_and_sqlite_keeps_its_locks() {
        let folder = tempfile::tempdir().unwrap();
        let (path, turns, mut writer, mut connection) = long_log(&folder);
        assert!(is_locked(&path));
        merge_beside_a_writer(&mut writer, &mut connection, &turns);
        assert!(is_locked(&path));
        // Whoever writes next writes to the beginning of the log, if that is merged.
        writer.batch_execute(PAGE).unwrap();
        let pages = sqlite::checkpoint_beside(&mut connection).unwrap();
        assert!(pages < LOG_PAGES_MAX, "{pages}");
    }
}
