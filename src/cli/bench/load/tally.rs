//! What came out.

use super::check::Findings;
use super::till::Operation;
use crate::cli::bench::figures::{Latencies, per_second};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Counts and latencies of a run.
pub(super) struct Tally {
    operations: BTreeMap<Operation, Latencies>,
    /// Answered within the duration.
    messages: u64,
    transactions: u64,
    errors: BTreeMap<String, u64>,
    /// Signatures that were checked; `None` without `--verify`.
    verified: Option<u64>,
    /// Cores that this client took, on average.
    pub own_cores: f64,
}

impl Tally {
    pub(super) fn new(operations: &[Operation]) -> anyhow::Result<Self> {
        let empty = |operation: &Operation| Ok((*operation, Latencies::new()?));
        Ok(Self {
            operations: operations
                .iter()
                .map(empty)
                .collect::<anyhow::Result<_>>()?,
            messages: 0,
            transactions: 0,
            errors: BTreeMap::new(),
            verified: None,
            own_cores: 0.0,
        })
    }

    /// A step that was signed; `in_time`: within the duration.
    pub(super) fn signed(&mut self, operation: Operation, latency: Duration, in_time: bool) {
        if let Some(latencies) = self.operations.get_mut(&operation) {
            latencies.record(latency);
        }
        let one = u64::from(in_time);
        self.messages = self.messages.saturating_add(one);
        if operation == Operation::Finish {
            self.transactions = self.transactions.saturating_add(one);
        }
    }

    pub(super) fn failed(&mut self, code: &str, count: u64) {
        if count > 0 {
            let errors = self.errors.entry(code.to_owned()).or_default();
            *errors = errors.saturating_add(count);
        }
    }

    /// `true` when nothing was wrong.
    pub(super) fn take_findings(&mut self, findings: Findings) -> bool {
        self.verified = Some(findings.verified);
        for (code, count) in &findings.wrong {
            self.failed(code, *count);
        }
        findings.wrong.is_empty()
    }

    fn all(&self) -> anyhow::Result<Latencies> {
        let mut all = Latencies::new()?;
        self.operations.values().try_for_each(|one| all.add(one))?;
        Ok(all)
    }

    pub(super) fn to_json(&self, duration: Duration) -> anyhow::Result<Value> {
        let operations = self.operations.iter().map(|(operation, latencies)| {
            let told = json!({"count": latencies.count(), "latency_ms": latencies.to_json()});
            (operation.name().to_owned(), told)
        });
        let mut document = json!({
            "messages_per_second": per_second(self.messages, duration),
            "transactions_per_second": per_second(self.transactions, duration),
            "latency_ms": self.all()?.to_json(),
            "operations": operations.collect::<Map<_, _>>(),
            "errors": self.errors,
            "duration_s": duration.as_secs_f64(),
            "own_cores": self.own_cores,
        });
        if let (Some(verified), Some(fields)) = (self.verified, document.as_object_mut()) {
            fields.insert("verified".to_owned(), json!(verified));
        }
        Ok(document)
    }

    pub(super) fn text(&self, duration: Duration) -> anyhow::Result<String> {
        let mut text = String::new();
        let messages = per_second(self.messages, duration);
        let transactions = per_second(self.transactions, duration);
        writeln!(
            text,
            "{messages:.1} messages/s, {transactions:.1} transactions/s"
        )?;
        writeln!(text, "all     {}", self.all()?.text())?;
        for (operation, latencies) in &self.operations {
            let (name, count) = (operation.name(), latencies.count());
            writeln!(text, "{name:<7} {}, {count} times", latencies.text())?;
        }
        if let Some(verified) = self.verified {
            writeln!(text, "signatures checked: {verified}")?;
        }
        for (code, count) in &self.errors {
            writeln!(text, "{code}: {count} times")?;
        }
        writeln!(text, "this client took {:.2} cores", self.own_cores)?;
        Ok(text)
    }
}
