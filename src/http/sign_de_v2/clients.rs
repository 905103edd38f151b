//! Clients (HTTP dialect §5).

use super::params::{client_id, query, tss_id};
use super::tss::body_metadata;
use super::{VERSION, lists, metadata};
use crate::http::auth::Authorized;
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::{Endpoint, Layer};
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::ledger::{LedgerError, Store};
use crate::sma::{Caller, Client, Command, MetadataTarget, Outcome};
use crate::terms::{ClientId, ClientSerial, Environment, TssId};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

type Answer = Result<HttpResponse, Problem>;

const ONE: &str = "/tss/{tss_id}/client/{client_id}";
const METADATA: &str = "/tss/{tss_id}/client/{client_id}/metadata";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::GET, "/client", |route| route.to(list_all)),
    Endpoint::new(Method::GET, "/tss/{tss_id}/client", |route| {
        route.to(list_of_tss)
    }),
    Endpoint::of_middleware(Method::PUT, ONE, |route| route.to(register)),
    Endpoint::new(Method::GET, ONE, |route| route.to(retrieve)),
    Endpoint::of_middleware(Method::PATCH, ONE, |route| route.to(update)),
    Endpoint::new(Method::GET, METADATA, |route| route.to(get_metadata)),
    Endpoint::new(Method::PATCH, METADATA, |route| route.to(patch_metadata)),
];

fn client_answer(tss: TssId, client: &Client, environment: Environment) -> Value {
    json!({
        "serial_number": client.serial.as_str(),
        "state": client.state.as_str(),
        "tss_id": tss.to_string(),
        "metadata": client.metadata.pairs(),
        "_id": client.id.to_string(),
        "_type": "CLIENT",
        "_env": environment.as_str(),
        "_version": VERSION,
        "time_creation": client.time_creation.unix_seconds(),
        "time_update": client.time_update.unix_seconds(),
    })
}

/// The answer to a registration, in the recorded order of keys, which is another one.
fn registered_answer(tss: TssId, client: &Client, environment: Environment) -> Value {
    let mut answer = json!({
        "_id": client.id.to_string(),
        "state": client.state.as_str(),
        "serial_number": client.serial.as_str(),
        "time_creation": client.time_creation.unix_seconds(),
        "tss_id": tss.to_string(),
        "_type": "CLIENT",
        "_env": environment.as_str(),
        "_version": VERSION,
    });
    if let Some(fields) = answer.as_object_mut()
        && !client.metadata.pairs().is_empty()
    {
        fields.insert("metadata".to_owned(), json!(client.metadata.pairs()));
    }
    answer
}

async fn register(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Middleware)?;
    let command = Command::RegisterClient {
        id: client_id(&request, Layer::Middleware)?,
        serial: serial(&body)?,
        metadata: body_metadata(&body)?,
    };
    let client = submit(&desk, tss, caller, command).await?;
    Ok(HttpResponse::Ok().json(registered_answer(tss, &client, caller.environment)))
}

fn serial(body: &Value) -> Result<ClientSerial, Problem> {
    let text = match body.get("serial_number") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(Problem::invalid("body.serial_number should be string")),
        None => {
            let message = "body should have required property 'serial_number'";
            return Err(Problem::invalid(message));
        }
    };
    ClientSerial::try_from(text.as_str())
        .map_err(|error| Problem::new(ErrorCode::IllegalClientSerial, error.to_string()))
}

async fn update(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Middleware)?;
    let id = client_id(&request, Layer::Middleware)?;
    let metadata = body_metadata(&body)?;
    let command = match body.get("state").map(Value::as_str) {
        Some(Some("REGISTERED")) => Command::ReregisterClient { id, metadata },
        Some(Some("DEREGISTERED")) => Command::DeregisterClient { id, metadata },
        Some(Some(_) | None) => {
            let message = "body.state should be equal to one of the allowed values";
            return Err(Problem::invalid(message));
        }
        None => {
            let message = "body should have required property 'state'";
            return Err(Problem::invalid(message));
        }
    };
    let client = submit(&desk, tss, caller, command).await?;
    Ok(HttpResponse::Ok().json(client_answer(tss, &client, caller.environment)))
}

async fn submit(
    desk: &Desk,
    tss: TssId,
    caller: Caller,
    command: Command,
) -> Result<Client, Problem> {
    match desk.submit(tss, caller, command).await? {
        Outcome::Client(client) => Ok(*client),
        Outcome::Done
        | Outcome::Tss(_)
        | Outcome::Transaction(_)
        | Outcome::TransactionMetadata(_) => {
            let wrong =
                LedgerError::Damaged("a call of a client was not answered by it".to_owned());
            Err(Problem::internal(&wrong))
        }
    }
}

/// The client, if its TSS is one of the caller's.
pub(super) async fn find(
    desk: &Desk,
    caller: &Caller,
    tss: TssId,
    id: ClientId,
) -> Result<Client, Problem> {
    desk.tss(caller, tss).await?;
    let found = desk.ask(move |store| store.client(tss, id)).await?;
    found.ok_or_else(Problem::no_client)
}

async fn retrieve(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let id = client_id(&request, Layer::Backend)?;
    let client = find(&desk, &caller, tss, id).await?;
    Ok(HttpResponse::Ok().json(client_answer(tss, &client, caller.environment)))
}

async fn list_all(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    list(&desk, caller, &request, None).await
}

async fn list_of_tss(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    desk.tss(&caller, tss).await?;
    list(&desk, caller, &request, Some(tss)).await
}

async fn list(desk: &Desk, caller: Caller, request: &HttpRequest, tss: Option<TssId>) -> Answer {
    let wanted = lists::client_list(&query(request)?, tss)?;
    let rows = lists::rows(desk, &caller, wanted, Store::clients).await?;
    let data = rows
        .iter()
        .map(|(tss, client)| client_answer(*tss, client, caller.environment))
        .collect();
    Ok(HttpResponse::Ok().json(lists::list("CLIENT_LIST", data, caller.environment)))
}

async fn get_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let id = client_id(&request, Layer::Backend)?;
    let client = find(&desk, &caller, tss, id).await?;
    Ok(HttpResponse::Ok().json(json!(client.metadata.pairs())))
}

async fn patch_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let id = client_id(&request, Layer::Backend)?;
    let command = Command::MergeMetadata {
        target: MetadataTarget::Client(id),
        patch: metadata::patch(&body, "body")?,
    };
    let client = submit(&desk, tss, caller, command).await?;
    Ok(HttpResponse::Ok().json(json!(client.metadata.pairs())))
}
