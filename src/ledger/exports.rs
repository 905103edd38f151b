//! Exports: their rows, and the messages that they select.

use super::connection::{Database, exists_or, unavailable};
use super::reading::{Owner, number, sorted, sorted_by_event};
use super::records::{ExportRecord, TRANSACTION};
use super::store::Store;
use super::tables::{export, log_message, transaction_step, tss};
use super::values::{metadata_text, parse, signed, unsigned};
use super::{
    CounterBounds, ExportFilter, ExportRow, ExportState, LedgerError, ListOrder, MessageRow, Page,
    QueuedExport, Selection,
};
use crate::sma::{Metadata, MetadataPatch, Rejection};
use crate::terms::{ClientId, ExportId, SeTime, SignatureCounter, TransactionNumber, TssId};
use diesel::dsl::{max, min};
use diesel::prelude::*;
use std::ops::RangeInclusive;

type Result<T> = std::result::Result<T, LedgerError>;

type Messages<'a> = log_message::BoxedQuery<'a, Database>;

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Adds an export; [`LedgerError::Exists`] when the id is in use at this TSS.
    pub fn add_export(&self, row: &ExportRow) -> Result<()> {
        diesel::insert_into(export::table)
            .values(ExportRecord::from(row))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the export", "add an export"))
    }

    /// One export of a TSS.
    pub fn export(&self, tss: TssId, id: ExportId) -> Result<Option<ExportRow>> {
        let found: Option<ExportRecord> = export::table
            .find((tss.to_string(), id.to_string()))
            .select(ExportRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read an export"))?;
        found.as_ref().map(ExportRecord::to_row).transpose()
    }

    /// Exports of an owner. Sorts by `state`, `time_start`, `time_end`, `time_expiration`, `time_error`
    /// or, otherwise, by `time_request`.
    pub fn exports(
        &self,
        owner: Owner,
        filter: &ExportFilter,
        page: &Page,
    ) -> Result<Vec<ExportRow>> {
        let mut query = export::table
            .inner_join(tss::table.on(tss::id.eq(export::tss_id)))
            .filter(tss::organization_id.eq(owner.0.to_string()))
            .filter(tss::environment.eq(owner.1.as_str()))
            .select(ExportRecord::as_select())
            .limit(page.limit.into())
            .offset(signed(page.offset))
            .into_boxed::<Database>();
        if let Some(of_tss) = filter.tss {
            query = query.filter(export::tss_id.eq(of_tss.to_string()));
        }
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.as_str());
            query = query.filter(export::state.eq_any(states));
        }
        let then = (export::tss_id, export::id);
        let query = match page.order_by {
            "state" => sorted!(query, page.order, export::state, then),
            "time_start" => sorted_by_event!(query, page.order, export::time_start, then),
            "time_end" => sorted_by_event!(query, page.order, export::time_end, then),
            "time_expiration" => sorted_by_event!(query, page.order, export::time_expiration, then),
            "time_error" => sorted_by_event!(query, page.order, export::time_error, then),
            _ => sorted!(query, page.order, export::time_request, then),
        };
        let rows = query.load(&mut self.connection()?);
        let rows: Vec<ExportRecord> = rows.map_err(unavailable("list exports"))?;
        rows.iter().map(ExportRecord::to_row).collect()
    }

    /// PENDING or WORKING exports of a TSS, for limits and duplicates.
    pub fn running_exports(&self, tss: TssId) -> Result<Vec<ExportRow>> {
        let running = [ExportState::Pending, ExportState::Working].map(ExportState::as_str);
        let rows: Vec<ExportRecord> = export::table
            .filter(export::tss_id.eq(tss.to_string()))
            .filter(export::state.eq_any(running))
            .order((export::time_request, export::id))
            .select(ExportRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read exports"))?;
        rows.iter().map(ExportRecord::to_row).collect()
    }

    /// The exports of all owners that are not ended, in the order in which workers take them; the first
    /// ones, where there are very many.
    pub fn export_queue(&self) -> Result<Vec<QueuedExport>> {
        let running = [ExportState::Pending, ExportState::Working].map(ExportState::as_str);
        let rows: Vec<(String, String, i64)> = export::table
            .filter(export::state.eq_any(running))
            .order((export::time_request, export::tss_id, export::id))
            .select((export::tss_id, export::id, export::counter_at_request))
            .limit(QUEUE_LEN_MAX)
            .load(&mut self.connection()?)
            .map_err(unavailable("read exports"))?;
        let queued = |(tss, id, messages): (String, String, i64)| {
            Ok(QueuedExport {
                tss: parse("export.tss_id", &tss)?,
                id: parse("export.id", &id)?,
                messages: unsigned("export.counter_at_request", messages)?,
            })
        };
        rows.into_iter().map(queued).collect()
    }

    /// Takes the oldest PENDING export up: it becomes WORKING, by this call alone.
    pub fn take_pending_export(&self, now: SeTime) -> Result<Option<ExportRow>> {
        loop {
            let oldest: Option<ExportRecord> = export::table
                .filter(export::state.eq(ExportState::Pending.as_str()))
                .order((export::time_request, export::tss_id, export::id))
                .select(ExportRecord::as_select())
                .first(&mut self.connection()?)
                .optional()
                .map_err(unavailable("read an export"))?;
            let Some(oldest) = oldest else {
                return Ok(None);
            };
            let mut row = oldest.to_row()?;
            row.state = ExportState::Working;
            row.time_start = Some(now);
            // Another worker may be faster; then there may be another export.
            if self.update_export(ExportState::Pending, &row)? {
                return Ok(Some(row));
            }
        }
    }

    /// Writes an export if its state is still `from`; says whether it was. Its metadata stays.
    pub fn update_export(&self, from: ExportState, row: &ExportRow) -> Result<bool> {
        let record = ExportRecord::from(row);
        let stored = export::table
            .filter(export::tss_id.eq(&record.tss_id))
            .filter(export::id.eq(&record.id))
            .filter(export::state.eq(from.as_str()));
        let changes = (
            export::state.eq(&record.state),
            export::counter_first.eq(record.counter_first),
            export::counter_last.eq(record.counter_last),
            export::client_id.eq(&record.client_id),
            export::transaction_first.eq(record.transaction_first),
            export::transaction_last.eq(record.transaction_last),
            export::time_first.eq(record.time_first),
            export::time_last.eq(record.time_last),
            export::messages.eq(record.messages),
            export::time_start.eq(record.time_start),
            export::time_end.eq(record.time_end),
            export::time_expiration.eq(record.time_expiration),
            export::time_error.eq(record.time_error),
            export::exception.eq(&record.exception),
        );
        diesel::update(stored)
            .set(changes)
            .execute(&mut *self.writing()?)
            .map(|changed| changed == 1)
            .map_err(unavailable("change an export"))
    }

    /// Puts WORKING exports that were taken up before `taken_before` back to PENDING, because their
    /// worker must have ended; says how many.
    pub fn requeue_exports(&self, taken_before: SeTime) -> Result<u64> {
        let left_over = export::table
            .filter(export::state.eq(ExportState::Working.as_str()))
            .filter(export::time_start.lt(taken_before.unix_seconds()));
        diesel::update(left_over)
            .set((
                export::state.eq(ExportState::Pending.as_str()),
                export::time_start.eq(None::<i64>),
            ))
            .execute(&mut *self.writing()?)
            .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
            .map_err(unavailable("requeue exports"))
    }

    /// Merges metadata into an export; `None` when there is none, the inner error when the result
    /// would have too many pairs.
    pub fn merge_export_metadata(
        &self,
        tss: TssId,
        id: ExportId,
        patch: &MetadataPatch,
    ) -> Result<Option<std::result::Result<Metadata, Rejection>>> {
        loop {
            let Some(row) = self.export(tss, id)? else {
                return Ok(None);
            };
            let merged = match row.metadata.merged(patch) {
                Ok(merged) => merged,
                Err(rejection) => return Ok(Some(Err(rejection))),
            };
            let stored = export::table
                .filter(export::tss_id.eq(tss.to_string()))
                .filter(export::id.eq(id.to_string()))
                .filter(export::metadata.eq(metadata_text(&row.metadata)));
            let changed = diesel::update(stored)
                .set(export::metadata.eq(metadata_text(&merged)))
                .execute(&mut *self.writing()?)
                .map_err(unavailable("change an export"))?;
            // Zero: somebody else merged at the same time, so look again.
            if changed == 1 {
                return Ok(Some(Ok(merged)));
            }
        }
    }

    /// Bounds of the transaction messages of this client and these numbers up to a counter. Found by their
    /// steps, which have an index by transaction.
    pub fn transaction_bounds(
        &self,
        tss: TssId,
        client: Option<ClientId>,
        numbers: Option<RangeInclusive<TransactionNumber>>,
        up_to: SignatureCounter,
    ) -> Result<Option<CounterBounds>> {
        let mut query = transaction_step::table
            .filter(transaction_step::tss_id.eq(tss.to_string()))
            .filter(transaction_step::signature_counter.le(signed(up_to.value())))
            .select((
                min(transaction_step::signature_counter),
                max(transaction_step::signature_counter),
                max(transaction_step::transaction_number),
            ))
            .into_boxed::<Database>();
        if let Some(client) = client {
            query = query.filter(transaction_step::client_id.eq(client.to_string()));
        }
        if let Some(numbers) = numbers {
            query = query
                .filter(transaction_step::transaction_number.ge(number(*numbers.start())))
                .filter(transaction_step::transaction_number.le(number(*numbers.end())));
        }
        let bounds: (Option<i64>, Option<i64>, Option<i64>) = query
            .get_result(&mut self.connection()?)
            .map_err(unavailable("look for messages"))?;
        let (Some(first), Some(last), Some(transaction)) = bounds else {
            return Ok(None);
        };
        let counter = |value| {
            unsigned("transaction_step.signature_counter", value).map(SignatureCounter::new)
        };
        Ok(Some(CounterBounds {
            first: counter(first)?,
            last: counter(last)?,
            transaction_last: TransactionNumber::new(unsigned(
                "transaction_step.transaction_number",
                transaction,
            )?),
        }))
    }

    /// Number of messages selected; counting stops above `max`.
    pub fn count_messages(&self, tss: TssId, selection: &Selection, max: u64) -> Result<u64> {
        let mut count = 0;
        let mut after = None;
        while count <= max {
            let page: Vec<i64> = selected(tss, selection, after)
                .order(log_message::signature_counter)
                .limit(COUNT_PAGE)
                .select(log_message::signature_counter)
                .load(&mut self.connection()?)
                .map_err(unavailable("count messages"))?;
            count += u64::try_from(page.len()).unwrap_or(u64::MAX);
            after = page.last().copied();
            if i64::try_from(page.len()).is_ok_and(|len| len < COUNT_PAGE) {
                break;
            }
        }
        Ok(count)
    }

    /// Messages selected with a counter above `after`, in counter order, at most `limit`.
    pub fn messages(
        &self,
        tss: TssId,
        selection: &Selection,
        after: SignatureCounter,
        limit: u32,
    ) -> Result<Vec<MessageRow>> {
        let rows: Vec<(i64, String, Vec<u8>)> =
            selected(tss, selection, Some(signed(after.value())))
                .order(log_message::signature_counter)
                .limit(limit.into())
                .select((
                    log_message::signature_counter,
                    log_message::file_name,
                    log_message::der,
                ))
                .load(&mut self.connection()?)
                .map_err(unavailable("read messages"))?;
        let into_row = |(counter, file_name, der)| {
            let counter = unsigned("log_message.signature_counter", counter)?;
            Ok(MessageRow {
                signature_counter: SignatureCounter::new(counter),
                file_name,
                der,
            })
        };
        rows.into_iter().map(into_row).collect()
    }
}

