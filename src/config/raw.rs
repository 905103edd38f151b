//! The file as it is written.

use super::protection::RawProtection;
use super::{ApiConfig, Config, ConfigError, ExportConfig, LogConfig, UNCERTIFIED_LIVE_SENTENCE};
use crate::csp::pkcs11::{RawToken, TokenConfig};
use crate::ledger::StoreConfig;
use crate::signing::LaneSettings;
use crate::sma;
use crate::terms::{Curve, Environment, LogFormat};
use crate::witness::WitnessSettings;
use serde::Deserialize;
use std::collections::BTreeSet;
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    listen: Option<String>,
    workers: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLedger {
    sqlite: Option<PathBuf>,
    postgres: Option<String>,
    connections_max: Option<u32>,
    lock_timeout_ms: Option<u32>,
    witness_file: Option<PathBuf>,
    #[serde(default)]
    danger_begin_anew: bool,
    #[serde(default)]
    danger_live_without_standby: bool,
    check_messages_per_s: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecrets {
    seal_key_file: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPki {
    curve: Option<String>,
    pool_target: Option<u32>,
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
}

impl RawConfig {
    pub(super) fn check(self, folder: &Path) -> Result<Config, ConfigError> {
        let listen = self.server.listen.as_deref().unwrap_or("127.0.0.1:8080");
        let listen = listen.parse().map_err(|_| {
            value(
                "server.listen",
                "must be ADDRESS:PORT, such as 127.0.0.1:8080",
            )
        })?;
        let tokens = check_tokens(self.tokens, folder)?;
        check_live(&tokens, self.danger_uncertified_live.as_deref())?;
        Ok(Config {
            listen,
            workers: at_least_one("server.workers", self.server.workers)?,
            witness: self.ledger.witness(folder)?,
            live_without_standby: self.ledger.danger_live_without_standby,
            check_messages_per_s: self.ledger.check_messages_per_s.unwrap_or(200),
            store: self.ledger.check(folder)?,
            seal_key_file: folder.join(self.secrets.seal_key_file),
            tokens,
            curve: self.pki.curve()?,
            pool_target: self.pki.pool_target.unwrap_or(20),
            rules: self.limits.check()?,
            lanes: self.lanes.check()?,
            api: self.api.check()?,
            export: self.export.check()?,
            protection: self.protection.check()?,
            log: self.log.check()?,
        })
    }
}

fn check_tokens(raw: Vec<RawToken>, folder: &Path) -> Result<Vec<TokenConfig>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut tokens = Vec::with_capacity(raw.len());
    for token in raw {
        let token = token.check(folder).map_err(ConfigError::Token)?;
        if !names.insert(token.name.clone()) {
            return Err(value(
                "token.name",
                "must differ between [[token]] sections",
            ));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(value(
            "token",
            "is missing: add a [[token]] section, see hsm-config/",
        ));
    }
    Ok(tokens)
}

/// LIVE is for people who know what it means without a certificate (design decision 11).
fn check_live(tokens: &[TokenConfig], sentence: Option<&str>) -> Result<(), ConfigError> {
    let live = tokens
        .iter()
        .any(|token| token.environment == Environment::Live);
    if !live || sentence == Some(UNCERTIFIED_LIVE_SENTENCE) {
        return Ok(());
    }
    let problem = format!("must be {UNCERTIFIED_LIVE_SENTENCE:?} to use a LIVE token");
    Err(ConfigError::Value {
        key: "danger_uncertified_live",
        problem,
    })
}

impl RawLedger {
    fn witness(&self, folder: &Path) -> Result<WitnessSettings, ConfigError> {
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

    fn check(self, folder: &Path) -> Result<StoreConfig, ConfigError> {
        match (self.sqlite, self.postgres) {
            (Some(path), None) => Ok(StoreConfig::Sqlite {
                path: folder.join(path),
            }),
            (None, Some(url)) => {
                let lock_timeout_ms = self.lock_timeout_ms.unwrap_or(5000);
                // To PostgreSQL, 0 means for ever.
                if !(1..=20_000).contains(&lock_timeout_ms) {
                    let problem = "must be from 1 to 20000 ms";
                    return Err(value("ledger.lock_timeout_ms", problem));
                }
                Ok(StoreConfig::Postgres {
                    url,
                    connections_max: self.connections_max.unwrap_or(8),
                    lock_timeout_ms,
                })
            }
            (None, None) | (Some(_), Some(_)) => Err(value(
                "ledger",
                "needs either sqlite = FILE or postgres = URL",
            )),
        }
    }
}

impl RawPki {
    fn curve(&self) -> Result<Curve, ConfigError> {
        let name = self.curve.as_deref().unwrap_or("secp256r1");
        let curve = Curve::from_name(name).filter(|curve| match curve {
            Curve::Secp256r1
            | Curve::Secp384r1
            | Curve::BrainpoolP256r1
            | Curve::BrainpoolP384r1 => true,
            Curve::Secp521r1 | Curve::BrainpoolP512r1 => false,
        });
        curve.ok_or_else(|| {
            let names = "secp256r1, secp384r1, brainpoolP256r1 or brainpoolP384r1";
            value("pki.curve", &format!("must be {names}"))
        })
    }
}

impl RawLimits {
    fn check(self) -> Result<sma::Settings, ConfigError> {
        let default = sma::Settings::default();
        let prefix = self
            .description_prefix
            .unwrap_or(default.description_prefix);
        let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
        // 100 characters in all, of which the TSS id in its brackets takes 39.
        if prefix.len() > 61 || !prefix.chars().all(printable) {
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
    fn check(self) -> Result<LaneSettings, ConfigError> {
        let default = LaneSettings::default();
        let or = |key, wanted, default| {
            at_least_one(key, wanted).map(|wanted| wanted.unwrap_or(default))
        };
        let hsm_timeout_ms = self.hsm_timeout_ms.unwrap_or(default.hsm_timeout_ms);
        // PostgreSQL lets go of the locks of a batch that is silent for longer than 30 s.
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
        Ok(LogConfig {
            json,
            filter: self.filter.unwrap_or_else(|| "info".to_owned()),
        })
    }
}

fn at_least_one(key: &'static str, wanted: Option<usize>) -> Result<Option<usize>, ConfigError> {
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
