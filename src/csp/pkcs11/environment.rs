//! Environment variables that modules read, such as `SOFTHSM2_CONF`.
//!
//! A module reads its variables with `getenv` while it is initialised. Changing them inside a running
//! process is undefined as soon as a second thread exists, which is why Rust calls it unsafe and this
//! project does not do it. Instead the process starts itself again, once, with the variables set: same
//! arguments, same process id (`execve`), before it has made any thread.

use super::config::TokenConfig;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Carries the process id of a process that has already started itself again.
const MARK: &str = "SIEGEL_ENVIRONMENT_APPLIED";

/// Why the variables cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Two modules want different values; one process has only one environment.
    #[error(
        "the tokens {first} and {second} want different values of the environment variable {name}"
    )]
    Conflict {
        /// Name of the variable.
        name: String,
        /// Name of a token.
        first: String,
        /// Name of another token.
        second: String,
    },
    /// A name or value that no environment can hold.
    #[error(
        "{name:?} cannot be the name of an environment variable, or its value cannot be a value"
    )]
    NotPossible {
        /// The name as configured.
        name: String,
    },
    /// The operating system did not start this program again.
    #[error("could not start this program again with the variables of its PKCS#11 modules")]
    NotStarted {
        /// Its answer, where it gave one.
        source: Option<std::io::Error>,
    },
}

/// The variables of all tokens together.
pub fn merge<'a>(
    tokens: impl IntoIterator<Item = &'a TokenConfig>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    merge_libraries(
        tokens
            .into_iter()
            .map(|token| (token.name.as_str(), &token.module_env)),
    )
}

/// The same from the variables as [`super::RawToken::library`] gives them, each with the name of its
/// token; needs no PIN.
pub fn merge_libraries<'a>(
    libraries: impl IntoIterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut merged: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for (token, module_env) in libraries {
        for (name, value) in module_env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(EnvironmentError::NotPossible { name: name.clone() });
            }
            let (present, first) = merged
                .entry(name.clone())
                .or_insert_with(|| (value.clone(), token));
            if present != value {
                return Err(EnvironmentError::Conflict {
                    name: name.clone(),
                    first: (*first).to_owned(),
                    second: token.to_owned(),
                });
            }
        }
    }
    Ok(merged
        .into_iter()
        .map(|(name, (value, _))| (name, value))
        .collect())
}

/// Returns if this process has all of the variables already; otherwise replaces it by a fresh start of
/// the same program with the same arguments and the variables set, and does not return.
///
/// Call it before any thread is made and before anything is opened that must be closed in order.
pub fn reexec_with(variables: &BTreeMap<String, String>) -> Result<(), EnvironmentError> {
    let applied = variables.iter().all(|(name, value)| {
        std::env::var_os(name).is_some_and(|present| present == value.as_str())
    });
    if applied {
        return Ok(());
    }
    // The process id survives execve, so this mark cannot be one inherited from a parent.
    let process = std::process::id().to_string();
    if std::env::var_os(MARK).is_some_and(|mark| mark == process.as_str()) {
        return Err(EnvironmentError::NotStarted { source: None });
    }
    let started = |source| EnvironmentError::NotStarted {
        source: Some(source),
    };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe().map_err(started)?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).envs(variables).env(MARK, process);
    Err(started(command.exec()))
}
