//! Access and refresh tokens: JWTs that can be signed anew, byte by byte the same, from a stored
//! session. A second login with the same key therefore gets the same token again, on every node.

use super::door::Door;
use super::known_tokens::{KnownToken, KnownTokens};
use super::problem::Problem;
use crate::ledger::{ApiKey, ApiKeyStatus, LedgerError, SealingKey, Session, Store, TokenSecret};
use crate::sma::Caller;
use crate::terms::{Entropy, Environment, OrganizationId, SeTime, SessionId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
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

/// How long the secrets are believed to be all there are, in milliseconds.
const SECRETS_FRESH_MS: u64 = 1000;

/// Age at which a secret begins to sign, in seconds. Until then every node has read it, so that none
/// takes a token for garbled.
const SETTLING_S: i64 = 5;

/// How often a secret is chosen until one is still there.
const ISSUE_TRIES: usize = 3;

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
    sealing: Arc<SealingKey>,
    secrets: RwLock<Secrets>,
    /// Held while the secrets are read; says when that was because of a token with an unknown one.
    looked_at_ms: Mutex<Option<u64>>,
    keys: Mutex<HashMap<String, KnownKey>>,
    known: KnownTokens,
}

/// The secrets as they were read last.
#[derive(Default)]
struct Secrets {
    /// Newest first.
    stored: Vec<TokenSecret>,
    opened: HashMap<String, Secret>,
    read_at_ms: u64,
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
            add_token_secret(
                &door.store,
                &door.sealing,
                door.entropy.as_ref(),
                door.clock.now(),
            )?;
        }
        let tokens = Self {
            store: door.store.clone(),
            sealing: Arc::clone(&door.sealing),
            secrets: RwLock::default(),
            looked_at_ms: Mutex::default(),
            keys: Mutex::default(),
            known: KnownTokens::default(),
        };
        tokens.load(door.clock.monotonic_ms())?;
        Ok(tokens)
    }

    fn load(&self, now_ms: u64) -> Result<(), LedgerError> {
        let stored = self.store.token_secrets()?;
        let mut opened = HashMap::new();
        for secret in &stored {
            let bytes = self.sealing.open(&context(&secret.id), &secret.sealed)?;
            opened.insert(secret.id.clone(), Arc::new(bytes));
        }
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = Secrets {
            stored,
            opened,
            read_at_ms: now_ms,
        };
        Ok(())
    }

    /// Whether the secrets were read so long ago that there may be a new one.
    pub fn are_old(&self, now_ms: u64) -> bool {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        now_ms.saturating_sub(secrets.read_at_ms) >= SECRETS_FRESH_MS
    }

    /// Reads the secrets again when they are old, unless somebody else does so now. Blocks.
    pub fn renew(&self, now_ms: u64) -> Result<(), LedgerError> {
        let reading = match self.looked_at_ms.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if self.are_old(now_ms) {
            self.load(now_ms)?;
        }
        drop(reading);
        Ok(())
    }

    /// The secret that signs what is issued now: the newest one that every node has had time to read.
    fn active(&self, now: SeTime) -> Option<TokenSecret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let known_to_all =
            |secret: &&TokenSecret| secret.time_creation.plus_seconds(SETTLING_S) <= now;
        let settled = secrets.stored.iter().find(known_to_all);
        settled.or(secrets.stored.last()).cloned()
    }

    /// Signs a session: chooses the secret and sees to it that it is kept as long as its tokens live;
    /// secrets whose last token has expired are forgotten. Blocks.
    pub fn issue(
        &self,
        session: Session,
        now: SeTime,
        now_ms: u64,
    ) -> Result<Session, LedgerError> {
        self.renew(now_ms)?;
        let until = session.refresh_expires.max(session.access_expires);
        for _ in 0..ISSUE_TRIES {
            if let Some(secret) = self.active(now)
                && self.store.keep_token_secret(&secret.id, until)?
            {
                let session = Session {
                    secret_id: secret.id.clone(),
                    ..session.clone()
                };
                self.store.put_session(&session)?;
                self.store.forget_old_token_secrets(&secret, now)?;
                return Ok(session);
            }
            // Another node has forgotten it a moment ago.
            self.load(now_ms)?;
        }
        let gone = "no secret for tokens is there".to_owned();
        Err(LedgerError::Damaged(gone))
    }

    fn secret(&self, id: &str) -> Option<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.opened.get(id).cloned()
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
        self.load(now_ms)
    }

    /// The tokens of a session; always the same for the same session. Blocks.
    pub fn pair(&self, session: &Session, key: &ApiKey, now_ms: u64) -> Result<TokenPair, Problem> {
        let mut secret = self.secret(&session.secret_id);
        if secret.is_none() {
            // Another node has made it.
            self.load(now_ms)?;
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

    /// An access token that was read before, as long as it is good: it has not expired, and its secret has
    /// not been forgotten. Never blocks.
    pub fn known(&self, token: &str, now: SeTime) -> Option<TokenBearer> {
        let known = self.known.find(token, now)?;
        self.secret(&known.secret_id).map(|_| known.bearer)
    }

    /// Reads a token of this type that has not expired. `None`: not one of ours. Never blocks.
    pub fn read(&self, token: &str, typ: TokenType, now: SeTime) -> Option<TokenBearer> {
        let secret_id = secret_id(token)?;
        let secret = self.secret(&secret_id)?;
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
        let expires = claims.exp;
        let bearer = claims.bearer()?;
        if typ == TokenType::Bearer {
            let known = KnownToken {
                bearer: bearer.clone(),
                secret_id,
                expires,
            };
            self.known.remember(token, known);
        }
        Some(bearer)
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

impl TokenBearer {
    /// Id of the API key, for whoever must not see the key.
    pub fn key_id(&self) -> String {
        ApiKey::id_of(&self.api_key).to_string()
    }
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

/// Whether this key opens a secret.
///
/// # Errors
/// [`LedgerError::Damaged`] when it does not.
pub fn check_token_secret(sealing: &SealingKey, secret: &TokenSecret) -> Result<(), LedgerError> {
    sealing.open(&context(&secret.id), &secret.sealed).map(drop)
}

/// Adds a secret, which signs all tokens that are issued from a few seconds later on. Tokens that are out
/// stay good. Returns its id.
///
/// # Errors
/// [`LedgerError`] when the ledger does not take it.
pub fn add_token_secret(
    store: &Store,
    sealing: &SealingKey,
    entropy: &dyn Entropy,
    now: SeTime,
) -> Result<String, LedgerError> {
    let mut id = [0; 8];
    entropy.fill(&mut id);
    let id = hex::encode(id);
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    entropy.fill(secret.as_mut_slice());
    let sealed = sealing.seal(&context(&id), secret.as_slice(), entropy)?;
    // The newest one by its time, even within one second.
    let newest = store.token_secrets()?.into_iter().next();
    let after = newest.map(|newest| newest.time_creation.plus_seconds(1));
    store.add_token_secret(&TokenSecret {
        id: id.clone(),
        sealed,
        time_creation: after.map_or(now, |after| after.max(now)),
    })?;
    Ok(id)
}
