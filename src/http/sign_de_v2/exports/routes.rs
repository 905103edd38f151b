//! Routes of exports.

use super::super::params::{Layer, export_id, query, tss_id};
use super::super::tss::body_metadata;
use super::super::{lists, metadata};
use super::{export, export_request};
use crate::export::{Archive, ExportWish, freeze};
use crate::http::auth::Authorized;
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::problem::Problem;
use crate::ledger::{ExportRow, ExportState, LedgerError, Store, TransactionLookup, TssRow};
use crate::sma::{Caller, Metadata, TransactionRef, TssState};
use crate::terms::{ExportId, ExportRequest, TssId};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

type Answer = Result<HttpResponse, Problem>;

/// Pieces of an archive that wait for a slow reader.
const PIECES_WAITING_MAX: usize = 2;

/// Clients come back after this time for an export that is not complete, in seconds.
const NOT_COMPLETED_RETRY_S: u32 = 60;

pub(in crate::http::sign_de_v2) fn routes(config: &mut web::ServiceConfig) {
    const ONE: &str = "/tss/{tss_id}/export/{export_id}";
    const METADATA: &str = "/tss/{tss_id}/export/{export_id}/metadata";
    config
        .route("/export", web::get().to(list_all))
        .route("/tss/{tss_id}/export", web::get().to(list_of_tss))
        .route(ONE, web::put().to(trigger))
        .route(ONE, web::get().to(retrieve))
        .route(ONE, web::delete().to(cancel))
        .route("/tss/{tss_id}/export/{export_id}/file", web::get().to(file))
        .route(METADATA, web::get().to(get_metadata))
        .route(METADATA, web::patch().to(patch_metadata));
}

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
    let added = desk
        .ask(move |store| add(store, &row, wish, running_max))
        .await??;
    (desk.door.export_requested)();
    Ok(HttpResponse::Ok().json(export(&added, caller.environment)))
}

fn require_exportable(row: &TssRow) -> Result<(), Problem> {
    match row.tss.state {
        TssState::Initialized | TssState::Disabled | TssState::Defective => Ok(()),
        TssState::Created | TssState::Uninitialized => Err(Problem::new(
            StatusCode::CONFLICT,
            "E_TSS_ILLEGAL_STATE_TO_PERFORM_EXPORT",
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
    let duplicate = || Problem::bad("E_DUPLICATE_EXPORT", "the export id is already in use");
    if store.export(tss.tss.id, wish.id)?.is_some() {
        return Ok(Err(duplicate()));
    }
    let conflict = |code, message| Problem::new(StatusCode::CONFLICT, code, message);
    let row = freeze(&tss.tss, store.chain(tss.tss.id)?, wish);
    let running = store.running_exports(row.tss)?;
    if running.iter().any(|other| other.filter == row.filter) {
        let message = "an export with the same filters is running";
        return Ok(Err(conflict("E_EXPORT_DUPLICATE_RATE_LIMITED", message)));
    }
    if u32::try_from(running.len()).unwrap_or(u32::MAX) >= running_max {
        return Ok(Err(conflict(
            "E_TOO_MANY_EXPORTS",
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
        return Ok(Some(Problem::bad("E_CLIENT_NOT_FOUND", "Client not found")));
    }
    if let Some(number) = request.transaction() {
        let found = store.transaction(tss, TransactionRef::Number(number), None)?;
        if found == TransactionLookup::NoTransaction {
            return Ok(Some(Problem::bad(
                "E_TX_NOT_FOUND",
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
    let (_, _, row) = find(&desk, &caller, &request).await?;
    Ok(HttpResponse::Ok().json(export(&row, caller.environment)))
}

async fn cancel(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (_, _, row) = find(&desk, &caller, &request).await?;
    let from = row.state;
    let cancelled = ExportRow {
        state: ExportState::Cancelled,
        time_end: Some(desk.door.clock.now()),
        ..row
    };
    let running = from == ExportState::Pending || from == ExportState::Working;
    let changed = cancelled.clone();
    let done = running
        && desk
            .ask(move |store| store.update_export(from, &changed))
            .await?;
    if !done {
        let message = "the export is not running any more";
        return Err(Problem::bad("E_CANCEL_EXPORT", message));
    }
    Ok(HttpResponse::Ok().json(export(&cancelled, caller.environment)))
}

async fn file(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Answer {
    let (_, id, row) = find(&desk, &caller, &request).await?;
    let expired = row
        .time_expiration
        .is_some_and(|end| end <= desk.door.clock.now());
    if expired {
        return Err(Problem::no_export());
    }
    let archive = Archive::new(desk.door.store.clone(), row).map_err(|_| Problem {
        retry_after_s: Some(NOT_COMPLETED_RETRY_S),
        ..Problem::not_found("E_EXPORT_NOT_COMPLETED", "the export is not completed")
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/x-tar")
        .insert_header((
            "content-disposition",
            format!("attachment; filename=\"{id}.tar\""),
        ))
        .streaming(pieces(archive)))
}

/// The archive as a stream: read on a thread of its own, no faster than the client takes it.
fn pieces(archive: Archive) -> impl stream::Stream<Item = Result<Bytes, actix_web::Error>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_WAITING_MAX);
    actix_web::rt::task::spawn_blocking(move || {
        for piece in archive {
            if let Err(error) = &piece {
                tracing::error!(%error, "an export broke off");
            }
            if sender.blocking_send(piece).is_err() {
                // The client has gone.
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        let piece = piece.map_err(actix_web::error::ErrorInternalServerError);
        Some((piece, receiver))
    })
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
    let owner = (caller.organization, caller.environment);
    let rows = match wanted.filter {
        None => Vec::new(),
        Some(filter) => {
            desk.ask(move |store| store.exports(owner, &filter, &wanted.page))
                .await?
        }
    };
    let data = rows
        .iter()
        .map(|row| export(row, caller.environment))
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
