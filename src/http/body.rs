//! Request bodies as tills send them.

use super::door::{Desk, VALUE_LEN_MAX, VALUES_MAX};
use super::meter::Counted;
use super::problem::Problem;
use super::problem_codes::ErrorCode;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::Value;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// A body of JSON, whatever its content type says. Nothing at all and PHP's `[]` are an empty object.
pub(super) struct JsonBody {
    value: Value,
    text_len: usize,
    /// As long as it is in memory.
    counted: Counted,
}

impl JsonBody {
    /// Forgets the values. What has been made of them has their texts at most twice, as they came and as they are
    /// signed; that is counted until what this returns is dropped.
    pub fn into_texts(self) -> Counted {
        drop(self.value);
        let mut counted = self.counted;
        counted.set(2 * self.text_len);
        counted
    }
}

impl Deref for JsonBody {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl FromRequest for JsonBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (max, patience) = body_limits(request);
        let room = Room::of(request);
        let mut payload = payload.take();
        Box::pin(async move {
            let bytes = timeout(patience, read(&mut payload, max, &room)).await;
            let late = |_| Problem::new(ErrorCode::RequestTimeout, "body did not come in time");
            let (bytes, mut counted) = bytes.map_err(late)??;
            // Values take many times as much as the text they come from: up to 70 times. They find their
            // place before they are made.
            let values_len = in_memory(&bytes)?;
            room.take(&mut counted, bytes.capacity() + values_len)?;
            let value = parse(&bytes)?;
            let text_len = bytes.len();
            drop(bytes);
            counted.set(values_len);
            Ok(Self {
                value,
                text_len,
                counted,
            })
        })
    }
}

/// The memory that all bodies share: a great many large ones at once must not use up the machine's.
struct Room {
    used: Gauge,
    max: usize,
}

impl Room {
    fn of(request: &HttpRequest) -> Self {
        let desk = request.app_data::<web::Data<Desk>>();
        desk.map_or(
            Self {
                used: Gauge::default(),
                max: 0,
            },
            |desk| Self {
                used: desk.door.meter.body_bytes.clone(),
                max: desk.door.settings.transport.bodies_len_max,
            },
        )
    }

    /// Counts a body as so long from now on, if there is room for that.
    fn take(&self, counted: &mut Counted, len: usize) -> Result<(), Problem> {
        counted.set(len);
        if usize::try_from(self.used.get()).is_ok_and(|used| used > self.max) {
            let message = "too many large bodies are being read";
            return Err(Problem::later(ErrorCode::TssLocked, message, 1));
        }
        Ok(())
    }
}

/// Largest body in bytes, and how long it may take.
pub(super) fn body_limits(request: &HttpRequest) -> (usize, Duration) {
    let desk = request.app_data::<web::Data<Desk>>();
    let settings = desk.map(|desk| &desk.door.settings);
    settings.map_or((0, Duration::ZERO), |settings| {
        let patience = Duration::from_millis(settings.transport.body_timeout_ms.into());
        (settings.body_len_max, patience)
    })
}

/// A body that is not looked at. It is read all the same: unread, it would end the connection, and
/// tills send bodies with calls that need none.
pub(super) struct IgnoredBody;

impl FromRequest for IgnoredBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (max, patience) = body_limits(request);
        let mut payload = payload.take();
        Box::pin(async move {
            pass_over(&mut payload, max, patience).await;
            Ok(Self)
        })
    }
}

/// The length that a body says it has, in bytes.
pub(super) fn length_told(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    let len: u64 = text.trim().parse().ok()?;
    Some(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Reads a body to its end; what does not come in time, or is too large, stays where it is.
pub(super) async fn pass_over(payload: &mut Payload, max: usize, patience: Duration) {
    let all = async {
        let mut len = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            len += chunk.len();
            if len > max {
                return;
            }
        }
    };
    // Too late is as good as too large: the connection ends after the answer.
    let _ = timeout(patience, all).await;
}

async fn read(
    payload: &mut Payload,
    max: usize,
    room: &Room,
) -> Result<(Vec<u8>, Counted), Problem> {
    let mut bytes = Vec::new();
    let mut counted = Counted::some(&room.used, 0);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::invalid("body broke off"))?;
        if bytes.len() + chunk.len() > max {
            return Err(Problem::body_too_large());
        }
        bytes.extend_from_slice(&chunk);
        room.take(&mut counted, bytes.capacity())?;
    }
    Ok((bytes, counted))
}

/// What the values of a text take in memory at most, in bytes. Before each of them, but for the first, stands one
/// of the characters that are counted; a text that is no JSON is read no further than to where it stops being it.
fn in_memory(text: &[u8]) -> Result<usize, Problem> {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' | b',' | b':' if !in_string => values += 1,
            _ => {}
        }
    }
    if values > VALUES_MAX {
        return Err(Problem::invalid("body holds too many values"));
    }
    Ok(text.len() + values * VALUE_LEN_MAX)
}

/// Where the text stops being JSON that can be read; never the text itself.
fn no_json(error: &serde_json::Error) -> String {
    // The library does not tell its kinds apart in another way.
    let what = match error.to_string().starts_with("number out of range") {
        true => "body holds a number that is too large",
        false => "body should be JSON in UTF-8",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// What some editors and languages put before text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let empty = || Value::Object(serde_json::Map::new());
    if bytes.trim_ascii().is_empty() {
        return Ok(empty());
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| Problem::invalid(no_json(&error)))?;
    match value {
        Value::Array(items) if items.is_empty() => Ok(empty()),
        Value::Null => Ok(empty()),
        object @ Value::Object(_) => Ok(object),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Problem::invalid("body should be object"))
        }
    }
}

#[cfg(test)]
mod tests;
