//! A bounded walk over tag-length-value elements: borrows its input, never recurses, and knows at each
//! step how far into the input it is. What it copies is at most twice as long as what it read.

use super::read::{ReadError, Tolerated};
use std::collections::BTreeSet;

/// Longest object identifier taken, in bytes; those of log messages have 9 and 10.
const OBJECT_IDENTIFIER_LEN_MAX: usize = 39;

/// What was tolerated so far.
pub(super) type Notes = BTreeSet<Tolerated>;

/// Universal and context tags that occur in log messages.
pub(super) mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0A;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;

    /// `[number]` IMPLICIT, primitive.
    pub const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// `[number]` IMPLICIT, constructed.
    pub const fn context_constructed(number: u8) -> u8 {
        0xA0 | number
    }
}

/// A place in the input, and what is left from there.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// One element of definite length.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    /// First identifier byte; tags of more than one byte do not occur.
    pub(super) tag: u8,
    /// The value bytes.
    pub(super) content: &'a [u8],
    /// Where the value begins in the input.
    pub(super) content_offset: usize,
}

enum Length {
    Definite(usize),
    Indefinite,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            offset: 0,
        }
    }

    /// How far into the input.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag of the next element, if there is one.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Whether the next bytes are these.
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.rest.starts_with(bytes)
    }

    /// An error at this place.
    pub(super) fn error(&self, reason: &'static str) -> ReadError {
        ReadError {
            offset: self.offset,
            reason,
        }
    }

    /// The end of the input, or an error naming what should not follow.
    pub(super) fn end(&self, reason: &'static str) -> Result<(), ReadError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error(reason))
        }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(self.error("the input ends before the element does"))?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    /// The next element, whatever its tag.
    pub(super) fn next(&mut self, notes: &mut Notes) -> Result<Element<'a>, ReadError> {
        let start = *self;
        let tag = self.byte()?;
        if tag & 0x1F == 0x1F {
            return Err(start.error("a tag of one byte was expected"));
        }
        let Length::Definite(length) = self.length(notes)? else {
            return Err(start.error("only processData may have indefinite length"));
        };
        let content_offset = self.offset;
        Ok(Element {
            tag,
            content: self.take(length)?,
            content_offset,
        })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(
        &mut self,
        tag: u8,
        what: &'static str,
        notes: &mut Notes,
    ) -> Result<Element<'a>, ReadError> {
        if self.peek() != Some(tag) {
            return Err(self.error(what));
        }
        self.next(notes)
    }

    /// The next element if it has this tag.
    pub(super) fn optional(
        &mut self,
        tag: u8,
        notes: &mut Notes,
    ) -> Result<Option<Element<'a>>, ReadError> {
        if self.peek() == Some(tag) {
            self.next(notes).map(Some)
        } else {
            Ok(None)
        }
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        let start = *self;
        match self.take(1)? {
            [byte] => Ok(*byte),
            _ => Err(start.error("a byte was expected")),
        }
    }

    /// X.690 §8.1.3. A long form that a shorter one could replace is noted.
    fn length(&mut self, notes: &mut Notes) -> Result<Length, ReadError> {
        let start = *self;
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(Length::Definite(first.into()));
        }
        if first == 0x80 {
            return Ok(Length::Indefinite);
        }
        let too_long = || start.error("the length exceeds the input");
        let mut length: usize = 0;
        let digits = self.take(usize::from(first & 0x7F))?;
        for digit in digits {
            length = length
                .checked_mul(0x100)
                .and_then(|length| length.checked_add(usize::from(*digit)))
                .ok_or_else(too_long)?;
        }
        if length > self.rest.len() {
            return Err(too_long());
        }
        if length < 0x80 || digits.first() == Some(&0) {
            notes.insert(Tolerated::NotMinimal);
        }
        Ok(Length::Definite(length))
    }
}

