//! A parsed `schema`: what will be signed, and how it is echoed.

use super::refusal::{At, SchemaError, optional};
use super::{cash_receipt, order, other, taximeter, writer};
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
    /// `standard_v1.other`
    Other,
    /// `dsfinvtw_v1` with `{}` where measured data belong: enough for a start, not for an end.
    TaximeterStart,
    /// `dsfinvtw_v1` with all its data.
    Taximeter,
    /// `raw`
    Raw,
}

impl SchemaForm {
    /// Every form there is.
    pub const ALL: [Self; 6] = [
        Self::Receipt,
        Self::Order,
        Self::Other,
        Self::TaximeterStart,
        Self::Taximeter,
        Self::Raw,
    ];

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Order => "order",
            Self::Other => "other",
            Self::TaximeterStart => "taximeter_start",
            Self::Taximeter => "taximeter",
            Self::Raw => "raw",
        }
    }

    /// Name of the property of `schema` that holds the form, for the echo; `raw` has no echo of its
    /// own, because what was signed is answered as `raw` whatever the form.
    pub const fn echoed_as(self) -> Option<&'static str> {
        match self {
            Self::Receipt | Self::Order | Self::Other => Some("standard_v1"),
            Self::TaximeterStart | Self::Taximeter => Some("dsfinvtw_v1"),
            Self::Raw => None,
        }
    }

    /// Data of a taximeter or an odometer; they have rules of their own.
    pub const fn is_taximeter(self) -> bool {
        match self {
            Self::TaximeterStart | Self::Taximeter => true,
            Self::Receipt | Self::Order | Self::Other | Self::Raw => false,
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
    /// The value of `standard_v1` or `dsfinvtw_v1` as JSON text, normalised for the echo (keys sorted, defaults filled
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
    /// Where `raw` is given beside another form, as in our own answers that some tills send back, the
    /// other one counts. Unknown properties are ignored.
    ///
    /// # Errors
    /// [`SchemaError`] names the field that does not fit.
    pub fn parse(value: &Value) -> Result<Option<Self>, SchemaError> {
        if value.is_null() {
            return Ok(None);
        }
        let at = At::new("schema");
        let forms = at.object(value)?;
        let form = |name| optional(&forms, name);
        match (form("standard_v1"), form("dsfinvtw_v1"), form("raw")) {
            (Some(_), Some(_), _) => {
                Err(at.wrong("", "should hold only one of standard_v1 and dsfinvtw_v1"))
            }
            (Some(standard), None, _) => Self::standard(standard).map(Some),
            (None, Some(taximeter), _) => Self::taximeter(taximeter).map(Some),
            (None, None, Some(raw)) => Self::raw(raw).map(Some),
            (None, None, None) if forms.is_empty() => Ok(None),
            (None, None, None) => Err(at.wrong("", "should hold standard_v1, dsfinvtw_v1 or raw")),
        }
    }

    fn standard(value: &Value) -> Result<Self, SchemaError> {
        let at = At::new("schema.standard_v1");
        let forms = at.object(value)?;
        let (name, value) = at.one_of(&forms, &["receipt", "order", "other"])?;
        let path = at.name(name);
        let (form, process_type, (data, echo)) = match name {
            "receipt" => {
                let encoded = cash_receipt::encode(&path, value)?;
                (SchemaForm::Receipt, writer::RECEIPT, encoded)
            }
            "order" => {
                let encoded = order::encode(&path, value)?;
                (SchemaForm::Order, writer::ORDER, encoded)
            }
            _ => {
                let encoded = other::encode(&path, value)?;
                (SchemaForm::Other, writer::OTHER, encoded)
            }
        };
        Self::encoded(form, process_type, data, &json!({ name: echo }))
    }

    fn taximeter(value: &Value) -> Result<Self, SchemaError> {
        let encoded = taximeter::encode("schema.dsfinvtw_v1", value)?;
        let form = match encoded.is_start {
            true => SchemaForm::TaximeterStart,
            false => SchemaForm::Taximeter,
        };
        Self::encoded(form, encoded.process_type, encoded.data, &encoded.echo)
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
