//! `siegel pki`: devices whose certificates a foreign authority makes.
//!
//! Invariant: a key signs one request, ever; asked for it again, the same bytes are written.

mod list;

use super::files::write_public;
use super::operator;
use crate::app::{ForeignCa, ForeignCaError, SystemClock, SystemEntropy, label_of, wrapping};
use crate::config::{Config, device_curve};
use crate::csp::pkcs11::{Pkcs11Token, TokenConfig, label_in};
use crate::csp::{Csp as _, Wrapping};
use crate::ledger::{Store, WaitingDevice};
use crate::pki::{Checked, ForeignCertificate};
use crate::signing::DEVICE_FLAWS;
use crate::telemetry;
use crate::terms::{Clock as _, Curve, SeTime, SerialNumber};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// A certificate may not be taken.
const REFUSED: u8 = 1;

/// Largest file of certificates that is read, in bytes.
const FILE_LEN_MAX: u64 = 256 << 20;

/// Arguments of `siegel pki`.
#[derive(Debug, clap::Args)]
pub(super) struct PkiArgs {
    /// Configuration of the server. With SQLite the server must not be running.
    #[arg(long, global = true, default_value = "var/siegel.toml")]
    config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes keys in a token and writes a certificate request (PKCS#10, PEM) for each.
    ///
    /// A run that was interrupted is not repeated but continued: --again writes what was made, and another
    /// run makes what is missing.
    Request {
        /// Name of the [[token]] section.
        #[arg(long, value_name = "NAME")]
        token: String,
        /// How many.
        #[arg(
            long,
            value_name = "N",
            required_unless_present = "again",
            conflicts_with = "again"
        )]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: Option<u32>,
        /// Folder for the requests, each named by the serial number of its device.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Curve of the keys, instead of pki.curve.
        #[arg(long, value_parser = curve, conflicts_with = "again")]
        curve: Option<Curve>,
        /// Make nothing; write the requests of all devices that wait for their certificate once more.
        #[arg(long)]
        again: bool,
    },
    /// Takes certificates, and makes the devices ready whose keys they are for: all or nothing.
    ///
    /// Exit code 1: a certificate may not be taken, and nothing was changed. The same again changes
    /// nothing. A server on PostgreSQL uses the devices at once.
    Import {
        /// Name of the [[token]] section that holds the keys.
        #[arg(long, value_name = "NAME")]
        token: String,
        /// Files with certificates, PEM or DER, one or several in each.
        #[arg(value_name = "CERT", required = true)]
        certificates: Vec<PathBuf>,
        /// Files with the certificates of the issuers up to the root, as far as they are not among the
        /// others or were not imported before.
        #[arg(long, value_name = "FILE")]
        chain: Vec<PathBuf>,
    },
    /// Takes devices back that were set aside because their token did not sign with their keys, such as one whose
    /// key has come since: the next TSSs are made of them.
    ///
    /// Exit code 1: one was set aside for another reason, such as a key that has signed for a TSS which the ledger does
    /// not know, or not at all; the others were taken back.
    Readmit {
        /// Serial numbers, as `siegel pki list` shows them.
        #[arg(value_name = "SERIAL", required = true)]
        devices: Vec<SerialNumber>,
    },
    /// Shows all devices, how many stand where, and how long their certificates last.
    List {
        /// Only those in the token of this [[token]] section.
        #[arg(long, value_name = "NAME")]
        token: Option<String>,
    },
}

fn curve(name: &str) -> Result<Curve, String> {
    let names = "secp256r1, secp384r1, brainpoolP256r1, brainpoolP384r1";
    device_curve(name).ok_or_else(|| format!("one of {names}"))
}

/// What was done, to be printed.
pub(super) struct Told {
    text: String,
    json: Value,
}