impl<'a> Element<'a> {
    /// A walk over the content.
    pub(super) fn cursor(&self) -> Cursor<'a> {
        Cursor {
            rest: self.content,
            offset: self.content_offset,
        }
    }

    /// An error at the beginning of the content.
    pub(super) fn error(&self, reason: &'static str) -> ReadError {
        ReadError {
            offset: self.content_offset,
            reason,
        }
    }

    /// INTEGER or ENUMERATED of up to 64 bits, signed. Superfluous leading bytes are noted.
    pub(super) fn signed(&self, notes: &mut Notes) -> Result<i64, ReadError> {
        let wide = self.integer(notes)?;
        wide.try_into()
            .map_err(|_| self.error("the number does not fit 64 bits"))
    }

    /// INTEGER from 0 to 2^64 - 1.
    pub(super) fn unsigned(&self, notes: &mut Notes) -> Result<u64, ReadError> {
        let wide = self.integer(notes)?;
        wide.try_into()
            .map_err(|_| self.error("a number from 0 to 2^64 - 1 was expected"))
    }

    fn integer(&self, notes: &mut Notes) -> Result<i128, ReadError> {
        let mut digits = self.content;
        let negative = digits
            .first()
            .ok_or(self.error("an integer has at least one byte"))?
            & 0x80
            != 0;
        while let [first, second, ..] = digits {
            let superfluous = if negative {
                *first == 0xFF && second & 0x80 != 0
            } else {
                *first == 0 && second & 0x80 == 0
            };
            if !superfluous {
                break;
            }
            notes.insert(Tolerated::NotMinimal);
            digits = digits.get(1..).unwrap_or_default();
        }
        if digits.len() > 9 {
            return Err(self.error("the number does not fit 64 bits"));
        }
        let sign = if negative { -1 } else { 0 };
        // Nine bytes fit 128 bits, so nothing is shifted out.
        Ok(digits
            .iter()
            .fold(sign, |value, digit| (value << 8) | i128::from(*digit)))
    }

    /// BOOLEAN; any non-zero byte is true, and noted unless it is FF.
    pub(super) fn boolean(&self, notes: &mut Notes) -> Result<bool, ReadError> {
        let [byte] = self.content else {
            return Err(self.error("a BOOLEAN has one byte"));
        };
        if *byte != 0 && *byte != 0xFF {
            notes.insert(Tolerated::NotMinimal);
        }
        Ok(*byte != 0)
    }

    /// Text as found. What is no UTF-8 is taken as Latin-1, so that an umlaut in an old client id
    /// does not hide the message.
    pub(super) fn text(&self, notes: &mut Notes) -> String {
        let printable = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(byte);
        if !self.content.iter().all(printable) {
            notes.insert(Tolerated::NotPrintable);
        }
        match std::str::from_utf8(self.content) {
            Ok(text) => text.to_owned(),
            Err(_) => self.content.iter().copied().map(char::from).collect(),
        }
    }

    /// OBJECT IDENTIFIER in dotted form (X.690 §8.19).
    pub(super) fn object_identifier(&self) -> Result<String, ReadError> {
        let bad = || self.error("an object identifier was expected");
        let ends_within_an_arc = self.content.last().is_none_or(|last| last & 0x80 != 0);
        if ends_within_an_arc || self.content.len() > OBJECT_IDENTIFIER_LEN_MAX {
            return Err(bad());
        }
        let mut dotted = String::new();
        let mut arc: u64 = 0;
        let mut arc_begins = true;
        for byte in self.content {
            // A leading 80 would give one identifier two encodings.
            if arc_begins && *byte == 0x80 {
                return Err(bad());
            }
            arc = arc
                .checked_mul(0x80)
                .and_then(|arc| arc.checked_add(u64::from(byte & 0x7F)))
                .ok_or_else(bad)?;
            arc_begins = byte & 0x80 == 0;
            if arc_begins {
                if dotted.is_empty() {
                    let first = (arc / 40).min(2);
                    dotted = format!("{first}.{}", arc - 40 * first);
                } else {
                    dotted.push_str(&format!(".{arc}"));
                }
                arc = 0;
            }
        }
        Ok(dotted)
    }
}
