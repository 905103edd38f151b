//! Configuration of one token: raw as in the file, then checked.

use crate::csp::Wrapping;
use crate::terms::{Environment, Secret};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Sessions for signing, where the file says nothing.
const SESSIONS_DEFAULT: usize = 8;
/// Most sessions that can be asked for.
const SESSIONS_MAX: usize = 1024;
/// Milliseconds a caller waits for a free session, where the file says nothing.
const SESSION_WAIT_MS_DEFAULT: u64 = 2_000;
/// Keys in the token that live no longer than a session, where the file says nothing.
const SESSION_KEYS_MAX_DEFAULT: usize = 1_000;
/// Most bytes of a PIN file.
const PIN_FILE_BYTES_MAX: usize = 1_024;

/// A `[[token]]` section as it stands in the configuration file.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawToken {
    /// Name of the section, for messages; the ledger remembers tokens by it, too.
    pub name: String,
    /// `TEST` or `LIVE`.
    pub environment: String,
    /// The PKCS#11 library. A bare file name is looked for beside the configuration file, then left
    /// to the dynamic loader.
    pub module: PathBuf,
    /// Chooses the token by label …
    pub label: Option<String>,
    /// … or by serial number …
    pub serial: Option<String>,
    /// … or by slot id, for modules that cannot tell label and serial number.
    pub slot: Option<u64>,
    /// File that holds the user PIN; a line break at its end does not count.
    pub pin_file: Option<PathBuf>,
    /// Environment variable that holds the user PIN.
    pub pin_env: Option<String>,
    /// Sessions used for signing at the same time; one or two more are open for login and key
    /// generation.
    pub sessions_max: Option<usize>,
    /// Milliseconds a caller waits for a free session before it is told that the token is busy.
    pub session_wait_ms: Option<u64>,
    /// Whether copies of keys sign, as objects of a session, where that is faster.
    #[serde(default)]
    pub key_copies: bool,
    /// Name of the section whose keys the maker's replication keeps in this token too.
    pub standby_of: Option<String>,
    /// Seconds after which it takes over by itself when the other one does not sign; 0: never.
    pub switch_after_s: Option<u32>,
    /// Environment variables the module reads. A value that names a file or folder beside the
    /// configuration file becomes its full path.
    #[serde(default)]
    pub module_env: BTreeMap<String, String>,
}

/// How a token is found. Slot ids may change between two starts, so they are the last resort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By `label` of the token.
    Label(String),
    /// By `serialNumber` of the token.
    Serial(String),
    /// By slot id.
    Slot(u64),
}

/// Where the PIN of a token comes from; read once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// From a file.
    File(PathBuf),
    /// From an environment variable.
    Env(String),
}

/// A checked token section.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// Name of the section, for messages; the ledger remembers tokens by it, too.
    pub name: String,
    /// TEST and LIVE never share a token.
    pub environment: Environment,
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// Environment variables the library reads; they must be set before the process makes threads, see
    /// [`super::environment`].
    pub module_env: BTreeMap<String, String>,
    /// Which token of the module.
    pub token: Selector,
    /// The user PIN.
    pub pin: Secret,
    /// Sessions used for signing at the same time.
    pub sessions_max: usize,
    /// Milliseconds a caller waits for a free session.
    pub session_wait_ms: u64,
    /// Name of the section that it is the standby of.
    pub standby_of: Option<String>,
    /// Seconds after which it takes over by itself when the other one does not sign; 0: never.
    pub switch_after_s: u32,
    /// Whether copies of keys sign, as objects of a session, where that is faster.
    pub key_copies: bool,
    /// Unwrapped keys and copies that are in the token at a time.
    pub session_keys_max: usize,
    /// How wrapped keys are dealt with; `None`: there are none.
    pub wrapping: Option<Wrapping>,
}

/// What is wrong with a token section.
#[derive(Debug, thiserror::Error)]
pub enum TokenConfigError {
    /// A setting does not make sense.
    #[error("token {token}: {problem}")]
    Invalid {
        /// Name of the section.
        token: String,
        /// What is wrong, for the operator.
        problem: &'static str,
    },
    /// Others could read the PIN, too.
    #[error("token {token}: its PIN file {file} can be read by others; set its mode to 0600")]
    PinReadableByOthers {
        /// Name of the section.
        token: String,
        /// The file.
        file: PathBuf,
    },
    /// The PIN could not be read.
    #[error("token {token}: its PIN could not be read from {place}")]
    PinUnreadable {
        /// Name of the section.
        token: String,
        /// File or variable.
        place: String,
        /// Why, where the operating system said so.
        source: Option<std::io::Error>,
    },
}