/// Runs the subcommand and tells the outcome.
pub(super) fn run(args: &PkiArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    operator::prepare(&config)?;
    telemetry::start_for_command()?;
    let store = Store::open(&config.store, &SystemEntropy)?;
    let now = SystemClock::new().now();
    let told = match &args.what {
        What::Request {
            token,
            count,
            out,
            curve,
            ..
        } => {
            let token = section(&config, token)?;
            let wish = Wish {
                wrapping: wrapping(&config, &store),
                count: *count,
                curve: curve.unwrap_or(config.curve),
                out,
            };
            request(&store, token, &wish)?
        }
        What::Import {
            token,
            certificates,
            chain,
        } => {
            let files: Vec<_> = certificates.iter().chain(chain).collect();
            match import(&store, section(&config, token)?, &files, now) {
                Ok(told) => told,
                Err(error) => return refusal(error),
            }
        }
        What::Readmit { devices } => {
            let (told, all) = readmit(&store, devices)?;
            print(args, &told);
            return Ok(match all {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(REFUSED),
            });
        }
        What::List { token } => {
            let token = token.as_ref().map(|name| section(&config, name));
            let label = token.transpose()?.map(|token| label(&store, token));
            let label = label.transpose()?;
            list::list(&store, label.as_deref(), now)?
        }
    };
    print(args, &told);
    Ok(ExitCode::SUCCESS)
}

fn print(args: &PkiArgs, told: &Told) {
    if args.json {
        println!("{}", told.json);
    } else if !told.text.is_empty() {
        println!("{}", told.text);
    }
}

/// Tells as well whether all of them were taken back.
fn readmit(store: &Store, devices: &[SerialNumber]) -> anyhow::Result<(Told, bool)> {
    let (mut ready, mut refused) = (Vec::new(), Vec::new());
    for device in devices {
        match store.take_device_back(*device, &DEVICE_FLAWS)? {
            true => ready.push(device.to_string()),
            false => refused.push(device.to_string()),
        }
    }
    let is_ready = ready.iter().map(|device| format!("{device}  ready"));
    let is_refused = refused
        .iter()
        .map(|device| format!("{device}  was not set aside for a key that did not sign"));
    let told = Told {
        text: is_ready.chain(is_refused).collect::<Vec<_>>().join("\n"),
        json: json!({"ready": ready, "refused": refused}),
    };
    Ok((told, refused.is_empty()))
}

/// A "no" that was found out has an exit code of its own.
fn refusal(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let known = error.downcast_ref::<ForeignCaError>();
    if known.is_some_and(|error| matches!(error, ForeignCaError::Refused(_))) {
        eprintln!("siegel: {error:#}");
        return Ok(ExitCode::from(REFUSED));
    }
    Err(error)
}

fn section<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a TokenConfig> {
    let mut tokens = config.tokens.iter();
    let found = tokens
        .find(|token| token.name == name)
        .with_context(|| format!("the configuration has no [[token]] section named {name:?}"))?;
    if let Some(main) = &found.standby_of {
        bail!("{name:?} is a standby, with the keys of {main:?}; name that one");
    }
    Ok(found)
}

/// A key that is made in a token which does not sign now would be missing in the one that does.
fn refuse_inactive(store: &Store, label: &str, token: &TokenConfig) -> anyhow::Result<()> {
    match store.active_token(label)? {
        Some(active) if active.section != token.name => bail!(
            "{:?} signs now for {:?}; make it the active one again first",
            active.section,
            token.name
        ),
        Some(_) | None => Ok(()),
    }
}

/// Label of a token, as the ledger knows it. Only where it does not, as with a section that was named anew, the
/// module is asked; that needs no PIN.
fn label(store: &Store, token: &TokenConfig) -> anyhow::Result<String> {
    if let Some(label) = label_of(store, token)? {
        return Ok(label);
    }
    label_in(&token.module, &token.token)
        .with_context(|| format!("the label of the token {} is not known", token.name))
}

/// What is asked for; without a count, what is there.
struct Wish<'a> {
    wrapping: Wrapping,
    count: Option<u32>,
    curve: Curve,
    out: &'a Path,
}

