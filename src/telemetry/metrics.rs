//! From what the rooms have counted to the text that Prometheus reads.

use super::process::Process;
use super::table as row;
use super::table::MetricRow;
use crate::csp::TokenState;
use crate::http::meter::DoorMeter;
use crate::ledger::{LedgerVitals, Store};
use crate::signing::{LaneReading, Lanes, TokenReading};
use crate::terms::Clock;
use crate::witness::{AnchorLag, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is told.
pub struct MetricsParts {
    /// Signs.
    pub lanes: Arc<Lanes>,
    /// Answers.
    pub door: DoorMeter,
    /// Connections that may be open.
    pub connections_max: usize,
    /// Keeps.
    pub store: Store,
    /// What the ledger said last.
    pub sample: Arc<SampleBox>,
    /// What the witnesses say of the ledger.
    pub witnesses: Arc<Mutex<Status>>,
    /// Prepared devices to keep ready.
    pub devices_target: u32,
    /// For the age of the sample.
    pub clock: Arc<dyn Clock>,
}

/// What was found the last time that somebody looked at the ledger.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Its sizes; those of the look before when it did not answer.
    pub ledger: Option<LedgerVitals>,
    /// When they were told, in milliseconds of the clock.
    pub at_ms: u64,
    /// Whether it answered the last time.
    pub answers: bool,
}

/// Where the sampler leaves what it finds.
#[derive(Debug, Default)]
pub struct SampleBox(Mutex<Sample>);

impl SampleBox {
    /// Changes the sample.
    pub fn update(&self, change: impl FnOnce(&mut Sample)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> Sample {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// All metrics of one node.
pub struct Metrics(Registry);

impl Metrics {
    /// Of a node made of these parts.
    pub fn new(parts: MetricsParts) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Everything(parts)));
        Self(registry)
    }

    /// What Prometheus reads, as OpenMetrics text. Asks neither the ledger nor a token.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.0).is_err() {
            // Writing to memory does not fail; half a text without its end is refused by the reader.
            tracing::error!("the metrics could not be written");
        }
        text
    }
}

struct Everything(MetricsParts);

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything(..)")
    }
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.one(row::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1_u64)?;
        self.door(&mut page)?;
        self.lanes(&mut page)?;
        self.tokens(&mut page)?;
        self.ledger(&mut page)?;
        process(&mut page)
    }
}

impl Everything {
    fn door(&self, page: &mut Page<'_>) -> fmt::Result {
        let door = &self.0.door;
        page.metric(row::REQUESTS, &door.requests)?;
        page.metric(row::DURATIONS, &door.durations_s)?;
        page.metric(row::IN_FLIGHT, &door.in_flight)?;
        page.metric(row::CONNECTIONS, &door.connections)?;
        page.number(row::CONNECTIONS_MAX, size(self.0.connections_max))?;
        page.metric(row::BODY_BYTES, &door.body_bytes)
    }

