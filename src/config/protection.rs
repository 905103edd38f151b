//! What keeps the server from being asked too much.

use super::ConfigError;
use super::raw::value;
use crate::http::{BODY_IN_MEMORY_MAX, BODY_LEN_MAX, Rates, Transport, WrongLogins};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProtection {
    connections_max: Option<usize>,
    header_timeout_ms: Option<u32>,
    body_timeout_ms: Option<u32>,
    answer_timeout_ms: Option<u32>,
    bodies_len_max: Option<usize>,
    wrong_logins_per_key: Option<u32>,
    wrong_logins_per_address: Option<u32>,
    client_address_header: Option<String>,
    calls_per_key_per_minute: Option<u32>,
    export_reads_per_minute: Option<u32>,
    transaction_lists_per_minute: Option<u32>,
}

/// Limits of the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionConfig {
    /// Connections.
    pub transport: Transport,
    /// Logins.
    pub wrong_logins: WrongLogins,
    /// Calls.
    pub rates: Rates,
}

impl RawProtection {
    pub(super) fn check(self) -> Result<ProtectionConfig, ConfigError> {
        let transport = Transport {
            connections_max: self.connections_max.unwrap_or(4096),
            header_timeout_ms: self.header_timeout_ms.unwrap_or(10_000),
            body_timeout_ms: self.body_timeout_ms.unwrap_or(30_000),
            answer_timeout_ms: self.answer_timeout_ms.unwrap_or(60_000),
            bodies_len_max: self.bodies_len_max.unwrap_or(64 * BODY_LEN_MAX),
        };
        if transport.connections_max == 0 {
            return Err(value("protection.connections_max", "must be at least 1"));
        }
        if transport.header_timeout_ms < 100 {
            let problem = "must be at least 100 ms";
            return Err(value("protection.header_timeout_ms", problem));
        }
        if transport.body_timeout_ms < 100 {
            let problem = "must be at least 100 ms";
            return Err(value("protection.body_timeout_ms", problem));
        }
        if transport.answer_timeout_ms < 100 {
            let problem = "must be at least 100 ms";
            return Err(value("protection.answer_timeout_ms", problem));
        }
        if transport.bodies_len_max < BODY_IN_MEMORY_MAX {
            let problem = "must be at least 13631488, which one body may take";
            return Err(value("protection.bodies_len_max", problem));
        }
        let header = self.client_address_header;
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if let Some(name) = &header
            && (name.is_empty() || !name.chars().all(in_name))
        {
            let problem = "must be the name of a header, such as \"x-forwarded-for\"";
            return Err(value("protection.client_address_header", problem));
        }
        Ok(ProtectionConfig {
            transport,
            wrong_logins: WrongLogins {
                per_key: self.wrong_logins_per_key.unwrap_or(10),
                per_address: self.wrong_logins_per_address.unwrap_or(50),
                address_header: header,
            },
            rates: Rates {
                calls_per_key: self.calls_per_key_per_minute.unwrap_or(0),
                export_reads: self.export_reads_per_minute.unwrap_or(0),
                transaction_lists: self.transaction_lists_per_minute.unwrap_or(0),
            },
        })
    }
}
