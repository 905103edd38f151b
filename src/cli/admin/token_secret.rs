//! A new secret for access tokens.

use super::Told;
use crate::app::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::http::add_token_secret;
use crate::ledger::{SealingKey, Store};
use crate::terms::Clock as _;
use serde_json::json;

pub(super) fn rotate(store: &Store, config: &Config) -> anyhow::Result<Told> {
    let sealing = SealingKey::from_file(&config.seal_key_file)?;
    // A key that does not open the secrets that are there would make one that no server can read.
    for secret in store.token_secrets()? {
        crate::http::check_token_secret(&sealing, &secret)?;
    }
    let now = SystemClock::new().now();
    let id = add_token_secret(store, &sealing, &SystemEntropy, now)?;
    Ok(Told {
        text: format!("secret {id} signs new tokens from now on; tokens that are out stay good"),
        json: json!({"secret_id": id}),
    })
}
