//! `POST /auth`: key login and refresh (HTTP dialect §2), and who is behind a bearer token.

use super::body::JsonBody;
use super::door::Desk;
use super::limits::Counted;
use super::problem::Problem;
use super::throttle::{Attempt, address, refuse};
use super::tokens::{TokenBearer, TokenType};
use crate::ledger::{ApiKey, ApiKeyStatus, LedgerError, Session, Store};
use crate::sma::Caller;
use crate::terms::{SeTime, SessionId};
use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use subtle::ConstantTimeEq as _;

/// A token that lives shorter than this is not handed out again, in seconds.
const LIFE_LEFT_S_MIN: i64 = 60;

const INVALID: &str = "Unauthorized";
const INVALID_V0: &str = "Invalid credentials";

/// `POST /auth`
pub(super) async fn log_in(
    desk: web::Data<Desk>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let now = desk.door.clock.now();
    let door = DoorOfLogin {
        address: client_address(&desk, &request),
        refusal: INVALID,
    };
    answer_login(&desk, &door, &body, now).await
}

/// `POST /auth` of the Management API, which words its refusal differently. There are no users, so
/// whoever logs in by e-mail and password is refused.
pub(super) async fn log_in_v0(
    desk: web::Data<Desk>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, Problem> {
    let now = desk.door.clock.now();
    let door = DoorOfLogin {
        address: client_address(&desk, &request),
        refusal: INVALID_V0,
    };
    if body.get("email").is_some() && body.get("api_key").is_none() {
        return Err(refuse(&desk, door.attempt(None), door.refusal, now).await);
    }
    answer_login(&desk, &door, &body, now).await
}

/// Where a login came in.
struct DoorOfLogin {
    address: Option<IpAddr>,
    /// What a wrong one is told.
    refusal: &'static str,
}

impl DoorOfLogin {
    fn attempt(&self, key: Option<ApiKey>) -> Attempt {
        Attempt {
            address: self.address,
            key,
        }
    }
}

fn client_address(desk: &Desk, request: &HttpRequest) -> Option<IpAddr> {
    let header = desk.door.settings.wrong_logins.address_header.as_deref();
    address(request, header)
}

async fn answer_login(
    desk: &web::Data<Desk>,
    door: &DoorOfLogin,
    body: &JsonBody,
    now: SeTime,
) -> Result<HttpResponse, Problem> {
    // The dialect turns numbers into text where it wants text.
    let text = |name: &str| match body.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let (session, key) = match (text("api_key"), text("api_secret"), text("refresh_token")) {
        (Some(key), Some(secret), _) => log_in_by_key(desk, door, (&key, &secret), now).await?,
        (_, _, Some(token)) => refresh(desk, door, &token, now).await?,
        (_, _, None) => {
            let message = "body should have required property 'api_key'";
            return Err(Problem::invalid(message));
        }
    };
    let answer = answer(desk, session, key, now).await?;
    Ok(HttpResponse::Ok().json(answer))
}

async fn log_in_by_key(
    desk: &web::Data<Desk>,
    door: &DoorOfLogin,
    (key, secret): (&str, &str),
    now: SeTime,
) -> Result<(Session, ApiKey), Problem> {
    // No key has a control character, and some databases do not take them.
    let known = match key.contains(char::is_control) {
        true => None,
        false => {
            let wanted = key.to_owned();
            desk.ask(move |store| store.api_key(&wanted)).await?
        }
    };
    let given: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    let is_right = |row: &ApiKey| {
        let matches: bool = row.secret_sha256.ct_eq(&given).into();
        matches && row.status == ApiKeyStatus::Enabled
    };
    let row = match known {
        Some(row) if is_right(&row) => row,
        known => return Err(refuse(desk, door.attempt(known), door.refusal, now).await),
    };
    let own = desk.clone();
    let for_key = row.clone();
    let session = desk
        .ask(move |store| {
            let live = || {
                let session = store.live_session(&for_key.key, now);
                session.map(|session| {
                    session.filter(|session| {
                        seconds_until(session.access_expires, now) > LIFE_LEFT_S_MIN
                    })
                })
            };
            if let Some(session) = live()? {
                return Ok(session);
            }
            let _making = own.making.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(session) = live()? {
                return Ok(session);
            }
            store.forget_expired_sessions(now)?;
            own.new_session(&for_key.key, own.random_session(), now)
        })
        .await?;
    Ok((session, row))
}

async fn refresh(
    desk: &web::Data<Desk>,
    door: &DoorOfLogin,
    token: &str,
    now: SeTime,
) -> Result<(Session, ApiKey), Problem> {
    let own = desk.clone();
    let token = token.to_owned();
    let found = desk
        .ask(move |store| {
            let now_ms = own.door.clock.monotonic_ms();
            own.tokens.learn_secret_of(&token, now_ms)?;
            match own.tokens.read(&token, TokenType::Refresh, now) {
                Some(bearer) => renew(&own, store, &bearer, now),
                None => Ok(None),
            }
        })
        .await?;
    found.ok_or_else(|| Problem::unauthorized(door.refusal))
}

/// New tokens for a session that is not over. Every refresh token of it is taken until it expires:
/// all tills with one API key share a session, and a refresh by one must not lock the others out.
fn renew(
    desk: &Desk,
    store: &Store,
    bearer: &TokenBearer,
    now: SeTime,
) -> Result<Option<(Session, ApiKey)>, LedgerError> {
    let known = store.session(bearer.caller.session)?;
    let Some(session) = known.filter(|session| session.api_key == bearer.api_key) else {
        return Ok(None);
    };
    let key = store.api_key(&session.api_key)?;
    let Some(key) = key.filter(|key| key.status == ApiKeyStatus::Enabled) else {
        return Ok(None);
    };
    let session = desk.new_session(&key.key, session.id, now)?;
    Ok(Some((session, key)))
}

impl Desk {
    fn random_session(&self) -> SessionId {
        let mut bytes = [0; 16];
        self.door.entropy.fill(&mut bytes);
        SessionId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Blocks.
    fn new_session(
        &self,
        api_key: &str,
        id: SessionId,
        now: SeTime,
    ) -> Result<Session, LedgerError> {
        let settings = &self.door.settings;
        let unsigned = Session {
            id,
            api_key: api_key.to_owned(),
            time_issued: now,
            access_expires: now.plus_seconds(settings.access_token_s.into()),
            refresh_expires: now.plus_seconds(settings.refresh_token_s.into()),
            secret_id: String::new(),
        };
        let now_ms = self.door.clock.monotonic_ms();
        self.tokens.issue(unsigned, now, now_ms)
    }
}

fn seconds_until(time: SeTime, now: SeTime) -> i64 {
    time.unix_seconds() - now.unix_seconds()
}

async fn answer(
    desk: &web::Data<Desk>,
    session: Session,
    key: ApiKey,
    now: SeTime,
) -> Result<Value, Problem> {
    let own = desk.clone();
    let claims = json!({
        "env": key.environment.as_str(),
        "organization_id": key.organization.to_string(),
    });
    let (access_expires, refresh_expires) = (session.access_expires, session.refresh_expires);
    let pair = desk
        .ask(move |_| {
            Ok(own
                .tokens
                .pair(&session, &key, own.door.clock.monotonic_ms()))
        })
        .await??;
    Ok(json!({
        "access_token": pair.access,
        "access_token_claims": claims,
        "access_token_expires_in": seconds_until(access_expires, now),
        "access_token_expires_at": access_expires.unix_seconds(),
        "refresh_token": pair.refresh,
        "refresh_token_expires_in": seconds_until(refresh_expires, now),
        "refresh_token_expires_at": refresh_expires.unix_seconds(),
    }))
}

/// The caller behind a valid access token whose API key has not been revoked.
pub(super) struct Authorized(pub Caller);

impl FromRequest for Authorized {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let bearer = bearer(request);
        Box::pin(async move { Ok(Self(bearer.await?.caller)) })
    }
}

/// The same with the API key that logged in.
pub(super) struct AuthorizedKey(pub TokenBearer);

impl FromRequest for AuthorizedKey {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let bearer = bearer(request);
        Box::pin(async move { bearer.await.map(Self) })
    }
}

