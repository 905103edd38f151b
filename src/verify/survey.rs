//! The first reading of an archive: what is in it beside log messages, and how it ends.

use super::VerifyError;
use super::certificate::Certificate;
use super::codes::{FindingCode, NoteCode};
use super::report::{About, Findings, Note, Quoted};
use super::tar::{Disputed, Ending, Entry, EntryKind, Step, TarReader};
use std::io::{Read, Seek};

/// Largest certificate file or `info.csv`, in bytes.
const SMALL_FILE_BYTES_MAX: u64 = 65_536;
/// Certificates taken from one archive; by the guideline there are three or so.
const CERTIFICATES_MAX: usize = 64;
/// The description of the device in an archive.
const INFO: &str = "info.csv";
/// Beginnings of the names of log messages.
const TIME_FORMS: [&str; 3] = ["Gent_", "Utc_", "Unixt_"];
/// Ends of the names of certificates (TR-03151 v1.0.1 §5.1.3).
const CERTIFICATE_ENDS: [&str; 4] = [".cer", ".crt", ".pem", ".der"];

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Log message.
    Log,
    /// Certificate.
    Certificate,
    /// `info.csv`.
    Info,
    /// Something that does not belong here.
    Foreign,
}

/// By the name without folders.
pub(super) fn file_kind(name: &str) -> FileKind {
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".log") {
        FileKind::Log
    } else if CERTIFICATE_ENDS.iter().any(|end| lower.ends_with(end)) {
        FileKind::Certificate
    } else if name == INFO {
        FileKind::Info
    } else {
        FileKind::Foreign
    }
}

/// The name without folders. The client id at the end of a log message's name may contain a slash.
pub(super) fn local_name(name: &str) -> &str {
    if TIME_FORMS.iter().any(|form| name.starts_with(form)) {
        return name;
    }
    name.rsplit_once('/').map_or(name, |(_, local)| local)
}

/// What the first reading gave.
#[derive(Default)]
pub(super) struct Survey {
    /// In the order of the archive.
    pub(super) certificates: Vec<Certificate>,
    /// `.log` files.
    pub(super) logs: u64,
    /// Entries that are folders, or files in one.
    in_folders: u64,
    infos: u64,
    info_is_in_form: bool,
    /// What is wrong with the archive as such.
    pub(super) findings: Findings,
}

impl Survey {
    /// Reads the archive to its end.
    pub(super) fn of(archive: impl Read + Seek) -> Result<Self, VerifyError> {
        let unreadable = |source| VerifyError::Unreadable { source };
        let mut tar = TarReader::new(archive).map_err(unreadable)?;
        let mut survey = Self::default();
        let mut is_first = true;
        let ending = loop {
            match tar.step().map_err(unreadable)? {
                Step::Entry(entry) => survey.entry(&mut tar, &entry).map_err(unreadable)?,
                Step::End(ending) => break ending,
            }
            is_first = false;
        };
        if is_first && ending != Ending::Proper {
            return Err(VerifyError::NotAnArchive);
        }
        survey.ending(&ending);
        if let Some(offset) = tar.stain() {
            let text = format!("byte {offset}: between two files stands something else than zeros");
            survey
                .findings
                .archive(FindingCode::PaddingNotZero, About::Archive, text);
        }
        survey.disputed(tar.disputed());
        Ok(survey)
    }

