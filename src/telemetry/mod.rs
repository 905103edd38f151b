//! Traces: where they go and how they look. Never process data, tokens, PINs or bodies (style rule 15).

use crate::config::LogConfig;
use tracing_subscriber::EnvFilter;

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
