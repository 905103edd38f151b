//! The HTTP server: what is around the routes.

use super::body::{body_limits, pass_over};
use super::door::{CallTrace, Desk, Door};
use super::endpoint;
use super::meter::{Asked, Counted};
use super::problem::Problem;
use crate::terms::Stopwatch;
use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::{Next, NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, Error, HttpMessage as _, HttpResponse, HttpServer, web};
use std::net::TcpListener;
use std::time::Duration;
use tracing::Instrument as _;

/// An idle connection is kept this long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Open calls have this long to be answered when the server stops, in seconds.
const SHUTDOWN_S: u64 = 30;
/// Seconds a browser may remember a preflight answer.
const PREFLIGHT_MAX_AGE_S: usize = 3600;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const RESPONSE_TIME: HeaderName = HeaderName::from_static("response-time");
const REQUEST_ID_LEN_MAX: usize = 128;

/// Serves until the returned server is stopped; signals are the caller's business.
///
/// # Errors
/// When the ledger does not hand out its token secrets, or the listener cannot be used.
pub fn serve(door: Door, listener: TcpListener) -> std::io::Result<Server> {
    let transport = door.settings.transport;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = door.settings.workers.unwrap_or(cores);
    let connections = door.meter.connections.clone();
    let desk = Desk::new(door).map_err(std::io::Error::other)?;
    let desk = web::Data::new(desk);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(desk.clone())
            .configure(endpoint::register)
            .default_service(web::to(no_route))
            .wrap(from_fn(without_body))
            .wrap(cors())
            .wrap(NormalizePath::new(TrailingSlash::Trim))
            .wrap(from_fn(label))
    })
    .on_connect(move |_, extensions| {
        // Ends with the connection.
        extensions.insert(Counted::one(&connections));
    })
    .client_request_timeout(Duration::from_millis(transport.header_timeout_ms.into()))
    // Each worker has its share.
    .max_connections((transport.connections_max / workers.max(1)).max(1))
    .workers(workers)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(SHUTDOWN_S)
    .disable_signals();
    Ok(server.listen(listener)?.run())
}

pub(super) async fn no_route() -> Result<HttpResponse, Problem> {
    Err(Problem::no_route())
}

/// Tills in browsers call us from anywhere; who they are, their token says.
fn cors() -> Cors {
    Cors::default()
        .allow_any_origin()
        .send_wildcard()
        .allow_any_header()
        .allowed_methods(["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
        .expose_headers(["X-Request-ID", "Request-ID"])
        .max_age(PREFLIGHT_MAX_AGE_S)
}

/// Some tills send a body with every call; those that only read or cancel look at none.
async fn without_body(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if [Method::GET, Method::DELETE].contains(request.method()) {
        let (max, patience) = body_limits(request.request());
        pass_over(&mut request.take_payload(), max, patience).await;
    }
    next.call(request).await
}

/// Gives the answer the id of its request, says how long it took, and counts it.
async fn label(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // Absent only if the server was put together wrongly; then nobody answers either.
    let Some(desk) = request.app_data::<web::Data<Desk>>().cloned() else {
        return next.call(request).await;
    };
    let id = request_id(&desk, &request);
    let mut watch = Stopwatch::start(desk.door.clock.as_ref());
    let in_flight = Counted::one(&desk.door.meter.in_flight);
    // Of the highest level, so that every trace of the request has it, whatever is filtered.
    let text = id.as_ref().and_then(|id| id.to_str().ok());
    let span = tracing::error_span!("request", request_id = text);
    let mut answer = next.call(request).instrument(span.clone()).await?;
    drop(in_flight);
    let took_s = watch.lap_s();
    let asked = desk.door.meter.answered(&answer, took_s);
    span.in_scope(|| trace(desk.door.settings.calls, &asked, answer.status(), took_s));
    let headers = answer.headers_mut();
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{took_s:.3}")) {
        headers.insert(RESPONSE_TIME, value);
    }
    Ok(answer)
}

/// By the route, because what is in a path belongs to the client.
fn trace(calls: CallTrace, Asked { method, route }: &Asked, status: StatusCode, took_s: f64) {
    let status = status.as_u16();
    match calls {
        CallTrace::Off => {}
        CallTrace::Debug => {
            tracing::debug!(method, route, status, took_s, "{method} {route}: {status}");
        }
        CallTrace::Info => {
            tracing::info!(method, route, status, took_s, "{method} {route}: {status}");
        }
    }
}

/// The one that the client gave, or a new one.
fn request_id(desk: &Desk, request: &ServiceRequest) -> Option<HeaderValue> {
    let given = request.headers().get(&REQUEST_ID).cloned();
    let given = given
        .filter(|value| (1..=REQUEST_ID_LEN_MAX).contains(&value.len()) && value.to_str().is_ok());
    given.or_else(|| random_id(desk))
}

fn random_id(desk: &Desk) -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    desk.door.entropy.fill(&mut bytes);
    HeaderValue::from_str(&hex::encode(bytes)).ok()
}
