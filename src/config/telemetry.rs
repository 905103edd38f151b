//! What is told to those who watch the node.

use super::raw::value;
use super::{ConfigError, OtlpConfig, TelemetryConfig};
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    metrics_listen: Option<String>,
    otlp_endpoint: Option<String>,
    otlp_one_in: Option<u32>,
}

impl RawTelemetry {
    /// `listen` is where tills come in.
    pub(super) fn check(self, listen: SocketAddr) -> Result<TelemetryConfig, ConfigError> {
        let key = "telemetry.metrics_listen";
        let problem = "must be ADDRESS:PORT, such as 127.0.0.1:9464";
        let parse = |text: String| text.parse().map_err(|_| value(key, problem));
        let metrics_listen: Option<SocketAddr> = self.metrics_listen.map(parse).transpose()?;
        // Port 0 is another one each time.
        if listen.port() != 0 && metrics_listen == Some(listen) {
            return Err(value(
                key,
                "must differ from server.listen: tills come in there",
            ));
        }
        let otlp = match (self.otlp_endpoint, self.otlp_one_in.unwrap_or(1)) {
            (_, 0) => return Err(value("telemetry.otlp_one_in", "must be at least 1")),
            (None, _) => None,
            (Some(endpoint), one_in) => Some(OtlpConfig {
                endpoint: check_endpoint(&endpoint)?,
                one_in,
            }),
        };
        Ok(TelemetryConfig {
            metrics_listen,
            otlp,
        })
    }
}

fn check_endpoint(text: &str) -> Result<String, ConfigError> {
    let endpoint = text.trim_end_matches('/');
    let is_url = |rest: &str| !rest.is_empty() && !rest.contains(char::is_whitespace);
    if !endpoint.strip_prefix("http://").is_some_and(is_url) {
        let problem =
            "must be the base URL of a collector, without TLS, such as http://127.0.0.1:4318";
        return Err(value("telemetry.otlp_endpoint", problem));
    }
    Ok(endpoint.to_owned())
}
