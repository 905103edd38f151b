//! Rows as they are written and read, one type per table.

mod device;
mod export;
mod transaction;
mod tss;

pub(super) use device::{CaRecord, DeviceRecord, RequestRecord};
pub(super) use export::ExportRecord;
pub(super) use transaction::{MessageRecord, StepRecord, TRANSACTION, TransactionRecord};
pub(super) use tss::{ClientRecord, CountersRecord, TssRecord};
