//! The section `[server]`, and which tokens have to be there.

use super::ConfigError;
use super::raw::{at_least_one, value};
use crate::signing::TokensNeeded;
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    listen: Option<String>,
    workers: Option<usize>,
    start_when: Option<String>,
    ready_when: Option<String>,
}

/// The section, checked.
pub(super) struct Server {
    pub listen: SocketAddr,
    pub workers: Option<usize>,
    pub start_when: TokensNeeded,
    pub ready_when: TokensNeeded,
}

impl RawServer {
    pub fn check(self) -> Result<Server, ConfigError> {
        let listen = self.listen.as_deref().unwrap_or("127.0.0.1:8080");
        let listen = listen.parse().map_err(|_| {
            value(
                "server.listen",
                "must be ADDRESS:PORT, such as 127.0.0.1:8080",
            )
        })?;
        Ok(Server {
            listen,
            workers: at_least_one("server.workers", self.workers)?,
            start_when: needed("server.start_when", self.start_when.as_deref())?,
            ready_when: needed("server.ready_when", self.ready_when.as_deref())?,
        })
    }
}

fn needed(key: &'static str, wanted: Option<&str>) -> Result<TokensNeeded, ConfigError> {
    match wanted {
        None | Some("any-token") => Ok(TokensNeeded::Any),
        Some("every-token") => Ok(TokensNeeded::Every),
        Some(_) => Err(value(key, "must be \"any-token\" or \"every-token\"")),
    }
}