    fn entry<R: Read + Seek>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &Entry,
    ) -> std::io::Result<()> {
        let name = local_name(&entry.name);
        match entry.kind {
            EntryKind::Folder => {
                self.in_folders = self.in_folders.saturating_add(1);
                // Some readers skip it, others read on in the middle of it.
                if entry.size > 0 {
                    let text = "a folder has content";
                    self.find(FindingCode::EntryNotAFile, entry, text.to_owned());
                }
                return Ok(());
            }
            EntryKind::Other(flag) => {
                let text = format!("an entry of type {:?} is no file", char::from(flag));
                self.find(FindingCode::EntryNotAFile, entry, text);
                return Ok(());
            }
            EntryKind::File => {}
        }
        if name != entry.name {
            self.in_folders = self.in_folders.saturating_add(1);
        }
        let kind = file_kind(name);
        match kind {
            FileKind::Log => self.logs = self.logs.saturating_add(1),
            FileKind::Foreign => {
                let text = "only log messages, certificates and info.csv belong into an export";
                self.find(FindingCode::ForeignFile, entry, text.to_owned());
            }
            FileKind::Certificate | FileKind::Info if entry.size > SMALL_FILE_BYTES_MAX => {
                let text = format!("{} bytes are too many for this file", entry.size);
                self.find(FindingCode::FileTooLarge, entry, text);
            }
            FileKind::Certificate => {
                let content = tar.content(entry.size)?;
                self.certificate(entry, name, &content);
            }
            FileKind::Info => {
                let content = tar.content(entry.size)?;
                self.info_is_in_form = is_in_form(&content);
                self.infos = self.infos.saturating_add(1);
            }
        }
        Ok(())
    }

    fn certificate(&mut self, entry: &Entry, name: &str, content: &[u8]) {
        let found = Certificate::parse(name, content);
        if found.is_empty() {
            let text = "this is no X.509 certificate";
            self.find(FindingCode::CertificateUnreadable, entry, text.to_owned());
        }
        for certificate in found {
            if self.certificates.len() >= CERTIFICATES_MAX {
                let text = format!("only {CERTIFICATES_MAX} certificates are taken");
                self.find(FindingCode::TooManyCertificates, entry, text);
                return;
            }
            if certificate.key.is_none() {
                let text = "its key is on none of the curves that TR-03116-5 allows";
                self.find(FindingCode::CertificateUnsupported, entry, text.to_owned());
            }
            self.certificates.push(certificate);
        }
    }

    fn find(&mut self, code: FindingCode, entry: &Entry, text: String) {
        self.findings
            .archive(code, About::Entry(entry.number), text);
    }

    fn ending(&mut self, ending: &Ending) {
        let (code, text) = match ending {
            Ending::Proper => return,
            Ending::Truncated(how) => (FindingCode::ArchiveTruncated, (*how).to_owned()),
            Ending::Damaged { offset, reason } => (
                FindingCode::ArchiveDamaged,
                format!("byte {offset}: {reason}; nothing after it was read"),
            ),
            Ending::DataAfterEnd { offset } => (
                FindingCode::DataAfterEnd,
                format!("byte {offset}: the archive has ended, but something follows"),
            ),
        };
        self.findings.archive(code, About::Archive, text);
    }

    fn disputed(&mut self, disputed: &Disputed) {
        if disputed.global_headers > 0 {
            let text = format!(
                "{} global pax headers, which change what other readers see of every later file",
                disputed.global_headers
            );
            self.findings
                .archive(FindingCode::PaxGlobalHeader, About::Archive, text);
        }
        for (keyword, count) in &disputed.keywords {
            let text = format!(
                "the pax keyword {} ({count} times) does not belong into an export, and other readers \
                 may obey it",
                Quoted(keyword)
            );
            self.findings
                .archive(FindingCode::PaxKeyword, About::Archive, text);
        }
    }

    /// Tells what is wrong and what is worth knowing about the archive as such.
    pub(super) fn judge(&self, findings: &mut Findings, notes: &mut Vec<Note>) {
        if self.logs == 0 {
            let text = "there is no log message in the archive";
            findings.archive(FindingCode::NoMessages, About::Archive, text);
        }
        if self.infos != 1 {
            let text = format!("there are {} files named {INFO} instead of one", self.infos);
            findings.archive(FindingCode::InfoMissing, About::Archive, text);
        } else if !self.info_is_in_form {
            notes.push(Note {
                code: NoteCode::InfoForm,
                text: format!("{INFO} is not in the form of the guideline"),
            });
        }
        if self.in_folders > 0 {
            notes.push(Note {
                code: NoteCode::Repacked,
                text: format!("{} entries are folders or lie in one", self.in_folders),
            });
        }
    }
}

/// v2: one line with three quoted pairs (TR-03151 v1.0.1 §5.1.1). v3: lines of components, then the
/// description (TR-03153-1 §5.2.4.2). Values are free.
fn is_in_form(content: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content) else {
        return false;
    };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let is_v2 = || {
        let rest = text.strip_prefix("\"description:\",\"")?;
        let (_, rest) = rest.split_once("\",\"manufacturer:\",\"")?;
        let (_, version) = rest.split_once("\",\"version:\",\"")?;
        version
            .strip_suffix('"')
            .filter(|rest| !rest.contains('\n'))
    };
    let is_v3 = || {
        let (components, description) = text.rsplit_once('\n')?;
        let components_fit = components
            .split('\n')
            .all(|line| line.starts_with("\"component:\",\"") && line.ends_with('"'));
        let description = description.strip_prefix("\"description:\",\"")?;
        description
            .strip_suffix("\",,,,,,,,")
            .filter(|_| components_fit)
    };
    is_v2().or_else(is_v3).is_some()
}
