//! A parsed `schema`: what will be signed, and how it is echoed.

use crate::terms::{ProcessData, ProcessType};

/// processData of a receipt that was aborted before its end (DSFinV-K Anhang I, `AVBelegabbruch`).
pub const ABORTED_RECEIPT: &str = "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^";

/// Which form of `schema` the till used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaForm {
    /// `standard_v1.receipt`
    Receipt,
    /// `standard_v1.order`
    Order,
    /// `raw`
    Raw,
}

impl SchemaForm {
    /// Every form there is.
    pub const ALL: [Self; 3] = [Self::Receipt, Self::Order, Self::Raw];

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Order => "order",
            Self::Raw => "raw",
        }
    }
}

/// A parsed `schema`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The form the till used.
    pub form: SchemaForm,
    /// What will be signed as processType.
    pub process_type: ProcessType,
    /// What will be signed as processData.
    pub process_data: ProcessData,
    /// The form as JSON object text, normalised for the echo (keys sorted, defaults filled in),
    /// without the `raw` part that every answer adds; empty for `raw`.
    pub echo: String,
}
