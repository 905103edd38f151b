//! Bringing SQLite's write-ahead log into the file, beside the commits instead of within them.

use super::LedgerError;
use super::connection::{EitherConnection, Manager, unavailable};
use super::line::connect_error;
use super::sqlite;
use super::turns::Turns;
use crate::terms::{Background, Bell, chain};
use diesel::prelude::*;
use std::fmt;
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
    let mut kept = None;
    let mut is_failing = false;
    while bell.wait(IDLE) {
        match merge_when_due(&mut kept, manager, turns, bell) {
            Ok(()) => is_failing = false,
            Err(error) => {
                kept = None;
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

/// Merges what was written, once that is much or has waited for long.
fn merge_when_due(
    kept: &mut Option<SqliteConnection>,
    manager: &Manager,
    turns: &Turns,
    bell: &Bell,
) -> Result<(), LedgerError> {
    for _ in 0..LOOKS_MAX {
        if !bell.rest(PAUSE) {
            return Ok(());
        }
        turns.check_file()?;
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(open(manager)?),
        };
        let grown = sqlite::log_pages(connection).map_err(unavailable(MERGE))?;
        if grown >= LOG_PAGES_MERGED {
            break;
        }
    }
    match kept {
        Some(connection) => checkpoint(connection, turns),
        None => Ok(()),
    }
}

fn checkpoint(connection: &mut SqliteConnection, turns: &Turns) -> Result<(), LedgerError> {
    turns.check_file()?;
    let pages = sqlite::checkpoint_beside(connection).map_err(unavailable(MERGE))?;
    if pages > LOG_PAGES_MAX {
        // Most of it is done, so the others do not wait for long.
        let _writer = turns.keep_writers_out();
        sqlite::checkpoint_whole(connection).map_err(unavailable(MERGE))?;
    }
    Ok(())
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
