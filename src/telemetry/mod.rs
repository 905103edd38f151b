//! What the node tells of itself: traces and metrics.
//!
//! Invariant: never process data, tokens, PINs or bodies (style rule 15), and no ids in labels. Telling
//! costs the signing path nothing but a few counters: whoever asks for metrics gets what was counted or
//! sampled before. Deliberately absent: a state of the whole process beside the one subscriber of traces.

mod metrics;
mod process;
mod table;

use crate::config::LogConfig;
use crate::http::CallTrace;
pub use metrics::{Metrics, MetricsParts, Sample, SampleBox};
pub use table::{Kind, METRICS, MetricRow, metrics_page};
use tracing_subscriber::EnvFilter;

/// The HTTP library calls it an error when a client sends what is no HTTP. The door tells such faults
/// itself, as what they are; whoever names the library in the filter sees all of it.
const CONNECTIONS: &str = "actix_http::h1::dispatcher=off";

/// Why traces cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("log.filter {filter:?} is not understood; try \"info\"")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Starts writing traces as a command does whose output is read by a person or a script: only what went
/// wrong.
pub fn start_for_command() -> Result<(), TelemetryError> {
    start(&LogConfig {
        json: false,
        filter: "warn,cryptoki=off".to_owned(),
        calls: CallTrace::Off,
    })
}

/// Starts writing traces to stderr. Only the first call has an effect.
pub fn start(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|source| TelemetryError::Filter {
        filter: config.filter.clone(),
        source,
    })?;
    let filter = match CONNECTIONS.parse() {
        Ok(quiet) if !config.filter.contains("actix_http") => filter.add_directive(quiet),
        Ok(_) | Err(_) => filter,
    };
    let writer = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    // A second subscriber in one process can only come from a test; the first one keeps working.
    let _ = if config.json {
        // Each line is one flat object; `span` holds the id of the request that it belongs to.
        let json = writer.json().flatten_event(true);
        json.with_span_list(false).try_init()
    } else {
        writer.try_init()
    };
    Ok(())
}