    fn lanes(&self, page: &mut Page<'_>) -> fmt::Result {
        let lanes: Vec<LaneReading<'_>> = self.0.lanes.lane_readings().collect();
        let router = self.0.lanes.router_reading();
        let labels = |lane: &LaneReading<'_>| [("lane", lane.name.clone())];
        let ways = || lanes.iter().chain([&router]);
        page.each(row::LANE_DEPTH, ways(), labels, |lane| size(lane.depth))?;
        page.each(row::LANE_PLACES, ways(), labels, |lane| size(lane.places))?;
        page.family(row::LANE_REFUSED, ways(), labels, |lane| {
            &lane.meter.refused
        })?;
        let all = || lanes.iter();
        let number = |row, read: fn(&LaneReading<'_>) -> usize, page: &mut Page<'_>| {
            page.each(row, all(), labels, |lane| size(read(lane)))
        };
        number(row::LANE_EARLY, |lane| lane.meter.waiting_early(), page)?;
        number(row::LANE_LOCKED_OUT, |lane| lane.meter.locked_out(), page)?;
        number(row::LANE_UNFINISHED, |lane| lane.meter.unfinished(), page)?;
        number(row::LANE_STOPPED, |lane| lane.meter.stopped(), page)?;
        page.family(row::LANE_BATCH, all(), labels, |lane| {
            &lane.meter.batch_commands
        })?;
        page.family(row::LANE_LOAD, all(), labels, |lane| &lane.meter.load_s)?;
        page.family(row::LANE_SIGN, all(), labels, |lane| &lane.meter.sign_s)?;
        page.family(row::LANE_COMMIT, all(), labels, |lane| &lane.meter.commit_s)?;
        page.family(row::LANE_MESSAGES, all(), labels, |lane| {
            &lane.meter.messages
        })?;
        let failed = |lane: &LaneReading<'_>| lane.meter.commits_failed.clone();
        let failed: Vec<_> = lanes
            .iter()
            .map(|lane| (labels(lane), failed(lane)))
            .collect();
        page.pairs(row::LANE_COMMITS_FAILED, &failed)
    }

    fn tokens(&self, page: &mut Page<'_>) -> fmt::Result {
        let tokens: Vec<TokenReading<'_>> = self.0.lanes.token_readings().collect();
        let all = || tokens.iter();
        let labels = |token: &TokenReading<'_>| [("token", token.label.to_owned())];
        let mut states = Vec::new();
        let mut errors = Vec::new();
        for token in &tokens {
            for state in TokenState::ALL {
                let labels = [("token", token.label), ("state", state.as_str())];
                states.push((
                    labels,
                    ConstGauge::new(u64::from(token.vitals.state == state)),
                ));
            }
            for (class, counter) in token.meter.errors.by_class() {
                errors.push(([("token", token.label), ("class", class)], counter.clone()));
            }
        }
        page.pairs(row::TOKEN_STATE, &states)?;
        page.each(row::TOKEN_GENERATION, all(), labels, |token| {
            token.vitals.generation
        })?;
        let in_use = |token: &TokenReading<'_>| size(token.vitals.sessions_in_use);
        page.each(row::TOKEN_SESSIONS, all(), labels, in_use)?;
        let max = |token: &TokenReading<'_>| size(token.vitals.sessions_max);
        page.each(row::TOKEN_SESSIONS_MAX, all(), labels, max)?;
        page.each(row::TOKEN_WAITING, all(), labels, |token| {
            size(token.waiting)
        })?;
        page.family(row::TOKEN_SIGNATURES, all(), labels, |token| {
            &token.meter.signatures
        })?;
        page.pairs(row::TOKEN_ERRORS, &errors)
    }

    fn ledger(&self, page: &mut Page<'_>) -> fmt::Result {
        let sample = self.0.sample.read();
        let connections = self.0.store.connection_use();
        page.number(row::LEDGER_UP, u64::from(sample.answers))?;
        page.number(row::LEDGER_CONNECTIONS, connections.in_use.into())?;
        page.number(row::LEDGER_CONNECTIONS_MAX, connections.max.into())?;
        page.number(row::DEVICES_TARGET, self.0.devices_target.into())?;
        let witnesses = self.0.witnesses.lock();
        let witnesses = witnesses.unwrap_or_else(PoisonError::into_inner).clone();
        page.number(row::LEDGER_COMPARED, u64::from(witnesses.is_compared))?;
        page.number(row::LEDGER_HELD, witnesses.held)?;
        let messages = |lag: &AnchorLag| lag.messages;
        let seconds = |lag: &AnchorLag| lag.ms / 1000;
        page.pairs(row::ANCHOR_LAG, &of_tokens(&witnesses.anchor_lag, messages))?;
        page.pairs(row::ANCHOR_AGE, &of_tokens(&witnesses.anchor_lag, seconds))?;
        let Some(ledger) = sample.ledger else {
            return Ok(());
        };
        let age_ms = self.0.clock.monotonic_ms().saturating_sub(sample.at_ms);
        page.number(row::LEDGER_AGE, age_ms / 1000)?;
        page.number(row::LEDGER_BYTES, ledger.bytes)?;
        if let Some(free) = ledger.disk_free_bytes {
            page.number(row::LEDGER_DISK, free)?;
        }
        page.pairs(
            row::LEDGER_EXPORTS,
            &[
                (
                    [("state", "PENDING")],
                    ConstGauge::new(ledger.exports_pending),
                ),
                (
                    [("state", "WORKING")],
                    ConstGauge::new(ledger.exports_working),
                ),
            ],
        )?;
        tss(page, &ledger)?;
        let certificates = ledger.certificates.iter().map(|first| {
            let labels = [
                ("environment", first.environment.as_str()),
                ("token", &first.token),
            ];
            (labels, ConstGauge::new(first.not_after.unix_seconds()))
        });
        page.pairs(row::LEDGER_CERTIFICATE, &certificates.collect::<Vec<_>>())?;
        let devices = ledger.free_devices.iter().map(|free| {
            let labels = [
                ("environment", free.environment.as_str()),
                ("token", &free.token),
            ];
            (labels, ConstGauge::new(free.count))
        });
        page.pairs(row::LEDGER_DEVICES, &devices.collect::<Vec<_>>())
    }
}

/// A gauge of one token.
type OfToken = ([(&'static str, String); 1], ConstGauge<u64>);

/// What is told of the anchor of each token.
fn of_tokens(lags: &BTreeMap<String, AnchorLag>, told: impl Fn(&AnchorLag) -> u64) -> Vec<OfToken> {
    let told = |(token, lag): (&String, &AnchorLag)| {
        ([("token", token.clone())], ConstGauge::new(told(lag)))
    };
    lags.iter().map(told).collect()
}

fn tss(page: &mut Page<'_>, ledger: &LedgerVitals) -> fmt::Result {
    let mut messages = BTreeMap::<_, u64>::new();
    let mut open = BTreeMap::<_, u64>::new();
    let mut states = Vec::new();
    for tss in &ledger.tss {
        let environment = tss.environment.as_str();
        *messages.entry(environment).or_default() += tss.messages;
        *open.entry(environment).or_default() += tss.transactions_open;
        let labels = [("environment", environment), ("state", tss.state.as_str())];
        states.push((labels, ConstGauge::new(tss.count)));
    }
    let by_environment = |sums: BTreeMap<&'static str, u64>| {
        let sums = sums.into_iter();
        sums.map(|(name, sum)| ([("environment", name)], ConstGauge::new(sum)))
            .collect::<Vec<_>>()
    };
    page.pairs(row::LEDGER_MESSAGES, &by_environment(messages))?;
    page.pairs(row::LEDGER_OPEN, &by_environment(open))?;
    page.pairs(row::LEDGER_TSS, &states)
}

fn process(page: &mut Page<'_>) -> fmt::Result {
    let Some(process) = Process::look() else {
        return Ok(());
    };
    page.metric(row::PROCESS_CPU, &ConstCounter::new(process.cpu_s))?;
    page.number(row::PROCESS_RESIDENT, process.resident_bytes)?;
    page.number(row::PROCESS_VIRTUAL, process.virtual_bytes)?;
    page.number(row::PROCESS_THREADS, process.threads)?;
    page.number(row::PROCESS_FDS, process.open_fds)?;
    page.number(row::PROCESS_FDS_MAX, process.max_fds)?;
    page.metric(row::PROCESS_START, &ConstGauge::new(process.started_s))
}

/// Lengths of this machine fit.
fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The text being written. Each row of the table is written once, with all its values.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn row(&mut self, row: MetricRow) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0
            .encode_descriptor(row.name, row.help, None, row.kind.to_type())
    }

    /// A metric as it is.
    fn metric(&mut self, row: MetricRow, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.row(row)?)
    }