fn request(store: &Store, token: &TokenConfig, wish: &Wish<'_>) -> anyhow::Result<Told> {
    std::fs::create_dir_all(wish.out)
        .with_context(|| format!("the folder {} could not be made", wish.out.display()))?;
    let mut written = Vec::new();
    match wish.count {
        None => {
            let label = label(store, token)?;
            ForeignCa::new(store, &label, token.environment)?;
            for waiting in store.waiting_devices(&label)? {
                written.push((waiting.serial_number, write(&waiting, wish.out)?));
            }
        }
        Some(count) => {
            let clock = Arc::new(SystemClock::new());
            let section = TokenConfig {
                wrapping: Some(wish.wrapping.clone()),
                ..token.clone()
            };
            let csp = Pkcs11Token::open(section, Arc::new(SystemEntropy), clock.clone())
                .with_context(|| format!("the token {} cannot be used", token.name))?;
            store.remember_token_label(&token.name, csp.token())?;
            refuse_inactive(store, csp.token(), token)?;
            let foreign = ForeignCa::new(store, csp.token(), token.environment)?;
            for made in 0..count {
                let waiting = foreign.request(&csp, &SystemEntropy, wish.curve, clock.now());
                let waiting = waiting.with_context(|| {
                    format!("{made} of {count} were made; siegel pki list shows them")
                })?;
                written.push((waiting.serial_number, write(&waiting, wish.out)?));
            }
            tell_strays(store, &csp)?;
        }
    }
    let lines = written
        .iter()
        .map(|(_, file)| file.display().to_string())
        .collect::<Vec<_>>();
    let values = written.iter().map(|(serial, file)| {
        json!({"serial_number": serial.to_string(), "file": file.display().to_string()})
    });
    Ok(Told {
        text: lines.join("\n"),
        json: json!({"requests": values.collect::<Vec<_>>()}),
    })
}

fn write(waiting: &WaitingDevice, folder: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join(format!("{}.csr", waiting.serial_number));
    write_public(&file, &waiting.request_pem()?)?;
    Ok(file)
}

/// Keys that nobody knows are never deleted by themselves: only a person can tell whose they are.
fn tell_strays(store: &Store, csp: &Pkcs11Token) -> anyhow::Result<()> {
    let known = store.known_keys(csp.token())?;
    let keys = csp.key_ids()?;
    let strays = keys.iter().filter(|key| !known.contains(key)).count();
    if strays > 0 {
        eprintln!(
            "siegel: {strays} keys in the token are not in the ledger, as a run leaves them that was interrupted"
        );
    }
    Ok(())
}

fn import(
    store: &Store,
    token: &TokenConfig,
    files: &[&PathBuf],
    now: SeTime,
) -> anyhow::Result<Told> {
    let mut given = Vec::new();
    for file in files {
        given.extend(read(file)?);
    }
    let label = label(store, token)?;
    let foreign = ForeignCa::new(store, &label, token.environment)?;
    Ok(imported(&foreign.import(&given, now)?))
}

fn read(file: &Path) -> anyhow::Result<Vec<ForeignCertificate>> {
    let unreadable = || format!("{} could not be read", file.display());
    let len = std::fs::metadata(file).with_context(unreadable)?.len();
    if len > FILE_LEN_MAX {
        bail!("{} is too large for a file of certificates", file.display());
    }
    let bytes = std::fs::read(file).with_context(unreadable)?;
    ForeignCertificate::read(&bytes).with_context(unreadable)
}

fn imported(checked: &Checked) -> Told {
    let mut lines = Vec::new();
    for ca in &checked.cas {
        lines.push(format!("CA {}  kept", ca.serial_number));
    }
    for device in &checked.devices {
        let until = list::date(device.certificate_not_after);
        lines.push(format!("{}  ready, until {until}", device.serial_number));
    }
    for device in &checked.repeated {
        lines.push(format!("{device}  has this certificate already"));
    }
    for note in &checked.notes {
        lines.push(format!("note: {note}"));
    }
    let ready = checked.devices.iter().map(|device| {
        json!({
            "serial_number": device.serial_number.to_string(),
            "certificate_not_after": device.certificate_not_after.unix_seconds(),
        })
    });
    let texts = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>();
    Told {
        text: lines.join("\n"),
        json: json!({
            "ready": ready.collect::<Vec<_>>(),
            "repeated": texts(&mut checked.repeated.iter().map(ToString::to_string)),
            "cas": texts(&mut checked.cas.iter().map(|ca| ca.serial_number.to_string())),
            "notes": checked.notes,
        }),
    }
}
