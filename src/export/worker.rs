//! The worker that chooses and counts the messages of requested exports.

use super::{ExportError, Pace};
use crate::ledger::{CounterBounds, ExportRow, ExportState, LedgerError, Selection, Store};
use crate::terms::{
    Background, Bell, ClientId, Clock, ExportBounds, ExportRequest, SeTime, TransactionNumber,
    chain,
};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Settings of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// How long an export can be downloaded, in seconds.
    pub expiry_s: u32,
}

/// How often the worker looks although nobody rang: another node may have taken a request.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// An export that has been worked at for longer than this was left behind by a node that ended.
const LEFT_BEHIND_S: i64 = 600;

/// Why an export has no data; `exception` of the dialect (§9).
const TOO_MANY: &str = "E_TOO_MANY_RECORDS";
const NO_DATA: &str = "E_NO_DATA_AVAILABLE";
const NO_TRANSACTION: &str = "E_TRANSACTION_ID_NOT_FOUND";
const NO_CLIENT: &str = "E_ID_NOT_FOUND";
const BAD_REQUEST: &str = "E_BAD_REQUEST";

/// Works until it is stopped.
pub struct ExportWorker {
    thread: Background,
    pace: Arc<Pace>,
}

impl ExportWorker {
    /// Starts the worker.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when the ledger does not answer or no thread can be started.
    pub fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: ExportSettings,
    ) -> Result<Self, LedgerError> {
        if !store.is_shared() {
            // Nobody else can be at work, so whatever is being worked at was left behind.
            store.requeue_exports(clock.now().plus_seconds(1))?;
        }
        let pace = Arc::new(Pace::default());
        let worker = Worker {
            store,
            clock,
            settings,
            pace: Arc::clone(&pace),
        };
        let thread = Background::start("exports", move |bell| worker.run(bell));
        let thread = thread.map_err(|source| LedgerError::Unavailable {
            action: "start the thread of the exports",
            source: Box::new(source),
        })?;
        Ok(Self { thread, pace })
    }

    /// Says that an export was requested. Returns at once.
    pub fn wake(&self) {
        self.thread.wake();
    }

    /// How fast it works.
    pub fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    /// Ends after the export at hand.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

struct Worker {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: ExportSettings,
    pace: Arc<Pace>,
}

impl Worker {
    fn run(&self, bell: &Bell) {
        let mut failed = Vec::new();
        loop {
            if let Err(error) = self.work_off(bell, &mut failed) {
                tracing::error!(error = %chain(&error), "exports cannot be prepared for now");
            }
            if !bell.wait(LOOK_EVERY) {
                return;
            }
        }
    }

    /// Works off what is pending. `failed` are exports that were taken and could not be worked at: they
    /// become pending again, or stay in there for the next time if the ledger does not take that either.
    fn work_off(&self, bell: &Bell, failed: &mut Vec<ExportRow>) -> Result<(), ExportError> {
        self.put_back(failed)?;
        let left_behind = self.clock.now().plus_seconds(-LEFT_BEHIND_S);
        self.store.requeue_exports(left_behind)?;
        let outcome = self.work_off_pending(bell, failed);
        outcome.and(self.put_back(failed))?;
        Ok(())
    }

    /// The first error, after everything was tried once: one export that cannot be prepared must not
    /// hold up those behind it.
    fn work_off_pending(
        &self,
        bell: &Bell,
        failed: &mut Vec<ExportRow>,
    ) -> Result<(), LedgerError> {
        let mut outcome = Ok(());
        while !bell.is_stopped() {
            let Some(row) = self.store.take_pending_export(self.clock.now())? else {
                break;
            };
            if let Err(error) = self.work_at(&row) {
                failed.push(row);
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    fn work_at(&self, row: &ExportRow) -> Result<(), LedgerError> {
        let outcome = self.choose(row)?;
        let ended = ended(row.clone(), outcome, self.clock.now(), self.settings);
        // Not in this state any more: its owner cancelled it meanwhile.
        self.store.update_export(ExportState::Working, &ended)?;
        Ok(())
    }

    /// Nobody should wait until these count as left behind. One that its owner has cancelled meanwhile,
    /// or that was ended after all by a write whose answer was lost, stays as it is.
    fn put_back(&self, failed: &mut Vec<ExportRow>) -> Result<(), LedgerError> {
        while let Some(row) = failed.last() {
            let pending = ExportRow {
                state: ExportState::Pending,
                time_start: None,
                ..row.clone()
            };
            self.store.update_export(ExportState::Working, &pending)?;
            failed.pop();
        }
        Ok(())
    }

    /// Which messages, and how many; or why there are none.
    fn choose(&self, row: &ExportRow) -> Result<Result<Chosen, &'static str>, LedgerError> {
        let Ok(request) = row.filter.parse::<ExportRequest>() else {
            return Ok(Err(BAD_REQUEST));
        };
        let mut found = None;
        if let Some(wanted) = request.bounds() {
            let numbers = wanted.numbers.clone();
            found = self.bounds(row, wanted.client, numbers)?;
            if found.is_none() {
                return self.nothing_found(row, wanted).map(Err);
            }
        }
        let found = found.map(|bounds| (bounds.first, bounds.last));
        let window = request.window(row.counter_at_request, found);
        let selection = Selection {
            counters: window.counters,
            client: window.client,
            transactions: window.transactions,
            times: window.times,
        };
        let started_ms = self.clock.monotonic_ms();
        let messages = self
            .store
            .count_messages(row.tss, &selection, row.messages_max)?;
        let took_ms = self.clock.monotonic_ms().saturating_sub(started_ms);
        self.pace.learn(messages, took_ms);
        if messages > row.messages_max {
            return Ok(Err(TOO_MANY));
        }
        if messages == 0 && selection.times.is_some() {
            return Ok(Err(NO_DATA));
        }
        Ok(Ok(Chosen {
            selection,
            messages,
        }))
    }

    fn bounds(
        &self,
        row: &ExportRow,
        client: Option<ClientId>,
        numbers: Option<RangeInclusive<TransactionNumber>>,
    ) -> Result<Option<CounterBounds>, LedgerError> {
        self.store
            .transaction_bounds(row.tss, client, numbers, row.counter_at_request)
    }

    /// Whose fault it is that there are no such transactions: the numbers', or the client's that made
    /// none of them (TR-03151-1 §3.7.8).
    fn nothing_found(
        &self,
        row: &ExportRow,
        wanted: ExportBounds,
    ) -> Result<&'static str, LedgerError> {
        let of_anyone = match wanted.numbers {
            Some(numbers) => self.bounds(row, None, Some(numbers))?.is_some(),
            None => true,
        };
        Ok(if of_anyone { NO_CLIENT } else { NO_TRANSACTION })
    }
}

struct Chosen {
    selection: Selection,
    messages: u64,
}

fn ended(
    row: ExportRow,
    outcome: Result<Chosen, &'static str>,
    now: SeTime,
    settings: ExportSettings,
) -> ExportRow {
    match outcome {
        Ok(chosen) => ExportRow {
            state: ExportState::Completed,
            selection: Some(chosen.selection),
            messages: Some(chosen.messages),
            time_end: Some(now),
            time_expiration: Some(now.plus_seconds(settings.expiry_s.into())),
            ..row
        },
        Err(exception) => ExportRow {
            state: ExportState::Error,
            exception: Some(exception.to_owned()),
            time_error: Some(now),
            ..row
        },
    }
}
