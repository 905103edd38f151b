//! What the demo till logs in with.

use crate::app::SystemEntropy;
use crate::cli::admin::{create_api_key, create_organization};
use crate::cli::files::write_private;
use crate::config::Config;
use crate::ledger::{ApiKeyStatus, Store};
use crate::terms::Environment;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Arguments of `siegel demo credentials`.
#[derive(Debug, clap::Args)]
pub(super) struct CredentialsArgs {
    /// Configuration of the server.
    #[arg(long, default_value = "var/siegel.toml")]
    config: PathBuf,
    /// Base URL to write, with the version; made of `server.listen` where it is left out.
    #[arg(long)]
    base_url: Option<String>,
    /// File to write; demo/credentials.json beside the configuration where it is left out.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// The file's content. Its names are those of the HTTP dialect.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Credentials {
    /// Base URL, with the version.
    pub base_url: String,
    /// Sent as `api_key`.
    pub api_key: String,
    /// Sent as `api_secret`.
    pub api_secret: String,
}

impl Credentials {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} could not be read", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a credentials file", path.display()))
    }
}

pub(super) fn run(args: &CredentialsArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let beside = || args.config.with_file_name("demo").join("credentials.json");
    let out = args.out.clone().unwrap_or_else(beside);
    let store = Store::open(&config.store, &SystemEntropy)?;
    let base_url = args
        .base_url
        .clone()
        .unwrap_or_else(|| format!("http://{}/api/v2", config.listen));
    let credentials = match kept(&store, &out)? {
        Some(kept) => Credentials { base_url, ..kept },
        None => {
            let organization = create_organization(&store, "Demo")?;
            let made = create_api_key(&store, organization.id, "demo", Environment::Test)?;
            Credentials {
                base_url,
                api_key: made.row.key,
                api_secret: made.secret,
            }
        }
    };
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write_private(&out, serde_json::to_string_pretty(&credentials)?.as_bytes())?;
    println!("API key and secret are in {}", out.display());
    Ok(())
}

/// What the file holds already, if the ledger knows the key and has not ended it.
fn kept(store: &Store, file: &Path) -> anyhow::Result<Option<Credentials>> {
    if !file.exists() {
        return Ok(None);
    }
    let credentials = Credentials::read(file)?;
    let known = store.api_key(&credentials.api_key)?;
    let works = known.is_some_and(|key| key.status == ApiKeyStatus::Enabled);
    Ok(works.then_some(credentials))
}
