//! Routes of TSSs and their metadata.

use super::super::params::{query, tss_id};
use super::super::{lists, metadata};
use super::answer::{created, retrieved, updated};
use crate::http::auth::Authorized;
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::{Endpoint, Layer};
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::http::sign_de_v2::admin::{credential_digest, new_puk};
use crate::ledger::{LedgerError, Store};
use crate::sma::{Caller, Command, MetadataPatch, MetadataTarget, NewTss, Outcome, Rejection, Tss};
use crate::terms::TssId;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Longest description, in characters.
const DESCRIPTION_LEN_MAX: usize = 100;

/// How often, and after which pauses, an empty pool is asked again: 1.5 s in all, because some tills
/// wait no longer than 2 s for this answer (HTTP dialect §16).
const DEVICE_TRIES_MAX: u32 = 15;
const DEVICE_PAUSE: Duration = Duration::from_millis(100);

type Answer = Result<HttpResponse, Problem>;

pub(in crate::http::sign_de_v2) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::GET, "/tss", |route| route.to(list)),
    Endpoint::new(Method::PUT, "/tss/{tss_id}", |route| route.to(create)),
    Endpoint::new(Method::GET, "/tss/{tss_id}", |route| route.to(retrieve)),
    Endpoint::of_middleware(Method::PATCH, "/tss/{tss_id}", |route| route.to(update)),
    Endpoint::new(Method::GET, "/tss/{tss_id}/metadata", |route| {
        route.to(get_metadata)
    }),
    Endpoint::new(Method::PATCH, "/tss/{tss_id}/metadata", |route| {
        route.to(patch_metadata)
    }),
];

/// What a sealed PUK is sealed for.
fn puk_context(tss: TssId) -> String {
    format!("PUK of TSS {tss}")
}

async fn create(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = tss_id(&request, Layer::Backend)?;
    let metadata = body_metadata(&body)?;
    let puk = new_puk(desk.door.entropy.as_ref());
    let mut salt = [0; 16];
    desk.door.entropy.fill(&mut salt);
    let sealed_puk = desk.door.sealing.seal(
        &puk_context(id),
        puk.expose().as_bytes(),
        desk.door.entropy.as_ref(),
    )?;
    let digest = desk
        .compute(move || credential_digest(&puk, &salt))
        .await??;
    let new = NewTss {
        format: desk.door.settings.log_format,
        salt,
        puk: digest,
        sealed_puk,
        metadata,
    };
    let tss = assign(&desk, id, caller, new).await?;
    let gone = || LedgerError::Damaged(format!("TSS {id} has no PUK to show"));
    let sealed = tss.admin.sealed_puk.as_deref().ok_or_else(gone)?;
    let puk = desk.door.sealing.open(&puk_context(id), sealed)?;
    let puk = String::from_utf8_lossy(&puk).into_owned();
    let certificate = desk.tss(&caller, id).await?.certificate;
    let rules = &desk.door.settings.rules;
    Ok(HttpResponse::Ok().json(created(&tss, &certificate, rules, &puk)))
}

/// Assigns a device; waits for a moment where the pool is empty, because many a client gives up at the
/// first 503 and a device is made in less time than it takes to come back.
async fn assign(desk: &Desk, id: TssId, caller: Caller, new: NewTss) -> Result<Tss, Problem> {
    for _ in 0..DEVICE_TRIES_MAX {
        let command = Command::Assign(Box::new(new.clone()));
        let assigned = submit(desk, id, caller, command).await;
        (desk.door.device_taken)();
        match assigned {
            Err(problem) if problem.code == ErrorCode::NoDevice => sleep(DEVICE_PAUSE).await,
            assigned => return assigned,
        }
    }
    Err(Rejection::NoFreeDevice.into())
}

