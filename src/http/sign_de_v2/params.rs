//! What stands in the path of a request.

use super::query::{Malformed, Query};
use crate::http::endpoint::Layer;
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::sma::TransactionRef;
use crate::terms::{ClientId, ExportId, TssId};
use actix_web::HttpRequest;
use std::str::FromStr;

/// Longest part of a wrong id that is repeated in an error.
const ECHO_LEN_MAX: usize = 64;

fn id<T: FromStr>(
    request: &HttpRequest,
    name: &str,
    what: &str,
    layer: Layer,
) -> Result<T, Problem> {
    let text = request.match_info().get(name).unwrap_or_default();
    text.parse().map_err(|_| match layer {
        Layer::Backend => Problem::invalid(format!("params.{name} should match format \"uuid\"")),
        Layer::Middleware => {
            let echo: String = text.chars().take(ECHO_LEN_MAX).collect();
            let len = text.len();
            let message = format!("can't parse {what} ID: invalid UUID length: {len} ({echo})");
            Problem::new(ErrorCode::Parser, message)
        }
    })
}

pub(super) fn tss_id(request: &HttpRequest, layer: Layer) -> Result<TssId, Problem> {
    id(request, "tss_id", "TSS", layer)
}

pub(super) fn client_id(request: &HttpRequest, layer: Layer) -> Result<ClientId, Problem> {
    id(request, "client_id", "client", layer)
}

pub(super) fn export_id(request: &HttpRequest) -> Result<ExportId, Problem> {
    id(request, "export_id", "export", Layer::Backend)
}

pub(super) fn transaction(request: &HttpRequest) -> Result<TransactionRef, Problem> {
    let text = request.match_info().get("tx_id_or_number");
    text.and_then(super::transactions::reference)
        .ok_or_else(|| {
            let message = "params.tx_id_or_number should be a UUID or a number";
            Problem::invalid(message)
        })
}

pub(super) fn query(request: &HttpRequest) -> Result<Query, Malformed> {
    Query::parse(request.query_string())
}
