//! The other listener: metrics, for those who watch the node. It is not the one that tills know, and has
//! no other route.

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// A few watchers, each with a connection or two.
const CONNECTIONS_MAX: usize = 32;
/// A watcher has this long to send its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A scrape that is under way is answered when the server stops, in seconds.
const SHUTDOWN_S: u64 = 1;

/// The text form of OpenMetrics.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the metrics. Must not block for long: it runs on the one worker of this listener.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves `/metrics` until the returned server is stopped; signals are the caller's business.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve_metrics(scrape: Scrape, listener: TcpListener) -> std::io::Result<Server> {
    let scrape = web::Data::new(scrape);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(scrape.clone())
            .route("/metrics", web::get().to(metrics))
    })
    .client_request_timeout(HEADER_TIMEOUT)
    .max_connections(CONNECTIONS_MAX)
    .workers(1)
    .shutdown_timeout(SHUTDOWN_S)
    .disable_signals();
    Ok(server.listen(listener)?.run())
}

async fn metrics(scrape: web::Data<Scrape>) -> HttpResponse {
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(scrape())
}
