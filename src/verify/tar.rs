//! A tolerant, streaming reader of TAR archives: POSIX ustar, pax and GNU long names.
//!
//! Own code because a checker must tell what a library hides: that the end is missing, that bytes
//! follow the end, that an entry is no file. Nothing is allocated beyond [`EXTENSION_BYTES_MAX`] for a
//! header and what the caller asks for; no length is believed before the input was seen to be as long.

mod pax;

use pax::{Extension, read_records};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes of a block.
const BLOCK: usize = 512;
/// Largest pax or GNU extension header, in bytes.
const EXTENSION_BYTES_MAX: u64 = 65_536;
/// Bytes read ahead.
const BUFFER_BYTES: usize = 262_144;

/// A TAR archive on its way.
pub(super) struct TarReader<R> {
    input: BufReader<R>,
    /// Bytes of the input from its beginning to its end.
    length: u64,
    /// Where reading stands.
    position: u64,
    /// Bytes of content of the present entry that have not been read.
    unread: u64,
    /// Bytes after that up to the next block.
    padding: u64,
    entries: u32,
    /// Where something else than zeros first stood between a content and the next block.
    stain: Option<u64>,
    disputed: Disputed,
}

/// What other readers obey and this one does not: they may see other names or contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disputed {
    /// Global pax headers.
    pub(super) global_headers: u64,
    /// Pax keywords that do not belong into an export, and in how many records each stands; bounded.
    pub(super) keywords: BTreeMap<String, u64>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A file or something else.
    Entry(Entry),
    /// Nothing; how the archive ended.
    End(Ending),
}

/// How an archive ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With two blocks of zeros, and then only zeros.
    Proper,
    /// The input ends within something.
    Truncated(&'static str),
    /// What stands here is no header.
    Damaged {
        /// Bytes from the beginning.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// With two blocks of zeros, and then something else.
    DataAfterEnd {
        /// Bytes from the beginning.
        offset: u64,
    },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place among all entries, from 1.
    pub(super) number: u32,
    /// Name without a leading `./`; what is no UTF-8 is taken as Latin-1.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: EntryKind,
    /// Bytes of its content.
    pub(super) size: u64,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link, a device, a sparse file …: its typeflag.
    Other(u8),
}

impl<R: Read + Seek> TarReader<R> {
    /// Begins at the beginning of the input.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        let length = input.seek(SeekFrom::End(0))?;
        input.seek(SeekFrom::Start(0))?;
        Ok(Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            length,
            position: 0,
            unread: 0,
            padding: 0,
            entries: 0,
            stain: None,
            disputed: Disputed::default(),
        })
    }

    /// The next entry or the end. Content that was not asked for is skipped. After the end: do not
    /// call again.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let mut extension = Extension::default();
        loop {
            self.finish_entry()?;
            let offset = self.position;
            let Some(header) = self.block()? else {
                return Ok(Step::End(Ending::Truncated(
                    "it ends without two blocks of zeros",
                )));
            };
            if header.iter().all(|byte| *byte == 0) {
                return self.ending().map(Step::End);
            }
            let damaged = |reason| Ok(Step::End(Ending::Damaged { offset, reason }));
            if !checksum_fits(&header) {
                return damaged("the checksum of the header is wrong");
            }
            let Some(size) = number(field(&header, 124, 12)) else {
                return damaged("the size in the header is no number");
            };
            let flag = header.get(156).copied().unwrap_or(0);
            // Extension headers speak about the next entry; their own size is in their own header.
            let is_extension = matches!(flag, b'x' | b'g' | b'L' | b'K');
            let size = if is_extension {
                size
            } else {
                extension.size.unwrap_or(size)
            };
            if size > self.length - self.position {
                return Ok(Step::End(Ending::Truncated(
                    "it ends within the content of a file",
                )));
            }
            self.unread = size;
            self.padding = size.wrapping_neg() % 512;
            if is_extension {
                if size > EXTENSION_BYTES_MAX {
                    return damaged("an extension header is too long");
                }
                let content = self.content(size)?;
                let understood = match flag {
                    b'x' => read_records(&content, &mut extension, &mut self.disputed),
                    b'L' => {
                        extension.name = Some(until_nul(&content).to_vec());
                        Some(())
                    }
                    b'g' => {
                        let count = &mut self.disputed.global_headers;
                        *count = count.saturating_add(1);
                        Some(())
                    }
                    // A long link name says nothing about what a file holds.
                    _ => Some(()),
                };
                if understood.is_none() {
                    return damaged("an extension header is malformed");
                }
                continue;
            }
            self.entries = self.entries.saturating_add(1);
            let name = extension.name.unwrap_or_else(|| ustar_name(&header));
            return Ok(Step::Entry(Entry {
                number: self.entries,
                kind: match flag {
                    b'0' | 0 | b'7' if name.ends_with(b"/") => EntryKind::Folder,
                    b'0' | 0 | b'7' => EntryKind::File,
                    b'5' => EntryKind::Folder,
                    other => EntryKind::Other(other),
                },
                name: text(&name),
                size,
            }));
        }
    }

    /// The content of the entry that [`step`](Self::step) gave last; the caller has looked at `size`.
    pub(super) fn content(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let read = self.input.by_ref().take(size).read_to_end(&mut content)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        if read < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(read);
        self.unread = self.unread.saturating_sub(read);
        Ok(content)
    }

    /// Where bytes other than zeros first stood in the padding of what was passed so far: nothing has
    /// signed them, and nobody sees them.
    pub(super) const fn stain(&self) -> Option<u64> {
        self.stain
    }

    /// What other readers may have understood otherwise in what was passed so far.
    pub(super) const fn disputed(&self) -> &Disputed {
        &self.disputed
    }

    /// Goes on to the block after the present entry, and looks at the padding on the way.
    fn finish_entry(&mut self) -> io::Result<()> {
        let left = self.length - self.position;
        self.skip(self.unread.min(left))?;
        self.unread = 0;
        let mut padding = [0; BLOCK];
        let left = self.length - self.position;
        let count = usize::try_from(self.padding.min(left)).unwrap_or(0);
        self.padding = 0;
        let padding = padding.get_mut(..count).unwrap_or_default();
        self.input.read_exact(padding)?;
        if self.stain.is_none() && padding.iter().any(|byte| *byte != 0) {
            self.stain = Some(self.position);
        }
        self.position = self
            .position
            .saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let offset = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.input.seek_relative(offset)?;
        self.position = self.position.saturating_add(bytes);
        Ok(())
    }

    /// The next block, or `None` when fewer bytes are left.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if self.length - self.position < 512 {
            return Ok(None);
        }
        self.input.read_exact(&mut block)?;
        self.position = self.position.saturating_add(512);
        Ok(Some(block))
    }

    /// After one block of zeros.
    fn ending(&mut self) -> io::Result<Ending> {
        let Some(second) = self.block()? else {
            return Ok(Ending::Truncated("it ends with one block of zeros only"));
        };
        let mut offset = self.position - 512;
        if second.iter().any(|byte| *byte != 0) {
            return Ok(Ending::DataAfterEnd { offset });
        }
        let mut rest = [0; BLOCK];
        loop {
            offset = self.position;
            let read = self.input.read(&mut rest)?;
            if read == 0 {
                return Ok(Ending::Proper);
            }
            let seen = rest.get(..read).unwrap_or_default();
            if seen.iter().any(|byte| *byte != 0) {
                return Ok(Ending::DataAfterEnd { offset });
            }
            self.position = self
                .position
                .saturating_add(u64::try_from(read).unwrap_or(0));
        }
    }
}

