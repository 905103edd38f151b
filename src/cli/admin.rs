//! `siegel admin`: what an operator does by hand.

use crate::app::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::ledger::{ApiKey, ApiKeyStatus, OrganizationRow, Store};
use crate::terms::{Clock as _, Entropy, Environment, OrganizationId};
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// Arguments of `siegel admin`.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// Configuration of the server. With SQLite the server must not be running.
    #[arg(long, default_value = "var/siegel.toml")]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Owners of TSSs.
    #[command(subcommand)]
    Organization(OrganizationWhat),
    /// What tills log in with.
    #[command(subcommand)]
    ApiKey(ApiKeyWhat),
}

#[derive(Debug, Subcommand)]
enum OrganizationWhat {
    /// Makes an organisation and prints its id.
    Create {
        /// Name, for people.
        name: String,
    },
    /// Lists all organisations.
    List,
}

#[derive(Debug, Subcommand)]
enum ApiKeyWhat {
    /// Makes a key and prints key and secret; the secret is not shown again.
    Create {
        /// Id of the organisation.
        organization: OrganizationId,
        /// Name, for people: a-z, 0-9, hyphen; 3 to 30 characters.
        name: String,
        /// TEST or LIVE.
        #[arg(long, default_value = "TEST")]
        environment: Environment,
    },
    /// Lists the keys of an organisation.
    List {
        /// Id of the organisation.
        organization: OrganizationId,
    },
    /// Ends a key; its tokens stop working.
    Revoke {
        /// The key.
        key: String,
    },
}

/// A new API key with its secret, which exists only here.
#[derive(Clone, Debug)]
pub(super) struct NewApiKey {
    /// Text clients send as `api_key`.
    pub key: String,
    /// Text clients send as `api_secret`.
    pub secret: String,
}

pub(super) fn run(args: AdminArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let store = Store::open(&config.store, &SystemEntropy)?;
    match args.what {
        What::Organization(OrganizationWhat::Create { name }) => {
            println!("{}", create_organization(&store, &name)?.id);
        }
        What::Organization(OrganizationWhat::List) => {
            for row in store.organizations()? {
                println!("{}  {}", row.id, row.name);
            }
        }
        What::ApiKey(ApiKeyWhat::Create {
            organization,
            name,
            environment,
        }) => {
            let made = create_api_key(&store, organization, &name, environment)?;
            println!("api_key={}\napi_secret={}", made.key, made.secret);
        }
        What::ApiKey(ApiKeyWhat::List { organization }) => {
            for row in store.api_keys(organization)? {
                println!("{}  {}  {}", row.key, row.environment, row.status.as_str());
            }
        }
        What::ApiKey(ApiKeyWhat::Revoke { key }) => {
            if !store.set_api_key_status(&key, ApiKeyStatus::Revoked)? {
                bail!("there is no API key {key}");
            }
        }
    }
    Ok(())
}

/// Makes an organisation.
pub(super) fn create_organization(store: &Store, name: &str) -> anyhow::Result<OrganizationRow> {
    if name.trim().len() < 3 {
        bail!("the name of an organisation has at least 3 characters");
    }
    let organization = OrganizationRow {
        id: OrganizationId::new(random_uuid(&SystemEntropy)),
        name: name.to_owned(),
        time_creation: SystemClock::new().now(),
    };
    store.add_organization(&organization)?;
    Ok(organization)
}

/// Makes an API key.
pub(super) fn create_api_key(
    store: &Store,
    organization: OrganizationId,
    name: &str,
    environment: Environment,
) -> anyhow::Result<NewApiKey> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(3..=30).contains(&name.len()) || !name.chars().all(allowed) {
        bail!("the name of an API key has 3 to 30 characters out of a-z, 0-9 and hyphen");
    }
    store
        .organization(organization)?
        .context("there is no such organisation")?;
    let prefix = environment.as_str().to_ascii_lowercase();
    let made = NewApiKey {
        key: format!("{prefix}_{}_{name}", random_text::<16>(&SystemEntropy)),
        secret: random_text::<32>(&SystemEntropy),
    };
    store.add_api_key(&ApiKey {
        key: made.key.clone(),
        organization,
        environment,
        name: name.to_owned(),
        secret_sha256: Sha256::digest(made.secret.as_bytes()).into(),
        status: ApiKeyStatus::Enabled,
        time_creation: SystemClock::new().now(),
    })?;
    Ok(made)
}

fn random_text<const BYTES: usize>(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A version 4 UUID from our own randomness.
pub(super) fn random_uuid(entropy: &dyn Entropy) -> uuid::Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
