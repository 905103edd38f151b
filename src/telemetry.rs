//! Traces: where they go and how they look. Never process data, tokens, PINs or bodies (style rule 15).

use crate::config::LogConfig;
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
        writer.json().try_init()
    } else {
        writer.try_init()
    };
    Ok(())
}