fn field(header: &[u8; BLOCK], offset: usize, length: usize) -> &[u8] {
    header
        .get(offset..offset.saturating_add(length))
        .unwrap_or_default()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The sum of all bytes with blanks in place of the sum; some writers add signed bytes.
fn checksum_fits(header: &[u8; BLOCK]) -> bool {
    let Some(stored) = number(field(header, 148, 8)).and_then(|sum| i64::try_from(sum).ok()) else {
        return false;
    };
    let sums = |bytes: &[u8]| {
        bytes.iter().fold((0, 0), |(unsigned, signed), byte| {
            (
                unsigned + i64::from(*byte),
                signed + i64::from(byte.cast_signed()),
            )
        })
    };
    let (all, own) = (sums(header), sums(field(header, 148, 8)));
    let blanks = 8 * i64::from(b' ');
    let (unsigned, signed) = (all.0 - own.0 + blanks, all.1 - own.1 + blanks);
    stored == unsigned || stored == signed
}

/// Octal digits with blanks and NULs around them, or GNU's base 256; empty is 0.
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // Negative numbers have the next bit set; there are none here.
        let first = u64::from(first & 0x7F);
        return rest.iter().try_fold(first, |value, byte| {
            value
                .checked_mul(0x100)
                .map(|value| value | u64::from(*byte))
        });
    }
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let begin = field.iter().position(|byte| !padding(byte));
    let digits = field.get(begin.unwrap_or(field.len())..)?;
    let end = digits.iter().position(padding).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    if !rest.iter().all(padding) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

/// Name, with the prefix where the header is POSIX (GNU's header has other things there).
fn ustar_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(field(header, 0, 100));
    let prefix = until_nul(field(header, 345, 155));
    if field(header, 257, 6) == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

/// Text without a leading `./`.
fn text(name: &[u8]) -> String {
    let text: String = match std::str::from_utf8(name) {
        Ok(text) => text.to_owned(),
        Err(_) => name.iter().copied().map(char::from).collect(),
    };
    let mut rest = text.as_str();
    while let Some(shorter) = rest.strip_prefix("./") {
        rest = shorter;
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests;
