//! Configuration: raw as in the file, then checked.
//!
//! Invariant: whoever holds a [`Config`] need not ask whether it makes sense; whatever is wrong with a
//! file is told in one sentence that says what to change. Relative paths start at the folder of the
//! configuration file. Anything unsafe begins with `danger_`.

mod ledger;
mod protection;
mod raw;
mod server;
mod telemetry;
mod tokens;

use crate::csp::pkcs11::{TokenConfig, TokenConfigError};
use crate::http::CallTrace;
use crate::ledger::StoreConfig;
use crate::signing::{LaneSettings, TokensNeeded};
use crate::sma;
use crate::terms::{Curve, Environment, LogFormat};
use crate::witness::WitnessSettings;
pub use protection::ProtectionConfig;
use raw::RawConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What an operator has to write to run with LIVE tokens.
pub const UNCERTIFIED_LIVE_SENTENCE: &str =
    "I know that Siegel is not certified and that keys used uncertified can never be healed";

/// Everything the server needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is spoken.
    pub listen: SocketAddr,
    /// HTTP worker threads; `None` for one per core.
    pub workers: Option<usize>,
    /// Tokens that have to be there for the server to start.
    pub start_when: TokensNeeded,
    /// Active tokens that have to sign for the server to call itself ready.
    pub ready_when: TokensNeeded,
    /// Where the ledger is.
    pub store: StoreConfig,
    /// What remembers outside of the ledger how far it was.
    pub witness: WitnessSettings,
    /// Whether LIVE may run on PostgreSQL without a synchronous standby.
    pub live_without_standby: bool,
    /// Messages of the ledger that are checked again per second, in the background; 0: none.
    pub check_messages_per_s: u32,
    /// The key that encrypts secrets in the ledger.
    pub seal_key_file: PathBuf,
    /// The tokens; labels differ.
    pub tokens: Vec<TokenConfig>,
    /// Where the devices of TEST come from; those of LIVE always come from a foreign CA.
    pub device_source: DeviceSource,
    /// Curve of new TSSs.
    pub curve: Curve,
    /// Whether new keys of devices are wrapped instead of kept on the token.
    pub wraps_keys: bool,
    /// Prepared devices to keep ready.
    pub pool_target: u32,
    /// Limits of a TSS.
    pub rules: sma::Settings,
    /// How lanes are cut.
    pub lanes: LaneSettings,
    /// The HTTP dialect.
    pub api: ApiConfig,
    /// Exports.
    pub export: ExportConfig,
    /// What keeps the door from being asked too much.
    pub protection: ProtectionConfig,
    /// Traces.
    pub log: LogConfig,
    /// What is told to those who watch the node.
    pub telemetry: TelemetryConfig,
}

/// Who makes the certificates of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSource {
    /// Our test CA, in the token; the pool fills itself.
    TestCa,
    /// Somebody else; devices are ready when their certificates were imported.
    Foreign,
}

/// Settings of the HTTP dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Log format of new TSSs.
    pub log_format: LogFormat,
    /// Life of an access token, in seconds.
    pub access_token_s: u32,
    /// Life of a refresh token, in seconds.
    pub refresh_token_s: u32,
    /// Whether organisations and API keys can be managed through HTTP.
    pub management: bool,
}

/// Settings of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// How long an export can be downloaded, in seconds.
    pub expiry_s: u32,
    /// Exports that may be pending or working per TSS.
    pub running_max: u32,
}

/// Settings of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// JSON lines instead of text.
    pub json: bool,
    /// Filter as of `tracing-subscriber`, such as `info,siegel::signing=debug`.
    pub filter: String,
    /// One trace per answered call.
    pub calls: CallTrace,
}

/// Settings of what is told to those who watch the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where `/metrics` is served; `None` for nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Who gets spans; `None` for nobody.
    pub otlp: Option<OtlpConfig>,
}

/// A collector of OpenTelemetry that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Its base URL, without `/v1/traces`.
    pub endpoint: String,
    /// Of so many requests one is told.
    pub one_in: u32,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} could not be read; give its path with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key or type we do not know. The line itself is not told: it may
    /// hold a PIN that somebody put in the wrong place.
    #[error("the configuration {path} is not understood in line {line}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A value does not make sense.
    #[error("{key} {problem}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What to change.
        problem: String,
    },
    /// A token section does not make sense.
    #[error("a [[token]] section does not make sense")]
    Token(#[source] TokenConfigError),
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let raw: RawConfig = toml::from_str(&text).map_err(|mut source| {
            let before = source.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            source.set_input(None);
            ConfigError::Syntax {
                path: path.to_owned(),
                line,
                source: Box::new(source),
            }
        })?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        raw.check(folder.unwrap_or(Path::new(".")))
    }

    /// Whether any token is for LIVE.
    pub fn has_live(&self) -> bool {
        self.tokens
            .iter()
            .any(|token| token.environment == Environment::Live)
    }
}

/// The curve with this name, if keys of TSSs may be on it.
pub fn device_curve(name: &str) -> Option<Curve> {
    Curve::from_name(name).filter(|curve| match curve {
        Curve::Secp256r1 | Curve::Secp384r1 | Curve::BrainpoolP256r1 | Curve::BrainpoolP384r1 => {
            true
        }
        Curve::Secp521r1 | Curve::BrainpoolP512r1 => false,
    })
}

#[cfg(test)]
mod tests;
