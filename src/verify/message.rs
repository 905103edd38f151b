//! One log message, as far as it can be checked alone.

use super::certificates::Certificate;
use super::chain::Chain;
use super::report::{Code, Finding};
use crate::asn1::{
    LogFileName, ReadEvent, ReadKind, ReadLogMessage, Tolerated, TransactionPhase, read,
};
use crate::terms::SerialNumber;
use std::collections::HashMap;

/// Who may have signed.
#[derive(Default)]
pub(super) struct Signers(pub HashMap<SerialNumber, Signer>);

/// A key with its place among all signers, and its chain.
pub(super) struct Signer {
    pub number: u32,
    pub certificate: Certificate,
    pub chain: Chain,
}

/// What remains of a message: enough to check the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexEntry {
    pub signer: u32,
    pub counter: u64,
    /// Unix seconds; `None` when it is no time.
    pub time: Option<i64>,
    pub event: IndexEvent,
    /// Its place in the archive.
    pub place: u32,
}

/// The part of a message's content that the sequence needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IndexEvent {
    Start(u64),
    Update(u64),
    Finish(u64),
    /// After it, the time may be earlier.
    UpdateTime,
    Other,
}

/// Outcome of checking one message.
#[derive(Debug, Default)]
pub(super) struct CheckedMessage {
    pub place: u32,
    pub index: Option<IndexEntry>,
    pub signer: Option<SerialNumber>,
    pub signature_valid: bool,
    pub findings: Vec<Finding>,
    pub tolerated: Vec<Tolerated>,
    pub unknown_event: Option<String>,
}

/// Checks form, name, signature and validity.
pub(super) fn check(signers: &Signers, place: u32, name: &str, bytes: &[u8]) -> CheckedMessage {
    let mut checked = CheckedMessage {
        place,
        ..CheckedMessage::default()
    };
    let message = match read(bytes) {
        Ok(message) => message,
        Err(error) => {
            checked.finds(Code::MessageUnreadable, name, error.to_string());
            return checked;
        }
    };
    checked.check_name(name, &message);
    let signer = checked.check_signature(signers, name, &message, bytes);
    let time = message.time.unix_seconds();
    match (time, signer) {
        (None, _) => {
            let text = "its time is no time".to_owned();
            checked.finds(Code::TimeUnreadable, name, text);
        }
        (Some(time), Some(signer)) => checked.check_validity(name, time, signer),
        (Some(_), None) => {}
    }
    checked.index = Some(IndexEntry {
        signer: signer.map_or(u32::MAX, |signer| signer.number),
        counter: message.signature_counter,
        time,
        event: event(&message),
        place,
    });
    checked.signer = Some(message.serial_number);
    if let ReadKind::System {
        event: ReadEvent::Unknown,
        event_type,
        ..
    } = &message.kind
    {
        checked.unknown_event = Some(event_type.clone());
    }
    checked.tolerated = message.tolerated;
    checked
}

fn event(message: &ReadLogMessage) -> IndexEvent {
    match &message.kind {
        ReadKind::Transaction {
            operation_type,
            transaction_number,
            ..
        } => match TransactionPhase::from_operation_type(operation_type) {
            Some(TransactionPhase::Start) => IndexEvent::Start(*transaction_number),
            Some(TransactionPhase::Update) => IndexEvent::Update(*transaction_number),
            Some(TransactionPhase::Finish) => IndexEvent::Finish(*transaction_number),
            None => IndexEvent::Other,
        },
        ReadKind::System {
            event:
                ReadEvent::Known {
                    time_update: Some(_),
                    ..
                },
            ..
        } => IndexEvent::UpdateTime,
        ReadKind::System { .. } | ReadKind::Audit { .. } => IndexEvent::Other,
    }
}

impl CheckedMessage {
    fn finds(&mut self, code: Code, name: &str, text: String) {
        self.findings.push(Finding {
            code,
            message_file: Some(name.to_owned()),
            text,
        });
    }

    fn check_name(&mut self, name: &str, message: &ReadLogMessage) {
        match LogFileName::of_message(message) {
            Some(expected) if expected.fits(name) => {}
            Some(expected) => match name.parse::<LogFileName>() {
                Ok(_) => {
                    let text = format!("its content belongs into a file named {expected}");
                    self.finds(Code::NameMismatch, name, text);
                }
                Err(error) => self.finds(Code::NameUnreadable, name, error.to_string()),
            },
            None => {
                let text = "its operationType is none of a transaction".to_owned();
                self.finds(Code::MessageUnreadable, name, text);
            }
        }
    }

    fn check_signature<'s>(
        &mut self,
        signers: &'s Signers,
        name: &str,
        message: &ReadLogMessage,
        bytes: &[u8],
    ) -> Option<&'s Signer> {
        let signer = signers.0.get(&message.serial_number);
        let Some(algorithm) = message.algorithm.known() else {
            let text = format!("{} may not sign log messages", message.algorithm.oid);
            self.finds(Code::AlgorithmUnknown, name, text);
            return signer;
        };
        let key = signer.and_then(|signer| signer.certificate.key.as_ref());
        let Some(key) = key else {
            let serial = message.serial_number;
            let text = format!("no certificate with a usable key for the signer {serial} is here");
            self.finds(Code::CertificateMissing, name, text);
            return signer;
        };
        let signed = bytes.get(message.signed_range.clone()).unwrap_or_default();
        let verify = if message.tolerated.contains(&Tolerated::DerSignature) {
            super::keys::PublicKey::verifies_der
        } else {
            super::keys::PublicKey::verifies
        };
        self.signature_valid = verify(key, algorithm, signed, &message.signature);
        if !self.signature_valid {
            let text = "its signature does not verify: content or signature was changed";
            self.finds(Code::SignatureInvalid, name, text.to_owned());
        }
        signer
    }

    fn check_validity(&mut self, name: &str, time: i64, signer: &Signer) {
        let (first, last) = signer.chain.valid;
        if time < first || time > last {
            let text =
                format!("signed at {time}, but its certificates are valid from {first} to {last}");
            self.finds(Code::NotValidAtSigning, name, text);
        }
    }
}
