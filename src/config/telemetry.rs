//! What is told to those who watch the node.

use super::raw::value;
use super::{ConfigError, TelemetryConfig};
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    metrics_listen: Option<String>,
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
        Ok(TelemetryConfig { metrics_listen })
    }
}
