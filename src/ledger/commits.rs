//! COMMIT, and what its outcome means.
//!
//! On SQLite lanes commit together: batches that were signed while another one was on its way to the disk go there in
//! one transaction. Each of them is kept as a whole or not at all, as if it had been alone.

use super::committing::Prepared;
use super::connection::EitherConnection;
use super::joint::Joint;
use super::lane::CommitError;
use super::line::{Line, Wire};
use super::locking::rolled_back_politely;
use super::memory::Moment;
use super::row_versions::RowVersions;
use super::turns::Turns;
use super::{postgres, sqlite};
use diesel::connection::SimpleConnection as _;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

const COMMIT: &str = "commit a batch";

/// One batch.
pub(super) struct Piece {
    pub prepared: Prepared,
    /// Where the database stood when it was loaded.
    pub moment: Option<Moment>,
}

type Outcome = Result<(), CommitError>;

/// All that lanes commit on SQLite.
#[derive(Default)]
pub(super) struct JointCommits(Joint<Piece, Outcome>);

impl fmt::Debug for JointCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JointCommits")
    }
}

/// Nobody knows how far it had come.
#[derive(Debug, thiserror::Error)]
#[error("the thread that committed it broke off")]
struct BrokeOff;

impl JointCommits {
    /// Commits this batch on the line, with whatever else waits.
    pub fn commit(&self, piece: Piece, turns: &Turns, line: &Line) -> Outcome {
        let outcome = self
            .0
            .join(piece, |pieces| commit_all(&pieces, turns, line));
        outcome.unwrap_or_else(|| {
            Err(CommitError::Unknown {
                source: Box::new(BrokeOff),
            })
        })
    }
}

fn commit_all(pieces: &[Piece], turns: &Turns, line: &Line) -> Vec<Outcome> {
    // Before the line, so that whoever waits for other writers keeps no lane from loading.
    let _writer = turns.take_writer();
    if let Err(error) = turns.check_file() {
        return told_to_all(rolled_back(error), pieces.len());
    }
    let mut wire = line.take();
    let together = commit_together(pieces, &mut wire, turns);
    // One that does not fit must not keep the others from being kept.
    if pieces.len() > 1 && matches!(together, Err(Refused::Written(_))) {
        let alone = |piece| {
            let outcome = commit_together(std::slice::from_ref(piece), &mut wire, turns);
            told_each(outcome, 1)
        };
        return pieces.iter().flat_map(alone).collect();
    }
    told_each(together, pieces.len())
}

/// Why nothing was kept.
enum Refused {
    /// A row was not accepted; COMMIT was never sent.
    Written(CommitError),
    /// Anything else.
    Other(CommitError),
}

fn told_each(outcome: Result<Vec<Outcome>, Refused>, count: usize) -> Vec<Outcome> {
    outcome.unwrap_or_else(|refused| {
        let (Refused::Written(error) | Refused::Other(error)) = refused;
        told_to_all(error, count)
    })
}

/// Commits those that were decided on what still stands. Keeps the connection only if nobody has to wonder what it
/// still thinks.
fn commit_together(
    pieces: &[Piece],
    wire: &mut Wire,
    turns: &Turns,
) -> Result<Vec<Outcome>, Refused> {
    let outcome = try_together(pieces, wire, turns);
    if outcome.is_err() {
        wire.memory.forget();
    }
    outcome
}

fn try_together(pieces: &[Piece], wire: &mut Wire, turns: &Turns) -> Result<Vec<Outcome>, Refused> {
    let refused = |error: QueryError| Refused::Other(rolled_back(error));
    let begun = wire.begin_with(COMMIT, |_| Ok(()));
    let (mut either, ()) = begun.map_err(|error| Refused::Other(rolled_back(error)))?;
    let EitherConnection::Sqlite(connection) = &mut either else {
        return Err(Refused::Other(rolled_back(
            "lanes share a line on SQLite only",
        )));
    };
    connection.batch_execute(sqlite::BEGIN).map_err(refused)?;
    let now = wire
        .moment(connection, turns.of_others())
        .map_err(refused)?;
    // What a batch was decided on may have been taken from memory; here is where a process is noticed that has
    // written past it.
    let stands = |piece: &Piece| piece.moment.is_some_and(|then| then.may_become(&now));
    if !pieces.iter().all(stands) {
        wire.memory.doubt();
    }
    let outcome = |piece: &Piece| match stands(piece) {
        true => Ok(()),
        false => Err(rolled_back("somebody else has written meanwhile")),
    };
    for piece in pieces.iter().filter(|piece| stands(piece)) {
        if let Err(error) = piece.prepared.write(&mut either) {
            // COMMIT was never sent, so what the others were decided on stands as it stood.
            if rolled_back_politely(&mut either) {
                wire.put_back(either);
            }
            return Err(Refused::Written(rolled_back(error)));
        }
    }
    let committed = either.batch_execute("COMMIT");
    committed.map_err(|error| Refused::Other(not_committed(wire, error)))?;
    wire.put_back(either);
    Ok(pieces.iter().map(outcome).collect())
}

/// Commits one batch in the transaction that holds its locks, on PostgreSQL. Keeps the connection only if all goes
/// well.
pub(super) fn commit_alone(
    wire: &mut Wire,
    mut either: EitherConnection,
    prepared: &Prepared,
) -> Result<Option<RowVersions>, CommitError> {
    let versions = prepared.write(&mut either).map_err(|error| {
        // COMMIT was never sent, so this transaction can only end without a trace. The connection
        // is dropped with it; a polite ROLLBACK makes that immediate.
        let _ = either.batch_execute("ROLLBACK");
        rolled_back(error)
    })?;
    let committed = match &mut either {
        EitherConnection::Sqlite(connection) => connection.batch_execute("COMMIT"),
        EitherConnection::Postgres(connection) => postgres::commit(connection),
    };
    committed.map_err(|error| not_committed(wire, error))?;
    wire.put_back(either);
    Ok(versions)
}

/// What is found in the ledger afterwards counts only once a standby has it, too.
fn not_committed(wire: &mut Wire, error: QueryError) -> CommitError {
    wire.needs_confirmation = true;
    commit_error(error)
}

pub(super) fn rolled_back(source: impl Into<Box<dyn Error + Send + Sync>>) -> CommitError {
    CommitError::RolledBack {
        source: source.into(),
    }
}

/// An answer that names a broken rule promises that nothing is there. After any other one a server
/// may have taken the batch and died before it said so, or a disk may have kept half of it.
fn commit_error(error: QueryError) -> CommitError {
    let refused = matches!(
        error,
        QueryError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction,
            _
        )
    );
    if refused {
        rolled_back(error)
    } else {
        CommitError::Unknown {
            source: Box::new(error),
        }
    }
}

/// One cause of several outcomes.
#[derive(Clone, Debug)]
struct Shared(Arc<dyn Error + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

fn told_to_all(error: CommitError, count: usize) -> Vec<Outcome> {
    let (source, is_unknown) = match error {
        CommitError::RolledBack { source } => (source, false),
        CommitError::Unknown { source } => (source, true),
    };
    let shared = Shared(source.into());
    let again = || {
        let source = Box::new(shared.clone());
        Err(match is_unknown {
            true => CommitError::Unknown { source },
            false => CommitError::RolledBack { source },
        })
    };
    std::iter::repeat_with(again).take(count).collect()
}
