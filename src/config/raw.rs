//! The file as it is written.

use super::ledger::RawLedger;
use super::protection::RawProtection;
use super::server::RawServer;
use super::telemetry::RawTelemetry;
use super::tokens::{check_live, check_tokens};
use super::{ApiConfig, Config, ConfigError, DeviceSource, ExportConfig, LogConfig, device_curve};
use crate::csp::pkcs11::RawToken;
use crate::http::CallTrace;
use crate::signing::LaneSettings;
use crate::sma;
use crate::terms::{Curve, LogFormat};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

/// The whole file. Sections that are left out have the defaults of `schema/siegel.example.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    danger_uncertified_live: Option<String>,
    #[serde(default)]
    server: RawServer,
    ledger: RawLedger,
    secrets: RawSecrets,
    #[serde(default, rename = "token")]
    tokens: Vec<RawToken>,
    #[serde(default)]
    pki: RawPki,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    lanes: RawLanes,
    #[serde(default)]
    api: RawApi,
    #[serde(default)]
    export: RawExport,
    #[serde(default)]
    protection: RawProtection,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    telemetry: RawTelemetry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecrets {
    seal_key_file: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPki {
    source: Option<String>,
    curve: Option<String>,
    pool_target: Option<u32>,
    keys: Option<String>,
    wrapped_handles_max: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    clients_registered_max: Option<u32>,
    transactions_open_max: Option<u32>,
    pin_retries_max: Option<u32>,
    description_prefix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLanes {
    lanes_per_token: Option<usize>,
    queue_len_max: Option<usize>,
    batch_len_max: Option<usize>,
    hsm_timeout_ms: Option<u64>,
    early_wait_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApi {
    log_format: Option<String>,
    access_token_s: Option<u32>,
    refresh_token_s: Option<u32>,
    management: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExport {
    expiry_s: Option<u32>,
    running_max: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    format: Option<String>,
    filter: Option<String>,
    calls: Option<String>,
}

impl RawConfig {
    pub(super) fn check(self, folder: &Path) -> Result<Config, ConfigError> {
        let server = self.server.check()?;
        let mut tokens = check_tokens(self.tokens, folder)?;
        let handles_max = at_least_one("pki.wrapped_handles_max", self.pki.wrapped_handles_max)?;
        for token in &mut tokens {
            token.session_keys_max = handles_max.unwrap_or(token.session_keys_max);
        }
        check_live(&tokens, self.danger_uncertified_live.as_deref())?;
        let lanes = self.lanes.check(self.ledger.lock_timeout_ms()?)?;
        Ok(Config {
            listen: server.listen,
            workers: server.workers,
            start_when: server.start_when,
            ready_when: server.ready_when,
            witness: self.ledger.witness(folder)?,
            live_without_standby: self.ledger.danger_live_without_standby,
            check_messages_per_s: self.ledger.check_messages_per_s.unwrap_or(200),
            store: self.ledger.check(folder, &lanes)?,
            seal_key_file: self.secrets.check(folder)?,
            tokens,
            device_source: self.pki.source()?,
            curve: self.pki.curve()?,
            wraps_keys: self.pki.wraps_keys()?,
            pool_target: self.pki.pool_target.unwrap_or(20),
            rules: self.limits.check()?,
            lanes,
            api: self.api.check()?,
            export: self.export.check()?,
            protection: self.protection.check()?,
            log: self.log.check()?,
            telemetry: self.telemetry.check(server.listen)?,
        })
    }
}

impl RawSecrets {
    fn check(self, folder: &Path) -> Result<PathBuf, ConfigError> {
        if self.seal_key_file.as_os_str().is_empty() {
            let problem = "is empty; give the path of the key file, such as \"seal.key\"";
            return Err(value("secrets.seal_key_file", problem));
        }
        Ok(folder.join(self.seal_key_file))
    }
}

impl RawPki {
    fn wraps_keys(&self) -> Result<bool, ConfigError> {
        match self.keys.as_deref() {
            None | Some("token") => Ok(false),
            Some("wrapped") => Ok(true),
            Some(_) => Err(value("pki.keys", "must be \"token\" or \"wrapped\"")),
        }
    }

    fn source(&self) -> Result<DeviceSource, ConfigError> {
        match self.source.as_deref() {
            None | Some("test-ca") => Ok(DeviceSource::TestCa),
            Some("foreign") => Ok(DeviceSource::Foreign),
            Some(_) => Err(value("pki.source", "must be \"test-ca\" or \"foreign\"")),
        }
    }

    fn curve(&self) -> Result<Curve, ConfigError> {
        let name = self.curve.as_deref().unwrap_or("secp256r1");
        device_curve(name).ok_or_else(|| {
            let names = "secp256r1, secp384r1, brainpoolP256r1 or brainpoolP384r1";
            value("pki.curve", &format!("must be {names}"))
        })
    }
}

impl RawLimits {
    fn check(self) -> Result<sma::Settings, ConfigError> {
        let default = sma::Settings::default();
        let prefix = self.description_prefix;
        let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
        // 100 characters in all, of which the TSS id in its brackets takes 39.
        let fits = |prefix: &String| prefix.len() <= 61 && prefix.chars().all(printable);
        if !prefix.as_ref().is_none_or(fits) {
            let problem = "may have at most 61 characters out of A-Z a-z 0-9 and '()+,-./:=?";
            return Err(value("limits.description_prefix", problem));
        }
        let pin_retries_max = self.pin_retries_max.unwrap_or(default.pin_retries_max);
        if pin_retries_max == 0 {
            return Err(value("limits.pin_retries_max", "must be at least 1"));
        }
        Ok(sma::Settings {
            clients_registered_max: self
                .clients_registered_max
                .unwrap_or(default.clients_registered_max),
            transactions_open_max: self
                .transactions_open_max
                .unwrap_or(default.transactions_open_max),
            pin_retries_max,
            description_prefix: prefix,
        })
    }
}

impl RawLanes {
    fn check(self, lock_timeout_ms: u32) -> Result<LaneSettings, ConfigError> {
        let default = LaneSettings::default();
        let or = |key, wanted, default| {
            at_least_one(key, wanted).map(|wanted| wanted.unwrap_or(default))
        };
        let hsm_timeout_ms = self.hsm_timeout_ms.unwrap_or(default.hsm_timeout_ms);
        // As long, and a little longer, other nodes wait for one that is frozen.
        if !(100..=20_000).contains(&hsm_timeout_ms) {
            let problem = "must be from 100 to 20000 ms";
            return Err(value("lanes.hsm_timeout_ms", problem));
        }
        let early_wait_ms = self.early_wait_ms.unwrap_or(default.early_wait_ms);
        if early_wait_ms > 30_000 {
            return Err(value("lanes.early_wait_ms", "must be at most 30000 ms"));
        }
        Ok(LaneSettings {
            lanes_per_token: or(
                "lanes.lanes_per_token",
                self.lanes_per_token,
                default.lanes_per_token,
            )?,
            queue_len_max: or(
                "lanes.queue_len_max",
                self.queue_len_max,
                default.queue_len_max,
            )?,
            batch_len_max: or(
                "lanes.batch_len_max",
                self.batch_len_max,
                default.batch_len_max,
            )?,
            hsm_timeout_ms,
            lock_wait_ms: lock_timeout_ms.into(),
            early_wait_ms,
        })
    }
}

impl RawApi {
    fn check(self) -> Result<ApiConfig, ConfigError> {
        let format = self.log_format.as_deref().unwrap_or("v2");
        let access_token_s = self.access_token_s.unwrap_or(86_400);
        let refresh_token_s = self.refresh_token_s.unwrap_or(172_800);
        if access_token_s == 0 || refresh_token_s < access_token_s {
            let problem = "must be positive, and refresh_token_s not shorter";
            return Err(value("api.access_token_s", problem));
        }
        Ok(ApiConfig {
            log_format: LogFormat::from_str(format)
                .map_err(|_| value("api.log_format", "must be \"v2\" or \"v3\""))?,
            access_token_s,
            refresh_token_s,
            management: self.management.unwrap_or(true),
        })
    }
}

impl RawExport {
    fn check(self) -> Result<ExportConfig, ConfigError> {
        let expiry_s = self.expiry_s.unwrap_or(28 * 86_400);
        let running_max = self.running_max.unwrap_or(10);
        if expiry_s == 0 || running_max == 0 {
            return Err(value(
                "export",
                "needs expiry_s and running_max of at least 1",
            ));
        }
        Ok(ExportConfig {
            expiry_s,
            running_max,
        })
    }
}

impl RawLog {
    fn check(self) -> Result<LogConfig, ConfigError> {
        let json = match self.format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => return Err(value("log.format", "must be \"text\" or \"json\"")),
        };
        let calls = match self.calls.as_deref() {
            Some("off") => CallTrace::Off,
            None | Some("debug") => CallTrace::Debug,
            Some("info") => CallTrace::Info,
            Some(_) => {
                let problem = "must be \"off\", \"debug\" or \"info\"";
                return Err(value("log.calls", problem));
            }
        };
        Ok(LogConfig {
            json,
            calls,
            filter: self.filter.unwrap_or_else(|| "info".to_owned()),
        })
    }
}

pub(super) fn at_least_one(
    key: &'static str,
    wanted: Option<usize>,
) -> Result<Option<usize>, ConfigError> {
    if wanted == Some(0) {
        Err(value(key, "must be at least 1"))
    } else {
        Ok(wanted)
    }
}

pub(super) fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value {
        key,
        problem: problem.to_owned(),
    }
}
