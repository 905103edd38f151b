//! Every metric there is, in one table: what is told and what the papers say come from here.

use prometheus_client::metrics::MetricType;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricRow {
    /// Its name; that of a counter is told with `_total` behind it.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Names of its labels. Their values come from small sets.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many of which size.
    Histogram,
}

impl Kind {
    /// As Prometheus names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    pub(super) const fn to_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

impl MetricRow {
    /// The name as it is told and asked for.
    pub fn told_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricRow {
    let kind = Kind::Counter;
    MetricRow {
        name,
        kind,
        labels,
        help,
    }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricRow {
    let kind = Kind::Gauge;
    MetricRow {
        name,
        kind,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricRow {
    let kind = Kind::Histogram;
    MetricRow {
        name,
        kind,
        labels,
        help,
    }
}

macro_rules! metrics {
    ($($constant:ident = $row:expr;)*) => {
        $(pub(super) const $constant: MetricRow = $row;)*

        /// The table.
        pub const METRICS: &[MetricRow] = &[$($constant),*];
    };
}

metrics! {
    BUILD = gauge("siegel_build_info", &["version"], "Always 1; the label says which version runs");

    REQUESTS = counter("siegel_http_requests", &["method", "route", "status"], "Answered calls. The status is a class such as 2xx; 429 and 503 stand for themselves");
    DURATIONS = histogram("siegel_http_request_duration_seconds", &["method", "route"], "From the header of a call to the header of its answer");
    IN_FLIGHT = gauge("siegel_http_requests_in_flight", &[], "Calls at work");
    CONNECTIONS = gauge("siegel_http_connections", &[], "Connections open");
    CONNECTIONS_MAX = gauge("siegel_http_connections_max", &[], "Connections that may be open; more wait to be accepted");
    BODY_BYTES = gauge("siegel_http_body_bytes", &[], "Bytes that request bodies take in memory, as text and as values");

    LANE_DEPTH = gauge("siegel_lane_commands", &["lane"], "Commands that wait or are at work in a lane. The lane named router is the way of TSSs that this process has not met yet");
    LANE_PLACES = gauge("siegel_lane_places", &["lane"], "Commands that may wait or be at work in a lane; the last quarter only for steps of begun transactions");
    LANE_REFUSED = counter("siegel_lane_refused", &["lane"], "Commands answered 503 because there was no place for them");
    LANE_EARLY = gauge("siegel_lane_early_commands", &["lane"], "Steps that wait for the steps before them");
    LANE_LOCKED_OUT = gauge("siegel_lane_locked_out_commands", &["lane"], "Commands for TSSs that another node or lane holds");
    LANE_UNFINISHED = gauge("siegel_lane_unfinished_batches", &["lane"], "Signed batches that are not known to be kept");
    LANE_STOPPED = gauge("siegel_lane_stopped_tss", &["lane"], "TSSs that sign nothing more until a person has looked");
    LANE_BATCH = histogram("siegel_lane_batch_commands", &["lane"], "Commands per batch");
    LANE_LOAD = histogram("siegel_lane_load_seconds", &["lane"], "Per batch: waiting for the locks of its TSSs and loading them");
    LANE_SIGN = histogram("siegel_lane_sign_seconds", &["lane"], "Per batch: making its signatures");
    LANE_COMMIT = histogram("siegel_lane_commit_seconds", &["lane"], "Per batch: its durable commit, the first try");
    LANE_MESSAGES = counter("siegel_lane_messages", &["lane"], "Log messages committed at the first try");
    LANE_COMMITS_FAILED = counter("siegel_lane_commits_failed", &["lane"], "Commits that failed, or whose outcome was unknown; their batches are finished with the same bytes");

    TOKEN_STATE = gauge("siegel_token_state", &["token", "state"], "1 for the state that a token is in: ready, paused, gone or pin_refused");
    TOKEN_GENERATION = gauge("siegel_token_generation", &["token"], "Counts up whenever login, sessions and handles of a token were made anew");
    TOKEN_SESSIONS = gauge("siegel_token_sessions_in_use", &["token"], "Sessions of a token that are at work");
    TOKEN_SESSIONS_MAX = gauge("siegel_token_sessions_max", &["token"], "Sessions of a token that may be at work; less than configured where the token allows no more");
    TOKEN_WAITING = gauge("siegel_token_signatures_waiting", &["token"], "Signatures that wait for a session");
    TOKEN_SIGNATURES = counter("siegel_token_signatures", &["token"], "Signatures made for TSSs");
    TOKEN_ERRORS = counter("siegel_token_errors", &["token", "class"], "Signatures that failed, by what helps: pin_refused, session_lost, device_gone, key_missing, wrong_key, not_supported, busy or failed");

    LEDGER_UP = gauge("siegel_ledger_up", &[], "1 when the ledger told its sizes the last time it was asked");
    LEDGER_CONNECTIONS = gauge("siegel_ledger_connections_in_use", &[], "Connections to the database at work, without those of the lanes");
    LEDGER_CONNECTIONS_MAX = gauge("siegel_ledger_connections_max", &[], "Connections to the database, without those of the lanes");
    DEVICES_TARGET = gauge("siegel_devices_target", &[], "Prepared devices that this node keeps ready by making them; 0 where devices come from a foreign CA");
    LEDGER_COMPARED = gauge("siegel_ledger_compared", &[], "1 when the ledger behind this node was compared with its witnesses; only then it is signed with");
    LEDGER_HELD = gauge("siegel_ledger_held_tss", &[], "TSSs that have lost messages by what the witnesses say, and wait for a person's decision");
    ANCHOR_LAG = gauge("siegel_anchor_lag_messages", &["token"], "Committed messages that the witness in the token does not know of yet; missing where there is no witness, and on nodes that do not write it");
    ANCHOR_AGE = gauge("siegel_anchor_lag_seconds", &["token"], "Time since the witness in the token last knew of all committed messages; missing as siegel_anchor_lag_messages is");
    LEDGER_AGE = gauge("siegel_ledger_sample_age_seconds", &[], "Time since the ledger told its sizes, which the metrics of the ledger below are");
    LEDGER_BYTES = gauge("siegel_ledger_bytes", &[], "Size of the database; on SQLite with its write-ahead log");
    LEDGER_DISK = gauge("siegel_ledger_disk_free_bytes", &[], "Space left on the file system of a SQLite ledger");
    LEDGER_EXPORTS = gauge("siegel_ledger_exports", &["state"], "Exports that wait for a worker (PENDING) or are at work (WORKING), on all nodes");
    LEDGER_TSS = gauge("siegel_ledger_tss", &["environment", "state"], "TSSs by state");
    LEDGER_MESSAGES = gauge("siegel_ledger_messages", &["environment"], "Log messages of all TSSs, by their signature counters");
    LEDGER_OPEN = gauge("siegel_ledger_transactions_open", &["environment"], "Transactions that have begun and not ended");
    LEDGER_CERTIFICATE = gauge("siegel_ledger_certificate_expiry_timestamp_seconds", &["environment", "token"], "When the first certificate ends, in unix time, among TSSs that are neither disabled nor defective");
    LEDGER_DEVICES = gauge("siegel_ledger_devices_free", &["environment", "token"], "Prepared devices that wait for a TSS");

    PROCESS_CPU = counter("process_cpu_seconds", &[], "CPU time of the process, user and system");
    PROCESS_RESIDENT = gauge("process_resident_memory_bytes", &[], "Memory of the process that is in RAM");
    PROCESS_VIRTUAL = gauge("process_virtual_memory_bytes", &[], "Address space of the process");
    PROCESS_THREADS = gauge("process_threads", &[], "Threads of the process");
    PROCESS_FDS = gauge("process_open_fds", &[], "Files and connections that the process has open");
    PROCESS_FDS_MAX = gauge("process_max_fds", &[], "Files and connections that the process may have open");
    PROCESS_START = gauge("process_start_time_seconds", &[], "When the process was started, in unix time");
}

/// The page of the papers.
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
        What `telemetry.metrics_listen` tells at `/metrics`, in the text form of OpenMetrics, which Prometheus reads.\n\
        Written from the table in `src/telemetry/table.rs`: change that one. No label holds an id, a serial number\n\
        or anything that a till chooses.\n\n\
        | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for row in METRICS {
        let labels: Vec<_> = row
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, labels) = (row.told_name(), row.kind.as_str(), labels.join(", "));
        page.push_str(&format!(
            "| `{name}` | {kind} | {labels} | {} |\n",
            row.help
        ));
    }
    page
}
