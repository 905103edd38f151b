//! Pax headers: `path` and `size` are obeyed, the times say nothing about names and contents, and
//! every other keyword is remembered.

use super::Disputed;

/// Keywords that are remembered: the first ones in their order.
const KEYWORDS_MAX: usize = 20;
/// Longest part of a keyword that is remembered, in characters.
const KEYWORD_LEN_MAX: usize = 100;

/// What extension headers said about the entry that follows.
#[derive(Default)]
pub(super) struct Extension {
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

/// Records `LENGTH KEYWORD=VALUE\n`; `None` when they are no such thing.
pub(super) fn read_records(
    content: &[u8],
    extension: &mut Extension,
    disputed: &mut Disputed,
) -> Option<()> {
    // Some writers count the padding of the header to its content.
    let mut rest = content;
    while rest.first().is_some_and(|byte| *byte != 0) {
        let blank = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(rest.get(..blank)?).ok()?.parse().ok()?;
        let (record, others) = rest.split_at_checked(length)?;
        let record = record.get(blank.checked_add(1)?..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (keyword, value) = record.split_at_checked(equals)?;
        let value = value.get(1..)?;
        match keyword {
            b"path" => extension.name = Some(value.to_vec()),
            b"size" => extension.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            b"atime" | b"mtime" => {}
            other => disputed.remember(other),
        }
        rest = others;
    }
    Some(())
}

impl Disputed {
    fn remember(&mut self, keyword: &[u8]) {
        let keyword = String::from_utf8_lossy(keyword);
        let keyword = keyword.chars().take(KEYWORD_LEN_MAX).collect();
        let count = self.keywords.entry(keyword).or_default();
        *count = count.saturating_add(1);
        while self.keywords.len() > KEYWORDS_MAX {
            self.keywords.pop_last();
        }
    }
}
