//! Verifies the whole ledger again: bytes against columns, signatures, numbers.

use super::signature::{log_time, verifies};
use crate::asn1::{LogFileName, ReadKind, read};
use crate::csp::PublicKey;
use crate::ledger::{LedgerError, Standing, Store, StoredMessage};
use crate::terms::{Background, Bell, SignatureAlgorithm, SignatureCounter, TssId};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Messages read at a time.
const PAGE_LEN: u32 = 100;
/// Findings that are told in words; the others are only counted.
const TOLD_MAX: usize = 100;
/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

/// What a check of the ledger has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// TSSs that were looked at.
    pub tss: u64,
    /// Messages that were looked at.
    pub messages: u64,
    /// Gaps that a person has decided on.
    pub gaps_decided: u64,
    /// How many things are wrong.
    pub findings: u64,
    /// The first of them, in words.
    pub told: Vec<String>,
}

/// Checks everything once. `pause` is called between pages with how long to wait, and says whether to go
/// on.
///
/// # Errors
/// When the database does not answer.
pub fn check_ledger(
    store: &Store,
    messages_per_s: Option<u32>,
    mut pause: impl FnMut(Duration) -> bool,
) -> Result<Option<CheckReport>, LedgerError> {
    let mut report = CheckReport::default();
    for tss in store.tss_ids()? {
        report.tss += 1;
        let checked = tss.and_then(|tss| {
            check_tss(store, tss, &mut report, &mut |count| {
                // A TSS without messages costs as much as one message.
                let cost = f64::from(count.max(1));
                let wait = messages_per_s.map_or(0.0, |rate| cost / f64::from(rate));
                pause(Duration::from_secs_f64(wait))
            })
            .map_err(|error| named(tss, error))
        });
        match checked {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // The others are looked at all the same.
            Err(LedgerError::Damaged(what)) => report.find(what),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(report))
}

/// Damage, with the TSS it was found at.
fn named(tss: TssId, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Damaged(what) => LedgerError::Damaged(format!("TSS {tss}: {what}")),
        error @ (LedgerError::Unavailable { .. }
        | LedgerError::Unsafe(_)
        | LedgerError::Exists(_)) => error,
    }
}

/// Checks one TSS; `false` when it was not to go on.
fn check_tss(
    store: &Store,
    tss: TssId,
    report: &mut CheckReport,
    pause: &mut dyn FnMut(u32) -> bool,
) -> Result<bool, LedgerError> {
    let standing = store.standing(tss)?;
    let standing = standing.ok_or_else(|| LedgerError::Damaged("it has no device".to_owned()))?;
    let (key, algorithm) = store.signing_key(tss)?;
    let mut one = OneTss {
        store,
        report,
        tss,
        last: standing.device_counter,
        standing,
        key,
        algorithm,
    };
    loop {
        let page = store.messages_after(tss, one.last, PAGE_LEN)?;
        let count = u32::try_from(page.len()).unwrap_or(PAGE_LEN);
        for message in &page {
            one.check(message)?;
        }
        if !pause(count) {
            return Ok(false);
        }
        if count < PAGE_LEN {
            break;
        }
    }
    one.check_end()?;
    Ok(true)
}

impl CheckReport {
    fn find(&mut self, text: String) {
        self.findings += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(text);
        }
    }
}

struct OneTss<'a> {
    store: &'a Store,
    report: &'a mut CheckReport,
    tss: TssId,
    standing: Standing,
    key: PublicKey,
    algorithm: SignatureAlgorithm,
    last: SignatureCounter,
}

