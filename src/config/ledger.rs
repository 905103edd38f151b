//! `[ledger]`: where it is, and what watches over it.

use super::ConfigError;
use super::raw::value;
use crate::ledger::StoreConfig;
use crate::signing::LaneSettings;
use crate::witness::WitnessSettings;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What a batch may take beyond the wait for its token, in milliseconds, until PostgreSQL takes its node for
/// frozen.
const STANDSTILL_MARGIN_MS: u64 = 2000;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLedger {
    sqlite: Option<PathBuf>,
    postgres: Option<String>,
    connections_max: Option<u32>,
    lock_timeout_ms: Option<u32>,
    witness_file: Option<PathBuf>,
    #[serde(default)]
    danger_begin_anew: bool,
    #[serde(default)]
    pub danger_live_without_standby: bool,
    pub check_messages_per_s: Option<u32>,
}

impl RawLedger {
    /// What remembers it from outside.
    pub fn witness(&self, folder: &Path) -> Result<WitnessSettings, ConfigError> {
        let file = self.witness_file.as_deref();
        let file = file.unwrap_or(Path::new("node.witness"));
        if file.file_name().is_none() {
            return Err(value("ledger.witness_file", "must name a file"));
        }
        Ok(WitnessSettings {
            file: folder.join(file),
            begins_anew: self.danger_begin_anew,
        })
    }

    /// Longest wait for a lock, in milliseconds.
    pub fn lock_timeout_ms(&self) -> Result<u32, ConfigError> {
        let lock_timeout_ms = self.lock_timeout_ms.unwrap_or(5000);
        // To PostgreSQL, 0 means for ever.
        if !(1..=20_000).contains(&lock_timeout_ms) {
            let problem = "must be from 1 to 20000 ms";
            return Err(value("ledger.lock_timeout_ms", problem));
        }
        Ok(lock_timeout_ms)
    }

    /// Where it is.
    pub fn check(self, folder: &Path, lanes: &LaneSettings) -> Result<StoreConfig, ConfigError> {
        if self.connections_max == Some(0) {
            return Err(value("ledger.connections_max", "must be at least 1"));
        }
        match (self.sqlite, self.postgres) {
            (Some(path), None) if path.as_os_str().is_empty() => Err(value(
                "ledger.sqlite",
                "is empty; give the path of the database file, such as \"siegel.db\"",
            )),
            (Some(path), None) => Ok(StoreConfig::Sqlite {
                path: folder.join(path),
            }),
            (None, Some(url)) => {
                let standstill_ms = lanes.hsm_timeout_ms.saturating_add(STANDSTILL_MARGIN_MS);
                Ok(StoreConfig::Postgres {
                    url,
                    connections_max: self.connections_max.unwrap_or(8),
                    lock_timeout_ms: u32::try_from(lanes.lock_wait_ms).unwrap_or(u32::MAX),
                    standstill_ms: u32::try_from(standstill_ms).unwrap_or(u32::MAX),
                })
            }
            (None, None) | (Some(_), Some(_)) => Err(value(
                "ledger",
                "needs either sqlite = FILE or postgres = URL",
            )),
        }
    }
}
