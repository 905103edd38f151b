//! One archive from its first byte to its last: survey, messages, sequence, names.
//!
//! The archive is read twice, because certificates may stand behind the messages they belong to, and a
//! third time only for the names of files that something was found about.

use super::certificate::Certificate;
use super::chain::{self, Chain};
use super::codes::{FindingCode, NoteCode};
use super::message::{Examined, Keys};
use super::report::{About, ArchiveReport, Findings, KeySummary, Note, Quoted};
use super::sequence::{Indexed, NO_TIME, Sequence};
use super::survey::{FileKind, Survey, file_kind, local_name};
use super::tar::{EntryKind, Step, TarReader};
use super::{Settings, VerifyError, pool};
use crate::asn1::Tolerated;
use crate::terms::SerialNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

/// Keys of one archive whose messages are checked among each other; by the guideline there is one.
const KEYS_MAX: usize = 64;

/// Checks one export archive. Memory: 32 bytes per message and a bounded rest.
///
/// # Errors
/// [`VerifyError`] when the input cannot be read or is no TAR archive at all. Whatever else is wrong
/// stands in the report.
pub fn verify_archive(
    mut archive: impl Read + Seek,
    settings: &Settings,
) -> Result<ArchiveReport, VerifyError> {
    let survey = Survey::of(&mut archive)?;
    let mut keys = Keys::new();
    for key in survey
        .certificates
        .iter()
        .filter_map(|found| found.key.as_ref())
    {
        keys.entry(key.serial_number()).or_insert(key);
    }
    let examined = pool::examine_all(&mut archive, &keys, settings.threads).map_err(read_error)?;
    Judgement {
        survey: &survey,
        settings,
        findings: Findings::default(),
        notes: Vec::new(),
        used: BTreeSet::new(),
        keys: Vec::new(),
    }
    .finish(examined, &mut archive)
}

fn read_error(source: io::Error) -> VerifyError {
    VerifyError::Unreadable { source }
}

/// What comes together at the end.
struct Judgement<'a> {
    survey: &'a Survey,
    settings: &'a Settings,
    findings: Findings,
    notes: Vec<Note>,
    /// DER of the certificates that some chain needed.
    used: BTreeSet<&'a [u8]>,
    keys: Vec<KeySummary>,
}

impl<'a> Judgement<'a> {
    fn finish(
        mut self,
        mut examined: Examined,
        archive: impl Read + Seek,
    ) -> Result<ArchiveReport, VerifyError> {
        self.survey.judge(&mut self.findings, &mut self.notes);
        self.findings.merge(std::mem::take(&mut examined.findings));
        self.judge_keys(&mut examined);
        self.note_deviations(&examined);
        self.note_unused_certificates();
        self.notes.sort_by_key(|note| note.code);
        let names = names_of(archive, &self.findings.entries()).map_err(read_error)?;
        Ok(ArchiveReport {
            logs: self.survey.logs,
            signatures_valid: examined.signatures_valid,
            keys: self.keys,
            findings: self.findings.into_list(&names),
            notes: self.notes,
        })
    }

    fn judge_keys(&mut self, examined: &mut Examined) {
        let mut of_keys: Vec<_> = std::mem::take(&mut examined.index).into_iter().collect();
        of_keys.sort_unstable_by_key(|(serial_number, _)| *serial_number);
        let is_single = of_keys.len() < 2;
        if !is_single {
            let text = format!("the messages are of {} different keys", of_keys.len());
            self.findings
                .archive(FindingCode::SeveralKeys, About::Archive, text);
        }
        for (serial_number, mut of_key) in of_keys.into_iter().take(KEYS_MAX) {
            if of_key.time_forms.iter().filter(|occurs| **occurs).count() > 1 {
                let text = format!("the key {serial_number} uses several forms of time");
                self.findings
                    .archive(FindingCode::TimeFormMixed, About::Archive, text);
            }
            self.judge_chain(serial_number, &of_key.messages);
            let counters = || of_key.messages.iter().map(|message| message.counter);
            self.keys.push(KeySummary {
                serial_number,
                counter_first: counters().min().unwrap_or(0),
                counter_last: counters().max().unwrap_or(0),
                logs: u64::try_from(of_key.messages.len()).unwrap_or(u64::MAX),
            });
            let key_suffix = if is_single {
                String::new()
            } else {
                format!(" (key {serial_number})")
            };
            Sequence {
                is_partial: self.settings.is_partial,
                key_suffix: &key_suffix,
                findings: &mut self.findings,
                notes: &mut self.notes,
            }
            .check(&mut of_key.messages);
        }
    }

