//! Our seAuditData: what an audit log of ours says (rule D-3; `schema/asn1/SiegelAuditData.asn`).

use super::write::WriteError;
use crate::terms::SeTime;
use der::asn1::{PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Sequence};

/// Version of the structure written here.
pub const AUDIT_RECORD_VERSION: u8 = 1;

/// An event of the CSP that each TSS in it records under its own key (rule D-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// What happened, PrintableString.
    pub event: String,
    /// When it happened, which may be before the log message.
    pub time_of_event: SeTime,
    /// Particulars, in the order they should be read.
    pub details: Vec<AuditDetail>,
}

/// One particular of an audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDetail {
    /// What it is, PrintableString.
    pub name: String,
    /// Its value, any text.
    pub value: String,
}

#[derive(Sequence)]
struct DerRecord<'a> {
    version: u8,
    event: PrintableStringRef<'a>,
    time_of_event: i64,
    details: Vec<DerDetail<'a>>,
}

#[derive(Sequence)]
struct DerDetail<'a> {
    name: PrintableStringRef<'a>,
    value: Utf8StringRef<'a>,
}

impl AuditRecord {
    /// The DER element that goes into `Content::Audit`.
    ///
    /// # Errors
    /// [`WriteError::NotPrintable`] for an event or a detail name outside PrintableString,
    /// [`WriteError::TooLong`] from 4 GiB on.
    pub fn to_der(&self) -> Result<Vec<u8>, WriteError> {
        let details = self
            .details
            .iter()
            .map(|detail| {
                Ok(DerDetail {
                    name: printable("name", &detail.name)?,
                    value: Utf8StringRef::new(&detail.value).map_err(|_| WriteError::TooLong)?,
                })
            })
            .collect::<Result<_, _>>()?;
        let record = DerRecord {
            version: AUDIT_RECORD_VERSION,
            event: printable("event", &self.event)?,
            time_of_event: self.time_of_event.unix_seconds(),
            details,
        };
        record.to_der().map_err(|_| WriteError::TooLong)
    }

    /// Reads seAuditData of ours; `None` for anybody else's.
    pub fn from_der(bytes: &[u8]) -> Option<Self> {
        let record = DerRecord::from_der(bytes).ok()?;
        if record.version != AUDIT_RECORD_VERSION {
            return None;
        }
        Some(Self {
            event: record.event.as_str().to_owned(),
            time_of_event: record.time_of_event.try_into().ok()?,
            details: record
                .details
                .iter()
                .map(|detail| AuditDetail {
                    name: detail.name.as_str().to_owned(),
                    value: detail.value.as_str().to_owned(),
                })
                .collect(),
        })
    }
}

fn printable<'a>(field: &'static str, text: &'a str) -> Result<PrintableStringRef<'a>, WriteError> {
    PrintableStringRef::new(text).map_err(|_| WriteError::NotPrintable { field })
}
