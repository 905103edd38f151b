//! Routes of transactions.

use super::super::params::{client_id, query, transaction as reference, tss_id};
use super::super::{clients, lists, metadata};
use super::{command, revision, row_of, transaction};
use crate::http::auth::Authorized;
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::{Endpoint, Layer};
use crate::http::limits::Counted;
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::ledger::{LedgerError, Store, TransactionLookup, TransactionRow};
use crate::sma::{Caller, Command, MetadataTarget, Outcome};
use crate::terms::{ClientId, TssId};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

type Answer = Result<HttpResponse, Problem>;

const ONE: &str = "/tss/{tss_id}/tx/{tx_id_or_number}";
const METADATA: &str = "/tss/{tss_id}/tx/{tx_id_or_number}/metadata";

pub(in crate::http::sign_de_v2) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::GET, "/tx", |route| route.to(list_all)),
    Endpoint::new(Method::GET, "/tss/{tss_id}/tx", |route| {
        route.to(list_of_tss)
    }),
    Endpoint::new(
        Method::GET,
        "/tss/{tss_id}/client/{client_id}/tx",
        |route| route.to(list_of_client),
    ),
    Endpoint::of_middleware(Method::PUT, ONE, |route| route.to(sign)),
    Endpoint::new(Method::GET, ONE, |route| route.to(retrieve)),
    Endpoint::new(
        Method::GET,
        "/tss/{tss_id}/tx/{tx_id_or_number}/log",
        |route| route.to(log),
    ),
    Endpoint::new(Method::GET, METADATA, |route| route.to(get_metadata)),
    Endpoint::new(Method::PATCH, METADATA, |route| route.to(patch_metadata)),
];

async fn sign(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Middleware)?;
    let command = command(reference(&request)?, &query(&request)?, &body)?;
    // Many may wait for their lane.
    let _texts = body.into_texts();
    let outcome = desk.submit(tss, caller, command).await;
    match outcome.map_err(at_signing)? {
        Outcome::Transaction(signed) => {
            let (tss, state, step) = *signed;
            answer(&row_of(&tss, state, step), &caller)
        }
        Outcome::Done | Outcome::Tss(_) | Outcome::Client(_) | Outcome::TransactionMetadata(_) => {
            let wrong = LedgerError::Damaged("a step was not answered by it".to_owned());
            Err(Problem::internal(&wrong))
        }
    }
}

/// Here, and only here, an unknown client is 400 (HTTP dialect §6).
fn at_signing(problem: Problem) -> Problem {
    if problem.code == ErrorCode::ClientNotFound {
        return Problem::new(ErrorCode::UnknownClient, problem.message);
    }
    problem
}

fn answer(row: &TransactionRow, caller: &Caller) -> Answer {
    let body = transaction(row, caller.environment);
    let body = body.map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().json(body))
}

/// The transaction at the revision the query names, or at its latest one.
pub(in crate::http::sign_de_v2) async fn find(
    desk: &Desk,
    caller: &Caller,
    request: &HttpRequest,
) -> Result<TransactionRow, Problem> {
    let tss = tss_id(request, Layer::Backend)?;
    let which = reference(request)?;
    let revision = revision(&query(request)?)?;
    desk.tss(caller, tss).await?;
    let found = desk
        .ask(move |store| store.transaction(tss, which, revision))
        .await?;
    match found {
        TransactionLookup::Found(row) => Ok(*row),
        TransactionLookup::NoTransaction => Err(Problem::no_transaction()),
        TransactionLookup::NoRevision => Err(Problem::new(
            ErrorCode::TxRevisionNotFound,
            "the transaction has no such revision",
        )),
    }
}

async fn retrieve(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    answer(&find(&desk, &caller, &request).await?, &caller)
}

/// The log message itself, byte by byte as it was signed.
async fn log(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let row = find(&desk, &caller, &request).await?;
    let (tss, counter) = (row.tss, row.step.signature_counter);
    let message = desk.ask(move |store| store.message(tss, counter)).await?;
    // Every step has its message; nothing is ever deleted.
    let message = message.ok_or_else(|| {
        let text = format!("TSS {tss} has a step without its log message {counter}");
        Problem::internal(&LedgerError::Damaged(text))
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .body(message.der))
}

async fn list_all(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    list(&desk, caller, &request, None, None).await
}

async fn list_of_tss(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    desk.tss(&caller, tss).await?;
    let look = Counted::Transactions(caller.organization, tss);
    desk.limits.count(look, desk.door.clock.now())?;
    list(&desk, caller, &request, Some(tss), None).await
}

async fn list_of_client(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let client = client_id(&request, Layer::Backend)?;
    clients::find(&desk, &caller, tss, client).await?;
    list(&desk, caller, &request, Some(tss), Some(client)).await
}

async fn list(
    desk: &Desk,
    caller: Caller,
    request: &HttpRequest,
    tss: Option<TssId>,
    client: Option<ClientId>,
) -> Answer {
    let wanted = lists::transaction_list(&query(request)?, tss, client)?;
    let rows = lists::rows(desk, &caller, wanted, Store::transactions).await?;
    let data: Result<Vec<_>, _> = rows
        .iter()
        .map(|row| transaction(row, caller.environment))
        .collect();
    let data = data.map_err(|error| Problem::internal(&error))?;
    let body = lists::list("TRANSACTION_LIST", data, caller.environment);
    Ok(HttpResponse::Ok().json(body))
}

async fn get_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let row = find(&desk, &caller, &request).await?;
    Ok(HttpResponse::Ok().json(json!(row.transaction.metadata.pairs())))
}

async fn patch_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let command = Command::MergeMetadata {
        target: MetadataTarget::Transaction(reference(&request)?),
        patch: metadata::patch(&body, "body")?,
    };
    match desk.submit(tss, caller, command).await? {
        Outcome::TransactionMetadata(state) => {
            Ok(HttpResponse::Ok().json(json!(state.metadata.pairs())))
        }
        Outcome::Done | Outcome::Tss(_) | Outcome::Client(_) | Outcome::Transaction(_) => {
            let wrong = LedgerError::Damaged("metadata was not answered by itself".to_owned());
            Err(Problem::internal(&wrong))
        }
    }
}
