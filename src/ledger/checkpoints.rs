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

/// After a commit the next checkpoint waits that long: a page that changes often is written once.
const PAUSE: Duration = Duration::from_millis(1000);

/// For as long as nothing is written.
const IDLE: Duration = Duration::from_secs(3600);

/// Pages of 4 KiB from which on the log is begun anew, for which writers wait until the last of it is in the
/// file. A smaller log would do this more often, a larger one slow down readers and the start after a crash.
const LOG_PAGES_MAX: i64 = 16_384;

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
    while bell.wait(IDLE) && bell.rest(PAUSE) {
        match checkpoint(&mut kept, manager, turns) {
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

fn checkpoint(
    kept: &mut Option<SqliteConnection>,
    manager: &Manager,
    turns: &Turns,
) -> Result<(), LedgerError> {
    turns.check_file()?;
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(open(manager)?),
    };
    let failed = unavailable("merge its write-ahead log");
    let pages = sqlite::checkpoint_beside(connection).map_err(failed)?;
    if pages > LOG_PAGES_MAX {
        // Most of it is done, so the others do not wait for long.
        let _writer = turns.keep_writers_out();
        sqlite::checkpoint_whole(connection).map_err(unavailable("merge its write-ahead log"))?;
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
