//! The admin of a TSS: PIN by PUK, log-in, log-out (HTTP dialect §4).

use super::params::tss_id;
use crate::http::auth::Authorized;
use crate::http::body::{IgnoredBody, JsonBody};
use crate::http::door::Desk;
use crate::http::endpoint::{Endpoint, Layer};
use crate::http::problem::Problem;
use crate::sma::{Command, CredentialDigest};
use crate::terms::{Entropy, Secret};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};

/// Shortest PUK and PIN the dialect takes, in characters.
const PUK_LEN_MIN: usize = 10;
const PIN_LEN_MIN: usize = 6;
/// Longest of either; more would only feed the hash.
const LEN_MAX: usize = 256;

/// Digits of the PUKs we make.
const PUK_DIGITS: usize = 10;

/// Argon2id: 19 MiB, two passes, one lane.
const HASH_MEMORY_KIB: u32 = 19_456;
const HASH_PASSES: u32 = 2;
const HASH_LANES: u32 = 1;

type Answer = Result<HttpResponse, Problem>;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::of_middleware(Method::PATCH, "/tss/{tss_id}/admin", |route| {
        route.to(set_pin)
    }),
    Endpoint::of_middleware(Method::POST, "/tss/{tss_id}/admin/auth", |route| {
        route.to(log_in)
    }),
    Endpoint::of_middleware(Method::POST, "/tss/{tss_id}/admin/logout", |route| {
        route.to(log_out)
    }),
];

/// The slow hash of a PIN or PUK.
pub(super) fn credential_digest(
    secret: &Secret,
    salt: &[u8; 16],
) -> Result<CredentialDigest, Problem> {
    let mut digest = [0; 32];
    Params::new(HASH_MEMORY_KIB, HASH_PASSES, HASH_LANES, Some(digest.len()))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                secret.expose().as_bytes(),
                salt,
                &mut digest,
            )
        })
        .map_err(|error| Problem::internal(&error))?;
    Ok(CredentialDigest::new(digest))
}

/// Ten random digits, each as likely as any other.
pub(super) fn new_puk(entropy: &dyn Entropy) -> Secret {
    let mut digits = String::with_capacity(PUK_DIGITS);
    while digits.len() < PUK_DIGITS {
        let mut byte = [0];
        entropy.fill(&mut byte);
        let [byte] = byte;
        // 250 = 25 * 10; what is above would favour the small digits.
        if byte < 250 {
            digits.push(char::from(b'0' + byte % 10));
        }
    }
    Secret::new(digits)
}

fn secret(body: &Value, name: &str, len_min: usize) -> Result<Secret, Problem> {
    let text = match body.get(name) {
        Some(Value::String(text)) => text.clone(),
        // The dialect turns numbers into text where it wants text.
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(Problem::invalid(format!("body.{name} should be string"))),
        None => {
            let message = format!("body should have required property '{name}'");
            return Err(Problem::invalid(message));
        }
    };
    let len = text.chars().count();
    if len < len_min || len > LEN_MAX {
        let problem = format!("should have {len_min} to {LEN_MAX} characters");
        return Err(Problem::invalid(format!("body.{name} {problem}")));
    }
    Ok(Secret::new(text))
}

async fn set_pin(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = tss_id(&request, Layer::Middleware)?;
    let puk = secret(&body, "admin_puk", PUK_LEN_MIN)?;
    let pin = secret(&body, "new_admin_pin", PIN_LEN_MIN)?;
    let salt = desk.tss(&caller, id).await?.tss.admin.salt;
    let digests = move || {
        Ok::<_, Problem>((
            credential_digest(&puk, &salt)?,
            credential_digest(&pin, &salt)?,
        ))
    };
    let (puk, new_pin) = desk.compute(digests).await??;
    desk.submit(id, caller, Command::UnblockPin { puk, new_pin })
        .await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

async fn log_in(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = tss_id(&request, Layer::Middleware)?;
    let pin = secret(&body, "admin_pin", 1)?;
    let salt = desk.tss(&caller, id).await?.tss.admin.salt;
    let pin = desk
        .compute(move || credential_digest(&pin, &salt))
        .await??;
    desk.submit(id, caller, Command::AuthenticateUser { pin })
        .await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

async fn log_out(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    _: IgnoredBody,
) -> Answer {
    let id = tss_id(&request, Layer::Middleware)?;
    desk.submit(id, caller, Command::LogOut).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}
