//! QR codes of receipts: the signed finish message is put together again from the text alone
//! (DSFinV-K Anhang I Tz. 2), and the signature checked with the key in the code.

use super::codes::{FindingCode, NoteCode};
use super::key::{PublicKey, Verdict};
use super::process_data;
use super::report::{Finding, Note, QrReport, Quoted};
use super::signed;
use crate::asn1::TransactionPhase;
use crate::receipt::{LogTimeFormat, QrCode, QrError, QrTime};
use crate::terms::SerialNumber;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// How the bytes were put together.
struct Attempt {
    version: u8,
    time_format: LogTimeFormat,
    has_process_type: bool,
}

/// Checks the text of a QR code. The code does not tell the version of the log message, so both are
/// tried; so are the spellings that other makers' codes are known to have.
///
/// # Errors
/// [`QrError`] when the text is no such code.
pub fn verify_qr(text: &str) -> Result<QrReport, QrError> {
    let code = QrCode::parse(text)?;
    let mut report = QrReport::default();
    let keys = public_keys(&code.public_key);
    if keys.is_empty() {
        let text = "the public key is on none of the curves that TR-03116-5 allows";
        report.find(FindingCode::PublicKeyUnusable, text.to_owned());
    }
    let fits = attempts(&code).find_map(|attempt| {
        keys.iter().find_map(|key| {
            let signed = signed_bytes(&code, &attempt, key.serial_number())?;
            let verdict = key.verdict(code.algorithm.hash(), &signed, &code.signature);
            (verdict != Verdict::Invalid).then_some((attempt_text(&attempt, key, verdict), key))
        })
    });
    if let Some((text, key)) = fits {
        report.signature_valid = true;
        report.note(NoteCode::SignedAs, text);
        let text = format!(
            "signed by the key {}; whose key that is takes its certificate",
            key.serial_number()
        );
        report.note(NoteCode::KeyUnconfirmed, text);
    } else if !keys.is_empty() {
        let text = format!(
            "the key in the code has not signed this content, neither as log version 2 nor 3 ({})",
            code.algorithm.name()
        );
        report.find(FindingCode::SignatureInvalid, text);
    }
    if code.time_start > code.log_time {
        let text = format!("start {} is after end {}", code.time_start, code.log_time);
        report.find(FindingCode::StartAfterEnd, text);
    }
    let text = "the start time is not covered by the signature in the code";
    report.note(NoteCode::StartNotSigned, text.to_owned());
    if let Some(reason) = process_data::deviation(&code.process_type, &code.process_data) {
        let process_type = Quoted(&code.process_type);
        report.note(NoteCode::ProcessData, format!("{process_type}: {reason}"));
    }
    Ok(report)
}

impl QrReport {
    fn find(&mut self, code: FindingCode, text: String) {
        self.findings.push(Finding {
            code,
            message_file: None,
            text,
        });
    }

    fn note(&mut self, code: NoteCode, text: String) {
        self.notes.push(Note { code, text });
    }
}

/// The point as it should be, or a whole SubjectPublicKeyInfo as one maker writes it.
fn public_keys(bytes: &[u8]) -> Vec<PublicKey> {
    match bytes.first() {
        Some(0x30) => PublicKey::from_spki(bytes).into_iter().collect(),
        Some(0x04) => PublicKey::from_point(bytes),
        _ => Vec::new(),
    }
}

fn attempts(code: &QrCode) -> impl Iterator<Item = Attempt> {
    // One maker means the form with seconds when it says the form without.
    let also = match code.time_format {
        LogTimeFormat::UtcTime => Some(LogTimeFormat::UtcTimeWithSeconds),
        LogTimeFormat::GeneralizedTime => Some(LogTimeFormat::GeneralizedTimeWithMilliseconds),
        LogTimeFormat::UnixTime
        | LogTimeFormat::UtcTimeWithSeconds
        | LogTimeFormat::GeneralizedTimeWithMilliseconds => None,
    };
    let time_formats = std::iter::once(code.time_format).chain(also);
    // An empty processType may stand in the message or not.
    let process_type_forms: &[bool] = if code.process_type.is_empty() {
        &[true, false]
    } else {
        &[true]
    };
    time_formats.flat_map(move |time_format| {
        process_type_forms.iter().flat_map(move |has_process_type| {
            [2, 3].map(|version| Attempt {
                version,
                time_format,
                has_process_type: *has_process_type,
            })
        })
    })
}

fn attempt_text(attempt: &Attempt, key: &PublicKey, verdict: Verdict) -> String {
    let form = match verdict {
        Verdict::Der => ", signature in DER form instead of r || s",
        Verdict::Plain | Verdict::Invalid => "",
    };
    let process_type = if attempt.has_process_type {
        ""
    } else {
        ", without processType"
    };
    format!(
        "log version {}, {}, time as {}{process_type}{form}",
        attempt.version,
        key.curve().name(),
        attempt.time_format.name()
    )
}

/// What was signed, if the code says so in this way. `None` when the time has no such form.
fn signed_bytes(code: &QrCode, attempt: &Attempt, serial: SerialNumber) -> Option<Vec<u8>> {
    let (time_tag, time) = time(code.log_time, attempt.time_format)?;
    Some(signed::transaction(&signed::Transaction {
        version: attempt.version,
        phase: TransactionPhase::Finish,
        client_serial: code.client_serial.as_bytes(),
        process_data: code.process_data.as_bytes(),
        process_type: attempt
            .has_process_type
            .then_some(code.process_type.as_bytes()),
        number: code.transaction_number.value(),
        serial,
        algorithm: code.algorithm,
        counter: code.signature_counter.value(),
        time_tag,
        time: &time,
    }))
}

/// Tag and content of the log time.
fn time(time: QrTime, format: LogTimeFormat) -> Option<(u8, Vec<u8>)> {
    const UTC: StaticFormatDescription =
        format_description!("[year repr:last_two][month][day][hour][minute]Z");
    const UTC_SECONDS: StaticFormatDescription =
        format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    const GENERALIZED: StaticFormatDescription =
        format_description!("[year][month][day][hour][minute][second]Z");
    let (tag, text) = match format {
        LogTimeFormat::UnixTime => {
            return Some((0x02, signed::integer(time.unix_seconds().into())));
        }
        LogTimeFormat::UtcTime => (0x17, UTC),
        LogTimeFormat::UtcTimeWithSeconds => (0x17, UTC_SECONDS),
        LogTimeFormat::GeneralizedTime | LogTimeFormat::GeneralizedTimeWithMilliseconds => {
            (0x18, GENERALIZED)
        }
    };
    let date = OffsetDateTime::from_unix_timestamp(time.unix_seconds()).ok()?;
    let mut text = date.format(text).ok()?;
    if format == LogTimeFormat::GeneralizedTimeWithMilliseconds {
        let milliseconds = time.milliseconds();
        text = format!("{}.{milliseconds:03}Z", text.strip_suffix('Z')?);
    }
    Some((tag, text.into_bytes()))
}

#[cfg(test)]
mod tests;
