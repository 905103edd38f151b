//! Signature checks on all cores: one thread reads, the others examine. The queue between them is
//! bounded, so a slow check holds the reading up and not the memory.

use super::archive::is_log;
use super::codes::FindingCode;
use super::message::{Examined, Keys, LogFile};
use super::report::{About, Findings};
use super::survey::local_name;
use super::tar::{Step, TarReader};
use std::io::{self, Read, Seek};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
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

type Batch = Vec<LogFile>;

/// Examines every `.log` file of the archive.
pub(super) fn examine_all(
    archive: impl Read + Seek,
    keys: &Keys<'_>,
    threads: NonZeroUsize,
) -> io::Result<Examined> {
    let (sender, receiver) = sync_channel(BATCHES_WAITING_MAX.saturating_mul(threads.get()));
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let mut examiners = Vec::new();
        for _ in 0..threads.get() {
            let examine = || examine(&receiver, keys);
            match thread::Builder::new().spawn_scoped(scope, examine) {
                Ok(examiner) => examiners.push(examiner),
                // Fewer threads than cores will do; none will not.
                Err(error) if examiners.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        let mut all = Examined::default();
        // The sender must be gone before the examiners are waited for, also after an error.
        let outcome = read(archive, sender, &mut all.findings);
        for examiner in examiners {
            match examiner.join() {
                Ok(examined) => all.merge(examined),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome.map(|()| all)
    })
}

fn examine(receiver: &Mutex<Receiver<Batch>>, keys: &Keys<'_>) -> Examined {
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
        for file in &batch {
            examined.examine(keys, file);
        }
    }
}

fn read(
    archive: impl Read + Seek,
    sender: SyncSender<Batch>,
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
        batch_bytes = batch_bytes.saturating_add(entry.size);
        batch.push(LogFile {
            entry: entry.number,
            bytes: tar.content(entry.size)?,
            name: local_name(&entry.name).to_owned(),
        });
        if batch.len() >= BATCH_LEN_MAX || batch_bytes >= BATCH_BYTES_MAX {
            batch_bytes = 0;
            // The other end goes away only by a panic, which its join tells.
            if sender.send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.send(batch);
    Ok(())
}
