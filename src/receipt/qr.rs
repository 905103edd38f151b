//! The QR text of a receipt, both ways (DSFinV-K Anhang I Tz. 2).
//!
//! `V0;<client serial>;<processType>;<processData>;<transaction number>;<signature counter>;`
//! `<start time>;<log time>;<algorithm>;<time format>;<signature>;<public key>`
//!
//! Written strictly; read as generously as codes of other makers need, without losing what a check of
//! the signature depends on. Nothing here knows whether a signature is good.

use super::qr_time::QrTime;
use crate::terms::{SignatureAlgorithm, SignatureCounter, TransactionNumber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;

/// The one version there is.
const VERSION: &str = "V0";

/// Fields before processData, which may itself contain the separator.
const FIELDS_BEFORE: usize = 3;
/// Fields after processData.
const FIELDS_AFTER: usize = 8;

/// Base64 as found in the field: the standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The contents of a receipt's QR code.
#[derive(Clone, PartialEq, Eq)]
pub struct QrCode {
    /// Serial number of the till: the signed clientId. Text without `;`; foreign tills have serials
    /// that ours could not have.
    pub client_serial: String,
    /// processType of the finish message. Text without `;`.
    pub process_type: String,
    /// processData of the finish message; may contain `;` (orders).
    pub process_data: String,
    /// Number of the transaction within its TSS.
    pub transaction_number: TransactionNumber,
    /// Signature counter of the finish message.
    pub signature_counter: SignatureCounter,
    /// Log time of the start message; no signature covers it here.
    pub time_start: QrTime,
    /// Log time of the finish message.
    pub log_time: QrTime,
    /// How it was signed.
    pub algorithm: SignatureAlgorithm,
    /// How the log time stands in the signed message.
    pub time_format: LogTimeFormat,
    /// Signature value: plain `r || s` from us, DER from one other maker.
    pub signature: Vec<u8>,
    /// Public key: `04 || X || Y` from us, a whole SubjectPublicKeyInfo from one other maker.
    pub public_key: Vec<u8>,
}

/// The text is no QR code of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// Another version, or no such code at all.
    #[error("the text does not begin with {VERSION};")]
    Version,
    /// Too few fields.
    #[error("the code has fewer than twelve fields")]
    Fields,
    /// Not a number of at most 64 bits.
    #[error("field {field} is no number")]
    Number {
        /// Its place, from 1.
        field: u8,
    },
    /// Not a time in UTC with at most milliseconds.
    #[error("field {field} is no time")]
    Time {
        /// Its place, from 1.
        field: u8,
    },
    /// A signature algorithm that may not sign log messages.
    #[error("field 9 is no known signature algorithm")]
    Algorithm,
    /// An unknown form of log time.
    #[error("field 10 is no known time format")]
    TimeFormat,
    /// Not base64.
    #[error("field {field} is no base64")]
    Base64 {
        /// Its place, from 1.
        field: u8,
    },
}

/// Form of the log time in the signed message (DSFinV-K `TSE_ZEITFORMAT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogTimeFormat {
    /// Seconds since 1970; the form we sign.
    UnixTime,
    /// `YYMMDDhhmmZ`; one maker means the form with seconds by it.
    UtcTime,
    /// `YYMMDDhhmmssZ`
    UtcTimeWithSeconds,
    /// `YYYYMMDDhhmmssZ`
    GeneralizedTime,
    /// `YYYYMMDDhhmmss.fffZ`
    GeneralizedTimeWithMilliseconds,
}

impl LogTimeFormat {
    /// Every form there is.
    pub const ALL: [Self; 5] = [
        Self::UnixTime,
        Self::UtcTime,
        Self::UtcTimeWithSeconds,
        Self::GeneralizedTime,
        Self::GeneralizedTimeWithMilliseconds,
    ];

    /// Name on receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnixTime => "unixTime",
            Self::UtcTime => "utcTime",
            Self::UtcTimeWithSeconds => "utcTimeWithSeconds",
            Self::GeneralizedTime => "generalizedTime",
            Self::GeneralizedTimeWithMilliseconds => "generalizedTimeWithMilliseconds",
        }
    }

    /// The form with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl QrCode {
    /// The text to be printed as a QR code.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// Reads the text of a code. Blanks and line ends around it, base64 without padding and times
    /// with fewer or no decimals are taken, too.
    ///
    /// # Errors
    /// [`QrError`] names the field that does not fit, by its place.
    pub fn parse(text: &str) -> Result<Self, QrError> {
        let (head, process_data, tail) = split(text.trim())?;
        let [_, client_serial, process_type] = head;
        let [
            number,
            counter,
            time_start,
            log_time,
            algorithm,
            time_format,
            signature,
            public_key,
        ] = tail;
        Ok(Self {
            client_serial: client_serial.to_owned(),
            process_type: process_type.to_owned(),
            process_data: process_data.to_owned(),
            transaction_number: TransactionNumber::new(integer(number, 5)?),
            signature_counter: SignatureCounter::new(integer(counter, 6)?),
            time_start: time(time_start, 7)?,
            log_time: time(log_time, 8)?,
            algorithm: SignatureAlgorithm::from_name(algorithm).ok_or(QrError::Algorithm)?,
            time_format: LogTimeFormat::from_name(time_format).ok_or(QrError::TimeFormat)?,
            signature: bytes(signature, 11)?,
            public_key: bytes(public_key, 12)?,
        })
    }
}

/// Three fields from the left, eight from the right, and processData with whatever it contains.
fn split(text: &str) -> Result<([&str; FIELDS_BEFORE], &str, [&str; FIELDS_AFTER]), QrError> {
    let mut rest = text;
    let mut head = [""; FIELDS_BEFORE];
    for field in &mut head {
        let (first, others) = rest.split_once(';').unwrap_or((rest, ""));
        *field = first;
        rest = others;
    }
    if head.first() != Some(&VERSION) {
        return Err(QrError::Version);
    }
    let mut tail = [""; FIELDS_AFTER];
    for field in tail.iter_mut().rev() {
        let (others, last) = rest.rsplit_once(';').ok_or(QrError::Fields)?;
        *field = last;
        rest = others;
    }
    Ok((head, rest, tail))
}

fn integer(text: &str, field: u8) -> Result<u64, QrError> {
    // `parse` alone would take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QrError::Number { field });
    }
    text.parse().map_err(|_| QrError::Number { field })
}

fn time(text: &str, field: u8) -> Result<QrTime, QrError> {
    QrTime::parse(text).ok_or(QrError::Time { field })
}

fn bytes(text: &str, field: u8) -> Result<Vec<u8>, QrError> {
    BASE64.decode(text).map_err(|_| QrError::Base64 { field })
}

impl fmt::Display for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VERSION};{};{};{};{};{};{};{};{};{};{};{}",
            self.client_serial,
            self.process_type,
            self.process_data,
            self.transaction_number,
            self.signature_counter,
            self.time_start,
            self.log_time,
            self.algorithm.name(),
            self.time_format.name(),
            STANDARD.encode(&self.signature),
            STANDARD.encode(&self.public_key),
        )
    }
}

impl fmt::Debug for QrCode {
    /// Without processData: what a till sells is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "QrCode(transaction {}, signature counter {})",
            self.transaction_number, self.signature_counter
        )
    }
}

#[cfg(test)]
mod tests;
