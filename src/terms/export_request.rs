//! What an auditor or a till wants exported: the filters, checked, and their canonical text.

use super::{ClientId, SignatureCounter, TransactionNumber};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Most messages of one export, and the number taken when none is given.
pub const EXPORT_MESSAGES_MAX: u64 = 1_000_000;

/// Greatest number in a filter, and the end of an interval that was left open: the greatest integer
/// every JSON reader knows. It fits the ledger's 64-bit columns, too.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The filters of an export request (TR-03151 §3.7.8 `exportData`, and by signature counter as the
/// HTTP dialect adds). No filter means everything.
///
/// Filters are combined: only what fits all of them is exported. Its text names the filters that were
/// given, in a fixed order, so two requests ask for the same when their texts are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExportRequest {
    client: Option<ClientId>,
    transaction: Option<u64>,
    transactions: Interval,
    dates: Interval,
    counters: Interval,
    messages_max: u64,
}

/// Ends of a closed interval as given; either may be left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Interval {
    start: Option<u64>,
    end: Option<u64>,
}

/// The filters cannot be understood, or not together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportRequestError {
    /// A value has not the form it must have.
    #[error("{field} {problem}")]
    Malformed {
        /// Name of the filter.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Values that are fine alone but not together (`ErrorParameterMismatch`, TR-03151 §3.7.8).
    #[error("{0}")]
    Mismatch(&'static str),
    /// No canonical text of a request.
    #[error("no text of an export request")]
    Text,
}

/// Which transaction messages give the smallest and the greatest signature counter of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportBounds {
    /// Only messages of this client.
    pub client: Option<ClientId>,
    /// Only messages of transactions with these numbers.
    pub numbers: Option<RangeInclusive<TransactionNumber>>,
}

/// Which messages of a TSS are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportWindow {
    /// Signature counters of all messages; nothing, when the end is below the start.
    pub counters: RangeInclusive<u64>,
    /// Transaction messages only of this client.
    pub client: Option<ClientId>,
    /// Transaction messages only of transactions with these numbers.
    pub transactions: Option<RangeInclusive<u64>>,
    /// Only messages with a log time in this interval, in unix seconds.
    pub times: Option<RangeInclusive<i64>>,
}

impl Default for ExportRequest {
    /// Everything.
    fn default() -> Self {
        Self {
            client: None,
            transaction: None,
            transactions: Interval::default(),
            dates: Interval::default(),
            counters: Interval::default(),
            messages_max: EXPORT_MESSAGES_MAX,
        }
    }
}

impl ExportRequest {
    /// Names of the filters, in the order of the canonical text.
    pub const FIELDS: [&'static str; 9] = [
        "client_id",
        "transaction_number",
        "start_transaction_number",
        "end_transaction_number",
        "start_date",
        "end_date",
        "start_signature_counter",
        "end_signature_counter",
        "maximum_number_records",
    ];

