//! One log message by itself: bytes, name, algorithm, signature.

use super::clients::Clients;
use super::codes::FindingCode;
use super::key::{PublicKey, Verdict};
use super::report::{Findings, Quoted};
use super::sequence::{Indexed, Kind, NO_TIME};
use crate::asn1::{
    LogFileName, LogTime, ReadEvent, ReadKind, ReadLogMessage, Tolerated, TransactionPhase, read,
};
use crate::terms::{LogFormat, SerialNumber};
use std::collections::BTreeMap;

/// Names of unknown events that are remembered: the first ones in their order, so that it does not
/// matter which thread meets which.
const UNKNOWN_EVENTS_MAX: usize = 20;
/// Keys of one archive whose messages are checked among each other, in the order of their serial
/// numbers; by the guideline there is one.
pub(super) const KEYS_MAX: usize = 64;

/// The keys whose certificates are in the archive.
pub(super) type Keys<'a> = BTreeMap<SerialNumber, &'a PublicKey>;

/// A `.log` file.
pub(super) struct LogFile {
    /// Its place in the archive.
    pub(super) entry: u32,
    /// Its name.
    pub(super) name: String,
    /// Its content.
    pub(super) bytes: Vec<u8>,
}

/// What is left of the messages one thread has looked at.
#[derive(Default)]
pub(super) struct Examined {
    /// A few bytes per message, by key; bounded to one key more than [`KEYS_MAX`].
    pub(super) index: BTreeMap<SerialNumber, KeyIndex>,
    /// What was found.
    pub(super) findings: Findings,
    /// Messages with a good signature.
    pub(super) signatures_valid: u64,
    /// How many messages deviate in a known way.
    pub(super) deviations: BTreeMap<Tolerated, u64>,
    /// How many messages have an additional data field.
    pub(super) additional_data: u64,
    /// How often unknown events occur, by name; bounded.
    pub(super) unknown_events: BTreeMap<String, u64>,
}

/// Drops what comes last in the order of the keys. What was dropped once never comes back, because as
/// many smaller ones are kept: the outcome does not depend on the order of arrival.
pub(super) fn bound<K: Ord, V>(map: &mut BTreeMap<K, V>, len_max: usize) {
    while map.len() > len_max {
        map.pop_last();
    }
}

/// The messages of one key.
#[derive(Default)]
pub(super) struct KeyIndex {
    /// In no order.
    pub(super) messages: Vec<Indexed>,
    /// Forms of time that occur: unix time, UTCTime, GeneralizedTime.
    pub(super) time_forms: [bool; 3],
    /// Log versions that occur: 2, 3.
    pub(super) versions: [bool; 2],
    /// Who was registered, and who made transactions.
    pub(super) clients: Clients,
}

impl Examined {
    /// Looks at one file.
    pub(super) fn examine(&mut self, keys: &Keys<'_>, file: &LogFile) {
        let message = match read(&file.bytes) {
            Ok(message) => message,
            Err(error) => {
                // Its place among the others is at best known from its name.
                let counter = file
                    .name
                    .parse::<LogFileName>()
                    .map_or(0, |name| name.signature_counter);
                let code = FindingCode::MessageUnreadable;
                self.findings.message(counter, file.entry, code, error);
                return;
            }
        };
        self.check_name(file, &message);
        self.check_signature(keys, file, &message);
        self.take_notes(&message);
        let kind = self.kind(file, &message);
        self.index(file, &message, kind);
    }

    fn find(
        &mut self,
        file: &LogFile,
        message: &ReadLogMessage,
        code: FindingCode,
        text: impl std::fmt::Display,
    ) {
        self.findings
            .message(message.signature_counter, file.entry, code, text);
    }

