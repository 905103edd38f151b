//! The messages of one key among each other: counters, times, life cycle, transactions.

use super::clients::Unregistered;
use super::codes::{FindingCode, NoteCode};
use super::report::{Findings, Note, Ranges, message_count};

/// What an index entry has instead of a time that could not be read.
pub(super) const NO_TIME: i64 = i64::MIN;

/// Greatest signature counter with which a complete archive may begin: the key's first signature may
/// have gone into its certificate request (TR-03153-1 §9.1).
const FIRST_COUNTER_MAX: u64 = 2;

/// How far below the time that was set the next message may be: clocks within one device differ by less
/// (TR-03153-1 §9.5), and fractions of seconds are cut.
const SET_TIME_SLACK_S: i64 = 1;

/// What is kept of each message: 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed {
    /// signatureCounter.
    pub(super) counter: u64,
    /// Unix seconds, or [`NO_TIME`].
    pub(super) time: i64,
    /// transactionNumber; of [`Kind::TimeUpdate`] the bits of timeAfterUpdate in unix seconds, or of
    /// [`NO_TIME`].
    pub(super) number: u64,
    /// Place in the archive.
    pub(super) entry: u32,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a message is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Start of a transaction.
    Start,
    /// Update of a transaction.
    Update,
    /// End of a transaction.
    Finish,
    /// The time was set.
    TimeUpdate,
    /// The device was disabled.
    Disable,
    /// An event that only a call makes, one that a disabled device must refuse.
    Call,
    /// Any other system event, or an operation of no transaction.
    Event,
    /// Audit message.
    Audit,
}

impl Kind {
    /// By the name of a system event. What may stand after `disableSecureElement` are events that a device
    /// logs by itself, and the deletion of what was exported (TR-03151 v1.0.1 §4.1).
    pub(super) fn of_event(event_type: &str) -> Self {
        // The examples of TR-03151 v1.0.1 begin with a capital letter, devices do not.
        let is = |name: &&str| event_type.eq_ignore_ascii_case(name);
        let calls = [
            "initialize",
            "setDescription",
            "updateDevice",
            "registerClient",
            "deregisterClient",
            "authenticateUser",
            "unblockUser",
            "unblockPin",
            "startAudit",
            "configureLogging",
            "lockTransactionLogging",
            "unlockTransactionLogging",
        ];
        if is(&"updateTime") {
            Self::TimeUpdate
        } else if is(&"disableSecureElement") {
            Self::Disable
        } else if calls.iter().any(is) {
            Self::Call
        } else {
            Self::Event
        }
    }

    const fn is_transaction(self) -> bool {
        matches!(self, Self::Start | Self::Update | Self::Finish)
    }
}

impl Indexed {
    /// The time to which the message says that the clock was set.
    fn set_to(&self) -> Option<i64> {
        let time = self.number.cast_signed();
        (self.kind == Kind::TimeUpdate && time != NO_TIME).then_some(time)
    }
}

/// Checks the messages of one key.
pub(super) struct Sequence<'a> {
    /// The archive was filtered, so gaps prove nothing.
    pub(super) is_partial: bool,
    /// Goes at the end of texts that have no file: which key, where there are several.
    pub(super) key_suffix: &'a str,
    /// Clients with transactions that no message before them registers.
    pub(super) unregistered: Option<Unregistered>,
    /// What is found.
    pub(super) findings: &'a mut Findings,
    /// What is noted.
    pub(super) notes: &'a mut Vec<Note>,
}

