//! The archive of a completed export, piece by piece.

use super::ExportError;
use super::info::NAME;
use super::tar_blocks::{END, append};
use crate::ledger::{ExportRow, ExportState, LedgerError, MessageRow, Selection, Store};
use crate::terms::SignatureCounter;
use bytes::Bytes;
use std::vec::IntoIter;

/// Most messages read at a time.
const PAGE_LEN_MAX: u32 = 32;
/// The first ones: each is as long as a till may make it, up to about the body limit of the HTTP door.
const PAGE_LEN_FIRST: u32 = 4;
/// Bytes that a page should not have more of. It bounds what a download keeps in memory while its client
/// takes nothing: some MiB where long messages follow short ones, and less as a rule.
const PAGE_BYTES: usize = 256 * 1024;
/// A piece ends with the file that makes it this long, in bytes.
const PIECE_LEN: usize = 128 * 1024;

/// Yields the bytes of a TAR archive; blocks on the ledger. Ends after the first error, so that what
/// broke off has no end mark and no reader takes it for whole.
pub struct Archive {
    store: Store,
    row: ExportRow,
    /// What is left of the selection.
    rest: Selection,
    after: SignatureCounter,
    page: IntoIter<MessageRow>,
    /// Messages to be read next.
    page_len: u32,
    page_is_last: bool,
    found: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Messages,
    Ended,
}

impl Archive {
    /// The archive of this export.
    ///
    /// # Errors
    /// [`ExportError::NotComplete`] while its messages are not chosen.
    pub fn new(store: Store, row: ExportRow) -> Result<Self, ExportError> {
        let selection = row.selection.clone();
        let selection = selection.filter(|_| row.state == ExportState::Completed);
        Ok(Self {
            rest: selection.ok_or(ExportError::NotComplete)?,
            store,
            row,
            after: SignatureCounter::new(0),
            page: Vec::new().into_iter(),
            page_len: PAGE_LEN_FIRST,
            page_is_last: false,
            found: 0,
            stage: Stage::Head,
        })
    }

    fn head(&self) -> Result<Bytes, ExportError> {
        let mut out = Vec::new();
        let time = self.row.time_request;
        append(&mut out, NAME, &self.row.info_csv, time)?;
        for (name, der) in &self.row.certificates {
            append(&mut out, name, der, time)?;
        }
        Ok(out.into())
    }

    /// As many messages as make a piece, and the end mark after the last one.
    fn messages(&mut self) -> Result<Bytes, ExportError> {
        let mut out = Vec::new();
        while out.len() < PIECE_LEN {
            let Some(row) = self.next_message()? else {
                self.require_whole()?;
                out.extend_from_slice(&END);
                self.stage = Stage::Ended;
                break;
            };
            append(&mut out, &row.file_name, &row.der, self.row.time_request)?;
            self.found += 1;
        }
        Ok(out.into())
    }

    fn next_message(&mut self) -> Result<Option<MessageRow>, LedgerError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        if self.page_is_last {
            return Ok(None);
        }
        let rows = self
            .store
            .messages(self.row.tss, &self.rest, self.after, self.page_len)?;
        if let Some(last) = rows.last() {
            self.after = last.signature_counter;
            // Of two lower bounds SQLite searches by one and filters by the other; left at the first
            // message, it would walk over everything read so far for every page.
            self.rest.counters = self.after.value()..=*self.rest.counters.end();
        }
        self.page_is_last = u32::try_from(rows.len()).is_ok_and(|len| len < self.page_len);
        self.page_len = next_page_len(&rows);
        self.page = rows.into_iter();
        Ok(self.page.next())
    }

    fn require_whole(&self) -> Result<(), ExportError> {
        let counted = self.row.messages.unwrap_or_default();
        if counted != self.found {
            return Err(ExportError::Incomplete {
                counted,
                found: self.found,
            });
        }
        Ok(())
    }
}

/// As many messages of this length as make a page.
fn next_page_len(rows: &[MessageRow]) -> u32 {
    let bytes: usize = rows.iter().map(|row| row.der.len()).sum();
    let fitting = rows.len().saturating_mul(PAGE_BYTES) / bytes.max(1);
    u32::try_from(fitting).map_or(PAGE_LEN_MAX, |fitting| fitting.clamp(1, PAGE_LEN_MAX))
}

impl Iterator for Archive {
    type Item = Result<Bytes, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = match self.stage {
            Stage::Head => {
                self.stage = Stage::Messages;
                self.head()
            }
            Stage::Messages => self.messages(),
            Stage::Ended => return None,
        };
        if piece.is_err() {
            self.stage = Stage::Ended;
        }
        Some(piece)
    }
}
