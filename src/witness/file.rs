//! The node file: what this node last released, on a disk of its own.
//!
//! Lines are appended and synced; one that was cut off by a power cut does not count. When the file has
//! grown, it is written anew beside the old one, synced and put into its place.

use super::lines::{Line, to_mark, to_message};
use crate::ledger::{Fresh, Mark, ReleasedMessage};
use crate::terms::TssId;
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Size at which the file is written anew, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The first line names a ledger, and nothing else.
const FIRST_LINE_BYTES_MAX: u64 = 1024;

/// The newest messages that stay when it is, in bytes of their lines.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a node file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk does not do it.
    #[error("it could not be {action}")]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It is no node file, or nothing of it is left.
    #[error("it is no node file; move it away if it is to be begun anew")]
    NoNodeFile,
}

fn disk(action: &'static str) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Disk { action, source }
}

/// What stands in a node file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Identifier of the ledger.
    pub ledger: String,
    /// The node's own name for itself; empty when there is none.
    pub node: String,
    /// How far each TSS was.
    pub marks: BTreeMap<TssId, Mark>,
    /// Numbers spent by the keys of each token.
    pub totals: BTreeMap<String, u64>,
    /// The newest messages, in the order they were released.
    pub messages: Vec<ReleasedMessage>,
    /// Lines that do not count: at most the last one after a power cut.
    pub lines_damaged: usize,
}

/// Reads a node file; `None` when there is none.
///
/// # Errors
/// [`FileError`] when it cannot be read, or is none.
pub fn read(path: &Path) -> Result<Option<Content>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(disk("read")(source)),
    };
    // What is no node file may be an export of any size, so only its beginning is read.
    let mut file = BufReader::new(file);
    let mut first = Vec::new();
    let mut beginning = file.by_ref().take(FIRST_LINE_BYTES_MAX);
    beginning
        .read_until(b'\n', &mut first)
        .map_err(disk("read"))?;
    let first = String::from_utf8_lossy(&first);
    let Some(Line::Ledger(ledger)) = Line::read(first.trim_end_matches('\n')) else {
        return Err(FileError::NoNodeFile);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(disk("read"))?;
    // A power cut may leave anything at the end.
    let text = String::from_utf8_lossy(&bytes);
    let mut content = Content {
        ledger,
        ..Content::default()
    };
    for line in text.lines() {
        if content.take(line).is_none() {
            content.lines_damaged += 1;
        }
    }
    Ok(Some(content))
}

impl Content {
    fn take(&mut self, text: &str) -> Option<()> {
        let line = Line::read(text)?;
        match &line {
            Line::Ledger(_) => return None,
            Line::Node(node) => node.clone_into(&mut self.node),
            Line::Total { token, spent } => {
                let known = self.totals.entry(token.clone()).or_default();
                *known = (*known).max(*spent);
            }
            Line::Mark {
                tss,
                device,
                signature_counter,
                transaction,
                sha256,
            } => {
                let mark = to_mark(device, *signature_counter, *transaction, sha256)?;
                self.marks.insert(tss.parse().ok()?, mark);
            }
            Line::Message { .. } => self.messages.push(to_message(&line)?),
        }
        Some(())
    }
}

/// The node file of this process. Another process that is given the same path gets none.
pub(super) struct NodeFile {
    path: PathBuf,
    ledger: String,
    node: String,
    file: File,
    bytes: usize,
    /// Lines of the newest messages, for the next time the file is written anew.
    ring: VecDeque<String>,
    ring_bytes: usize,
    /// What is being written; kept, because a busy node fills megabytes of it each second.
    text: String,
    /// Something could not be written; the next time everything is.
    lacks_something: bool,
    _lock: File,
}

/// The right to write a node file.
pub(super) struct FileLock(File);

/// `None` when another process has it.
pub(super) fn lock(path: &Path) -> Result<Option<FileLock>, FileError> {
    let file = private(&beside(path, "lock"), true).map_err(disk("locked"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(FileLock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(disk("locked")(error.into())),
    }
}

/// The same name with an ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn private(path: &Path, keep: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(!keep)
        .mode(0o600)
        .open(path)
}

impl NodeFile {
    /// Begins with what is known: nothing, or what the file said before.
    pub fn begin(path: &Path, lock: FileLock, known: &Content) -> Result<Self, FileError> {
        let ring: VecDeque<String> = known
            .messages
            .iter()
            .map(|message| Line::message(message).write())
            .collect();
        let mut file = Self {
            path: path.to_owned(),
            ledger: known.ledger.clone(),
            node: known.node.clone(),
            file: private(&beside(path, "new"), false).map_err(disk("made"))?,
            bytes: 0,
            ring_bytes: ring.iter().map(String::len).sum(),
            ring,
            text: String::new(),
            lacks_something: false,
            _lock: lock.0,
        };
        file.shorten_ring();
        file.write_anew(&known.marks, &known.totals)?;
        Ok(file)
    }

    /// Adds what has come, and is back when it is on the disk. `marks` are all there are, `totals` too.
    pub fn add(
        &mut self,
        fresh: &Fresh,
        totals: &BTreeMap<String, u64>,
        marks: impl FnOnce() -> BTreeMap<TssId, Mark>,
    ) -> Result<(), FileError> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        for (tss, mark) in &fresh.marks {
            text.push_str(&Line::mark(*tss, mark).write());
        }
        for (token, spent) in totals {
            text.push_str(&total(token, *spent));
        }
        for message in &fresh.messages {
            let line = Line::message(message).write();
            text.push_str(&line);
            self.ring_bytes += line.len();
            self.ring.push_back(line);
        }
        self.shorten_ring();
        let added = self.append(&text, totals, marks);
        self.text = text;
        added
    }

    fn append(
        &mut self,
        text: &str,
        totals: &BTreeMap<String, u64>,
        marks: impl FnOnce() -> BTreeMap<TssId, Mark>,
    ) -> Result<(), FileError> {
        if self.lacks_something || self.bytes + text.len() > FILE_BYTES_MAX {
            self.lacks_something = true;
            self.write_anew(&marks(), totals)?;
            self.lacks_something = false;
            return Ok(());
        }
        let written = self.file.write_all(text.as_bytes());
        let synced = written.and_then(|()| self.file.sync_data());
        self.lacks_something = synced.is_err();
        self.bytes += text.len();
        synced.map_err(disk("written"))
    }

    /// Whether the last time something could not be written.
    pub const fn lacks_something(&self) -> bool {
        self.lacks_something
    }

    fn shorten_ring(&mut self) {
        while self.ring_bytes > RING_BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else {
                return;
            };
            self.ring_bytes -= oldest.len();
        }
    }

    fn write_anew(
        &mut self,
        marks: &BTreeMap<TssId, Mark>,
        totals: &BTreeMap<String, u64>,
    ) -> Result<(), FileError> {
        let mut text = Line::Ledger(self.ledger.clone()).write();
        text.push_str(&Line::Node(self.node.clone()).write());
        for (tss, mark) in marks {
            text.push_str(&Line::mark(*tss, mark).write());
        }
        for (token, spent) in totals {
            text.push_str(&total(token, *spent));
        }
        text.extend(self.ring.iter().map(String::as_str));
        let new = beside(&self.path, "new");
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        let replace = || {
            let mut file = private(&new, false)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        self.file = replace().map_err(disk("written anew"))?;
        self.bytes = text.len();
        Ok(())
    }
}

fn total(token: &str, spent: u64) -> String {
    let line = Line::Total {
        token: token.to_owned(),
        spent,
    };
    line.write()
}