    /// Reads filters, each given as name and value, and checks that they go together.
    ///
    /// # Errors
    /// [`ExportRequestError::Text`] for an unknown name or one that comes twice, the others for
    /// values that do not fit.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ExportRequestError> {
        let mut request = Self::default();
        let mut seen = [false; Self::FIELDS.len()];
        for (name, value) in pairs {
            let place = Self::FIELDS.iter().position(|field| *field == name);
            match place.and_then(|place| seen.get_mut(place)) {
                Some(seen) if !*seen => *seen = true,
                Some(_) | None => return Err(ExportRequestError::Text),
            }
            request.set(name, value)?;
        }
        request.check()?;
        Ok(request)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ExportRequestError> {
        match name {
            "client_id" => {
                let malformed = |_| ExportRequestError::Malformed {
                    field: "client_id",
                    problem: "should match format \"uuid\"",
                };
                self.client = Some(value.parse().map_err(malformed)?);
            }
            "transaction_number" => {
                self.transaction = Some(number(value, "transaction_number", NUMBER_MAX)?);
            }
            "start_transaction_number" => {
                let start = number(value, "start_transaction_number", NUMBER_MAX)?;
                self.transactions.start = Some(start);
            }
            "end_transaction_number" => {
                let end = number(value, "end_transaction_number", NUMBER_MAX)?;
                self.transactions.end = Some(end);
            }
            "start_date" => {
                self.dates.start = Some(number(value, "start_date", NUMBER_MAX)?);
            }
            "end_date" => {
                self.dates.end = Some(number(value, "end_date", NUMBER_MAX)?);
            }
            "start_signature_counter" => {
                let start = number(value, "start_signature_counter", NUMBER_MAX)?;
                self.counters.start = Some(start);
            }
            "end_signature_counter" => {
                let end = number(value, "end_signature_counter", NUMBER_MAX)?;
                self.counters.end = Some(end);
            }
            "maximum_number_records" => {
                let max = number(value, "maximum_number_records", EXPORT_MESSAGES_MAX)?;
                if max == 0 {
                    return Err(ExportRequestError::Malformed {
                        field: "maximum_number_records",
                        problem: "should be >= 1",
                    });
                }
                self.messages_max = max;
            }
            _ => return Err(ExportRequestError::Text),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ExportRequestError> {
        let refused = |problem| Err(ExportRequestError::Mismatch(problem));
        let by_range = self.transactions.is_given();
        if self.transaction.is_some() && by_range {
            return refused(
                "transaction_number goes neither with start_transaction_number nor with \
                 end_transaction_number",
            );
        }
        if (self.transaction.is_some() || by_range) && self.dates.is_given() {
            return refused("transaction numbers do not go with start_date and end_date");
        }
        if self.transactions.is_backwards() {
            return refused("start_transaction_number is above end_transaction_number");
        }
        if self.dates.is_backwards() {
            return refused("start_date is after end_date");
        }
        if self.counters.is_backwards() {
            return refused("start_signature_counter is above end_signature_counter");
        }
        Ok(())
    }

    /// Only this client's transaction messages.
    pub const fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// Only this transaction.
    pub fn transaction(&self) -> Option<TransactionNumber> {
        self.transaction.map(TransactionNumber::new)
    }

    /// More messages than this are an error, never a cut export.
    pub const fn messages_max(&self) -> u64 {
        self.messages_max
    }

    /// The transaction messages that have to be looked up before [`Self::window`] can be told; `None`
    /// when there is nothing to look up. When they are looked up and there are none, the export has
    /// no data.
    pub fn bounds(&self) -> Option<ExportBounds> {
        let range = match self.transaction {
            Some(number) => Some(number..=number),
            None => self.transactions.closed(),
        };
        // A client together with a period is bounded by the period (TR-03151 §3.7.8).
        if range.is_none() && (self.client.is_none() || self.dates.is_given()) {
            return None;
        }
        Some(ExportBounds {
            client: self.client,
            numbers: range.map(|range| {
                TransactionNumber::new(*range.start())..=TransactionNumber::new(*range.end())
            }),
        })
    }

    /// The messages to export.
    ///
    /// `counter_at_request` is the signature counter of the TSS when the export was requested;
    /// `found` the smallest and the greatest counter of the messages that [`Self::bounds`] names.
    ///
    /// System and audit messages inside the window always belong to it. A range of transaction
    /// numbers takes every message between its first and its last one, so that an auditor sees no
    /// gaps; a single number takes the messages of that transaction only (TR-03151 §3.7.8).
    pub fn window(
        &self,
        counter_at_request: SignatureCounter,
        found: Option<(SignatureCounter, SignatureCounter)>,
    ) -> ExportWindow {
        let (first, last) = found.map_or((1, NUMBER_MAX), |(first, last)| {
            (first.value(), last.value())
        });
        let start = first.max(self.counters.start.unwrap_or(1));
        let end = last
            .min(self.counters.end.unwrap_or(NUMBER_MAX))
            .min(counter_at_request.value());
        ExportWindow {
            counters: start..=end,
            client: self.client,
            transactions: self.transaction.map(|number| number..=number),
            times: self.dates.closed().map(|dates| {
                let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                seconds(*dates.start())..=seconds(*dates.end())
            }),
        }
    }
}

impl Interval {
    const fn is_given(self) -> bool {
        self.start.is_some() || self.end.is_some()
    }

    fn is_backwards(self) -> bool {
        matches!((self.start, self.end), (Some(start), Some(end)) if start > end)
    }

    /// With open ends closed; `None` when both are open.
    fn closed(self) -> Option<RangeInclusive<u64>> {
        self.is_given()
            .then(|| self.start.unwrap_or(0)..=self.end.unwrap_or(NUMBER_MAX))
    }
}

fn number(value: &str, field: &'static str, max: u64) -> Result<u64, ExportRequestError> {
    let malformed = |problem| ExportRequestError::Malformed { field, problem };
    // `parse` alone would take a sign.
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("should match pattern \"^\\d+$\""));
    }
    match value.parse() {
        Ok(number) if number <= max => Ok(number),
        Ok(_) | Err(_) => Err(malformed("is too great")),
    }
}

impl fmt::Display for ExportRequest {
    /// Canonical text: `name=value` of each filter given, joined by `&`; empty for everything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages_max = (self.messages_max != EXPORT_MESSAGES_MAX).then_some(self.messages_max);
        let numbers = [
            self.transaction,
            self.transactions.start,
            self.transactions.end,
            self.dates.start,
            self.dates.end,
            self.counters.start,
            self.counters.end,
            messages_max,
        ];
        let values = std::iter::once(self.client.map(|client| client.to_string()))
            .chain(numbers.map(|number| number.map(|number| number.to_string())));
        let given = Self::FIELDS
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        f.write_str(&given.collect::<Vec<_>>().join("&"))
    }
}

impl FromStr for ExportRequest {
    type Err = ExportRequestError;

    /// Reads a canonical text back.
    fn from_str(text: &str) -> Result<Self, ExportRequestError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let pairs: Option<Vec<_>> = text.split('&').map(|pair| pair.split_once('=')).collect();
        Self::from_pairs(pairs.ok_or(ExportRequestError::Text)?)
    }
}

#[cfg(test)]
mod tests;
