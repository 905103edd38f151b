//! A parsed `schema`: what will be signed, and how it is echoed.

use super::refusal::{At, SchemaError, optional};
use super::{cash_receipt, order};
use crate::terms::{ProcessData, ProcessType};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

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
    /// The value of `standard_v1` as JSON text, normalised for the echo (keys sorted, defaults filled
    /// in, amounts as given but always text); empty for `raw`.
    pub echo: String,
}

/// Base64 as tills write it: the standard alphabet, canonical, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Schema {
    /// Reads the value of a request's `schema`. Nothing in it (`{}`, `[]`, `null`) gives `None`.
    /// Where `standard_v1` and `raw` are both given, as in our own answers that some tills send back,
    /// `standard_v1` counts. Unknown properties are ignored.
    ///
    /// # Errors
    /// [`SchemaError`] names the field that does not fit.
    pub fn parse(value: &Value) -> Result<Option<Self>, SchemaError> {
        if value.is_null() {
            return Ok(None);
        }
        let at = At::new("schema");
        let forms = at.object(value)?;
        if let Some(standard) = optional(&forms, "standard_v1") {
            return Self::standard(standard).map(Some);
        }
        if let Some(raw) = optional(&forms, "raw") {
            return Self::raw(raw).map(Some);
        }
        match forms.keys().next() {
            None => Ok(None),
            Some(_) if forms.contains_key("dsfinvtw_v1") => Err(at.unsupported("dsfinvtw_v1")),
            Some(_) => Err(at.wrong("", "should hold standard_v1 or raw")),
        }
    }

    fn standard(value: &Value) -> Result<Self, SchemaError> {
        let at = At::new("schema.standard_v1");
        let forms = at.object(value)?;
        let form = |name| optional(&forms, name);
        match (form("receipt"), form("order")) {
            (Some(_), Some(_)) => Err(at.wrong("", "should hold only one of receipt and order")),
            (Some(receipt), None) => {
                let (data, echo) = cash_receipt::encode(&at.name("receipt"), receipt)?;
                let echo = json!({ "receipt": echo });
                Self::encoded(SchemaForm::Receipt, cash_receipt::PROCESS_TYPE, data, &echo)
            }
            (None, Some(lines)) => {
                let (data, echo) = order::encode(&at.name("order"), lines)?;
                let echo = json!({ "order": echo });
                Self::encoded(SchemaForm::Order, order::PROCESS_TYPE, data, &echo)
            }
            (None, None) if forms.contains_key("other") => Err(at.unsupported("other")),
            (None, None) => Err(at.wrong("", "should hold receipt or order")),
        }
    }

    fn encoded(
        form: SchemaForm,
        process_type: &str,
        process_data: String,
        echo: &Value,
    ) -> Result<Self, SchemaError> {
        Ok(Self {
            form,
            process_type: printable(At::new("schema"), process_type)?,
            process_data: ProcessData::new(process_data.into_bytes()),
            echo: echo.to_string(),
        })
    }

    fn raw(value: &Value) -> Result<Self, SchemaError> {
        let at = At::new("schema.raw");
        let raw: Map<String, Value> = at.object(value)?;
        let process_type = at.text(&raw, "process_type")?;
        let data = at.text(&raw, "process_data")?;
        let data = BASE64
            .decode(data)
            .map_err(|_| at.wrong("process_data", "should be base64"))?;
        Ok(Self {
            form: SchemaForm::Raw,
            process_type: printable(at, &process_type)?,
            process_data: ProcessData::new(data),
            echo: String::new(),
        })
    }
}

fn printable(at: At<'_>, text: &str) -> Result<ProcessType, SchemaError> {
    let problem = "should be at most 100 characters of ASN.1 PrintableString";
    ProcessType::try_from(text).map_err(|_| at.wrong("process_type", problem))
}
