//! One archive, read twice: first for its certificates, then for its messages.

use super::certificates::{Certificate, Root};
use super::chain::{ChainEnd, follow};
use super::message::{CheckedMessage, IndexEntry, Signer, Signers, check};
use super::report::{ArchiveReport, Code, FINDINGS_MAX, Finding, Note, NoteCode, Unreadable};
use super::sequence;
use super::tar_reader::{Entry, EntryKind, TarError, TarReader};
use crate::asn1::Tolerated;
use crate::terms::SerialNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes read from the file at a time.
const BUFFER_LEN: usize = 256 * 1024;
/// Longest certificate file that is read, in bytes.
const CERTIFICATE_LEN_MAX: u64 = 64 * 1024;
/// Certificates taken from one archive at most.
const CERTIFICATES_MAX: usize = 1_000;
/// Longest message that is read, in bytes; real ones have a few hundred.
const MESSAGE_LEN_MAX: u64 = 1024 * 1024;
/// Messages handed to a checking thread at a time, and batches that may wait per thread.
const BATCH_LEN: usize = 32;
const BATCHES_WAITING: usize = 4;
/// Names of unknown events told at most.
const EVENT_NAMES_MAX: usize = 20;

/// How to check.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The archive was filtered: missing counters are notes.
    pub partial: bool,
    /// Trusted roots; without any, a chain has nothing to end at.
    pub roots: &'a [Root],
}

type Message = (u32, String, Vec<u8>);

/// Checks everything in an archive.
///
/// # Errors
/// [`Unreadable`] when there is no archive to check.
pub fn check_archive(path: &Path, options: &Options<'_>) -> Result<ArchiveReport, Unreadable> {
    let mut head = Head::default();
    head.read(path)?;
    let signers = head.signers(options.roots);
    let body = read_messages(path, &signers)?;
    Ok(report(head, body, &signers, options))
}

fn open(path: &Path) -> Result<TarReader<BufReader<File>>, Unreadable> {
    let file = File::open(path).map_err(Unreadable::File)?;
    Ok(TarReader::new(BufReader::with_capacity(BUFFER_LEN, file)))
}

/// What the first reading finds.
#[derive(Default)]
struct Head {
    logs: u64,
    has_info: bool,
    certificates: Vec<Certificate>,
    findings: Vec<Finding>,
    repacked: bool,
    ca_names: BTreeSet<String>,
}

/// What a file of an export is.
enum FileKind {
    Info,
    Message,
    Certificate,
    Other,
}

fn file_kind(name: &str) -> FileKind {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        _ if name == "info.csv" => FileKind::Info,
        Some("log") => FileKind::Message,
        Some("cer" | "crt" | "pem" | "der") => FileKind::Certificate,
        Some(_) | None => FileKind::Other,
    }
}

/// The name without the `./` of an archive that was packed again.
fn plain(entry: &Entry) -> &str {
    entry.name.strip_prefix("./").unwrap_or(&entry.name)
}

impl Head {
    fn read(&mut self, path: &Path) -> Result<(), Unreadable> {
        let mut archive = open(path)?;
        let mut entries = 0_u64;
        loop {
            match archive.next_entry() {
                Ok(Some(entry)) => {
                    entries += 1;
                    if let Err(error) = self.take(&mut archive, &entry) {
                        return self.broke_off(entries, error);
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return self.broke_off(entries, error),
            }
        }
    }

    /// Nothing at all: not an archive. Something: a finding about where it ends.
    fn broke_off(&mut self, entries: u64, error: TarError) -> Result<(), Unreadable> {
        let code = match (entries, &error) {
            (_, TarError::Io(_)) => {
                let TarError::Io(error) = error else {
                    return Ok(());
                };
                return Err(Unreadable::File(error));
            }
            (0, TarError::Damaged(reason)) => return Err(Unreadable::NotTar(reason)),
            (0, TarError::Truncated(_)) => return Err(Unreadable::NotTar("it is too short")),
            (_, TarError::Damaged(_)) => Code::ArchiveDamaged,
            (_, TarError::Truncated(_)) => Code::ArchiveTruncated,
        };
        self.finds(code, None, error.to_string());
        Ok(())
    }

    fn finds(&mut self, code: Code, file: Option<&str>, text: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                code,
                message_file: file.map(str::to_owned),
                text,
            });
        }
    }

    fn take(
        &mut self,
        archive: &mut TarReader<BufReader<File>>,
        entry: &Entry,
    ) -> Result<(), TarError> {
        let name = plain(entry);
        self.repacked |= entry.kind == EntryKind::Folder || name.len() != entry.name.len();
        match (entry.kind, file_kind(name)) {
            (EntryKind::Folder, _) => {}
            (EntryKind::File, FileKind::Info) => self.has_info = true,
            (EntryKind::File, FileKind::Message) => self.logs += 1,
            (EntryKind::File, FileKind::Certificate) => {
                if entry.len > CERTIFICATE_LEN_MAX || self.certificates.len() >= CERTIFICATES_MAX {
                    let text = format!("{} bytes, or too many certificates", entry.len);
                    self.finds(Code::FileTooLarge, Some(name), text);
                } else {
                    let content = archive.content(CERTIFICATE_LEN_MAX)?;
                    self.take_certificate(name, &content);
                }
            }
            (EntryKind::Other, _) | (EntryKind::File, FileKind::Other) => {
                let text = "no file of this kind belongs into an export".to_owned();
                self.finds(Code::UnexpectedFile, Some(name), text);
            }
        }
        Ok(())
    }

    fn take_certificate(&mut self, name: &str, content: &[u8]) {
        let Some(certificate) = Certificate::read(content) else {
            let text = "this is no certificate that can be read".to_owned();
            return self.finds(Code::CertificateUnreadable, Some(name), text);
        };
        let named = name.split('_').next().unwrap_or_default();
        let serial = certificate.serial.to_string();
        if !named.eq_ignore_ascii_case(&serial) {
            if certificate.is_ca {
                self.ca_names.insert(name.to_owned());
            } else {
                let text = format!("it holds the key {serial}");
                self.finds(Code::CertificateNameMismatch, Some(name), text);
            }
        }
        self.certificates.push(certificate);
    }

    /// Every certificate may be a signer; what a chain is worth is told for those that signed.
    fn signers(&mut self, roots: &[Root]) -> Signers {
        let mut signers = Signers::default();
        let chains: Vec<_> = self
            .certificates
            .iter()
            .map(|leaf| follow(leaf, &self.certificates, roots))
            .collect();
        let certificates = std::mem::take(&mut self.certificates);
        for (number, (certificate, chain)) in certificates.into_iter().zip(chains).enumerate() {
            let signer = Signer {
                number: u32::try_from(number).unwrap_or(u32::MAX),
                certificate,
                chain,
            };
            signers.0.entry(signer.certificate.serial).or_insert(signer);
        }
        signers
    }
}

