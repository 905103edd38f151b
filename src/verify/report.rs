//! What a check says: findings, notes, figures. Findings are kept in a bounded set whose content does
//! not depend on the order in which they were found.

use super::codes::{FindingCode, NoteCode};
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

/// Findings listed for one input; beyond that only their number is told.
pub const FINDINGS_MAX: usize = 20_000;

/// Longest foreign text repeated in a finding, in characters.
const QUOTE_LEN_MAX: usize = 200;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: FindingCode,
    /// Name of the file within the archive, where it is about one.
    pub message_file: Option<String>,
    /// The cause, one line.
    pub text: String,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind.
    pub code: NoteCode,
    /// One line.
    pub text: String,
}

/// What the check of one archive gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// `.log` files in the archive.
    pub logs: u64,
    /// Messages whose signature is good under a certificate in the archive.
    pub signatures_valid: u64,
    /// Serial numbers of the keys that signed, with the first and last signature counter, and how many
    /// messages carry it.
    pub keys: Vec<KeySummary>,
    /// Archive first, then by signature counter.
    pub findings: Vec<Finding>,
    /// In the order of their codes.
    pub notes: Vec<Note>,
}

/// The messages of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySummary {
    /// serialNumber of its messages.
    pub serial_number: crate::terms::SerialNumber,
    /// Smallest signature counter.
    pub counter_first: u64,
    /// Greatest signature counter.
    pub counter_last: u64,
    /// Number of messages.
    pub logs: u64,
}

/// What the check of one QR code gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QrReport {
    /// Whether the signature is one of the key in the code over the contents of the code.
    pub signature_valid: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing.
    pub notes: Vec<Note>,
}

/// Foreign text, fit to be shown on a terminal: one line, bounded, no control characters.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for character in self.0.chars().take(QUOTE_LEN_MAX) {
            // Format characters that turn the direction of text could hide what stands there.
            let turns = matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if character.is_control() || turns {
                write!(f, "\\u{{{:x}}}", u32::from(character))?;
            } else {
                f.write_char(character)?;
            }
        }
        if self.0.chars().nth(QUOTE_LEN_MAX).is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

/// Which file a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The archive as a whole.
    Archive,
    /// The file with this name.
    File(String),
    /// The entry with this number; its name is looked up at the end.
    Entry(u32),
}

/// Where a finding belongs in the list: archive first (counter 0), then by counter, then by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    counter: u64,
    entry: u32,
    code: FindingCode,
    text: String,
    about: About,
}

/// The first [`FINDINGS_MAX`] findings in the order of the list, whatever the order of arrival, and the
/// number of all.
#[derive(Default)]
pub(super) struct Findings {
    kept: BinaryHeap<Placed>,
    counts: BTreeMap<FindingCode, u64>,
}

impl Findings {
    /// A finding about the archive or one of its certificates.
    pub(super) fn archive(&mut self, code: FindingCode, about: About, text: impl fmt::Display) {
        let entry = match about {
            About::Entry(entry) => entry,
            About::Archive | About::File(_) => 0,
        };
        self.put(0, entry, code, about, text);
    }

    /// A finding about the message with this signature counter in this entry.
    pub(super) fn message(
        &mut self,
        counter: u64,
        entry: u32,
        code: FindingCode,
        text: impl fmt::Display,
    ) {
        self.put(counter, entry, code, About::Entry(entry), text);
    }

    /// A finding about a place between messages.
    pub(super) fn between(&mut self, counter: u64, code: FindingCode, text: impl fmt::Display) {
        self.put(counter, 0, code, About::Archive, text);
    }

    fn put(
        &mut self,
        counter: u64,
        entry: u32,
        code: FindingCode,
        about: About,
        text: impl fmt::Display,
    ) {
        let count = self.counts.entry(code).or_default();
        *count = count.saturating_add(1);
        self.keep(Placed {
            counter,
            entry,
            code,
            text: text.to_string(),
            about,
        });
    }

    fn keep(&mut self, placed: Placed) {
        self.kept.push(placed);
        if self.kept.len() > FINDINGS_MAX {
            self.kept.pop();
        }
    }

    /// Takes in what another thread found.
    pub(super) fn merge(&mut self, other: Self) {
        for (code, count) in other.counts {
            let sum = self.counts.entry(code).or_default();
            *sum = sum.saturating_add(count);
        }
        for placed in other.kept {
            self.keep(placed);
        }
    }

    /// Entries whose names are needed.
    pub(super) fn entries(&self) -> std::collections::BTreeSet<u32> {
        self.kept
            .iter()
            .filter_map(|placed| match placed.about {
                About::Entry(entry) => Some(entry),
                About::Archive | About::File(_) => None,
            })
            .collect()
    }

    /// The list, with the names of entries.
    pub(super) fn into_list(self, names: &BTreeMap<u32, String>) -> Vec<Finding> {
        let mut left_out = self.counts;
        let mut list: Vec<Finding> = self
            .kept
            .into_sorted_vec()
            .into_iter()
            .map(|placed| {
                if let Some(count) = left_out.get_mut(&placed.code) {
                    *count = count.saturating_sub(1);
                }
                Finding {
                    code: placed.code,
                    message_file: match placed.about {
                        About::Archive => None,
                        About::File(name) => Some(name),
                        About::Entry(entry) => names.get(&entry).cloned(),
                    },
                    text: placed.text,
                }
            })
            .collect();
        for (code, count) in left_out.into_iter().filter(|(_, count)| *count > 0) {
            list.push(Finding {
                code: FindingCode::FindingsCut,
                message_file: None,
                text: format!("{count} more of {}", code.code()),
            });
        }
        list
    }
}

/// Ascending numbers as ranges: `2, 5-9`. At most [`RANGES_MAX`] of them are kept and written out, the
/// others counted.
#[derive(Default)]
pub(super) struct Ranges {
    kept: Vec<(u64, u64)>,
    more: u64,
    /// The last number of all.
    last: Option<u64>,
    numbers: u64,
}

/// Ranges written out in one note.
const RANGES_MAX: usize = 20;

impl Ranges {
    /// Adds the numbers from `first` to `last`, all greater than the ones before.
    pub(super) fn push(&mut self, first: u64, last: u64) {
        let count = last.saturating_sub(first).saturating_add(1);
        self.numbers = self.numbers.saturating_add(count);
        let goes_on = self.last.and_then(|before| before.checked_add(1)) == Some(first);
        self.last = Some(last);
        let is_full = self.kept.len() >= RANGES_MAX;
        match self.kept.last_mut() {
            Some((_, end)) if goes_on && self.more == 0 => *end = last,
            _ if goes_on => {}
            _ if is_full => self.more = self.more.saturating_add(1),
            _ => self.kept.push((first, last)),
        }
    }

    /// How many numbers there are.
    pub(super) const fn numbers(&self) -> u64 {
        self.numbers
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.kept.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// `1 message`, `3 messages`.
pub(super) fn message_count(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} message{plural}")
}
