//! New organisations and API keys, for this API and for the command line.

use crate::ledger::{ApiKey, ApiKeyStatus, OrganizationRow};
use crate::terms::{Entropy, Environment, OrganizationId, SeTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Shortest and longest name of an organisation, in characters.
const ORGANIZATION_NAME_LEN: std::ops::RangeInclusive<usize> = 3..=200;

/// Whether an organisation may have this name.
pub fn is_organization_name(name: &str) -> bool {
    ORGANIZATION_NAME_LEN.contains(&name.trim().chars().count()) && !name.contains(char::is_control)
}

/// Whether an API key may have this name: `^[a-z0-9\-]{3,30}$`.
pub fn is_key_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (3..=30).contains(&name.len()) && name.chars().all(allowed)
}

/// An organisation that was not stored yet.
#[derive(Clone, Debug)]
pub struct NewOrganization(pub OrganizationRow);

impl NewOrganization {
    /// With a random id.
    pub fn make(entropy: &dyn Entropy, now: SeTime, name: &str) -> Self {
        Self(OrganizationRow {
            id: OrganizationId::new(random_uuid(entropy)),
            name: name.trim().to_owned(),
            time_creation: now,
        })
    }
}

/// An API key that was not stored yet, with its secret, which exists only here.
#[derive(Clone)]
pub struct NewApiKey {
    /// What is stored.
    pub row: ApiKey,
    /// What clients send as `api_secret`.
    pub secret: String,
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewApiKey").field(&self.row.id()).finish()
    }
}

impl NewApiKey {
    /// With a random key and secret.
    pub fn make(
        entropy: &dyn Entropy,
        now: SeTime,
        organization: OrganizationId,
        environment: Environment,
        name: &str,
    ) -> Self {
        let prefix = environment.as_str().to_ascii_lowercase();
        let secret = random_text::<32>(entropy);
        let row = ApiKey {
            key: format!("{prefix}_{}_{name}", random_text::<16>(entropy)),
            organization,
            environment,
            name: name.to_owned(),
            secret_sha256: Sha256::digest(secret.as_bytes()).into(),
            status: ApiKeyStatus::Enabled,
            time_creation: now,
        };
        Self { row, secret }
    }
}

/// A version 4 UUID from our own randomness.
pub fn random_uuid(entropy: &dyn Entropy) -> uuid::Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn random_text<const BYTES: usize>(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
