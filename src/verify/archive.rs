//! One archive from its first byte to its last: survey, messages, sequence, names.
//!
//! The archive is read twice, because certificates may stand behind the messages they belong to, and a
//! third time only for the names of files that something was found about.

use super::certificate::Certificate;
use super::chain::{self, Chain};
use super::codes::{FindingCode, NoteCode};
use super::message::{Examined, KEYS_MAX, Keys};
use super::report::{About, ArchiveReport, Findings, KeySummary, Note, Quoted, message_count};
use super::sequence::{Indexed, NO_TIME, Sequence};
use super::survey::{FileKind, Survey, file_kind, local_name};
use super::tar::{EntryKind, Step, TarReader};
use super::{Settings, VerifyError, pool};
use crate::asn1::Tolerated;
use crate::terms::SerialNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

/// Longest name of a file in a report, in characters. Names of messages have 200 at most.
const NAME_LEN_MAX: usize = 1000;

/// Checks one export archive. Memory: 32 bytes per message and a bounded rest.
///
/// # Errors
/// [`VerifyError`] when the input cannot be read or is no TAR archive at all. Whatever else is wrong
/// stands in the report.
pub fn verify_archive(
    mut archive: impl Read + Seek,
    settings: &Settings,
) -> Result<ArchiveReport, VerifyError> {
    let mut survey = Survey::of(&mut archive)?;
    let findings = std::mem::take(&mut survey.findings);
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
        findings,
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
        let of_keys = std::mem::take(&mut examined.index);
        let is_single = of_keys.len() < 2;
        if !is_single {
            let count = match of_keys.len() {
                ..=KEYS_MAX => of_keys.len().to_string(),
                _ => format!("more than {KEYS_MAX}"),
            };
            let text = format!("the messages are of {count} different keys");
            self.findings
                .archive(FindingCode::SeveralKeys, About::Archive, text);
        }
        for (serial_number, mut of_key) in of_keys.into_iter().take(KEYS_MAX) {
            if of_key.time_forms.iter().filter(|occurs| **occurs).count() > 1 {
                let text = format!("the key {serial_number} uses several forms of time");
                self.findings
                    .archive(FindingCode::TimeFormMixed, About::Archive, text);
            }
            if of_key.versions == [true; 2] {
                let text =
                    format!("the key {serial_number} signs messages of log versions 2 and 3");
                self.findings
                    .archive(FindingCode::LogVersionMixed, About::Archive, text);
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
                unregistered: of_key.clients.unregistered(),
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
        // A certificate may have been renewed for the same key; the one that fits best counts.
        let timed = || messages.iter().filter(|message| is_timed(message));
        let times = timed().fold(None, |span: Option<(i64, i64)>, message| {
            let (first, last) = span.unwrap_or((message.time, message.time));
            Some((first.min(message.time), last.max(message.time)))
        });
        let covers = |link: &&Certificate| {
            times.is_none_or(|(first, last)| {
                link.valid.contains(&first) && link.valid.contains(&last)
            })
        };
        let chains = survey.certificates.iter().filter(has_key).map(|leaf| {
            let chain = chain::follow(leaf, &survey.certificates, &self.settings.trust);
            let is_valid = chain.links.iter().all(covers);
            (leaf, chain, is_valid)
        });
        let best = chains.min_by_key(|(_, chain, is_valid)| (chain.problems.len(), !is_valid));
        let Some((leaf, chain, _)) = best else {
            return;
        };
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
        for message in messages.iter().filter(|message| is_timed(message)) {
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
            note(
                NoteCode::Deviation,
                format!("{}: {what}", message_count(*count)),
            );
        }
        if examined.additional_data > 0 {
            let text = format!(
                "additional data in {}",
                message_count(examined.additional_data)
            );
            note(NoteCode::AdditionalData, text);
        }
        for (name, count) in &examined.unknown_events {
            let text = format!("{}: {name}", message_count(*count));
            note(NoteCode::EventUnknown, text);
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

/// Times that are none, and the 0 of a clock that was not set, tell nothing.
const fn is_timed(message: &Indexed) -> bool {
    message.time != NO_TIME && message.time != 0
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
            // Pax allows long ones, and many may be asked for.
            let name = entry.name.chars().take(NAME_LEN_MAX).collect();
            names.insert(entry.number, name);
        }
    }
    Ok(names)
}

/// The `.log` files among the entries.
pub(super) fn is_log(kind: EntryKind, name: &str) -> bool {
    kind == EntryKind::File && file_kind(local_name(name)) == FileKind::Log
}