/// What the second reading finds.
#[derive(Default)]
struct Body {
    valid: u64,
    index: Vec<IndexEntry>,
    /// With the place in the archive.
    findings: Vec<(u32, Finding)>,
    findings_left_out: u64,
    tolerated: BTreeMap<Tolerated, u64>,
    unknown_events: BTreeSet<String>,
    signers: BTreeSet<SerialNumber>,
}

impl Body {
    fn take(&mut self, checked: CheckedMessage) {
        self.valid += u64::from(checked.signature_valid);
        self.index.extend(checked.index);
        for finding in checked.findings {
            if self.findings.len() < FINDINGS_MAX {
                self.findings.push((checked.place, finding));
            } else {
                self.findings_left_out += 1;
            }
        }
        for tolerated in checked.tolerated {
            *self.tolerated.entry(tolerated).or_default() += 1;
        }
        if self.unknown_events.len() < EVENT_NAMES_MAX {
            self.unknown_events.extend(checked.unknown_event);
        }
        if self.signers.len() < CERTIFICATES_MAX {
            self.signers.extend(checked.signer);
        }
    }

    fn merge(&mut self, other: Self) {
        self.valid += other.valid;
        self.index.extend(other.index);
        self.findings.extend(other.findings);
        self.findings_left_out += other.findings_left_out;
        for (tolerated, count) in other.tolerated {
            *self.tolerated.entry(tolerated).or_default() += count;
        }
        self.unknown_events.extend(other.unknown_events);
        self.signers.extend(other.signers);
    }
}

/// Reads on this thread, checks on all cores.
fn read_messages(path: &Path, signers: &Signers) -> Result<Body, Unreadable> {
    let mut archive = open(path)?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (sender, receiver) = sync_channel(threads * BATCHES_WAITING);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| check_batches(signers, &receiver)))
            .collect();
        let mut body = feed(&mut archive, &sender);
        drop(sender);
        for worker in workers {
            // The checks do not panic; if one did, silence would be the worst answer.
            match worker.join() {
                Ok(part) => body.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(body)
    })
}

/// Hands all messages out. Where the archive breaks off was told by the first reading.
fn feed(archive: &mut TarReader<BufReader<File>>, sender: &SyncSender<Vec<Message>>) -> Body {
    let mut body = Body::default();
    let mut batch = Vec::with_capacity(BATCH_LEN);
    let mut place = 0;
    while let Ok(Some(entry)) = archive.next_entry() {
        let name = plain(&entry).to_owned();
        if entry.kind != EntryKind::File || !matches!(file_kind(&name), FileKind::Message) {
            continue;
        }
        place += 1;
        if entry.len > MESSAGE_LEN_MAX {
            body.findings.push((
                place,
                Finding {
                    code: Code::FileTooLarge,
                    message_file: Some(name),
                    text: format!("{} bytes are no log message", entry.len),
                },
            ));
            continue;
        }
        let Ok(content) = archive.content(MESSAGE_LEN_MAX) else {
            break;
        };
        batch.push((place, name, content));
        if batch.len() == BATCH_LEN && sender.send(std::mem::take(&mut batch)).is_err() {
            break;
        }
    }
    let _ = sender.send(batch);
    body
}

