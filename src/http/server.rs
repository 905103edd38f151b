//! The HTTP server: what is around the routes.

use super::body::{body_limits, length_told, pass_over};
use super::connection::{Connection, Patience, Work};
use super::door::{CallTrace, Desk, Door};
use super::endpoint::{self, Layer};
use super::meter::{self, Asked, Counted};
use super::problem::Problem;
use crate::ledger::LedgerError;
use crate::terms::{Stopwatch, chain};
use actix_cors::Cors;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::{Next, NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, Error, HttpMessage as _, HttpResponse, web};
use bytes::Bytes;
use std::convert::Infallible;
use std::future::ready;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tracing::Instrument as _;
use tracing::Span;
use tracing::field::Empty;

/// Most HTTP workers.
const WORKERS_MAX: usize = 512;
/// An idle connection is kept this long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Open calls have this long to be answered when the server stops, in seconds.
const SHUTDOWN_S: u64 = 30;
/// A client that was answered before it had sent its whole body may go on sending for this long, so that
/// it reads the answer before the connection ends.
const LINGER: Duration = Duration::from_secs(2);
/// Seconds a browser may remember a preflight answer.
const PREFLIGHT_MAX_AGE_S: usize = 3600;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const RESPONSE_TIME: HeaderName = HeaderName::from_static("response-time");
const REQUEST_ID_LEN_MAX: usize = 128;
/// As OpenTelemetry names it; only in spans for a collector.
const STATUS_CODE: &str = "http.response.status_code";

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger does not hand out the secrets of its tokens.
    #[error("the secrets that sign access tokens cannot be used")]
    Secrets(#[from] LedgerError),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listener(#[from] std::io::Error),
}

/// Serves until the returned server is stopped; signals are the caller's business.
///
/// Put together from the parts of `HttpServer`, which has no place for connections of one's own.
///
/// # Errors
/// When the ledger does not hand out its token secrets, or the listener cannot be used.
pub fn serve(door: Door, listener: TcpListener) -> Result<Server, ServeError> {
    let transport = door.settings.transport;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Half of them: the lanes and a token in software work on the others.
    let workers = door.settings.workers.unwrap_or(cores / 2);
    let workers = workers.clamp(1, WORKERS_MAX);
    let connections = door.meter.connections.clone();
    let desk = web::Data::new(Desk::new(door)?);
    let address = listener.local_addr()?;
    let builder = Server::build()
        // Each worker has its share.
        .max_concurrent_connections((transport.connections_max / workers).max(1))
        .workers(workers)
        .shutdown_timeout(SHUTDOWN_S)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let patience = Patience::of(transport);
    let protocol = move || {
        let connections = connections.clone();
        let stopping = stopping.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(Duration::from_millis(transport.header_timeout_ms.into()))
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(|connection: &Connection, data| drop(data.insert(connection.work())))
            .local_addr(address)
            .finish(map_config(app(&desk), |()| AppConfig::default()));
        fn_service(move |io| {
            let connection = Connection::new(io, patience, &connections);
            let client = connection.client();
            ready(Ok((connection, Protocol::Http1, client)))
        })
        .and_then(http)
        .map_err(|error: DispatchError| {
            // Whatever a client did wrong before it was a call, and clients that went away.
            tracing::debug!(error = %chain(&error), "a connection broke off");
            error
        })
    };
    Ok(builder.listen("http", listener, protocol)?.run())
}

/// The routes and what is around them.
fn app(
    desk: &web::Data<Desk>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(desk.clone())
        .configure(endpoint::register)
        .default_service(web::to(no_route))
        .wrap(from_fn(with_bodies_in_order))
        .wrap(cors())
        .wrap(NormalizePath::new(TrailingSlash::Trim))
        .wrap(from_fn(label))
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

/// A body that says it is too large is refused before anything of it is read. Some tills send a body with
/// every call; those that only read or cancel look at none. HEAD is answered as GET, without the body.
async fn with_bodies_in_order(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (max, patience) = body_limits(request.request());
    if length_told(request.headers()).is_some_and(|len| len > max) {
        let answer = Problem::body_too_large().answer(Layer::Backend);
        return Ok(request.into_response(answer));
    }
    let method = request.method().clone();
    if [Method::GET, Method::HEAD, Method::DELETE].contains(&method) {
        pass_over(&mut request.take_payload(), max, patience).await;
    }
    let answer = next.call(request).await?;
    Ok(match method {
        Method::HEAD => answer
            .map_body(|_, body| Bodiless(body.size()))
            .map_into_boxed_body(),
        _ => answer.map_into_boxed_body(),
    })
}

/// What is left of a body when only its length was asked for.
struct Bodiless(BodySize);

impl MessageBody for Bodiless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        match self.0 {
            // Where the length is not known before, there is nothing to tell.
            BodySize::None | BodySize::Stream => BodySize::None,
            BodySize::Sized(len) => BodySize::Sized(len),
        }
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
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
    let _at_work = request.conn_data::<Work>().map(Work::begin);
    let id = request_id(&desk, &request);
    let mut watch = Stopwatch::start(desk.door.clock.as_ref());
    let in_flight = Counted::one(&desk.door.meter.in_flight);
    let span = span_of(&request, id.as_ref(), desk.door.settings.spans);
    let mut answer = next.call(request).instrument(span.clone()).await?;
    drop(in_flight);
    let took_s = watch.lap_s();
    let asked = desk.door.meter.answered(&answer, took_s);
    span.in_scope(|| trace(desk.door.settings.calls, &asked, answer.status(), took_s));
    span.record(STATUS_CODE, i64::from(answer.status().as_u16()));
    let headers = answer.headers_mut();
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{took_s:.3}")) {
        headers.insert(RESPONSE_TIME, value);
    }
    Ok(answer)
}

/// Of the highest level, so that every trace of the request has its id, whatever is filtered. What only a
/// collector wants to know would make the lines longer for everybody else.
fn span_of(request: &ServiceRequest, id: Option<&HeaderValue>, for_collector: bool) -> Span {
    let id = id.and_then(|id| id.to_str().ok());
    if !for_collector {
        return tracing::error_span!("request", request_id = id);
    }
    let method = meter::method_of(request.method());
    let name = match request.match_pattern() {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    tracing::error_span!(
        "request",
        request_id = id,
        otel.name = name,
        otel.kind = "server",
        http.response.status_code = Empty
    )
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
    given.or_else(|| own_id(desk))
}

fn own_id(desk: &Desk) -> Option<HeaderValue> {
    HeaderValue::from_str(&desk.request_ids.next()).ok()
}