    fn judge_chain(&mut self, serial_number: SerialNumber, messages: &[Indexed]) {
        let survey = self.survey;
        let has_key = |found: &&Certificate| {
            let key = found.key.as_ref();
            key.is_some_and(|key| key.serial_number() == serial_number)
        };
        let Some(leaf) = survey.certificates.iter().find(has_key) else {
            return;
        };
        let chain = chain::follow(leaf, &survey.certificates, &self.settings.trust);
        for (code, file, text) in &chain.problems {
            self.findings
                .archive(*code, About::File(file.clone()), text);
        }
        if !leaf.is_named_after_key() {
            let text = format!("the key in this file is {serial_number}");
            let file = About::File(leaf.file.clone());
            self.findings
                .archive(FindingCode::CertificateName, file, text);
        }
        if self.settings.trust.is_empty() && chain.problems.is_empty() {
            let root = chain.links.last().map_or("", |root| &root.subject_text);
            self.notes.push(Note {
                code: NoteCode::ChainUnanchored,
                text: format!(
                    "the chain up to {} is consistent; whether that one is to be trusted was not \
                     asked (--trust)",
                    Quoted(root)
                ),
            });
        }
        self.notes.push(Note {
            code: NoteCode::RevocationUnchecked,
            text: format!("whether {} was revoked is not known", Quoted(&leaf.file)),
        });
        self.judge_validity(&chain, messages);
        self.used
            .extend(chain.links.iter().map(|link| link.der.as_slice()));
    }

    /// Every certificate of the chain must be valid at every signing time.
    fn judge_validity(&mut self, chain: &Chain<'_>, messages: &[Indexed]) {
        // Times that are none, and the 0 of a clock that was not set, tell nothing.
        let timed = |message: &&Indexed| message.time != NO_TIME && message.time != 0;
        for message in messages.iter().filter(timed) {
            for link in &chain.links {
                if link.valid.contains(&message.time) {
                    continue;
                }
                let state = if message.time < *link.valid.start() {
                    "not yet valid"
                } else {
                    "no longer valid"
                };
                let text = format!(
                    "certificate {} ({}) was {state} at signing time",
                    Quoted(&link.file),
                    Quoted(&link.subject_text)
                );
                self.findings.message(
                    message.counter,
                    message.entry,
                    FindingCode::CertificateNotValid,
                    text,
                );
            }
        }
    }

    fn note_deviations(&mut self, examined: &Examined) {
        let mut note = |code, text| self.notes.push(Note { code, text });
        for (deviation, count) in &examined.deviations {
            let what = deviation_text(*deviation);
            note(NoteCode::Deviation, format!("{count} messages: {what}"));
        }
        if examined.additional_data > 0 {
            let count = examined.additional_data;
            let text = format!("{count} messages carry additional data");
            note(NoteCode::AdditionalData, text);
        }
        for (name, count) in &examined.unknown_events {
            note(NoteCode::EventUnknown, format!("{count} messages: {name}"));
        }
    }

    fn note_unused_certificates(&mut self) {
        for certificate in &self.survey.certificates {
            if !self.used.contains(certificate.der.as_slice()) {
                self.notes.push(Note {
                    code: NoteCode::CertificateUnused,
                    text: format!("{} belongs to no chain", Quoted(&certificate.file)),
                });
            } else if certificate.is_ca && !certificate.is_named_after_key() {
                self.notes.push(Note {
                    code: NoteCode::IssuerFileName,
                    text: format!("{} is not named after its key", Quoted(&certificate.file)),
                });
            }
        }
    }
}

const fn deviation_text(deviation: Tolerated) -> &'static str {
    match deviation {
        Tolerated::IndefiniteLength => "processData in indefinite length with one part or none",
        Tolerated::MissingProcessType => "no processType",
        Tolerated::TrailingEventData => "bytes after the fields of a system event",
        Tolerated::NotMinimal => "a number or a length not in its shortest form",
        Tolerated::DerSignature => "a signature in DER form",
        Tolerated::ConstructedProcessData => "processData in parts, but of definite length",
        Tolerated::NotPrintable => "characters outside PrintableString",
    }
}

/// Looks up the names of entries.
fn names_of(
    archive: impl Read + Seek,
    entries: &BTreeSet<u32>,
) -> io::Result<BTreeMap<u32, String>> {
    let mut names = BTreeMap::new();
    if entries.is_empty() {
        return Ok(names);
    }
    let mut tar = TarReader::new(archive)?;
    while let Step::Entry(entry) = tar.step()? {
        if entries.contains(&entry.number) {
            names.insert(entry.number, entry.name);
        }
    }
    Ok(names)
}

/// The `.log` files among the entries.
pub(super) fn is_log(kind: EntryKind, name: &str) -> bool {
    kind == EntryKind::File && file_kind(local_name(name)) == FileKind::Log
}
