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

/// How long a node believes what it read about an API key, in milliseconds: a revoked key stops within
/// twice this time.
const KEY_FRESH_MS: u64 = 500;

/// API keys remembered at most.
const KEYS_KNOWN_MAX: usize = 10_000;

const SECRET_LEN: usize = 32;

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
    secrets: RwLock<HashMap<String, Vec<u8>>>,
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
            opened.insert(secret.id, bytes.to_vec());
        }
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(())
    }

    /// Id of the secret that signs new sessions.
    pub fn newest(&self) -> &str {
        &self.newest
    }

    fn secret(&self, id: &str) -> Option<Vec<u8>> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(id).cloned()
    }

    /// The secret with this id, read anew when another node may have made it. Blocks.
    fn secret_anew(&self, id: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        if let Some(known) = self.secret(id) {
            return Ok(Some(known));
        }
        self.load(self.store.token_secrets()?)?;
        Ok(self.secret(id))
    }

    /// The tokens of a session; always the same for the same session. Blocks.
    pub fn pair(&self, session: &Session, key: &ApiKey) -> Result<TokenPair, Problem> {
        let secret = self.secret_anew(&session.secret_id)?;
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

    /// Reads a token of this type that has not expired. `None`: not one of ours. May block.
    pub fn read(
        &self,
        token: &str,
        typ: TokenType,
        now: SeTime,
    ) -> Result<Option<TokenBearer>, LedgerError> {
        let id = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| header.kid);
        let Some(id) = id else {
            return Ok(None);
        };
        let Some(secret) = self.secret_anew(&id)? else {
            return Ok(None);
        };
        let mut rules = Validation::new(Algorithm::HS256);
        // The clock of this node decides below, not the machine's.
        rules.validate_exp = false;
        rules.set_issuer(&["siegel"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&secret), &rules);
        let Ok(data) = claims else {
            return Ok(None);
        };
        let claims = data.claims;
        if claims.typ != typ || claims.exp <= now.unix_seconds() {
            return Ok(None);
        }
        Ok(claims.bearer())
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
    pub expires: i64,
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
            expires: self.exp,
        })
    }
}

fn context(id: &str) -> String {
    format!("token secret {id}")
}

fn add_secret(door: &Door) -> Result<(), LedgerError> {
    let mut id = [0; 8];
    door.entropy.fill(&mut id);
    let id = hex::encode(id);
    let mut secret = [0; SECRET_LEN];
    door.entropy.fill(&mut secret);
    let sealed = door
        .sealing
        .seal(&context(&id), &secret, door.entropy.as_ref())?;
    door.store.add_token_secret(&TokenSecret {
        id,
        sealed,
        time_creation: door.clock.now(),
    })
}
