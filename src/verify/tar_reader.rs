//! A reader of TAR archives that takes what is met in the field and believes nothing.
//!
//! Known: ustar and GNU magic, numbers ended by blank or NUL, `x` headers with a path, `./` in front.

use std::io::{self, Read};

/// Everything in an archive comes in blocks of so many bytes.
const BLOCK_LEN: usize = 512;
/// Longest pax header that is read, in bytes.
const PAX_LEN_MAX: u64 = 64 * 1024;
/// Longest name that is taken, in bytes.
const NAME_LEN_MAX: usize = 1024;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Folder,
    Other,
}

/// A header, with the name that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub kind: EntryKind,
    /// Bytes of content.
    pub len: u64,
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum TarError {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// Reads entry by entry.
pub(super) struct TarReader<R> {
    source: R,
    /// Content and padding of the present entry that was not read yet.
    left: u64,
    padding: u64,
}

impl<R: Read> TarReader<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry, whatever was left of the one before. `None` at the end mark.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut long_name = None;
        loop {
            self.skip()?;
            let Some(block) = self.header_block()? else {
                return Ok(None);
            };
            let header = Header(&block);
            header.require_checksum()?;
            self.left = header.len()?;
            self.padding = self.left.next_multiple_of(512).saturating_sub(self.left);
            match header.kind() {
                b'x' => long_name = pax_path(&self.content(PAX_LEN_MAX)?).or(long_name),
                // A global header speaks of the whole archive; nothing in it matters here.
                b'g' => {}
                kind => {
                    let name = long_name.unwrap_or_else(|| header.name());
                    return Ok(Some(Entry {
                        name,
                        kind: match kind {
                            b'0' | 0 | b'7' => EntryKind::File,
                            b'5' => EntryKind::Folder,
                            _ => EntryKind::Other,
                        },
                        len: self.left,
                    }));
                }
            }
        }
    }

    /// The content of the present entry, if it is not longer than this.
    pub fn content(&mut self, len_max: u64) -> Result<Vec<u8>, TarError> {
        if self.left > len_max {
            return Err(TarError::Damaged("a header is larger than any can be"));
        }
        let wanted = self.left;
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(wanted).read_to_end(&mut bytes)?;
        if u64::try_from(read).ok() != Some(wanted) {
            return Err(TarError::Truncated("a file"));
        }
        self.left = 0;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())?;
        if skipped != rest {
            return Err(TarError::Truncated("a file"));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// `None` for the block of zeros that ends an archive. Its end without one is a cut.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_LEN]>, TarError> {
        let mut block = [0; BLOCK_LEN];
        let mut filled = 0;
        while filled < BLOCK_LEN {
            let free = block.get_mut(filled..).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if filled < BLOCK_LEN {
            return Err(TarError::Truncated("its headers"));
        }
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }
}

struct Header<'a>(&'a [u8; BLOCK_LEN]);

impl Header<'_> {
    fn field(&self, start: usize, len: usize) -> &[u8] {
        self.0.get(start..start + len).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    /// Prefix and name, without `./` in front and `/` behind.
    fn name(&self) -> String {
        let name = text(self.field(0, 100));
        let is_posix = self.field(257, 6) == b"ustar\0";
        let prefix = if is_posix {
            text(self.field(345, 155))
        } else {
            String::new()
        };
        if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        }
    }

    fn len(&self) -> Result<u64, TarError> {
        octal(self.field(124, 12)).ok_or(TarError::Damaged("the size of a file is no number"))
    }

    fn require_checksum(&self) -> Result<(), TarError> {
        let damaged = TarError::Damaged("the checksum of a header does not fit");
        let Some(stored) = octal(self.field(148, 8)) else {
            return Err(damaged);
        };
        let byte = |(place, byte): (usize, &u8)| {
            let counted = if (148..156).contains(&place) {
                b' '
            } else {
                *byte
            };
            u64::from(counted)
        };
        let sum: u64 = self.0.iter().enumerate().map(byte).sum();
        if sum == stored { Ok(()) } else { Err(damaged) }
    }
}

/// Up to the first NUL; what is no UTF-8 is replaced, and then fits no name.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    let text = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Digits with blanks around them, ended by blank or NUL.
fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field);
    let digits = text.trim_matches(' ');
    let is_octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if digits.is_empty() || !is_octal {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

/// The `path` of a pax header, made of records `NNN key=value\n`.
fn pax_path(content: &[u8]) -> Option<String> {
    let mut rest = content;
    let mut path = None;
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(rest.get(..blank)?).ok()?.parse().ok()?;
        let record = rest.get(blank + 1..len)?;
        let record = std::str::from_utf8(record).ok()?.strip_suffix('\n')?;
        if let Some(value) = record.strip_prefix("path=")
            && value.len() <= NAME_LEN_MAX
        {
            path = Some(value.to_owned());
        }
        rest = rest.get(len..)?;
    }
    path
}
