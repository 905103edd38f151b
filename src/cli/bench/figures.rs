//! Figures: latencies, and how they are told.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest latency that is told apart, in microseconds: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Decimal digits that latencies are kept with.
const DIGITS: u8 = 3;

/// Many latencies in little memory.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)?;
        Ok(Self(histogram))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us);
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `{p50, p95, p99, max}` in milliseconds; zeros where there is nothing.
    pub(super) fn to_json(&self) -> Value {
        let quantile = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        json!({
            "p50": quantile(0.50),
            "p95": quantile(0.95),
            "p99": quantile(0.99),
            "max": ms(self.0.max()),
        })
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let quantile = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        format!(
            "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            quantile(0.50),
            quantile(0.95),
            quantile(0.99),
            ms(self.0.max())
        )
    }
}

fn ms(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

/// So many per second, with two decimals.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds <= 0.0 {
        return 0.0;
    }
    // Exact up to 2^53, which no measurement counts to.
    let count = count.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
    (count / seconds * 100.0).round() / 100.0
}