fn bearer(request: &HttpRequest) -> impl Future<Output = Result<TokenBearer, Problem>> + use<> {
    let header = request.headers().get(AUTHORIZATION);
    let token = header
        .and_then(|value| value.to_str().ok())
        .and_then(bearer_token)
        .map(str::to_owned);
    let desk = request.app_data::<web::Data<Desk>>().cloned();
    async move {
        let token = token.ok_or_else(|| Problem::unauthorized("no authorization token"))?;
        let desk = desk.ok_or_else(Problem::no_route)?;
        authorize(desk, token).await
    }
}

/// The scheme may be written in any case.
fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

async fn read_token(
    desk: &web::Data<Desk>,
    text: &Arc<str>,
    now: SeTime,
    now_ms: u64,
) -> Result<TokenBearer, Problem> {
    if !desk.tokens.knows_secret_of(text) {
        let (own, text) = (desk.clone(), Arc::clone(text));
        desk.ask(move |_| own.tokens.learn_secret_of(&text, now_ms))
            .await?;
    }
    let bearer = desk.tokens.read(text, TokenType::Bearer, now);
    bearer.ok_or_else(|| Problem::unauthorized("could not parse jwt"))
}

async fn authorize(desk: web::Data<Desk>, token: String) -> Result<TokenBearer, Problem> {
    let (now, now_ms) = (desk.door.clock.now(), desk.door.clock.monotonic_ms());
    let own = desk.clone();
    let text = Arc::<str>::from(token);
    if own.tokens.are_old(now_ms) {
        let own = desk.clone();
        desk.ask(move |_| own.tokens.renew(now_ms)).await?;
    }
    let bearer = match own.tokens.known(&text, now) {
        Some(bearer) => bearer,
        None => read_token(&desk, &text, now, now_ms).await?,
    };
    let works = match own.tokens.key_known(&bearer.api_key, now_ms) {
        Some(works) => works,
        None => {
            let key = bearer.api_key.clone();
            desk.ask(move |_| own.tokens.key_works(&key, now_ms))
                .await?
        }
    };
    if !works {
        return Err(Problem::unauthorized("the API key was revoked"));
    }
    let key = Counted::Key(bearer.api_key.clone());
    desk.limits.count(key, now)?;
    Ok(bearer)
}
