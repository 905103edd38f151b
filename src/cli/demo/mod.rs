//! `siegel demo`: a first organisation, and a small till that shows the whole way.
//!
//! The till knows nothing of the server but its HTTP dialect; it is a client like any other.

mod credentials;
mod paper;
mod till;

use super::files::write_private;
use crate::cli::client::Api;
use credentials::Credentials;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `siegel demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Makes an organisation and an API key and writes them to a file. With SQLite the server must not
    /// be running. A file whose key still works is kept.
    Credentials(credentials::CredentialsArgs),
    /// Plays a till against a running server, exports what it signed and verifies the export.
    Play(PlayArgs),
}

/// Arguments of `siegel demo play`.
#[derive(Debug, clap::Args)]
struct PlayArgs {
    /// What `siegel demo credentials` wrote.
    #[arg(long, default_value = "var/demo/credentials.json")]
    credentials: PathBuf,
    /// Folder for receipt.json, export.tar and till.json.
    #[arg(long, default_value = "var/demo")]
    out: PathBuf,
}

/// Exit code 0: done, and what was exported verified; 1: it did not verify; 2: it could not be done.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Credentials(args) => credentials::run(args).map(|()| ExitCode::SUCCESS),
        What::Play(args) => play(args),
    }
}

fn play(args: &PlayArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out)?;
    let credentials = Credentials::read(&args.credentials)?;
    let api = Api::log_in(
        &credentials.base_url,
        &credentials.api_key,
        &credentials.api_secret,
    )?;
    let till = till::Till::open(&api, &args.out.join("till.json"))?;
    let receipt = till.sell()?;
    let file = args.out.join("receipt.json");
    write_private(&file, serde_json::to_string_pretty(&receipt)?.as_bytes())?;
    println!("{}", paper::receipt(&receipt)?);
    let archive = args.out.join("export.tar");
    till.export(&archive)?;
    let verified = verify(&archive)?;
    println!();
    println!("base URL    {}", credentials.base_url);
    println!("API key     {}", credentials.api_key);
    println!("API secret  {}", credentials.api_secret);
    println!("receipt     {}", file.display());
    println!("export      {}", archive.display());
    Ok(verified)
}

/// With the command that anyone else would use, in a process of its own.
fn verify(archive: &Path) -> anyhow::Result<ExitCode> {
    let status = Command::new(std::env::current_exe()?)
        .arg("verify")
        .arg(archive)
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(super::FAILED)))
}
