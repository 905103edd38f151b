//! Request bodies as tills send them.

use super::door::Desk;
use super::problem::Problem;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use serde_json::Value;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// A body of JSON, whatever its content type says. Nothing at all and PHP's `[]` are an empty object.
pub(super) struct JsonBody(pub Value);

impl Deref for JsonBody {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl FromRequest for JsonBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let desk = request.app_data::<web::Data<Desk>>();
        let max = desk.map_or(0, |desk| desk.door.settings.body_len_max);
        let transport = desk.map(|desk| desk.door.settings.transport);
        let timeout_ms = transport.map_or(0, |transport| transport.body_timeout_ms);
        let mut payload = payload.take();
        Box::pin(async move {
            let bytes = timeout(
                Duration::from_millis(timeout_ms.into()),
                read(&mut payload, max),
            )
            .await;
            let bytes = bytes.map_err(|_| Problem {
                status: StatusCode::REQUEST_TIMEOUT,
                code: None,
                message: "body did not come in time".to_owned(),
                retry_after_s: None,
            })?;
            parse(&bytes?).map(Self)
        })
    }
}

async fn read(payload: &mut Payload, max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::invalid("body broke off"))?;
        if bytes.len() + chunk.len() > max {
            return Err(Problem {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: None,
                message: "body is larger than 1 MB".to_owned(),
                retry_after_s: None,
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let empty = || Value::Object(serde_json::Map::new());
    if bytes.trim_ascii().is_empty() {
        return Ok(empty());
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| Problem::invalid("body should be JSON in UTF-8"))?;
    match value {
        Value::Array(items) if items.is_empty() => Ok(empty()),
        Value::Null => Ok(empty()),
        object @ Value::Object(_) => Ok(object),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Problem::invalid("body should be object"))
        }
    }
}
