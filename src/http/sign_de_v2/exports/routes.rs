//! Routes of exports.

use super::super::params::{export_id, query, tss_id};
use super::super::tss::body_metadata;
use super::super::{lists, metadata};
use super::{export, export_request};
use crate::export::{Archive, ExportWish, freeze};
use crate::http::auth::Authorized;
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::{Endpoint, Layer};
use crate::http::limits::Counted;
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::ledger::{ExportRow, ExportState, LedgerError, Store, TransactionLookup, TssRow};
use crate::sma::{Caller, Metadata, TransactionRef, TssState};
use crate::terms::{ExportId, ExportRequest, SeTime, TssId};
use actix_web::http::Method;
use actix_web::rt::task::spawn_blocking;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use std::sync::PoisonError;

type Answer = Result<HttpResponse, Problem>;

/// Clients come back after this time for an export that is not complete, in seconds.
const NOT_COMPLETED_RETRY_S: u32 = 60;

const ONE: &str = "/tss/{tss_id}/export/{export_id}";
const METADATA: &str = "/tss/{tss_id}/export/{export_id}/metadata";

pub(in crate::http::sign_de_v2) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::GET, "/export", |route| route.to(list_all)),
    Endpoint::new(Method::GET, "/tss/{tss_id}/export", |route| {
        route.to(list_of_tss)
    }),
    Endpoint::new(Method::PUT, ONE, |route| route.to(trigger)),
    Endpoint::new(Method::GET, ONE, |route| route.to(retrieve)),
    Endpoint::new(Method::DELETE, ONE, |route| route.to(cancel)),
    Endpoint::new(
        Method::GET,
        "/tss/{tss_id}/export/{export_id}/file",
        |route| route.to(file),
    ),
    Endpoint::new(Method::GET, METADATA, |route| route.to(get_metadata)),
    Endpoint::new(Method::PATCH, METADATA, |route| route.to(patch_metadata)),
];

async fn trigger(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let tss = tss_id(&request, Layer::Backend)?;
    let id = export_id(&request)?;
    let wish = ExportWish {
        id,
        request: export_request(&query(&request)?)?,
        now: desk.door.clock.now(),
        metadata: Metadata::default().merged(&body_metadata(&body)?)?,
    };
    let row = desk.tss(&caller, tss).await?;
    require_exportable(&row)?;
    let running_max = desk.door.settings.exports_running_max;
    let own = desk.clone();
    let added = desk
        .ask(move |store| {
            let _making = own.making.lock().unwrap_or_else(PoisonError::into_inner);
            add(store, &row, wish, running_max)
        })
        .await??;
    (desk.door.export_requested)();
    // Nobody has looked at it yet; the recorded answer names no time either.
    Ok(HttpResponse::Ok().json(export(&added, None, caller.environment)))
}

fn require_exportable(row: &TssRow) -> Result<(), Problem> {
    match row.tss.state {
        TssState::Initialized | TssState::Disabled | TssState::Defective => Ok(()),
        TssState::Created | TssState::Uninitialized => Err(Problem::new(
            ErrorCode::IllegalStateForExport,
            "the TSS is not initialized",
        )),
    }
}

fn add(
    store: &Store,
    tss: &TssRow,
    wish: ExportWish,
    running_max: u32,
) -> Result<Result<ExportRow, Problem>, LedgerError> {
    if let Some(problem) = unknown(store, tss.tss.id, &wish.request)? {
        return Ok(Err(problem));
    }
    let duplicate = || {
        Problem::new(
            ErrorCode::DuplicateExport,
            "the export id is already in use",
        )
    };
    if store.export(tss.tss.id, wish.id)?.is_some() {
        return Ok(Err(duplicate()));
    }
    let row = freeze(&tss.tss, store.chain(tss.tss.id)?, wish);
    let running = store.running_exports(row.tss)?;
    if running.iter().any(|other| other.filter == row.filter) {
        let message = "an export with the same filters is running";
        return Ok(Err(Problem::new(ErrorCode::ExportRunning, message)));
    }
    if u32::try_from(running.len()).unwrap_or(u32::MAX) >= running_max {
        return Ok(Err(Problem::new(
            ErrorCode::TooManyExports,
            "too many exports are running",
        )));
    }
    match store.add_export(&row) {
        Ok(()) => Ok(Ok(row)),
        // Another call with the same id was faster.
        Err(LedgerError::Exists(_)) => Ok(Err(duplicate())),
        Err(error) => Err(error),
    }
}

/// The client or transaction of a filter that does not exist.
fn unknown(
    store: &Store,
    tss: TssId,
    request: &ExportRequest,
) -> Result<Option<Problem>, LedgerError> {
    if let Some(client) = request.client()
        && store.client(tss, client)?.is_none()
    {
        return Ok(Some(Problem::new(
            ErrorCode::UnknownClient,
            "Client not found",
        )));
    }
    if let Some(number) = request.transaction() {
        let found = store.transaction(tss, TransactionRef::Number(number), None)?;
        if found == TransactionLookup::NoTransaction {
            return Ok(Some(Problem::new(
                ErrorCode::UnknownTransaction,
                "Transaction not found",
            )));
        }
    }
    Ok(None)
}

/// The export, if its TSS is one of the caller's.
async fn find(
    desk: &Desk,
    caller: &Caller,
    request: &HttpRequest,
) -> Result<(TssId, ExportId, ExportRow), Problem> {
    let tss = tss_id(request, Layer::Backend)?;
    let id = export_id(request)?;
    desk.tss(caller, tss).await?;
    let found = desk.ask(move |store| store.export(tss, id)).await?;
    Ok((tss, id, found.ok_or_else(Problem::no_export)?))
}

