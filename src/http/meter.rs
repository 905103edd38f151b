//! What the door counts, for whoever watches the node. Labels come from small fixed sets: never an id, a
//! path as it was asked for, or anything else that a client chooses.

use crate::terms::SECONDS_BOUNDS;
use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Counts of the door.
#[derive(Clone, Debug)]
pub struct DoorMeter {
    /// Answered calls.
    pub requests: Family<Answered, Counter>,
    /// From the header of a call to the header of its answer, in seconds.
    pub durations_s: Family<Asked, Histogram, fn() -> Histogram>,
    /// Calls at work.
    pub in_flight: Gauge,
    /// Connections open.
    pub connections: Gauge,
    /// Bytes that request bodies take in memory.
    pub body_bytes: Gauge,
}

/// Which route was called how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Asked {
    /// One of those that the server knows, or `OTHER`.
    pub method: &'static str,
    /// As the table of routes writes it, or `none`.
    pub route: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// See [`Asked`].
    pub method: &'static str,
    /// See [`Asked`].
    pub route: String,
    /// `2xx` and so on; 429 and 503 for themselves, because they are how the server defends itself.
    pub status: &'static str,
}

impl Default for DoorMeter {
    fn default() -> Self {
        let seconds = || Histogram::new(SECONDS_BOUNDS);
        Self {
            requests: Family::default(),
            durations_s: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            body_bytes: Gauge::default(),
        }
    }
}

impl DoorMeter {
    /// Counts a call that was answered after so many seconds, and tells what it was.
    pub(super) fn answered<B>(&self, answer: &ServiceResponse<B>, took_s: f64) -> Asked {
        let method = method_of(answer.request().method());
        let route = answer.request().match_pattern();
        let route = route.unwrap_or_else(|| "none".to_owned());
        let asked = Asked { method, route };
        self.durations_s.get_or_create(&asked).observe(took_s);
        let answered = Answered {
            method,
            route: asked.route.clone(),
            status: class_of(answer.status()),
        };
        self.requests.get_or_create(&answered).inc();
        asked
    }
}

/// Counts up now, and down again when it is dropped.
pub(super) struct Counted(Gauge, i64);

impl Counted {
    /// One of something.
    pub fn one(gauge: &Gauge) -> Self {
        Self::some(gauge, 1)
    }

    /// So many of something.
    pub fn some(gauge: &Gauge, count: i64) -> Self {
        gauge.inc_by(count);
        Self(gauge.clone(), count)
    }

    /// So many from now on.
    pub fn set(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.inc_by(count.saturating_sub(self.1));
        self.1 = count;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec_by(self.1);
    }
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "429",
        503 => "503",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

pub(super) fn method_of(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| method.as_str() == *known);
    known.unwrap_or("OTHER")
}
