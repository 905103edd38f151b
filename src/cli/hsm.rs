//! `siegel hsm`: which tokens there are, and whether one of them will do.
//!
//! Invariant: no key of a TSS is touched, no PIN is printed, and nothing stays on a token.

use super::FAILED;
use crate::app::{SystemClock, SystemEntropy};
use crate::csp::CspError;
use crate::csp::pkcs11::{
    Finding, Pkcs11Token, ProbeOptions, RawToken, Selector, SlotReport, TokenConfig, Verdict,
    curve_line, environment, probe, report, suffices,
};
use crate::telemetry;
use crate::terms::Curve;
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// A token does not suffice.
const NOT_ENOUGH: u8 = 1;

/// Arguments of `siegel hsm`.
#[derive(Debug, clap::Args)]
pub(super) struct HsmArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows modules, slots and tokens. Needs no PIN.
    List {
        /// PKCS#11 libraries to look into. Variables they read must be in the environment.
        #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "config")]
        module: Vec<PathBuf>,
        /// Configuration whose [[token]] sections name the modules and their variables.
        #[arg(long, value_name = "FILE", default_value = "var/siegel.toml")]
        config: PathBuf,
    },
    /// Tries out with throw-away keys what a token can do. Exit code 0: all tokens suffice; 1: one does
    /// not; 2: one could not be probed.
    ///
    /// Logs in once with the configured PIN. Not twice at once on the same token: what an earlier check
    /// has left behind that was killed is destroyed first.
    Check {
        /// Configuration with [[token]] sections; other sections are not looked at, except pki.curve.
        #[arg(long, value_name = "FILE", default_value = "var/siegel.toml")]
        config: PathBuf,
        /// Only the token of this name; otherwise all.
        #[arg(long, value_name = "NAME")]
        token: Option<String>,
    },
}

/// Runs the subcommand and tells the outcome.
pub(super) fn run(args: &HsmArgs) -> ExitCode {
    let outcome = match &args.what {
        What::List { module, config } => list(module, config),
        What::Check { config, token } => check(config, token.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(FAILED)
    })
}

fn complain(error: &anyhow::Error) {
    eprintln!("siegel: {error:#}");
}

/// The parts of a configuration that matter here. Unlike the server's reading of it this needs neither a
/// ledger nor, to list, the PIN, so that a token can be looked at before anything else is set up.
#[derive(Debug, serde::Deserialize)]
struct RawFile {
    #[serde(default, rename = "token")]
    tokens: Vec<RawToken>,
    #[serde(default)]
    pki: RawPki,
}

#[derive(Debug, Default, serde::Deserialize)]
struct RawPki {
    curve: Option<String>,
}

impl RawFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the configuration {} could not be read", path.display()))?;
        let file: Self = toml::from_str(&text).map_err(|mut error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count().saturating_add(1));
            // Without the text of the line: somebody may have written the PIN itself there.
            error.set_input(None);
            anyhow::Error::from(error).context(format!(
                "{}, line {line}, is not understood",
                path.display()
            ))
        })?;
        if file.tokens.is_empty() {
            bail!("{} has no [[token]] section", path.display());
        }
        Ok(file)
    }
}

