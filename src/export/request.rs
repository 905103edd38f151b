//! What is fixed when an export is requested.

use super::info::info_csv;
use crate::ledger::{ExportRow, ExportState};
use crate::sma::{Metadata, Tss};
use crate::terms::{ExportId, ExportRequest, SeTime, SerialNumber};

/// A request for an export.
#[derive(Clone, Debug)]
pub struct ExportWish {
    /// Its identifier.
    pub id: ExportId,
    /// What is asked for.
    pub request: ExportRequest,
    /// SE time of the request.
    pub now: SeTime,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

/// The export of a TSS as it stands now, with its certificates (leaf first): whatever is signed later
/// does not belong to it.
pub fn freeze(tss: &Tss, chain: Vec<(SerialNumber, Vec<u8>)>, wish: ExportWish) -> ExportRow {
    let certificates = chain
        .into_iter()
        .map(|(serial, der)| (format!("{serial}_X509.cer"), der))
        .collect();
    ExportRow {
        tss: tss.id,
        id: wish.id,
        state: ExportState::Pending,
        filter: wish.request.to_string(),
        selection: None,
        messages: None,
        messages_max: wish.request.messages_max(),
        counter_at_request: tss.device.signature_counter,
        time_request: wish.now,
        info_csv: info_csv(tss.format, &tss.description),
        certificates,
        time_start: None,
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: wish.metadata,
    }
}