    fn check_name(&mut self, file: &LogFile, message: &ReadLogMessage) {
        // Without a name the operation is unknown, which is told elsewhere.
        let Some(name) = LogFileName::of_message(message) else {
            return;
        };
        if !name.fits(&file.name) {
            let right = name.to_string();
            let text = format!("by its content the file is {}", Quoted(&right));
            self.find(file, message, FindingCode::NameContent, text);
        }
    }

    fn check_signature(&mut self, keys: &Keys<'_>, file: &LogFile, message: &ReadLogMessage) {
        if message.algorithm.has_parameters {
            let text = "the signature algorithm has parameters";
            self.find(file, message, FindingCode::AlgorithmParameters, text);
        }
        let Some(key) = keys.get(&message.serial_number) else {
            let serial_number = message.serial_number;
            let text = format!("no certificate in the archive has the key {serial_number}");
            self.find(file, message, FindingCode::CertificateMissing, text);
            return;
        };
        let Some(algorithm) = message.algorithm.known() else {
            let oid = &message.algorithm.oid;
            let text = format!("the signature algorithm {oid} is not supported");
            self.find(file, message, FindingCode::AlgorithmUnsupported, text);
            return;
        };
        let signed = file.bytes.get(message.signed_range.clone());
        let verdict = key.verdict(
            algorithm.hash(),
            signed.unwrap_or_default(),
            &message.signature,
        );
        match verdict {
            Verdict::Plain => self.signatures_valid = self.signatures_valid.saturating_add(1),
            Verdict::Der => {
                self.signatures_valid = self.signatures_valid.saturating_add(1);
                let text = "the signature is in DER form instead of r || s";
                self.find(file, message, FindingCode::SignatureForm, text);
            }
            Verdict::Invalid => {
                let serial_number = message.serial_number;
                let text = format!(
                    "the key {serial_number} has not signed this content ({})",
                    algorithm.name()
                );
                self.find(file, message, FindingCode::SignatureInvalid, text);
            }
        }
    }

    fn take_notes(&mut self, message: &ReadLogMessage) {
        for deviation in &message.tolerated {
            // A DER signature is judged with the signature.
            if *deviation != Tolerated::DerSignature {
                let count = self.deviations.entry(*deviation).or_default();
                *count = count.saturating_add(1);
            }
        }
        let has_additional_data = match &message.kind {
            ReadKind::Transaction {
                additional_external_data,
                additional_internal_data,
                ..
            } => additional_external_data.is_some() || additional_internal_data.is_some(),
            ReadKind::System {
                additional_internal_data,
                ..
            } => additional_internal_data.is_some(),
            ReadKind::Audit { .. } => false,
        };
        if has_additional_data {
            self.additional_data = self.additional_data.saturating_add(1);
        }
    }

    /// What the message is among the others.
    fn kind(&mut self, file: &LogFile, message: &ReadLogMessage) -> Kind {
        match &message.kind {
            ReadKind::Transaction { operation_type, .. } => {
                let format = match message.version {
                    3 => LogFormat::V3,
                    _ => LogFormat::V2,
                };
                let phase = TransactionPhase::from_operation_type(operation_type);
                if phase.map(|phase| phase.operation_type(format)) != Some(operation_type) {
                    let version = message.version;
                    let operation = Quoted(operation_type);
                    let text = format!("{operation} is no operation of log version {version}");
                    self.find(file, message, FindingCode::OperationType, text);
                }
                match phase {
                    Some(TransactionPhase::Start) => Kind::Start,
                    Some(TransactionPhase::Update) => Kind::Update,
                    Some(TransactionPhase::Finish) => Kind::Finish,
                    None => Kind::Event,
                }
            }
            ReadKind::System {
                event_type, event, ..
            } => match event {
                ReadEvent::Known { .. } => Kind::of_event(event_type),
                ReadEvent::Malformed => {
                    let text = format!("the content does not fit {}", Quoted(event_type));
                    self.find(file, message, FindingCode::EventMalformed, text);
                    Kind::of_event(event_type)
                }
                ReadEvent::Unknown => {
                    self.remember_unknown_event(Quoted(event_type).to_string(), 1);
                    Kind::Event
                }
            },
            ReadKind::Audit { .. } => Kind::Audit,
        }
    }

