//! What only all messages of a signer together show: counters, times, transactions.

use super::message::{IndexEntry, IndexEvent};
use super::report::{Code, Finding, Note, NoteCode};
use std::collections::{BTreeMap, BTreeSet};

/// Ranges of missing counters told one by one.
const RANGES_MAX: usize = 100;

/// Where a complete log may start: at 1, or at 2 where signature 1 was the certificate request.
const FIRST_COUNTER_MAX: u64 = 2;

/// Findings and notes about all messages. `index` comes in any order.
pub(super) fn check(mut index: Vec<IndexEntry>, partial: bool) -> (Vec<Finding>, Vec<Note>) {
    index.sort_unstable();
    let mut sequence = Sequence::default();
    for of_signer in index.chunk_by(|one, next| one.signer == next.signer) {
        sequence.check_signer(of_signer, partial);
    }
    (sequence.findings, sequence.notes)
}

#[derive(Default)]
struct Sequence {
    findings: Vec<Finding>,
    notes: Vec<Note>,
}

impl Sequence {
    fn check_signer(&mut self, entries: &[IndexEntry], partial: bool) {
        let complete = self.check_counters(entries, partial);
        self.check_times(entries);
        self.check_transactions(entries, complete && !partial);
    }

    fn finds(&mut self, code: Code, text: String) {
        self.findings.push(Finding {
            code,
            message_file: None,
            text,
        });
    }

    /// Whether every message from the first signature on is here.
    fn check_counters(&mut self, entries: &[IndexEntry], partial: bool) -> bool {
        let mut missing = Vec::new();
        for (one, next) in entries.iter().zip(entries.iter().skip(1)) {
            if one.counter == next.counter {
                let text = format!("signature counter {} is there more than once", one.counter);
                self.finds(Code::CounterDuplicate, text);
            } else if next.counter - one.counter > 1 {
                missing.push((one.counter + 1, next.counter - 1));
            }
        }
        let first = entries.first().map_or(0, |entry| entry.counter);
        if first > FIRST_COUNTER_MAX {
            let text = format!("the first signature counter is {first}");
            self.notes.push(Note::new(NoteCode::LateStart, text));
        }
        self.tell_missing(&missing, partial);
        missing.is_empty() && first <= FIRST_COUNTER_MAX
    }

    fn tell_missing(&mut self, missing: &[(u64, u64)], partial: bool) {
        let range = |(first, last): &(u64, u64)| {
            if first == last {
                format!("{first}")
            } else {
                format!("{first} to {last}")
            }
        };
        let shown = missing
            .get(..RANGES_MAX.min(missing.len()))
            .unwrap_or_default();
        let more = missing.len() - shown.len();
        if partial {
            if !missing.is_empty() {
                let ranges: Vec<_> = shown.iter().map(range).collect();
                let mut text = format!("signature counters left out: {}", ranges.join(", "));
                if more > 0 {
                    text += &format!(", and {more} more ranges");
                }
                self.notes.push(Note::new(NoteCode::CountersLeftOut, text));
            }
            return;
        }
        for gap in shown {
            let text = format!("signature counter {} is missing", range(gap));
            self.finds(Code::CounterMissing, text);
        }
        if more > 0 {
            let text = format!("{more} more ranges of signature counters are missing");
            self.finds(Code::CounterMissing, text);
        }
    }

    /// Sorted by counter, times must not decrease except across an updateTime.
    fn check_times(&mut self, entries: &[IndexEntry]) {
        let mut last: Option<(u64, i64)> = None;
        for entry in entries {
            let Some(time) = entry.time else { continue };
            if let Some((counter, before)) = last
                && time < before
                && entry.event != IndexEvent::UpdateTime
            {
                let text = format!(
                    "signature {} was made at {time}, before signature {counter} at {before}",
                    entry.counter
                );
                self.finds(Code::TimeBackwards, text);
            }
            last = Some((entry.counter, time));
        }
    }

    fn check_transactions(&mut self, entries: &[IndexEntry], complete: bool) {
        let mut transactions = Transactions::default();
        for entry in entries {
            match entry.event {
                IndexEvent::Start(number) => transactions.start(self, entry.counter, number),
                IndexEvent::Update(number) => transactions.go_on(self, entry.counter, number),
                IndexEvent::Finish(number) => {
                    transactions.go_on(self, entry.counter, number);
                    transactions.open.remove(&number);
                    transactions.ended.insert(number);
                }
                IndexEvent::UpdateTime | IndexEvent::Other => {}
            }
        }
        transactions.tell(self, complete);
    }
}

#[derive(Default)]
struct Transactions {
    open: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    /// Went on without a start in this archive: number, and the counter of the first message.
    unstarted: BTreeMap<u64, u64>,
    /// Least and greatest number that started, and how many did.
    numbers: Option<(u64, u64)>,
    started: u64,
}

impl Transactions {
    fn start(&mut self, sequence: &mut Sequence, counter: u64, number: u64) {
        let seen = self.open.contains(&number) || self.ended.contains(&number);
        if seen {
            let text = format!("signature {counter} starts transaction {number} again");
            sequence.finds(Code::TransactionStart, text);
            return;
        }
        // Numbers are given before the signature is made, so parallel starts may be signed in another
        // order.
        self.numbers = Some(self.numbers.map_or((number, number), |(least, greatest)| {
            (least.min(number), greatest.max(number))
        }));
        self.started += 1;
        self.open.insert(number);
    }

    fn go_on(&mut self, sequence: &mut Sequence, counter: u64, number: u64) {
        if self.ended.contains(&number) && !self.unstarted.contains_key(&number) {
            let text =
                format!("signature {counter} goes on with transaction {number} after its end");
            sequence.finds(Code::TransactionOrder, text);
        } else if !self.open.contains(&number) {
            self.unstarted.entry(number).or_insert(counter);
        }
    }

    fn tell(self, sequence: &mut Sequence, complete: bool) {
        if complete {
            for (number, counter) in &self.unstarted {
                let text = format!(
                    "signature {counter} goes on with transaction {number}, which never started"
                );
                sequence.finds(Code::TransactionOrder, text);
            }
        } else if !self.unstarted.is_empty() {
            let count = self.unstarted.len();
            let text = format!("{count} transactions go on whose start is not in this archive");
            sequence.notes.push(Note::new(NoteCode::StartNotHere, text));
        }
        let spanned = self
            .numbers
            .map_or(0, |(least, greatest)| greatest - least + 1);
        let unused = spanned.saturating_sub(self.started);
        if complete && unused > 0 {
            let text = format!("{unused} transaction numbers were never started");
            sequence
                .notes
                .push(Note::new(NoteCode::NumbersUnused, text));
        }
        if !self.open.is_empty() {
            let text = format!("{} transactions are open", self.open.len());
            sequence
                .notes
                .push(Note::new(NoteCode::OpenTransactions, text));
        }
    }
}
