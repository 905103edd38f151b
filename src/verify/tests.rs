//! The checker against archives of a maker that shares no code with it.
//!
//! `SIEGEL_LONG_TESTS=1` looks at every bit instead of a sample, and at more of everything.

mod agreement;
mod bits;
mod chains;
mod findings;
mod hostile;
#[allow(dead_code, reason = "the tests of the command line use the rest")]
pub(super) mod maker;
mod notes;
mod sequence;

use super::{ArchiveReport, FindingCode, NoteCode, Settings, verify_archive};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::num::NonZeroUsize;

fn settings() -> Settings {
    Settings::new(NonZeroUsize::new(2).unwrap())
}

fn check_with(bytes: &[u8], settings: &Settings) -> ArchiveReport {
    verify_archive(Cursor::new(bytes), settings).unwrap()
}

fn check(bytes: &[u8]) -> ArchiveReport {
    check_with(bytes, &settings())
}

fn found(report: &ArchiveReport) -> BTreeSet<FindingCode> {
    report.findings.iter().map(|finding| finding.code).collect()
}

fn noted(report: &ArchiveReport) -> BTreeSet<NoteCode> {
    report.notes.iter().map(|note| note.code).collect()
}

/// The text of the only finding.
fn only_finding(report: &ArchiveReport) -> (FindingCode, &str) {
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings);
    };
    (finding.code, &finding.text)
}

/// The text of a note.
fn note_text(report: &ArchiveReport, code: NoteCode) -> Option<&str> {
    let note = report.notes.iter().find(|note| note.code == code)?;
    Some(&note.text)
}

fn is_long() -> bool {
    std::env::var_os("SIEGEL_LONG_TESTS").is_some_and(|value| value == "1")
}

/// Numbers by chance, the same ones for the same seed (xorshift64*).
struct Chance(u64);

impl Chance {
    /// Prints the seed; `SIEGEL_TEST_SEED` gives one back.
    fn new(what: &str) -> Self {
        let given = std::env::var("SIEGEL_TEST_SEED").ok();
        let seed = given.map_or_else(
            || {
                let mut bytes = [0; 8];
                openssl::rand::rand_bytes(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            },
            |text| text.parse().unwrap(),
        );
        println!("{what}: SIEGEL_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }
}