impl PinSource {
    /// Reads the PIN. `token` is the name of the section, for the error.
    pub fn resolve(&self, token: &str) -> Result<Secret, TokenConfigError> {
        let unreadable = |place: String, source| TokenConfigError::PinUnreadable {
            token: token.to_owned(),
            place,
            source,
        };
        let (text, place) = match self {
            Self::File(path) => {
                let place = format!("the file {}", path.display());
                let (text, is_private) =
                    read_start(path).map_err(|error| unreadable(place.clone(), Some(error)))?;
                if !is_private {
                    return Err(TokenConfigError::PinReadableByOthers {
                        token: token.to_owned(),
                        file: path.clone(),
                    });
                }
                (text, place)
            }
            Self::Env(name) => {
                let place = format!("the environment variable {name}");
                let text = std::env::var(name).map_err(|_| unreadable(place.clone(), None))?;
                (Secret::new(text), place)
            }
        };
        let pin = text.expose().trim_end_matches(['\n', '\r']);
        if pin.is_empty() || pin.len() > PIN_FILE_BYTES_MAX || pin.contains('\0') {
            return Err(unreadable(place, None));
        }
        Ok(Secret::new(pin.to_owned()))
    }
}

/// Reads a file as far as it could be a PIN, for a path may name a device that never ends; and whether
/// nobody else may do so. What is no file, such as a pipe, has one reader.
fn read_start(path: &Path) -> std::io::Result<(Secret, bool)> {
    // Room for the whole, so that no half of a PIN stays behind where the text had to grow.
    let mut text = String::with_capacity(PIN_FILE_BYTES_MAX.saturating_mul(2));
    let bytes_max = u64::try_from(PIN_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path)?;
    let data = file.metadata()?;
    let is_private = !data.is_file() || data.permissions().mode() & 0o077 == 0;
    file.take(bytes_max.saturating_add(3))
        .read_to_string(&mut text)
        .map(|_| (Secret::new(text), is_private))
}

impl RawToken {
    /// The PKCS#11 library and the environment variables it reads, as [`RawToken::check`] understands
    /// them; needs no PIN.
    pub fn library(&self, folder: &Path) -> (PathBuf, BTreeMap<String, String>) {
        let beside = |name: &Path| {
            let path = folder.join(name);
            path.exists()
                .then(|| std::path::absolute(&path).unwrap_or(path))
        };
        let module = match beside(&self.module) {
            Some(path) => path,
            None if self.module.components().count() > 1 => folder.join(&self.module),
            None => self.module.clone(),
        };
        let module_env = self
            .module_env
            .iter()
            .map(|(name, value)| {
                let path = beside(Path::new(value))
                    .filter(|_| !value.is_empty())
                    .and_then(|path| path.to_str().map(str::to_owned));
                (name.clone(), path.unwrap_or_else(|| value.clone()))
            })
            .collect();
        (module, module_env)
    }

    /// Checks the section and reads the PIN. Relative paths start at `folder`, the one of the
    /// configuration file.
    pub fn check(self, folder: &Path) -> Result<TokenConfig, TokenConfigError> {
        let invalid = |problem| TokenConfigError::Invalid {
            token: self.name.clone(),
            problem,
        };
        if self.name.is_empty() {
            return Err(invalid("its name is empty"));
        }
        let environment = self
            .environment
            .parse()
            .map_err(|_| invalid("its environment is neither TEST nor LIVE"))?;
        let (module, module_env) = self.library(folder);
        let token = match (self.label, self.serial, self.slot) {
            (Some(label), None, None) => Selector::Label(label),
            (None, Some(serial), None) => Selector::Serial(serial),
            (None, None, Some(slot)) => Selector::Slot(slot),
            (None, None, None)
            | (Some(_), Some(_), _)
            | (Some(_), _, Some(_))
            | (_, Some(_), Some(_)) => {
                return Err(invalid("it needs exactly one of label, serial and slot"));
            }
        };
        let source = match (self.pin_file, self.pin_env) {
            (Some(file), None) => PinSource::File(folder.join(file)),
            (None, Some(variable)) => PinSource::Env(variable),
            (None, None) | (Some(_), Some(_)) => {
                return Err(invalid("it needs exactly one of pin_file and pin_env"));
            }
        };
        let sessions_max = self.sessions_max.unwrap_or(SESSIONS_DEFAULT);
        if sessions_max == 0 || sessions_max > SESSIONS_MAX {
            return Err(invalid("sessions_max must lie between 1 and 1024"));
        }
        if self.switch_after_s.is_some() && self.standby_of.is_none() {
            return Err(invalid("switch_after_s is for a token with standby_of"));
        }
        Ok(TokenConfig {
            key_copies: self.key_copies,
            session_keys_max: SESSION_KEYS_MAX_DEFAULT,
            wrapping: None,
            standby_of: self.standby_of,
            switch_after_s: self.switch_after_s.unwrap_or_default(),
            pin: source.resolve(&self.name)?,
            environment,
            module,
            module_env,
            token,
            sessions_max,
            session_wait_ms: self.session_wait_ms.unwrap_or(SESSION_WAIT_MS_DEFAULT),
            name: self.name,
        })
    }
}
