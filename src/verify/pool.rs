//! Signature checks on all cores: one thread reads, the others examine. The queue between them is
//! bounded, so a slow check holds the reading up and not the memory; and all messages that were read and
//! not yet forgotten share one budget of bytes, however many threads there are.

use super::archive::is_log;
use super::codes::FindingCode;
use super::message::{Examined, Keys, LogFile};
use super::report::{About, Findings};
use super::survey::local_name;
use super::tar::{Step, TarReader};
use std::io::{self, Read, Seek};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Largest log message, in bytes. A till may pass about 1 MB at once; several such parts can stand in one
/// message.
const MESSAGE_BYTES_MAX: u64 = 16_777_216;
/// Messages handed over at once.
const BATCH_LEN_MAX: usize = 64;
/// Bytes of messages handed over at once, unless a single one is larger.
const BATCH_BYTES_MAX: u64 = 1_048_576;
/// Batches waiting, per examining thread.
const BATCHES_WAITING_MAX: usize = 2;

/// Bytes of messages, with their names, that are in memory at any time; two of the largest and more. A
/// message takes about twice as much again while it is examined.
const HELD_BYTES_MAX: u64 = 3 * MESSAGE_BYTES_MAX;

/// Bytes that may still be held.
struct Budget {
    free: Mutex<u64>,
    returned: Condvar,
}

/// Bytes taken from a budget, until it is dropped.
struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    const fn new(bytes: u64) -> Self {
        Self {
            free: Mutex::new(bytes),
            returned: Condvar::new(),
        }
    }

    /// Waits until so many bytes are free; never more than the whole may be asked for.
    fn take(&self, bytes: u64) -> Share<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.returned.wait_while(free, |free| *free < bytes);
        let mut free = enough.unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_sub(bytes);
        Share {
            budget: self,
            bytes,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let free = self.budget.free.lock();
        let mut free = free.unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_add(self.bytes);
        self.budget.returned.notify_all();
    }
}

/// A file and its share of the budget.
struct Held<'a> {
    file: LogFile,
    _share: Share<'a>,
}

type Batch<'a> = Vec<Held<'a>>;

/// Examines every `.log` file of the archive.
pub(super) fn examine_all(
    archive: impl Read + Seek,
    keys: &Keys<'_>,
    threads: NonZeroUsize,
) -> io::Result<Examined> {
    examine_within(archive, keys, threads, &Budget::new(HELD_BYTES_MAX))
}

fn examine_within(
    archive: impl Read + Seek,
    keys: &Keys<'_>,
    threads: NonZeroUsize,
    budget: &Budget,
) -> io::Result<Examined> {
    let (sender, receiver) = sync_channel(BATCHES_WAITING_MAX.saturating_mul(threads.get()));
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(move |scope| {
        let mut examiners = Vec::new();
        for _ in 0..threads.get() {
            let receiver = Arc::clone(&receiver);
            let examine = move || examine(&receiver, keys);
            match thread::Builder::new().spawn_scoped(scope, examine) {
                Ok(examiner) => examiners.push(examiner),
                // Fewer threads than cores will do; none will not.
                Err(error) if examiners.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        // When the examiners are gone, so is the receiver with what it holds; nothing is waited for then.
        drop(receiver);
        let mut all = Examined::default();
        // The sender must be gone before the examiners are waited for, also after an error.
        let outcome = read(archive, sender, budget, &mut all.findings);
        for examiner in examiners {
            match examiner.join() {
                Ok(examined) => all.merge(examined),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome.map(|()| all)
    })
}

fn examine(receiver: &Mutex<Receiver<Batch<'_>>>, keys: &Keys<'_>) -> Examined {
    let mut examined = Examined::default();
    loop {
        // The lock is held while waiting; a batch is long enough for that not to matter.
        let batch = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(batch) = batch else {
            return examined;
        };
        for held in batch {
            examined.examine(keys, &held.file);
        }
    }
}

fn read<'a>(
    archive: impl Read + Seek,
    sender: SyncSender<Batch<'a>>,
    budget: &'a Budget,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut tar = TarReader::new(archive)?;
    let mut batch = Batch::new();
    let mut batch_bytes: u64 = 0;
    while let Step::Entry(entry) = tar.step()? {
        if !is_log(entry.kind, &entry.name) {
            continue;
        }
        if entry.size > MESSAGE_BYTES_MAX {
            let text = format!("{} bytes are too many for a log message", entry.size);
            let about = About::Entry(entry.number);
            findings.archive(FindingCode::FileTooLarge, about, text);
            continue;
        }
        let name = local_name(&entry.name).to_owned();
        let bytes = entry
            .size
            .saturating_add(u64::try_from(name.len()).unwrap_or(u64::MAX));
        // Handed over before more is waited for, so that what is waited for comes back.
        let is_full =
            batch.len() >= BATCH_LEN_MAX || batch_bytes.saturating_add(bytes) > BATCH_BYTES_MAX;
        if is_full && !batch.is_empty() {
            batch_bytes = 0;
            // The other end goes away only by a panic, which its join tells.
            if sender.send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
        batch_bytes = batch_bytes.saturating_add(bytes);
        let share = budget.take(bytes);
        batch.push(Held {
            file: LogFile {
                entry: entry.number,
                bytes: tar.content(entry.size)?,
                name,
            },
            _share: share,
        });
    }
    let _ = sender.send(batch);
    Ok(())
}

#[cfg(test)]
mod tests;
