//! One receipt code: the finish message is built again from its fields, and its signature checked.

use super::keys::PublicKey;
use super::report::{Code, Finding, Note, NoteCode, QrReport};
use crate::receipt::{LogTimeFormat, QrCode, QrTime};
use crate::terms::{Curve, SignatureAlgorithm};
use time::OffsetDateTime;
use time::macros::format_description;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// OID of transaction logs (TR-03151 v1.0.1 §2.2), as DER.
const TRANSACTION_LOG: [u8; 11] = [6, 9, 4, 0, 0x7F, 0, 7, 3, 7, 1, 1];

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// Checks the text of a receipt code. What is not in it cannot be checked: chain, revocation, counters.
pub fn check_qr(text: &str) -> QrReport {
    let mut report = QrReport::default();
    let code = match QrCode::parse(text) {
        Ok(code) => code,
        Err(error) => {
            report.finds(Code::QrUnreadable, error.to_string());
            return report;
        }
    };
    let keys = keys(&code.public_key);
    if keys.is_empty() {
        let text = "its public key is no point of any curve that may sign".to_owned();
        report.finds(Code::QrKeyInvalid, text);
        return report;
    }
    match signed_form(&code, &keys) {
        Some(form) => {
            report.signature_valid = true;
            report.tell_form(form);
        }
        None => {
            let text = "its signature does not verify: content or signature was changed";
            report.finds(Code::SignatureInvalid, text.to_owned());
        }
    }
    if !is_conformant(&code.process_type, &code.process_data) {
        let text = "its processData does not follow the grammar of its type";
        report
            .notes
            .push(Note::new(NoteCode::ProcessDataForm, text));
    }
    report
}

impl QrReport {
    fn finds(&mut self, code: Code, text: String) {
        self.findings.push(Finding {
            code,
            message_file: None,
            text,
        });
    }