impl OneTss<'_> {
    fn find(&mut self, counter: u64, what: &str) {
        let text = format!("TSS {}, message {counter}: {what}", self.tss);
        self.report.find(text);
    }

    fn check(&mut self, message: &StoredMessage) -> Result<(), LedgerError> {
        self.report.messages += 1;
        let counter = message.signature_counter;
        self.check_gap(counter.value())?;
        self.last = counter;
        if let Err(what) = self.check_content(message) {
            self.find(counter.value(), what);
        }
        Ok(())
    }

    /// Numbers between the message before and this one.
    fn check_gap(&mut self, counter: u64) -> Result<(), LedgerError> {
        let expected = self.last.value().saturating_add(1);
        if counter <= expected {
            return Ok(());
        }
        let is_decided = |one: &Self| counter.saturating_sub(1) <= one.standing.settled.value();
        if !is_decided(self)
            // It may have been decided since this TSS was begun with, which can be hours ago.
            && let Some(now) = self.store.standing(self.tss)?
        {
            self.standing.settled = now.settled;
        }
        if is_decided(self) {
            self.report.gaps_decided += 1;
        } else {
            let what = format!("the messages {expected} to {} are missing", counter - 1);
            self.find(counter, &what);
        }
        Ok(())
    }

    /// The ledger may have grown since it was asked how long it is, but not become shorter.
    fn check_end(&mut self) -> Result<(), LedgerError> {
        let end = self.standing.signature_counter.value();
        if self.last.value() < end {
            self.check_gap(end.saturating_add(1))?;
        }
        Ok(())
    }

    fn check_content(&self, message: &StoredMessage) -> Result<(), &'static str> {
        let found = read(&message.der).map_err(|_| "its bytes are no log message")?;
        if found.signature_counter != message.signature_counter.value() {
            return Err("its bytes carry another number");
        }
        if found.serial_number != self.standing.device {
            return Err("it is of another device");
        }
        if log_time(&found) != message.log_time {
            return Err("its bytes carry another time");
        }
        let (kind, transaction, client) = match &found.kind {
            ReadKind::Transaction {
                transaction_number,
                client_id,
                ..
            } => ("tra", Some(*transaction_number), Some(client_id.as_str())),
            ReadKind::System { .. } => ("sys", None, None),
            ReadKind::Audit { .. } => ("aud", None, None),
        };
        if kind != message.kind {
            return Err("its bytes are of another kind");
        }
        let transaction = transaction.map(|number| i64::try_from(number).ok());
        if transaction != message.transaction.map(Some)
            || client != message.client_serial.as_deref()
        {
            return Err("its bytes carry another transaction or client");
        }
        let name = LogFileName::of_message(&found);
        if !name.is_some_and(|name| name.fits(&message.file_name)) {
            return Err("its file name is another");
        }
        if found.algorithm.known() != Some(self.algorithm) {
            return Err("it is signed in another way");
        }
        verifies(&self.key, self.algorithm.hash(), &found, &message.der)
    }
}

/// What the check in the background has found so far, for readiness and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckStatus {
    /// Rounds through the whole ledger.
    pub rounds: u64,
    /// The latest whole round.
    pub last: CheckReport,
}

/// Checks the ledger round by round, slowly, until it is stopped.
pub struct Checker {
    status: Arc<Mutex<CheckStatus>>,
    /// None where nothing is to be checked.
    thread: Option<Background>,
}

impl Checker {
    /// Starts it; with a rate of 0 it does nothing.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(store: Store, messages_per_s: u32) -> std::io::Result<Self> {
        let status = Arc::<Mutex<CheckStatus>>::default();
        let told = Arc::clone(&status);
        let thread = (messages_per_s > 0).then(|| {
            Background::start("ledger-check", move |bell| {
                check_for_ever(&store, messages_per_s, bell, &told);
            })
        });
        Ok(Self {
            status,
            thread: thread.transpose()?,
        })
    }

    /// What it has found so far.
    pub fn status(&self) -> Arc<Mutex<CheckStatus>> {
        Arc::clone(&self.status)
    }

    /// Ends it.
    pub fn stop(&self) {
        self.thread.iter().for_each(Background::stop);
    }
}

fn check_for_ever(store: &Store, rate: u32, bell: &Bell, status: &Mutex<CheckStatus>) {
    loop {
        match check_ledger(store, Some(rate), |wait| bell.wait(wait)) {
            Ok(None) => return,
            Ok(Some(report)) => {
                for finding in &report.told {
                    tracing::error!(%finding, "the ledger is not what it was: {finding}");
                }
                let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
                status.rounds += 1;
                status.last = report;
            }
            Err(error) => tracing::warn!(%error, "the ledger could not be checked to its end"),
        }
        if !bell.wait(ROUND_PAUSE) {
            return;
        }
    }
}
