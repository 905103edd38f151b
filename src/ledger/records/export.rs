//! Exports.

use crate::ledger::tables::export;
use crate::ledger::values::{
    damaged, metadata, metadata_text, named, optional_time, parse, signed, time, unsigned,
};
use crate::ledger::{ExportRow, ExportState, LedgerError, Selection};
use crate::terms::{SeTime, SignatureCounter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use std::ops::RangeInclusive;

#[derive(AsChangeset, Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = export, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(in crate::ledger) struct ExportRecord {
    pub tss_id: String,
    pub id: String,
    pub state: String,
    pub filter: String,
    pub counter_first: Option<i64>,
    pub counter_last: Option<i64>,
    pub client_id: Option<String>,
    pub transaction_first: Option<i64>,
    pub transaction_last: Option<i64>,
    pub time_first: Option<i64>,
    pub time_last: Option<i64>,
    pub messages: Option<i64>,
    pub messages_max: i64,
    pub counter_at_request: i64,
    pub time_request: i64,
    pub info_csv: Vec<u8>,
    pub certificates: String,
    pub time_start: Option<i64>,
    pub time_end: Option<i64>,
    pub time_expiration: Option<i64>,
    pub time_error: Option<i64>,
    pub exception: Option<String>,
    pub metadata: String,
}

impl From<&ExportRow> for ExportRecord {
    fn from(row: &ExportRow) -> Self {
        let selection = row.selection.as_ref();
        let counters = selection.map(|selection| &selection.counters);
        let transactions = selection.and_then(|selection| selection.transactions.as_ref());
        let times = selection.and_then(|selection| selection.times.as_ref());
        let client = selection.and_then(|selection| selection.client);
        Self {
            tss_id: row.tss.to_string(),
            id: row.id.to_string(),
            state: row.state.as_str().to_owned(),
            filter: row.filter.clone(),
            counter_first: counters.map(|range| signed(*range.start())),
            counter_last: counters.map(|range| signed(*range.end())),
            client_id: client.map(|client| client.to_string()),
            transaction_first: transactions.map(|range| signed(*range.start())),
            transaction_last: transactions.map(|range| signed(*range.end())),
            time_first: times.map(|range| *range.start()),
            time_last: times.map(|range| *range.end()),
            messages: row.messages.map(signed),
            messages_max: signed(row.messages_max),
            counter_at_request: signed(row.counter_at_request.value()),
            time_request: row.time_request.unix_seconds(),
            info_csv: row.info_csv.clone(),
            certificates: certificates_text(&row.certificates),
            time_start: row.time_start.map(SeTime::unix_seconds),
            time_end: row.time_end.map(SeTime::unix_seconds),
            time_expiration: row.time_expiration.map(SeTime::unix_seconds),
            time_error: row.time_error.map(SeTime::unix_seconds),
            exception: row.exception.clone(),
            metadata: metadata_text(&row.metadata),
        }
    }
}

impl ExportRecord {
    pub fn to_row(&self) -> Result<ExportRow, LedgerError> {
        Ok(ExportRow {
            tss: parse("export.tss_id", &self.tss_id)?,
            id: parse("export.id", &self.id)?,
            state: named(
                "export.state",
                &ExportState::ALL,
                ExportState::as_str,
                &self.state,
            )?,
            filter: self.filter.clone(),
            selection: self.to_selection()?,
            messages: self
                .messages
                .map(|messages| unsigned("export.messages", messages))
                .transpose()?,
            messages_max: unsigned("export.messages_max", self.messages_max)?,
            counter_at_request: SignatureCounter::new(unsigned(
                "export.counter_at_request",
                self.counter_at_request,
            )?),
            time_request: time("export.time_request", self.time_request)?,
            info_csv: self.info_csv.clone(),
            certificates: certificates(&self.certificates)?,
            time_start: optional_time("export.time_start", self.time_start)?,
            time_end: optional_time("export.time_end", self.time_end)?,
            time_expiration: optional_time("export.time_expiration", self.time_expiration)?,
            time_error: optional_time("export.time_error", self.time_error)?,
            exception: self.exception.clone(),
            metadata: metadata("export.metadata", &self.metadata)?,
        })
    }

    fn to_selection(&self) -> Result<Option<Selection>, LedgerError> {
        let counters = range(
            "export.counter_first",
            self.counter_first,
            self.counter_last,
        )?;
        let Some(counters) = counters else {
            return Ok(None);
        };
        let client = self.client_id.as_deref();
        Ok(Some(Selection {
            counters,
            client: client
                .map(|client| parse("export.client_id", client))
                .transpose()?,
            transactions: range(
                "export.transaction_first",
                self.transaction_first,
                self.transaction_last,
            )?,
            times: range("export.time_first", self.time_first, self.time_last)?,
        }))
    }
}

fn range<T: TryFrom<i64>>(
    column: &'static str,
    first: Option<i64>,
    last: Option<i64>,
) -> Result<Option<RangeInclusive<T>>, LedgerError> {
    match (first, last) {
        (Some(first), Some(last)) => Ok(Some(unsigned(column, first)?..=unsigned(column, last)?)),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(damaged(column)),
    }
}

fn certificates_text(certificates: &[(String, Vec<u8>)]) -> String {
    let pairs: Vec<_> = certificates
        .iter()
        .map(|(name, der)| (name, STANDARD.encode(der)))
        .collect();
    serde_json::to_value(pairs).unwrap_or_default().to_string()
}

fn certificates(text: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
    let damage = || damaged("export.certificates");
    let pairs: Vec<(String, String)> = serde_json::from_str(text).map_err(|_| damage())?;
    let decode = |(name, der): (String, String)| {
        let der = STANDARD.decode(der).map_err(|_| damage())?;
        Ok((name, der))
    };
    pairs.into_iter().map(decode).collect()
}