fn folder(config: &Path) -> &Path {
    let parent = config.parent();
    parent
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Sets the variables of the modules, which may start this process anew; then starts the traces.
fn prepare(tokens: &[RawToken], folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let libraries: Vec<_> = tokens.iter().map(|token| token.library(folder)).collect();
    let variables = environment::merge_libraries(
        tokens
            .iter()
            .zip(&libraries)
            .map(|(token, (_, variables))| (token.name.as_str(), variables)),
    )?;
    environment::reexec_with(&variables)?;
    telemetry::start_for_command()?;
    let mut modules: Vec<PathBuf> = Vec::new();
    for (module, _) in libraries {
        if !modules.contains(&module) {
            modules.push(module);
        }
    }
    Ok(modules)
}

fn list(modules: &[PathBuf], config: &Path) -> anyhow::Result<ExitCode> {
    let modules = if modules.is_empty() {
        prepare(&RawFile::read(config)?.tokens, folder(config))?
    } else {
        modules.to_vec()
    };
    let mut code = ExitCode::SUCCESS;
    for module in &modules {
        println!("module {}", module.display());
        match report(module) {
            Ok(found) => {
                match found.library {
                    Ok(library) => println!("  {library}"),
                    Err(error) => println!("  does not tell what it is: {error}"),
                }
                if found.slots.is_empty() {
                    println!("  no token");
                }
                found.slots.iter().for_each(print_slot);
            }
            Err(error) => {
                complain(&error.into());
                code = ExitCode::from(FAILED);
            }
        }
    }
    Ok(code)
}

fn print_slot(slot: &SlotReport) {
    println!("  slot {}", slot.id);
    let token = match &slot.token {
        Ok(token) => token,
        Err(error) => return println!("    not readable: {error}"),
    };
    if !token.initialized {
        return println!("    a token that is not initialised");
    }
    let pin = match (
        token.user_pin_set,
        token.user_pin_locked,
        token.user_pin_tries_low,
    ) {
        (false, _, _) => "no user PIN is set",
        (true, true, _) => "the user PIN is locked",
        (true, false, true) => "one or a few more wrong PINs lock it",
        (true, false, false) => "the user PIN is set",
    };
    // Quoted with escapes: what a token calls itself is foreign text.
    println!("    label  {:?}", token.label);
    println!("    serial {:?}", token.serial);
    println!(
        "    made by {:?}, model {:?}",
        token.manufacturer, token.model
    );
    println!("    {pin}");
}

fn check(config: &Path, wanted: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut file = RawFile::read(config)?;
    let curve = file.pki.curve.as_deref().unwrap_or("secp256r1");
    let curve =
        Curve::from_name(curve).with_context(|| format!("pki.curve: no curve {curve:?}"))?;
    if let Some(wanted) = wanted {
        file.tokens.retain(|token| token.name == wanted);
        if file.tokens.is_empty() {
            bail!("{} has no token {wanted:?}", config.display());
        }
    }
    prepare(&file.tokens, folder(config))?;
    let (mut enough, mut failed) = (true, false);
    for raw in file.tokens {
        match raw
            .check(folder(config))
            .map_err(anyhow::Error::from)
            .and_then(|token| check_token(token, curve))
        {
            Ok(suffices) => enough &= suffices,
            Err(error) => {
                complain(&error);
                failed = true;
            }
        }
    }
    Ok(match (failed, enough) {
        (true, _) => ExitCode::from(FAILED),
        (false, false) => ExitCode::from(NOT_ENOUGH),
        (false, true) => ExitCode::SUCCESS,
    })
}

/// Whether the token suffices for keys on this curve.
fn check_token(config: TokenConfig, curve: Curve) -> anyhow::Result<bool> {
    let selector = match &config.token {
        Selector::Label(label) => format!("label {label:?}"),
        Selector::Serial(serial) => format!("serial {serial:?}"),
        Selector::Slot(slot) => format!("slot {slot}"),
    };
    let (name, module) = (config.name.clone(), config.module.clone());
    println!("token {name}: {selector} in {}", module.display());
    let clock = Arc::new(SystemClock::new());
    let token = match Pkcs11Token::open_on_trial(config, Arc::new(SystemEntropy), clock) {
        Ok(token) => token,
        // It answered; the answer is no.
        Err(error @ CspError::NotSupported { .. }) => {
            println!("does not suffice: {:#}", anyhow::Error::from(error));
            return Ok(false);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("token {name} could not be probed"));
        }
    };
    let mut findings = probe(
        &token,
        ProbeOptions {
            tidy: true,
            ..ProbeOptions::default()
        },
    );
    // New TSSs get this curve, so the others do not make up for it.
    for finding in &mut findings {
        finding.needed |= finding.line == curve_line(curve);
    }
    print_table(&findings);
    let enough = suffices(&findings);
    if enough {
        println!("suffices");
    } else {
        println!("does not suffice");
    }
    Ok(enough)
}

fn print_table(findings: &[Finding]) {
    let width = findings
        .iter()
        .map(|finding| finding.line.len())
        .max()
        .unwrap_or_default();
    println!("  verdict   needed  {:width$}  detail", "ability");
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Works => "works",
            Verdict::Fails => "fails",
            Verdict::Measured => "measured",
        };
        let needed = if finding.needed { "needed" } else { "" };
        let line = format!(
            "  {verdict:8}  {needed:6}  {:width$}  {}",
            finding.line, finding.detail
        );
        println!("{}", line.trim_end());
    }
}