/// Exports that are looked at to say when one will have ended.
const QUEUE_LEN_MAX: i64 = 10_000;

/// Counters read at a time while counting; without a filter they come from an index.
const COUNT_PAGE: i64 = 10_000;

/// System and audit messages inside the counters are always part of it (TR-03151 v1.0.1 §4.5.5).
fn selected(tss: TssId, selection: &Selection, after: Option<i64>) -> Messages<'static> {
    // One lower bound: with two, SQLite walks from the one it likes better, page after page.
    let first = signed(*selection.counters.start());
    let first = after.map_or(first, |after| first.max(after.saturating_add(1)));
    let mut query = log_message::table
        .filter(log_message::tss_id.eq(tss.to_string()))
        .filter(log_message::signature_counter.ge(first))
        .filter(log_message::signature_counter.le(signed(*selection.counters.end())))
        .into_boxed::<Database>();
    if let Some(times) = &selection.times {
        query = query
            .filter(log_message::log_time.ge(*times.start()))
            .filter(log_message::log_time.le(*times.end()));
    }
    if let Some(client) = selection.client {
        let other_kind = log_message::kind.ne(TRANSACTION);
        let of_client = log_message::client_id.eq(client.to_string());
        query = query.filter(other_kind.nullable().or(of_client));
    }
    if let Some(numbers) = &selection.transactions {
        let other_kind = log_message::kind.ne(TRANSACTION);
        let first = log_message::transaction_number.ge(signed(*numbers.start()));
        let last = log_message::transaction_number.le(signed(*numbers.end()));
        query = query.filter(other_kind.nullable().or(first.and(last)));
    }
    query
}