async fn retrieve(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let id = tss_id(&request, Layer::Backend)?;
    let row = desk.tss(&caller, id).await?;
    let rules = &desk.door.settings.rules;
    Ok(HttpResponse::Ok().json(retrieved(&row.tss, &row.certificate, rules)))
}

async fn update(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = tss_id(&request, Layer::Middleware)?;
    let command = update_command(&body)?;
    let tss = submit(&desk, id, caller, command).await?;
    let certificate = desk.tss(&caller, id).await?.certificate;
    let rules = &desk.door.settings.rules;
    Ok(HttpResponse::Ok().json(updated(&tss, &certificate, rules)))
}

/// The one body of the dialect that may hold nothing unknown.
fn update_command(body: &Value) -> Result<Command, Problem> {
    let known = ["state", "description", "metadata"];
    let mut names = body
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys());
    if names.any(|name| !known.contains(&name.as_str())) {
        return Err(Problem::invalid(
            "body should NOT have additional properties",
        ));
    }
    let state = body
        .get("state")
        .ok_or_else(|| Problem::invalid("body should have required property 'state'"))?;
    let description = description(body)?;
    let metadata = body_metadata(body)?;
    match state.as_str() {
        Some("UNINITIALIZED") => Ok(Command::TakeOver { metadata }),
        Some("INITIALIZED") => Ok(Command::Initialize {
            description,
            metadata,
        }),
        Some("DISABLED") => Ok(Command::DisableSecureElement { metadata }),
        Some(_) | None => Err(Problem::invalid(
            "body.state should be equal to one of the allowed values",
        )),
    }
}

fn description(body: &Value) -> Result<Option<String>, Problem> {
    let Some(value) = body.get("description").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    value
        .as_str()
        .filter(|text| text.len() <= DESCRIPTION_LEN_MAX && text.chars().all(allowed))
        .map(|text| Some(text.to_owned()))
        .ok_or_else(|| {
            let pattern = "^[A-Za-z0-9 '()+,-./:=?]{0,100}$";
            Problem::invalid(format!(
                "body.description should match pattern \"{pattern}\""
            ))
        })
}

/// The metadata of a body that has other fields, too.
pub(in crate::http::sign_de_v2) fn body_metadata(body: &Value) -> Result<MetadataPatch, Problem> {
    match body.get("metadata") {
        None => Ok(MetadataPatch::new()),
        Some(pairs) => Ok(metadata::patch(pairs, "body.metadata")?),
    }
}

async fn submit(desk: &Desk, id: TssId, caller: Caller, command: Command) -> Result<Tss, Problem> {
    match desk.submit(id, caller, command).await? {
        Outcome::Tss(tss) => Ok(*tss),
        Outcome::Done
        | Outcome::Client(_)
        | Outcome::Transaction(_)
        | Outcome::TransactionMetadata(_) => {
            let wrong = LedgerError::Damaged("a call of a TSS was not answered by it".to_owned());
            Err(Problem::internal(&wrong))
        }
    }
}

async fn list(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let wanted = lists::tss_list(&query(&request)?)?;
    let rows = lists::rows(&desk, &caller, wanted, Store::tss_list).await?;
    let rules = &desk.door.settings.rules;
    let data = rows
        .iter()
        .map(|row| retrieved(&row.tss, &row.certificate, rules))
        .collect();
    Ok(HttpResponse::Ok().json(lists::list("TSS_LIST", data, caller.environment)))
}

async fn get_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let id = tss_id(&request, Layer::Backend)?;
    let row = desk.tss(&caller, id).await?;
    Ok(HttpResponse::Ok().json(json!(row.tss.metadata.pairs())))
}

async fn patch_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let id = tss_id(&request, Layer::Backend)?;
    let command = Command::MergeMetadata {
        target: MetadataTarget::Tss,
        patch: metadata::patch(&body, "body")?,
    };
    let tss = submit(&desk, id, caller, command).await?;
    Ok(HttpResponse::Ok().json(json!(tss.metadata.pairs())))
}
