//! The archive of a completed export, piece by piece.

use super::ExportError;
use super::info::NAME;
use super::tar_blocks::{END, append};
use crate::ledger::{ExportRow, ExportState, Selection, Store};
use crate::terms::SignatureCounter;
use bytes::Bytes;

/// Messages read at a time: a few hundred kilobytes.
const PAGE_LEN: u32 = 256;

/// Yields the bytes of a TAR archive; blocks on the ledger. Ends after the first error, so that what
/// broke off has no end mark and no reader takes it for whole.
pub struct Archive {
    store: Store,
    row: ExportRow,
    selection: Selection,
    after: SignatureCounter,
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
            selection: selection.ok_or(ExportError::NotComplete)?,
            store,
            row,
            after: SignatureCounter::new(0),
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

    fn page(&mut self) -> Result<Bytes, ExportError> {
        let rows = self
            .store
            .messages(self.row.tss, &self.selection, self.after, PAGE_LEN)?;
        let mut out = Vec::new();
        for row in &rows {
            append(&mut out, &row.file_name, &row.der, self.row.time_request)?;
            self.after = row.signature_counter;
            self.found += 1;
        }
        if u32::try_from(rows.len()).is_ok_and(|len| len < PAGE_LEN) {
            self.require_whole()?;
            out.extend_from_slice(&END);
            self.stage = Stage::Ended;
        }
        Ok(out.into())
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

impl Iterator for Archive {
    type Item = Result<Bytes, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = match self.stage {
            Stage::Head => {
                self.stage = Stage::Messages;
                self.head()
            }
            Stage::Messages => self.page(),
            Stage::Ended => return None,
        };
        if piece.is_err() {
            self.stage = Stage::Ended;
        }
        Some(piece)
    }
}
