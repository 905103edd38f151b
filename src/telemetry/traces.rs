//! Where traces go and how they look.

use super::otlp::SpanExport;
use crate::config::{LogConfig, OtlpConfig};
use crate::http::CallTrace;
use opentelemetry_otlp::ExporterBuildError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The HTTP library calls it an error when a client sends what is no HTTP. The door tells such faults
/// itself, as what they are; whoever names the library in the filter sees all of it.
const CONNECTIONS: &str = "actix_http::h1::dispatcher=off";

/// What a collector of spans gets: all that this program says, and nothing of its libraries.
const SPANS: &str = "siegel=debug";

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
    /// Spans cannot be handed over.
    #[error("telemetry.otlp_endpoint {endpoint:?} cannot be used")]
    Collector {
        /// Where.
        endpoint: String,
        /// Why.
        source: ExporterBuildError,
    },
}

/// Traces are written. Dropping it hands over the last spans.
#[must_use = "spans are handed over only as long as this is kept"]
pub struct Tracing(Option<SpanExport>);

/// Starts writing traces as a command does whose output is read by a person or a script: only what went
/// wrong.
///
/// # Errors
/// None in practice: the filter is understood.
pub fn start_for_command() -> Result<(), TelemetryError> {
    let config = LogConfig {
        json: false,
        filter: "warn,cryptoki=off".to_owned(),
        calls: CallTrace::Off,
    };
    start(&config, None).map(drop)
}

/// Starts writing traces to stderr, and handing spans to a collector if there is one. Only the first call in
/// a process has an effect.
///
/// # Errors
/// [`TelemetryError`], with what to change.
pub fn start(
    config: &LogConfig,
    collector: Option<&OtlpConfig>,
) -> Result<Tracing, TelemetryError> {
    let export = collector.map(|collector| {
        SpanExport::start(collector).map_err(|source| TelemetryError::Collector {
            endpoint: collector.endpoint.clone(),
            source,
        })
    });
    let export = export.transpose()?;
    let lines = lines(config);
    // A second subscriber in one process can only come from a test; the first one keeps working.
    let _ = match &export {
        // One filter before everything is the cheapest.
        None => tracing_subscriber::registry()
            .with(lines)
            .with(filter(&config.filter)?)
            .try_init(),
        Some(export) => {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(export.tracer())
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false);
            tracing_subscriber::registry()
                .with(lines.with_filter(filter(&config.filter)?))
                .with(spans.with_filter(filter(SPANS)?))
                .try_init()
        }
    };
    Ok(Tracing(export))
}

impl Tracing {
    /// Whether spans are handed to a collector.
    pub const fn has_collector(&self) -> bool {
        self.0.is_some()
    }
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::try_new(text).map_err(|source| TelemetryError::Filter {
        filter: text.to_owned(),
        source,
    })?;
    Ok(match CONNECTIONS.parse() {
        Ok(quiet) if !text.contains("actix_http") => filter.add_directive(quiet),
        Ok(_) | Err(_) => filter,
    })
}

/// One line for each trace.
fn lines(config: &LogConfig) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    if config.json {
        // Each line is one flat object; `span` holds the id of the request that it belongs to.
        Box::new(lines.json().flatten_event(true).with_span_list(false))
    } else {
        Box::new(lines)
    }
}
