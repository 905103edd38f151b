//! Whether this node lives, and whether it can sign.

use super::door::Desk;
use super::problem::Problem;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// `GET /health/ready`: the ledger answers and at least one token signs. The state of each token is in
/// the body.
pub(super) async fn ready(desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    let own = desk.clone();
    let (ledger, tokens) = desk
        .ask(move |store| {
            let ledger = store.check_health();
            Ok((ledger.is_ok(), own.door.lanes.token_health()))
        })
        .await?;
    let ready = ledger && tokens.iter().any(|(_, signs)| *signs);
    let tokens: Map<String, Value> = tokens
        .into_iter()
        .map(|(label, signs)| (label, json!(if signs { "signs" } else { "does not sign" })))
        .collect();
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "ledger": if ledger { "answers" } else { "does not answer" },
        "tokens": tokens,
    });
    Ok(if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    })
}