    fn remember_unknown_event(&mut self, name: String, times: u64) {
        let count = self.unknown_events.entry(name).or_default();
        *count = count.saturating_add(times);
        bound(&mut self.unknown_events, UNKNOWN_EVENTS_MAX);
    }

    fn index(&mut self, file: &LogFile, message: &ReadLogMessage, kind: Kind) {
        let time = message.time.unix_seconds();
        if time.is_none() {
            let text = "the text of the log time is no time";
            self.find(file, message, FindingCode::TimeUnreadable, text);
        }
        let number = match &message.kind {
            ReadKind::Transaction {
                transaction_number, ..
            } => *transaction_number,
            ReadKind::System { event, .. } => self.time_set(file, message, event),
            ReadKind::Audit { .. } => 0,
        };
        let of_key = self.index.entry(message.serial_number).or_default();
        let [unix, utc, generalized] = &mut of_key.time_forms;
        match message.time {
            LogTime::Unix(_) => *unix = true,
            LogTime::Utc(_) => *utc = true,
            LogTime::Generalized(_) => *generalized = true,
        }
        let [second, third] = &mut of_key.versions;
        *(if message.version == 3 { third } else { second }) = true;
        match &message.kind {
            ReadKind::Transaction { client_id, .. } => {
                of_key.clients.acts(client_id, message.signature_counter);
            }
            ReadKind::System {
                event_type,
                event:
                    ReadEvent::Known {
                        client_id: Some(client_id),
                        ..
                    },
                ..
            } if event_type.eq_ignore_ascii_case("registerClient") => {
                let counter = message.signature_counter;
                of_key.clients.is_registered(client_id, counter);
            }
            ReadKind::System { .. } | ReadKind::Audit { .. } => {}
        }
        of_key.messages.push(Indexed {
            counter: message.signature_counter,
            time: time.unwrap_or(NO_TIME),
            number,
            entry: file.entry,
            kind,
        });
        bound(&mut self.index, KEYS_MAX.saturating_add(1));
    }

    /// What [`Indexed::number`] is for a system event.
    fn time_set(&mut self, file: &LogFile, message: &ReadLogMessage, event: &ReadEvent) -> u64 {
        let ReadEvent::Known {
            time_update: Some((_, after)),
            ..
        } = event
        else {
            return NO_TIME.cast_unsigned();
        };
        let after = after.unix_seconds();
        if after.is_none() {
            let text = "the text of the time that was set is no time";
            self.find(file, message, FindingCode::TimeUnreadable, text);
        }
        after.unwrap_or(NO_TIME).cast_unsigned()
    }

    /// Takes in what another thread has left.
    pub(super) fn merge(&mut self, other: Self) {
        for (serial_number, of_key) in other.index {
            let ours = self.index.entry(serial_number).or_default();
            ours.messages.extend(of_key.messages);
            ours.clients.merge(of_key.clients);
            for (ours, theirs) in ours.time_forms.iter_mut().zip(of_key.time_forms) {
                *ours |= theirs;
            }
            for (ours, theirs) in ours.versions.iter_mut().zip(of_key.versions) {
                *ours |= theirs;
            }
        }
        bound(&mut self.index, KEYS_MAX.saturating_add(1));
        self.findings.merge(other.findings);
        self.signatures_valid = self.signatures_valid.saturating_add(other.signatures_valid);
        for (deviation, count) in other.deviations {
            let sum = self.deviations.entry(deviation).or_default();
            *sum = sum.saturating_add(count);
        }
        self.additional_data = self.additional_data.saturating_add(other.additional_data);
        for (name, count) in other.unknown_events {
            self.remember_unknown_event(name, count);
        }
    }
}