    /// One number without labels.
    fn number(&mut self, row: MetricRow, value: u64) -> fmt::Result {
        self.metric(row, &ConstGauge::new(value))
    }

    /// One number.
    fn one(&mut self, row: MetricRow, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        let mut family = self.row(row)?;
        ConstGauge::new(value).encode(family.encode_family(labels)?)
    }

    /// A number for each of some things.
    fn each<'t, T: 't, L: EncodeLabelSet>(
        &mut self,
        row: MetricRow,
        things: impl Iterator<Item = &'t T>,
        labels: impl Fn(&'t T) -> L,
        read: impl Fn(&'t T) -> u64,
    ) -> fmt::Result {
        let pairs: Vec<_> = things
            .map(|thing| (labels(thing), ConstGauge::new(read(thing))))
            .collect();
        self.pairs(row, &pairs)
    }

    /// A metric that each of some things has counted.
    fn family<'t, T: 't, L: EncodeLabelSet, M: EncodeMetric + 't>(
        &mut self,
        row: MetricRow,
        things: impl Iterator<Item = &'t T>,
        labels: impl Fn(&'t T) -> L,
        metric: impl Fn(&'t T) -> &'t M,
    ) -> fmt::Result {
        let mut family = self.row(row)?;
        for thing in things {
            metric(thing).encode(family.encode_family(&labels(thing))?)?;
        }
        Ok(())
    }

    /// Metrics with their labels.
    fn pairs<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        row: MetricRow,
        pairs: &[(L, M)],
    ) -> fmt::Result {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut family = self.row(row)?;
        for (labels, metric) in pairs {
            metric.encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}