    fn tell_form(&mut self, form: SignatureForm) {
        let text = "the start time stands in the code, but this signature does not cover it";
        self.notes.push(Note::new(NoteCode::StartNotSigned, text));
        if form == SignatureForm::Der {
            let text = "the signature is written as DER instead of r || s";
            self.notes.push(Note::new(NoteCode::DerSignature, text));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SignatureForm {
    Plain,
    Der,
}

/// The code does not name the curve, so every curve the point is on comes into question.
fn keys(bytes: &[u8]) -> Vec<PublicKey> {
    if bytes.first() == Some(&4) {
        return PublicKey::candidates(bytes);
    }
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(bytes) else {
        return Vec::new();
    };
    let parameters = info.algorithm.parameters.as_ref();
    let oid = parameters.and_then(|value| value.as_oid().ok());
    let oid = oid.map(|oid| oid.to_id_string());
    let curve = Curve::ALL
        .into_iter()
        .find(|curve| Some(curve.oid()) == oid.as_deref());
    curve
        .and_then(|curve| PublicKey::new(curve, &info.subject_public_key.data))
        .into_iter()
        .collect()
}

/// Tries everything a code leaves open: curve, version, form of the time and of processData, and
/// whether the signature is plain or DER.
fn signed_form(code: &QrCode, keys: &[PublicKey]) -> Option<SignatureForm> {
    for key in keys {
        for (version, operation) in [(2, "FinishTransaction"), (3, "finishTransaction")] {
            for time in times(code.log_time, code.time_format) {
                for process_data in process_data_forms(code.process_data.as_bytes()) {
                    let open = Open {
                        version,
                        operation,
                        time: &time,
                        process_data: &process_data,
                    };
                    let message = message(code, key, &open);
                    if key.verifies(code.algorithm, &message, &code.signature) {
                        return Some(SignatureForm::Plain);
                    }
                    if key.verifies_der(code.algorithm, &message, &code.signature) {
                        return Some(SignatureForm::Der);
                    }
                }
            }
        }
    }
    None
}

/// What a code leaves open.
struct Open<'a> {
    version: u8,
    operation: &'a str,
    time: &'a [u8],
    process_data: &'a [u8],
}

/// The signed bytes of the finish message (TR-03151 v1.0.1 §2.3.1, §2.4).
fn message(code: &QrCode, key: &PublicKey, open: &Open<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, INTEGER, &[open.version]);
    bytes.extend_from_slice(&TRANSACTION_LOG);
    put(&mut bytes, 0x80, open.operation.as_bytes());
    put(&mut bytes, 0x81, code.client_serial.as_bytes());
    bytes.extend_from_slice(open.process_data);
    put(&mut bytes, 0x83, code.process_type.as_bytes());
    put(&mut bytes, 0x85, &unsigned(code.transaction_number.value()));
    put(&mut bytes, OCTET_STRING, key.serial.as_bytes());
    let mut algorithm = Vec::new();
    put(&mut algorithm, OID, &algorithm_oid(code.algorithm));
    put(&mut bytes, SEQUENCE, &algorithm);
    put(
        &mut bytes,
        INTEGER,
        &unsigned(code.signature_counter.value()),
    );
    bytes.extend_from_slice(open.time);
    bytes
}

/// 0.4.0.127.0.7.1.1.4.1.n, whose last number is a single byte for all of them.
fn algorithm_oid(algorithm: SignatureAlgorithm) -> Vec<u8> {
    let last = algorithm.oid().rsplit('.').next();
    let last = last
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    vec![4, 0, 0x7F, 0, 7, 1, 1, 4, 1, last]
}

/// In definite length, and as the one maker writes it who always uses the indefinite form.
fn process_data_forms(data: &[u8]) -> [Vec<u8>; 2] {
    let mut definite = Vec::new();
    put(&mut definite, 0x82, data);
    let mut indefinite = vec![0xA2, 0x80];
    put(&mut indefinite, OCTET_STRING, data);
    indefinite.extend_from_slice(&[0, 0]);
    [definite, indefinite]
}

fn times(time: QrTime, format: LogTimeFormat) -> Vec<Vec<u8>> {
    let seconds = time.unix_seconds();
    let unix = || {
        let mut bytes = Vec::new();
        put(&mut bytes, INTEGER, &signed(seconds));
        Some(bytes)
    };
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let text = |tag: u8, text: Option<String>| {
        let mut bytes = Vec::new();
        put(&mut bytes, tag, text?.as_bytes());
        Some(bytes)
    };
    let short = format_description!("[year repr:last_two][month][day][hour][minute]Z");
    let with_seconds =
        format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    let general = format_description!("[year][month][day][hour][minute][second]");
    let utc_short = || text(UTC_TIME, moment?.format(&short).ok());
    let utc_long = || text(UTC_TIME, moment?.format(&with_seconds).ok());
    let general = moment.and_then(|moment| moment.format(&general).ok());
    let forms = match format {
        LogTimeFormat::UnixTime => vec![unix()],
        // One maker calls the form with seconds by this name.
        LogTimeFormat::UtcTime => vec![utc_short(), utc_long()],
        LogTimeFormat::UtcTimeWithSeconds => vec![utc_long()],
        LogTimeFormat::GeneralizedTime => {
            vec![text(GENERALIZED_TIME, general.map(|text| text + "Z"))]
        }
        LogTimeFormat::GeneralizedTimeWithMilliseconds => {
            let milliseconds = time.milliseconds();
            let text_with = general.map(|text| format!("{text}.{milliseconds:03}Z"));
            vec![text(GENERALIZED_TIME, text_with)]
        }
    };
    forms.into_iter().flatten().collect()
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let len = content.len().to_be_bytes();
    let significant: Vec<u8> = len.iter().copied().skip_while(|byte| *byte == 0).collect();
    match significant.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
}

fn unsigned(value: u64) -> Vec<u8> {
    signed(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Minimal two's complement.
fn signed(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut start = 0;
    while let (Some(first), Some(second)) = (bytes.get(start), bytes.get(start + 1)) {
        let redundant = (*first == 0 && *second < 0x80) || (*first == 0xFF && *second >= 0x80);
        if !redundant {
            break;
        }
        start += 1;
    }
    bytes.get(start..).unwrap_or_default().to_vec()
}

const RECEIPT_TYPES: [&str; 10] = [
    "Beleg",
    "AVTransfer",
    "AVBestellung",
    "AVTraining",
    "AVBelegstorno",
    "AVBelegabbruch",
    "AVSachbezug",
    "AVSonstige",
    "AVRechnung",
    "AVGutschein",
];

/// Whether processData has the form that DSFinV-K Anhang I gives for its type; types it does not
/// describe have any form.
fn is_conformant(process_type: &str, data: &str) -> bool {
    if process_type != "Kassenbeleg-V1" {
        return true;
    }
    let parts: Vec<_> = data.split('^').collect();
    let [kind, amounts, payments] = parts.as_slice() else {
        return false;
    };
    let amounts: Vec<_> = amounts.split('_').collect();
    let paid = payments.is_empty() || payments.split('_').all(is_payment);
    RECEIPT_TYPES.contains(kind)
        && amounts.len() == 5
        && amounts.iter().all(|amount| is_amount(amount))
        && paid
}

fn is_amount(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    unsigned
        .split_once('.')
        .is_some_and(|(whole, cents)| digits(whole) && digits(cents) && cents.len() == 2)
}

fn is_payment(text: &str) -> bool {
    let parts: Vec<_> = text.split(':').collect();
    let kind = |kind: &str| kind == "Bar" || kind == "Unbar";
    let currency =
        |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match parts.as_slice() {
        [amount, paid] => is_amount(amount) && kind(paid),
        [amount, paid, code] => is_amount(amount) && kind(paid) && currency(code),
        _ => false,
    }
}