impl Sequence<'_> {
    /// Checks them all; `messages` is sorted and thinned out on the way.
    pub(super) fn check(&mut self, messages: &mut Vec<Indexed>) {
        messages.sort_unstable_by_key(|message| (message.counter, message.entry));
        let Some(first) = messages.first().map(|message| message.counter) else {
            return;
        };
        self.check_counters(first, messages);
        self.check_times(messages);
        self.check_life(messages);
        self.note_unregistered(first);
        messages.retain(|message| message.kind.is_transaction());
        // What stands there twice was found above.
        messages.dedup_by_key(|message| message.counter);
        messages.sort_unstable_by_key(|message| (message.number, message.counter));
        self.check_transactions(first, messages);
    }

    fn note(&mut self, code: NoteCode, text: String) {
        let text = text + self.key_suffix;
        self.notes.push(Note { code, text });
    }

    fn check_counters(&mut self, first: u64, messages: &[Indexed]) {
        if first > FIRST_COUNTER_MAX {
            let text = format!("the archive begins with signature counter {first}");
            self.note(NoteCode::LateStart, text);
        }
        for message in messages.iter().take_while(|message| message.counter == 0) {
            let text = "no signature has the signature counter 0";
            self.findings
                .message(0, message.entry, FindingCode::CounterZero, text);
        }
        let mut gaps = Ranges::default();
        for (message, next) in messages.iter().zip(messages.iter().skip(1)) {
            match next.counter.saturating_sub(message.counter) {
                0 => {
                    let counter = next.counter;
                    let text = format!("signature counter {counter} stands in another file, too");
                    let code = FindingCode::CounterRepeated;
                    self.findings.message(counter, next.entry, code, text);
                }
                1 => {}
                _ => self.gap(
                    &mut gaps,
                    message.counter.saturating_add(1),
                    next.counter.saturating_sub(1),
                ),
            }
        }
        if gaps.numbers() > 0 {
            let text = format!("not in this archive: signature counters {gaps}");
            self.note(NoteCode::CounterGap, text);
        }
    }

    /// Counters between two messages that no message carries.
    fn gap(&mut self, gaps: &mut Ranges, first: u64, last: u64) {
        if self.is_partial {
            gaps.push(first, last);
            return;
        }
        let suffix = self.key_suffix;
        let text = if first == last {
            format!("signature counter {first} is missing{suffix}")
        } else {
            format!("signature counters {first}-{last} are missing{suffix}")
        };
        self.findings
            .between(first, FindingCode::CounterMissing, text);
    }

    fn check_times(&mut self, messages: &[Indexed]) {
        let mut unset: u64 = 0;
        let mut across_gaps: u64 = 0;
        let mut last: Option<&Indexed> = None;
        // What the clock was set to since the last message with a time, or by it.
        let mut set_to: Option<i64> = None;
        for message in messages.iter().filter(|message| message.time != NO_TIME) {
            let own = message.set_to();
            let lowest = own.map_or(set_to, |own| Some(set_to.map_or(own, |time| time.min(own))));
            if message.time == 0 && !message.kind.is_transaction() {
                set_to = lowest;
                unset = unset.saturating_add(1);
                continue;
            }
            set_to = own;
            let Some(before) = last.replace(message) else {
                continue;
            };
            let may_go_back =
                lowest.is_some_and(|time| message.time >= time.saturating_sub(SET_TIME_SLACK_S));
            if message.time >= before.time || may_go_back {
                continue;
            }
            if self.is_partial && message.counter.saturating_sub(before.counter) > 1 {
                across_gaps = across_gaps.saturating_add(1);
                continue;
            }
            let text = format!(
                "its time is {} s before that of signature counter {}",
                before.time.saturating_sub(message.time),
                before.counter
            );
            let code = FindingCode::TimeBackwards;
            self.findings
                .message(message.counter, message.entry, code, text);
        }
        if unset > 0 {
            let text = format!("{} signed before the time was set", message_count(unset));
            self.note(NoteCode::TimeUnset, text);
        }
        if across_gaps > 0 {
            let text = format!(
                "{} older than the one before a gap",
                message_count(across_gaps)
            );
            self.note(NoteCode::TimeBackwardsAcrossGap, text);
        }
    }

    /// Once disabled, a device refuses whatever is asked of it but exports; its audit goes on.
    fn check_life(&mut self, messages: &[Indexed]) {
        let mut by_itself: u64 = 0;
        let mut all = messages.iter();
        let Some(end) = all.find(|message| message.kind == Kind::Disable) else {
            return;
        };
        for message in all.filter(|message| message.counter > end.counter) {
            match message.kind {
                Kind::Audit => {}
                Kind::Event | Kind::TimeUpdate => by_itself = by_itself.saturating_add(1),
                Kind::Start | Kind::Update | Kind::Finish | Kind::Call | Kind::Disable => {
                    let text = format!(
                        "signature counter {} had disabled the device before",
                        end.counter
                    );
                    self.find(message, FindingCode::MessageAfterDisable, text);
                }
            }
        }
        if by_itself > 0 {
            let text = format!(
                "{} with events after signature counter {} had disabled the device",
                message_count(by_itself),
                end.counter
            );
            self.note(NoteCode::EventAfterDisable, text);
        }
    }

    fn note_unregistered(&mut self, first_counter: u64) {
        // What came before the archive may have registered them.
        if self.is_partial || first_counter > FIRST_COUNTER_MAX {
            return;
        }
        if let Some(found) = &self.unregistered {
            let plural = if found.clients == 1 { "" } else { "s" };
            let text = format!(
                "{} client{plural} with transactions that no message before them registers; the first is \
                 signature counter {}",
                found.clients, found.counter_first
            );
            self.note(NoteCode::ClientUnregistered, text);
        }
    }

    /// `messages` are those of transactions, by number and counter.
    fn check_transactions(&mut self, first_counter: u64, messages: &[Indexed]) {
        let begins_later = first_counter > FIRST_COUNTER_MAX;
        let mut open = Ranges::default();
        let mut outside = Ranges::default();
        let mut skipped = Ranges::default();
        let mut overtaken = Ranges::default();
        let mut number_last: u64 = 0;
        let mut start_last: u64 = 0;
        for transaction in messages.chunk_by(|a, b| a.number == b.number) {
            let [begin, ..] = transaction else {
                continue;
            };
            let number = begin.number;
            if number.saturating_sub(number_last) > 1 && !(number_last == 0 && begins_later) {
                skipped.push(number_last.saturating_add(1), number.saturating_sub(1));
            }
            number_last = number;
            if begin.kind == Kind::Start {
                if begin.counter < start_last {
                    overtaken.push(number, number);
                }
                start_last = start_last.max(begin.counter);
            } else if self.is_partial || begins_later {
                outside.push(number, number);
            } else {
                let text = format!("transaction {number} was never started");
                self.find(begin, FindingCode::TransactionNotStarted, text);
            }
            if !self.check_transaction(transaction) {
                open.push(number, number);
            }
        }
        if open.numbers() > 0 {
            let text = format!("without an end: {}", transactions(&open));
            self.note(NoteCode::OpenTransactions, text);
        }
        if outside.numbers() > 0 {
            let text = format!("begun outside this archive: {}", transactions(&outside));
            self.note(NoteCode::StartOutside, text);
        }
        if overtaken.numbers() > 0 {
            let text = format!(
                "began before one with a smaller number: {}",
                transactions(&overtaken)
            );
            self.note(NoteCode::StartsOvertaken, text);
        }
        if skipped.numbers() > 0 && !self.is_partial {
            let text = format!("no message has these numbers: {}", transactions(&skipped));
            self.note(NoteCode::TransactionNumbersSkipped, text);
        }
    }

    /// Checks the order within one transaction; whether it has ended.
    fn check_transaction(&mut self, transaction: &[Indexed]) -> bool {
        let mut has_ended = false;
        for (at, message) in transaction.iter().enumerate() {
            let number = message.number;
            if at > 0 && message.kind == Kind::Start {
                let text = format!("transaction {number} was started before");
                self.find(message, FindingCode::TransactionRepeated, text);
            } else if has_ended {
                let text = format!("transaction {number} had ended before");
                self.find(message, FindingCode::TransactionAfterFinish, text);
            }
            has_ended |= message.kind == Kind::Finish;
        }
        has_ended
    }

    fn find(&mut self, message: &Indexed, code: FindingCode, text: String) {
        self.findings
            .message(message.counter, message.entry, code, text);
    }
}

/// `1 transaction (7)`, `3 transactions (4-6)`.
fn transactions(ranges: &Ranges) -> String {
    let count = ranges.numbers();
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} transaction{plural} ({ranges})")
}
