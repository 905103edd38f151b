//! Organisations and API keys by hand.

use super::Told;
use crate::app::{SystemClock, SystemEntropy};
use crate::http::management_v0::{NewApiKey, NewOrganization, is_key_name, is_organization_name};
use crate::ledger::{ApiKeyStatus, OrganizationRow, Store};
use crate::terms::{Clock as _, Environment, OrganizationId};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum OrganizationWhat {
    /// Makes an organisation and prints its id.
    Create {
        /// Name, for people.
        name: String,
    },
    /// Lists all organisations.
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyWhat {
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
    /// Ends a key for good; its tokens stop working within a second.
    Revoke {
        /// The key.
        key: String,
    },
}

pub(super) fn organization(store: &Store, what: OrganizationWhat) -> anyhow::Result<Told> {
    match what {
        OrganizationWhat::Create { name } => {
            let made = create_organization(store, &name)?;
            Ok(Told {
                text: made.id.to_string(),
                json: json!({"id": made.id.to_string(), "name": made.name}),
            })
        }
        OrganizationWhat::List => {
            let rows = store.organizations()?;
            let lines = rows.iter().map(|row| format!("{}  {}", row.id, row.name));
            let values = rows
                .iter()
                .map(|row| json!({"id": row.id.to_string(), "name": row.name}));
            Ok(Told {
                text: lines.collect::<Vec<_>>().join("\n"),
                json: values.collect(),
            })
        }
    }
}

pub(super) fn api_key(store: &Store, what: ApiKeyWhat) -> anyhow::Result<Told> {
    match what {
        ApiKeyWhat::Create {
            organization,
            name,
            environment,
        } => {
            let made = create_api_key(store, organization, &name, environment)?;
            Ok(Told {
                text: format!("api_key={}\napi_secret={}", made.row.key, made.secret),
                json: json!({
                    "api_key": made.row.key,
                    "api_secret": made.secret,
                    "organization": organization.to_string(),
                    "environment": environment.as_str(),
                }),
            })
        }
        ApiKeyWhat::List { organization } => {
            known(store, organization)?;
            let rows = store.api_keys(organization)?;
            let lines = rows
                .iter()
                .map(|row| format!("{}  {}  {}", row.key, row.environment, row.status.as_str()));
            let values = rows.iter().map(|row| {
                json!({
                    "api_key": row.key,
                    "name": row.name,
                    "environment": row.environment.as_str(),
                    "status": row.status.as_str(),
                })
            });
            Ok(Told {
                text: lines.collect::<Vec<_>>().join("\n"),
                json: values.collect(),
            })
        }
        ApiKeyWhat::Revoke { key } => revoke(store, &key),
    }
}

fn revoke(store: &Store, key: &str) -> anyhow::Result<Told> {
    let Some(row) = store.api_key(key)? else {
        bail!("there is no API key {key}");
    };
    store.set_api_key_status(key, ApiKeyStatus::Revoked)?;
    // Whoever had this key may have made others with it, which go on working.
    let made = store.api_keys_made_by(&row.id().to_string())?;
    let lines = made
        .iter()
        .map(|key| format!("made with it and not revoked: {}", key.key));
    Ok(Told {
        text: lines.collect::<Vec<_>>().join("\n"),
        json: json!({
            "api_key": key,
            "status": ApiKeyStatus::Revoked.as_str(),
            "made_with_it": made.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(),
        }),
    })
}

fn known(store: &Store, organization: OrganizationId) -> anyhow::Result<()> {
    store
        .organization(organization)?
        .context("there is no such organisation")?;
    Ok(())
}

/// Makes an organisation.
pub(in crate::cli) fn create_organization(
    store: &Store,
    name: &str,
) -> anyhow::Result<OrganizationRow> {
    if !is_organization_name(name) {
        bail!(
            "the name of an organisation has at least 3 characters and at most 200, all printable"
        );
    }
    let made = NewOrganization::make(&SystemEntropy, SystemClock::new().now(), name).0;
    store.add_organization(&made)?;
    Ok(made)
}

/// Makes an API key.
pub(in crate::cli) fn create_api_key(
    store: &Store,
    organization: OrganizationId,
    name: &str,
    environment: Environment,
) -> anyhow::Result<NewApiKey> {
    if !is_key_name(name) {
        bail!("the name of an API key has 3 to 30 characters out of a-z, 0-9 and hyphen");
    }
    known(store, organization)?;
    let now = SystemClock::new().now();
    let made = NewApiKey::make(&SystemEntropy, now, organization, environment, name);
    store.add_api_key(&made.row)?;
    Ok(made)
}
