//! Access and refresh tokens: JWTs that can be signed anew, byte by byte the same, from a stored
//! session. A second login with the same key therefore gets the same token again, on every node.

use super::door::Door;
use super::problem::Problem;
use crate::ledger::{ApiKey, ApiKeyStatus, LedgerError, Session, Store, TokenSecret};
use crate::sma::Caller;
use crate::terms::{Environment, OrganizationId, SeTime, SessionId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use zeroize::Zeroizing;

/// How long a node believes what it read about an API key, in milliseconds: a revoked key stops within
/// twice this time.
const KEY_FRESH_MS: u64 = 500;

/// API keys remembered at most.
const KEYS_KNOWN_MAX: usize = 10_000;

const SECRET_LEN: usize = 32;

/// Shortest time between two looks for new secrets, in milliseconds: anybody can send tokens with
/// unknown ones.
const LOOK_AGAIN_MS: u64 = 1000;

type Secret = Arc<Zeroizing<Vec<u8>>>;

/// What a token says. Everything but `sid` and `typ` is for the client's eyes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    sid: String,
    typ: TokenType,
    r#type: String,
    env: String,
    organization_id: String,
    iat: i64,
    exp: i64,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum TokenType {
    Bearer,
    Refresh,
}

/// The tokens of a session.
pub(super) struct TokenPair {
    pub access: String,
    pub refresh: String,
}

/// Signs and checks tokens.
pub(super) struct Tokens {
    store: Store,
    sealing: Arc<crate::ledger::SealingKey>,
    secrets: RwLock<HashMap<String, Secret>>,
    /// When the secrets were last read because of a token with an unknown one.
    looked_at_ms: Mutex<Option<u64>>,
    newest: String,
    keys: Mutex<HashMap<String, KnownKey>>,
}

#[derive(Clone)]
struct KnownKey {
    read_at_ms: u64,
    works: bool,
}

impl Tokens {
    /// Loads the secrets of this ledger; makes the first one.
    pub fn open(door: &Door) -> Result<Self, LedgerError> {
        if door.store.token_secrets()?.is_empty() {
            add_secret(door)?;
        }
        let stored = door.store.token_secrets()?;
        let newest = stored.first().map(|secret| secret.id.clone());
        let tokens = Self {
            store: door.store.clone(),
            sealing: Arc::clone(&door.sealing),
            secrets: RwLock::default(),
            looked_at_ms: Mutex::default(),
            newest: newest.unwrap_or_default(),
            keys: Mutex::default(),
        };
        tokens.load(stored)?;
        Ok(tokens)
    }

    fn load(&self, stored: Vec<TokenSecret>) -> Result<(), LedgerError> {
        let mut opened = HashMap::new();
        for secret in stored {
            let bytes = self.sealing.open(&context(&secret.id), &secret.sealed)?;
            opened.insert(secret.id, Arc::new(bytes));
        }
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(())
    }

    /// Id of the secret that signs new sessions.
    pub fn newest(&self) -> &str {
        &self.newest
    }

    fn secret(&self, id: &str) -> Option<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(id).cloned()
    }

    /// Whether the secret that a token names is known. Never blocks.
    pub fn knows_secret_of(&self, token: &str) -> bool {
        secret_id(token).is_some_and(|id| self.secret(&id).is_some())
    }

    /// Looks for the secret that a token names, should another node have made it. Blocks.
    pub fn learn_secret_of(&self, token: &str, now_ms: u64) -> Result<(), LedgerError> {
        if secret_id(token).is_none() || self.knows_secret_of(token) {
            return Ok(());
        }
        let mut looked_at_ms = self
            .looked_at_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if looked_at_ms.is_some_and(|then| now_ms.saturating_sub(then) < LOOK_AGAIN_MS) {
            return Ok(());
        }
        *looked_at_ms = Some(now_ms);
        self.load(self.store.token_secrets()?)
    }

    /// The tokens of a session; always the same for the same session. Blocks.
    pub fn pair(&self, session: &Session, key: &ApiKey) -> Result<TokenPair, Problem> {
        let mut secret = self.secret(&session.secret_id);
        if secret.is_none() {
            // Another node has made it.
            self.load(self.store.token_secrets()?)?;
            secret = self.secret(&session.secret_id);
        }
        let secret = secret.ok_or_else(|| {
            let gone = "the secret of a session is gone".to_owned();
            Problem::internal(&LedgerError::Damaged(gone))
        })?;
        let sign = |typ: TokenType, expires: SeTime| {
            let header = Header {
                kid: Some(session.secret_id.clone()),
                ..Header::new(Algorithm::HS256)
            };
            let claims = Claims {
                iss: "siegel".to_owned(),
                sub: key.key.clone(),
                sid: session.id.to_string(),
                typ,
                r#type: "API_KEY".to_owned(),
                env: key.environment.as_str().to_owned(),
                organization_id: key.organization.to_string(),
                iat: session.time_issued.unix_seconds(),
                exp: expires.unix_seconds(),
            };
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret))
                .map_err(|error| Problem::internal(&error))
        };
        Ok(TokenPair {
            access: sign(TokenType::Bearer, session.access_expires)?,
            refresh: sign(TokenType::Refresh, session.refresh_expires)?,
        })
    }

    /// Reads a token of this type that has not expired. `None`: not one of ours. Never blocks.
    pub fn read(&self, token: &str, typ: TokenType, now: SeTime) -> Option<TokenBearer> {
        let secret = self.secret(&secret_id(token)?)?;
        let mut rules = Validation::new(Algorithm::HS256);
        // The clock of this node decides below, not the machine's.
        rules.validate_exp = false;
        rules.set_issuer(&["siegel"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&secret), &rules);
        let claims = claims.ok()?.claims;
        if claims.typ != typ || claims.exp <= now.unix_seconds() {
            return None;
        }
        claims.bearer()
    }

    /// Whether an API key may be used now; believes itself for [`KEY_FRESH_MS`]. Blocks otherwise.
    pub fn key_works(&self, key: &str, now_ms: u64) -> Result<bool, LedgerError> {
        if let Some(works) = self.key_known(key, now_ms) {
            return Ok(works);
        }
        let works = self
            .store
            .api_key(key)?
            .is_some_and(|row| row.status == ApiKeyStatus::Enabled);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_KNOWN_MAX {
            keys.clear();
        }
        let known = KnownKey {
            read_at_ms: now_ms,
            works,
        };
        keys.insert(key.to_owned(), known);
        Ok(works)
    }

    /// The same without ever blocking: `None` when it would have to ask.
    pub fn key_known(&self, key: &str, now_ms: u64) -> Option<bool> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keys.get(key)?;
        (now_ms.saturating_sub(known.read_at_ms) < KEY_FRESH_MS).then_some(known.works)
    }
}

/// Who holds a token.
#[derive(Clone, Debug)]
pub(super) struct TokenBearer {
    pub caller: Caller,
    pub api_key: String,
}

impl Claims {
    fn bearer(self) -> Option<TokenBearer> {
        let organization: OrganizationId = self.organization_id.parse().ok()?;
        let environment: Environment = self.env.parse().ok()?;
        let session: SessionId = self.sid.parse().ok()?;
        Some(TokenBearer {
            caller: Caller {
                organization,
                environment,
                session,
            },
            api_key: self.sub,
        })
    }
}

/// Id of the secret that a token says it was signed with.
fn secret_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

fn context(id: &str) -> String {
    format!("token secret {id}")
}

fn add_secret(door: &Door) -> Result<(), LedgerError> {
    let mut id = [0; 8];
    door.entropy.fill(&mut id);
    let id = hex::encode(id);
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    door.entropy.fill(secret.as_mut_slice());
    let sealed = door
        .sealing
        .seal(&context(&id), secret.as_slice(), door.entropy.as_ref())?;
    door.store.add_token_secret(&TokenSecret {
        id,
        sealed,
        time_creation: door.clock.now(),
    })
}
