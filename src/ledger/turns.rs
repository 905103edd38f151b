//! Who may do what within the one process that SQLite serves: what lanes have locked, and who writes.

use super::LedgerError;
use super::commits::JointCommits;
use super::connection::unavailable;
use crate::sma::Needs;
use crate::terms::{Bell, ClientId, TssId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const LOOK: &str = "look after its file";

/// Whose turn it is within this process. SQLite has no locks for rows, and its own answer to two writers is to
/// let one of them try again and again until it gives up; waiting in line is quicker and always ends.
#[derive(Debug)]
pub(super) struct Turns {
    file: Arc<OpenFile>,
    locked: Mutex<BTreeSet<Name>>,
    unlocked: Condvar,
    writer: Mutex<()>,
    of_others: AtomicU64,
    commits: JointCommits,
    written: Arc<Bell>,
}

/// The right to write, for somebody who is no lane.
pub(super) struct TurnOfAnother<'a> {
    of_others: &'a AtomicU64,
    _writer: MutexGuard<'a, ()>,
}

impl Drop for TurnOfAnother<'_> {
    /// Counted when all is written: whoever has seen the count before has not seen what was written.
    fn drop(&mut self) {
        self.of_others.fetch_add(1, Ordering::Release);
    }
}

/// What a batch locks, from before it is loaded until after its commit. Nobody else changes what bears these
/// names, so the write transaction opens after signing, and a slow token keeps neither logins nor other lanes
/// waiting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// A TSS with everything that belongs to it, or the right to create it.
    Tss(TssId),
    /// The right to create this client.
    NewClient(ClientId),
    /// The right to choose among the free devices of the token with this label, or of any.
    FreeDevices(Option<String>),
}

/// Locked until it is dropped.
#[derive(Debug)]
pub(super) struct LockedNames {
    turns: Arc<Turns>,
    names: BTreeSet<Name>,
}

impl Turns {
    /// For the database that was opened there.
    pub fn new(file: Arc<OpenFile>) -> Self {
        Self {
            file,
            locked: Mutex::default(),
            unlocked: Condvar::default(),
            writer: Mutex::default(),
            of_others: AtomicU64::new(0),
            commits: JointCommits::default(),
            written: Arc::default(),
        }
    }

    /// As [`OpenFile::check`].
    pub fn check_file(&self) -> Result<(), LedgerError> {
        self.file.check()
    }

    /// As [`OpenFile::open`].
    pub fn open_file(&self) -> Result<ManuallyDrop<File>, LedgerError> {
        self.file.open()
    }

    /// Rings when somebody writes.
    pub const fn written(&self) -> &Arc<Bell> {
        &self.written
    }

    /// The right to write, for one transaction of a lane.
    pub fn take_writer(&self) -> MutexGuard<'_, ()> {
        self.written.ring();
        self.keep_writers_out()
    }

    /// The same for somebody else.
    pub fn take_writer_as_another(&self) -> TurnOfAnother<'_> {
        self.written.ring();
        TurnOfAnother {
            of_others: &self.of_others,
            _writer: self.keep_writers_out(),
        }
    }

    /// What lanes commit.
    pub const fn commits(&self) -> &JointCommits {
        &self.commits
    }

    /// How many turns others than lanes have had.
    pub fn of_others(&self) -> u64 {
        self.of_others.load(Ordering::Acquire)
    }

    /// Keeps writers out for a moment, and writes nothing.
    pub fn keep_writers_out(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks all of them, or after this wait those that nobody else holds. Also answers with the others. Devices
    /// are chosen among those of the token with this label.
    pub fn lock(
        self: &Arc<Self>,
        needs: &BTreeMap<TssId, Needs>,
        token: Option<&str>,
        wait_ms: u32,
    ) -> (LockedNames, BTreeSet<TssId>) {
        let wanted: BTreeMap<_, _> = needs
            .iter()
            .map(|(tss, needs)| (*tss, names_of(*tss, needs, token)))
            .collect();
        let is_free = |locked: &BTreeSet<Name>, names: &BTreeSet<Name>| names.is_disjoint(locked);
        let locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_millis(wait_ms.into());
        let (mut locked, _) = self
            .unlocked
            .wait_timeout_while(locked, wait, |locked| {
                !wanted.values().all(|names| is_free(locked, names))
            })
            .unwrap_or_else(PoisonError::into_inner);
        let (free, held): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(_, names)| is_free(&locked, names));
        let names: BTreeSet<Name> = free.into_iter().flat_map(|(_, names)| names).collect();
        locked.extend(names.iter().cloned());
        let turns = Arc::clone(self);
        let late = held.into_iter().map(|(tss, _)| tss).collect();
        (LockedNames { turns, names }, late)
    }
}

/// All or none of them are locked, so that two lanes cannot wait for each other.
fn names_of(tss: TssId, needs: &Needs, token: Option<&str>) -> BTreeSet<Name> {
    let clients = needs.client_ids_new.iter().copied().map(Name::NewClient);
    let of_token = || Name::FreeDevices(token.map(str::to_owned));
    let devices = needs.free_device.map(|_| of_token());
    let tss = std::iter::once(Name::Tss(tss));
    tss.chain(clients).chain(devices).collect()
}

impl Drop for LockedNames {
    fn drop(&mut self) {
        let turns = &self.turns;
        let mut locked = turns.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.retain(|name| !self.names.contains(name));
        drop(locked);
        turns.unlocked.notify_all();
    }
}

/// The database file as it was when the store was opened. SQLite goes on with a file that somebody has removed
/// or replaced meanwhile, and what it commits there is gone with the process. One that opens another file at
/// this place would take the write-ahead log beside it for a foreign one, and delete it.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Whether it was ever found otherwise: some connections may read the other file from then on.
    is_gone: AtomicBool,
}

impl OpenFile {
    /// The file that is there now.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(path: &Path) -> Result<Arc<Self>, LedgerError> {
        let identity = Self::identity(path).map_err(unavailable(LOOK))?;
        let identity = identity.ok_or_else(|| file_changed(path))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            identity,
            is_gone: AtomicBool::new(false),
        }))
    }

    /// The file once more, beside SQLite. Never to be closed: that would take away the locks that SQLite has on it in this
    /// process.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] when it is another one by now.
    pub fn open(&self) -> Result<ManuallyDrop<File>, LedgerError> {
        let file = File::open(&self.path).map_err(unavailable(LOOK))?;
        let file = ManuallyDrop::new(file);
        let found = file.metadata().map_err(unavailable(LOOK))?;
        if (found.dev(), found.ino()) != self.identity {
            return Err(file_changed(&self.path));
        }
        Ok(file)
    }

    /// Device and number of the file at this place; `None` when there is none.
    fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
        match metadata(path) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the file that was opened has always been the one at its place. Cheap enough for every batch.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] when it is not, or once was not.
    pub fn check(&self) -> Result<(), LedgerError> {
        let found = Self::identity(&self.path).map_err(unavailable(LOOK))?;
        let is_other = found != Some(self.identity);
        if is_other {
            self.is_gone.store(true, Ordering::Release);
        }
        if is_other || self.is_gone.load(Ordering::Acquire) {
            return Err(file_changed(&self.path));
        }
        Ok(())
    }
}

fn file_changed(path: &Path) -> LedgerError {
    LedgerError::Unsafe(format!(
        "the ledger {} was removed or replaced while it is in use: nothing is signed; stop the server, put the \
         file back together with its -wal file, and start anew",
        path.display()
    ))
}
