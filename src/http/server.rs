//! The HTTP server: what is around the routes.

use super::body::{body_limits, pass_over};
use super::door::{Desk, Door};
use super::endpoint;
use super::problem::Problem;
use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, Error, HttpMessage as _, HttpResponse, HttpServer, web};
use std::net::TcpListener;
use std::time::Duration;

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

/// Gives the answer the id of its request, and says how long it took.
async fn label(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let desk = request.app_data::<web::Data<Desk>>().cloned();
    let given = request.headers().get(&REQUEST_ID).cloned();
    let given = given
        .filter(|value| (1..=REQUEST_ID_LEN_MAX).contains(&value.len()) && value.to_str().is_ok());
    let now_ms = |desk: &web::Data<Desk>| desk.door.clock.monotonic_ms();
    let started_ms = desk.as_ref().map(now_ms);
    let mut answer = next.call(request).await?;
    let id = given.or_else(|| desk.as_ref().and_then(|desk| random_id(desk)));
    if let Some(id) = id {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    if let (Some(desk), Some(started_ms)) = (desk, started_ms) {
        let took_ms = now_ms(&desk).saturating_sub(started_ms);
        let text = format!("{}.{:03}", took_ms / 1000, took_ms % 1000);
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().insert(RESPONSE_TIME, value);
        }
    }
    Ok(answer)
}

fn random_id(desk: &Desk) -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    desk.door.entropy.fill(&mut bytes);
    HeaderValue::from_str(&hex::encode(bytes)).ok()
}
