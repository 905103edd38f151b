//! Every route of the server, in one table: what is registered is what is listed, so tests that walk
//! the list miss none.

use super::problem::Problem;
use super::{auth, health, management_v0, openapi, sign_de_v2};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, Route, guard, web};

/// Which of the two layers that clients know answers: they word a bad id differently (HTTP dialect §3),
/// and write the fields of an error in another order (§11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Validates by schema.
    Backend,
    /// Parses by itself.
    Middleware,
}

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path below that of its table, with names in braces where ids stand.
    pub path: &'static str,
    /// Whether it may be called without a token.
    pub is_open: bool,
    /// Who answers.
    pub layer: Layer,
    handler: fn(Route) -> Route,
}

impl Endpoint {
    /// For callers with a token, answered by the backend.
    pub(super) const fn new(
        method: Method,
        path: &'static str,
        handler: fn(Route) -> Route,
    ) -> Self {
        Self {
            method,
            path,
            is_open: false,
            layer: Layer::Backend,
            handler,
        }
    }

    /// For callers with a token, answered by the middleware.
    pub(super) const fn of_middleware(
        method: Method,
        path: &'static str,
        handler: fn(Route) -> Route,
    ) -> Self {
        Self {
            method,
            path,
            is_open: false,
            layer: Layer::Middleware,
            handler,
        }
    }

    /// For everybody.
    pub(super) const fn open(
        method: Method,
        path: &'static str,
        handler: fn(Route) -> Route,
    ) -> Self {
        Self {
            method,
            path,
            is_open: true,
            layer: Layer::Backend,
            handler,
        }
    }
}

/// Where the dialect starts.
const SIGN_DE_V2: &str = "/api/v2";

const HEALTH: &[Endpoint] = &[
    Endpoint::open(Method::GET, "/health/live", |route| route.to(health::live)),
    Endpoint::open(Method::GET, "/health/ready", |route| {
        route.to(health::ready)
    }),
];

const AUTH: &[Endpoint] = &[Endpoint::open(Method::POST, "/auth", |route| {
    route.to(auth::log_in)
})];

/// Where the Management API starts.
const MANAGEMENT_V0: &str = "/api/v0";

const AUTH_V0: &[Endpoint] = &[Endpoint::open(Method::POST, "/auth", |route| {
    route.to(auth::log_in_v0)
})];

fn of_management_v0() -> impl Iterator<Item = &'static Endpoint> {
    let tables = [AUTH_V0].into_iter().chain(management_v0::ENDPOINTS);
    tables.flatten()
}

fn of_sign_de_v2() -> impl Iterator<Item = &'static Endpoint> {
    let tables = [AUTH, openapi::ENDPOINTS]
        .into_iter()
        .chain(sign_de_v2::ENDPOINTS);
    tables.flatten()
}

/// Every endpoint with its whole path.
pub fn endpoints() -> impl Iterator<Item = (String, &'static Endpoint)> {
    let health = HEALTH
        .iter()
        .map(|endpoint| (endpoint.path.to_owned(), endpoint));
    let dialect =
        of_sign_de_v2().map(|endpoint| (format!("{SIGN_DE_V2}{}", endpoint.path), endpoint));
    let management =
        of_management_v0().map(|endpoint| (format!("{MANAGEMENT_V0}{}", endpoint.path), endpoint));
    health.chain(dialect).chain(management)
}

/// Registers every endpoint.
pub(super) fn register(config: &mut web::ServiceConfig) {
    for endpoint in HEALTH {
        config.route(endpoint.path, endpoint.route());
    }
    let mut scope = web::scope(SIGN_DE_V2);
    let mut endpoints: Vec<_> = of_sign_de_v2().collect();
    // Paths are tried one after the other.
    endpoints.sort_by_key(|endpoint| !endpoint.is_busiest());
    for endpoint in endpoints {
        scope = scope.route(endpoint.path, endpoint.route());
    }
    config.service(scope.default_service(web::to(super::server::no_route)));
    let mut scope = web::scope(MANAGEMENT_V0);
    for endpoint in of_management_v0() {
        scope = scope.route(endpoint.path, endpoint.route());
    }
    config.service(scope.default_service(web::to(management_v0::unknown)));
}

impl Endpoint {
    /// Whether this is where tills sign: nearly every call there is.
    fn is_busiest(&self) -> bool {
        self.method == Method::PUT && self.path.ends_with("/tx/{tx_id_or_number}")
    }

    fn route(&self) -> Route {
        let methods = match self.method {
            // Load balancers and `curl -I` ask for the head alone.
            Method::GET => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
            _ => web::method(self.method.clone()),
        };
        let route = (self.handler)(methods);
        match self.layer {
            Layer::Backend => route,
            Layer::Middleware => route.wrap(from_fn(told_by_middleware)),
        }
    }
}

/// Writes an error as the middleware does.
async fn told_by_middleware(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let answer = next.call(request).await?;
    let error = answer.response().error();
    match error.and_then(|error| error.as_error::<Problem>()).cloned() {
        None => Ok(answer.map_into_boxed_body()),
        Some(problem) => Ok(answer.into_response(problem.answer(Layer::Middleware))),
    }
}
