//! QR codes of receipts: the signed finish message is put together again from the text alone
//! (DSFinV-K Anhang I Tz. 2), and the signature checked with the key in the code.

use super::codes::{FindingCode, NoteCode};
use super::key::{PublicKey, Verdict};
use super::process_data;
use super::report::{Finding, Note, QrReport, Quoted};
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

/// What was signed: the elements of a finish message up to its time, one after the other
/// (TR-03151 v1.0.1 §2.4). `None` when the time has no such form.
fn signed_bytes(code: &QrCode, attempt: &Attempt, serial: SerialNumber) -> Option<Vec<u8>> {
    const TRANSACTION_LOG: &str = "0.4.0.127.0.7.3.7.1.1";
    let operation: &[u8] = match attempt.version {
        2 => b"FinishTransaction",
        _ => b"finishTransaction",
    };
    let mut bytes = Vec::new();
    put(&mut bytes, 0x02, &[attempt.version]);
    put(&mut bytes, 0x06, &object_identifier(TRANSACTION_LOG));
    put(&mut bytes, 0x80, operation);
    put(&mut bytes, 0x81, code.client_serial.as_bytes());
    put(&mut bytes, 0x82, code.process_data.as_bytes());
    if attempt.has_process_type {
        put(&mut bytes, 0x83, code.process_type.as_bytes());
    }
    let number = code.transaction_number.value();
    put(&mut bytes, 0x85, &integer(number.into()));
    put(&mut bytes, 0x04, serial.as_bytes());
    let mut algorithm = Vec::new();
    put(
        &mut algorithm,
        0x06,
        &object_identifier(code.algorithm.oid()),
    );
    put(&mut bytes, 0x30, &algorithm);
    put(
        &mut bytes,
        0x02,
        &integer(code.signature_counter.value().into()),
    );
    let (tag, time) = time(code.log_time, attempt.time_format)?;
    put(&mut bytes, tag, &time);
    Some(bytes)
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
        LogTimeFormat::UnixTime => return Some((0x02, integer(time.unix_seconds().into()))),
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

/// Appends an element in DER. Own writer: the signing side's must not confirm itself here.
fn put(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    match length.get(zeros..).unwrap_or_default() {
        [] => bytes.push(0),
        [short] if *short < 0x80 => bytes.push(*short),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7F));
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend_from_slice(content);
}

/// Content of an INTEGER: two's complement, as short as possible.
fn integer(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let superfluous = bytes
        .iter()
        .zip(bytes.iter().skip(1))
        .take_while(|(byte, next)| {
            (**byte == 0 && **next < 0x80) || (**byte == 0xFF && **next >= 0x80)
        })
        .count();
    bytes.get(superfluous..).unwrap_or_default().to_vec()
}

/// Content of an OBJECT IDENTIFIER; the ones here have arcs below 2^14.
fn object_identifier(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u32>().unwrap_or(0));
    let first = arcs.next().unwrap_or(0);
    let second = arcs.next().unwrap_or(0);
    let mut content = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(arcs) {
        let digit = |shift: u32| u8::try_from((arc >> shift) & 0x7F).unwrap_or(0);
        if arc >= 0x80 {
            content.push(0x80 | digit(7));
        }
        content.push(digit(0));
    }
    content
}

#[cfg(test)]
mod tests;