async fn retrieve(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (tss, id, row) = find(&desk, &caller, &request).await?;
    let look = Counted::Export(caller.organization, tss, id);
    desk.limits.count(look, desk.door.clock.now())?;
    let completion = completions(&desk, std::slice::from_ref(&row)).await?;
    let completion = completion.into_iter().next().flatten();
    Ok(HttpResponse::Ok().json(export(&row, completion, caller.environment)))
}

/// When each export is expected to end, if it has not.
async fn completions(desk: &Desk, rows: &[ExportRow]) -> Result<Vec<Option<SeTime>>, Problem> {
    let runs = |row: &ExportRow| match row.state {
        ExportState::Pending | ExportState::Working => true,
        ExportState::Completed | ExportState::Error | ExportState::Cancelled => false,
    };
    let queue = match rows.iter().any(runs) {
        true => desk.ask(Store::export_queue).await?,
        false => Vec::new(),
    };
    let (pace, now) = (&desk.door.export_pace, desk.door.clock.now());
    let completion = |row| pace.completion(row, &queue, now);
    Ok(rows.iter().map(completion).collect())
}

async fn cancel(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (tss, id, _) = find(&desk, &caller, &request).await?;
    let now = desk.door.clock.now();
    let cancelled = desk.ask(move |store| end(store, tss, id, now)).await?;
    let cancelled = cancelled.ok_or_else(|| {
        Problem::new(
            ErrorCode::CancelExport,
            "the export is not running any more",
        )
    })?;
    Ok(HttpResponse::Ok().json(export(&cancelled, None, caller.environment)))
}

/// The export, cancelled, unless it had ended before. A worker may take it up meanwhile, which happens
/// once at most; a node that ended may put it back.
fn end(
    store: &Store,
    tss: TssId,
    id: ExportId,
    now: SeTime,
) -> Result<Option<ExportRow>, LedgerError> {
    while let Some(row) = store.export(tss, id)? {
        let from = row.state;
        if from != ExportState::Pending && from != ExportState::Working {
            break;
        }
        let cancelled = ExportRow {
            state: ExportState::Cancelled,
            time_end: Some(now),
            ..row
        };
        if store.update_export(from, &cancelled)? {
            return Ok(Some(cancelled));
        }
    }
    Ok(None)
}

async fn file(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (tss, id, row) = find(&desk, &caller, &request).await?;
    let now = desk.door.clock.now();
    let download = Counted::ExportFile(caller.organization, tss, id);
    desk.limits.count(download, now)?;
    let expired = row.time_expiration.is_some_and(|end| end <= now);
    if expired {
        return Err(Problem::no_export());
    }
    let state = row.state;
    let archive = Archive::new(desk.door.store.clone(), row).map_err(|_| not_completed(state))?;
    Ok(HttpResponse::Ok()
        .content_type("application/x-tar")
        .insert_header((
            "content-disposition",
            format!("attachment; filename=\"{id}.tar\""),
        ))
        .streaming(pieces(archive)))
}

/// Some clients repeat whatever has `Retry-After`, so only an export that may yet be completed has it.
fn not_completed(state: ExportState) -> Problem {
    match state {
        ExportState::Pending | ExportState::Working | ExportState::Completed => Problem::later(
            ErrorCode::ExportNotCompleted,
            "the export is not completed",
            NOT_COMPLETED_RETRY_S,
        ),
        ExportState::Cancelled | ExportState::Error => Problem::new(
            ErrorCode::ExportWithoutFile,
            format!("the export is {} and has no file", state.as_str()),
        ),
    }
}

/// The archive as a stream: each piece is read when the client has room for it, so that a slow client
/// holds neither thread nor memory.
fn pieces(archive: Archive) -> impl stream::Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold(archive, |mut archive| async move {
        let read = spawn_blocking(move || (archive.next(), archive)).await;
        let (piece, archive) = read.map_err(|error| broken_off(&error))?;
        match piece {
            None => Ok(None),
            Some(Ok(piece)) => Ok(Some((piece, archive))),
            Some(Err(error)) => Err(broken_off(&error)),
        }
    })
}

/// The connection breaks off, so that nobody takes the archive for whole.
fn broken_off(error: &dyn std::error::Error) -> Error {
    Problem::internal(error).into()
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
    let wanted = lists::export_list(&query(request)?, tss)?;
    let rows = lists::rows(desk, &caller, wanted, Store::exports).await?;
    let completions = completions(desk, &rows).await?;
    let data = rows
        .iter()
        .zip(completions)
        .map(|(row, completion)| export(row, completion, caller.environment))
        .collect();
    Ok(HttpResponse::Ok().json(lists::list("EXPORT_LIST", data, caller.environment)))
}

async fn get_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (_, _, row) = find(&desk, &caller, &request).await?;
    Ok(HttpResponse::Ok().json(json!(row.metadata.pairs())))
}

async fn patch_metadata(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let patch = metadata::patch(&body, "body")?;
    let (tss, id, _) = find(&desk, &caller, &request).await?;
    let merged = desk
        .ask(move |store| store.merge_export_metadata(tss, id, &patch))
        .await?;
    let merged = merged.ok_or_else(Problem::no_export)??;
    Ok(HttpResponse::Ok().json(json!(merged.pairs())))
}