fn check_batches(signers: &Signers, batches: &Mutex<Receiver<Vec<Message>>>) -> Body {
    let mut body = Body::default();
    loop {
        let next = batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(batch) = next else { return body };
        for (place, name, content) in batch {
            body.take(check(signers, place, &name, &content));
        }
    }
}

fn report(head: Head, body: Body, signers: &Signers, options: &Options<'_>) -> ArchiveReport {
    let mut notes = notes_of(&head, &body, signers);
    let mut findings = head.findings;
    if !head.has_info {
        findings.push(Finding {
            code: Code::InfoMissing,
            message_file: None,
            text: "there is no info.csv".to_owned(),
        });
    }
    findings.extend(chain_findings(&body.signers, signers, options));
    let mut of_messages = body.findings;
    of_messages.sort_by_key(|(place, _)| *place);
    findings.extend(of_messages.into_iter().map(|(_, finding)| finding));
    let (of_sequence, more_notes) = sequence::check(body.index, options.partial);
    findings.extend(of_sequence);
    notes.extend(more_notes);
    notes.sort_by_key(|note| note.code);
    let left_out = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    let left_out = body.findings_left_out + u64::try_from(left_out).unwrap_or(u64::MAX);
    if left_out > 0 {
        findings.push(Finding {
            code: Code::MoreFindings,
            message_file: None,
            text: format!("and {left_out} more"),
        });
    }
    ArchiveReport {
        logs: head.logs,
        signatures_valid: body.valid,
        findings,
        notes,
    }
}

fn chain_findings(
    signed: &BTreeSet<SerialNumber>,
    signers: &Signers,
    options: &Options<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (serial, signer) in signed
        .iter()
        .filter_map(|serial| Some((serial, signers.0.get(serial)?)))
    {
        let found = match &signer.chain.end {
            ChainEnd::Trusted => continue,
            ChainEnd::Broken(subject) => {
                let text = format!("the issuer of {subject} is not here, or did not sign it");
                (Code::ChainBroken, text)
            }
            ChainEnd::SelfSigned(_) if options.roots.is_empty() => continue,
            ChainEnd::SelfSigned(subject) => {
                let text = format!("the chain of {serial} ends at {subject}, which is not trusted");
                (Code::ChainUntrusted, text)
            }
        };
        findings.push(Finding {
            code: found.0,
            message_file: None,
            text: found.1,
        });
    }
    findings
}

fn notes_of(head: &Head, body: &Body, signers: &Signers) -> Vec<Note> {
    let mut notes = Vec::new();
    if head.logs == 0 {
        notes.push(Note::new(NoteCode::NoMessages, "there is no log message"));
    }
    if head.repacked {
        let text = "folders, or names that begin with ./, come from packing it again";
        notes.push(Note::new(NoteCode::Repacked, text));
    }
    for name in &head.ca_names {
        let text = format!("the CA certificate {name} is not named by the hash of its key");
        notes.push(Note::new(NoteCode::CaName, text));
    }
    let known: Vec<_> = body
        .signers
        .iter()
        .filter_map(|serial| signers.0.get(serial))
        .collect();
    for signer in &known {
        if let ChainEnd::SelfSigned(subject) = &signer.chain.end {
            let text = format!("the chain ends at {subject}; compare it with a root you trust");
            notes.push(Note::new(NoteCode::ChainUnanchored, text));
        }
    }
    if !known.is_empty() {
        let text = "nothing is known about revoked certificates";
        notes.push(Note::new(NoteCode::RevocationUnknown, text));
    }
    if body.signers.len() > 1 {
        let text = format!("{} signers", body.signers.len());
        notes.push(Note::new(NoteCode::SeveralSigners, text));
    }
    for (tolerated, count) in &body.tolerated {
        let text = format!("{count} messages: {}", tolerated_text(*tolerated));
        notes.push(Note::new(NoteCode::Tolerated, text));
    }
    if !body.unknown_events.is_empty() {
        let names: Vec<_> = body.unknown_events.iter().map(String::as_str).collect();
        let text = format!("events the guideline does not know: {}", names.join(", "));
        notes.push(Note::new(NoteCode::UnknownEvents, text));
    }
    notes
}

const fn tolerated_text(tolerated: Tolerated) -> &'static str {
    match tolerated {
        Tolerated::IndefiniteLength => "processData in indefinite length",
        Tolerated::MissingProcessType => "no processType",
        Tolerated::TrailingEventData => "bytes after the fields of an event",
        Tolerated::NotMinimal => "a number or length that is not minimal",
        Tolerated::DerSignature => "a signature in DER form",
        Tolerated::ConstructedProcessData => "processData in constructed form",
        Tolerated::NotPrintable => "text outside PrintableString",
    }
}
