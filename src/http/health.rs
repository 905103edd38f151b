//! Whether this node lives, and whether it can sign.

use super::door::{Desk, Door};
use actix_web::rt::task::spawn_blocking;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a look is believed, in milliseconds: anybody may ask, and every look costs signatures.
const FRESH_MS: u64 = 1000;

/// A look that takes longer counts as "does not sign".
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The latest look. Whoever looks holds the lock until ledger and tokens have answered, so that a token
/// that hangs costs one thread, however often somebody asks.
#[derive(Default)]
pub(super) struct Health(Arc<Mutex<Option<Report>>>);

#[derive(Clone)]
struct Report {
    looked_at_ms: u64,
    ledger: bool,
    tokens: Vec<(String, bool)>,
}

impl Report {
    /// Blocks.
    fn look(door: &Door) -> Self {
        let ledger = door.store.check_health();
        if let Err(error) = &ledger {
            tracing::error!(%error, "the ledger does not answer");
        }
        Self {
            looked_at_ms: door.clock.monotonic_ms(),
            ledger: ledger.is_ok(),
            tokens: door.lanes.token_health(),
        }
    }

    fn is_ready(&self) -> bool {
        self.ledger && self.tokens.iter().any(|(_, signs)| *signs)
    }
}

impl Health {
    /// `None` when ledger or tokens do not come to an answer.
    async fn report(&self, door: &Door) -> Option<Report> {
        let look = async {
            let mut latest = Arc::clone(&self.0).lock_owned().await;
            let now_ms = door.clock.monotonic_ms();
            let fresh = latest
                .as_ref()
                .filter(|report| now_ms.saturating_sub(report.looked_at_ms) < FRESH_MS);
            if let Some(report) = fresh {
                return Some(report.clone());
            }
            let door = door.clone();
            let looked = spawn_blocking(move || {
                let report = Report::look(&door);
                *latest = Some(report.clone());
                report
            });
            looked.await.ok()
        };
        timeout(LOOK_TIMEOUT, look).await.ok().flatten()
    }
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// `GET /health/ready`: the ledger answers and at least one token signs. The state of each token is in
/// the body.
pub(super) async fn ready(desk: web::Data<Desk>) -> HttpResponse {
    let Some(report) = desk.health.report(&desk.door).await else {
        let body = json!({"status": "not ready", "ledger": "does not answer", "tokens": {}});
        return HttpResponse::ServiceUnavailable().json(body);
    };
    let ready = report.is_ready();
    let tokens: Map<String, Value> = report
        .tokens
        .into_iter()
        .map(|(label, signs)| (label, json!(if signs { "signs" } else { "does not sign" })))
        .collect();
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "ledger": if report.ledger { "answers" } else { "does not answer" },
        "tokens": tokens,
    });
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}
