//! A client of the HTTP dialect, as small as one can be.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::Duration;
use ureq::http::{Method, Request};

/// Longest wait for an answer: the first key pairs of a token may take a while.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Most bytes of an export that are read.
const EXPORT_BYTES_MAX: u64 = 1 << 30;

/// A logged-in client. Clones share their connections.
#[derive(Clone)]
pub(super) struct Api {
    agent: ureq::Agent,
    base_url: String,
    token: String,
}

impl Api {
    pub(super) fn log_in(base_url: &str, api_key: &str, api_secret: &str) -> anyhow::Result<Self> {
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        let mut api = Self {
            agent: ureq::Agent::new_with_config(settings),
            base_url: base_url.trim_end_matches('/').to_owned(),
            token: String::new(),
        };
        let body = json!({"api_key": api_key, "api_secret": api_secret});
        let answer = api.call(&Method::POST, "/auth", &body)?;
        api.token = text(&answer, "access_token")?.to_owned();
        Ok(api)
    }

    /// The access token, for calls that go past this client.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::GET, path, &Value::Null)
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::PUT, path, body)
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::PATCH, path, body)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::POST, path, body)
    }

    pub(super) fn download(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut answer = self.send(&Method::GET, path, &Value::Null)?;
        if answer.status() != 200 {
            bail!("GET {path} was answered with {}", answer.status());
        }
        let mut bytes = Vec::new();
        answer
            .body_mut()
            .as_reader()
            .take(EXPORT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .with_context(|| format!("the answer of GET {path} broke off"))?;
        Ok(bytes)
    }

    fn call(&self, method: &Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, body) = self.ask(method, path, body)?;
        if status != 200 {
            bail!("{method} {path} was answered with {status}: {body}");
        }
        Ok(body)
    }

    /// Status and body, whatever they are.
    pub(super) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(u16, Value)> {
        let mut answer = self.send(method, path, body)?;
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("the answer of {method} {path} broke off"))?;
        match serde_json::from_str(&body) {
            Ok(body) => Ok((status, body)),
            Err(_) if status != 200 => Ok((status, Value::String(body))),
            Err(error) => {
                Err(error).with_context(|| format!("the answer of {method} {path} is not JSON"))
            }
        }
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let failed = || format!("{method} {path} was not answered");
        if body.is_null() {
            return self.agent.run(request.body(())?).with_context(failed);
        }
        let request = request.header("content-type", "application/json");
        self.agent
            .run(request.body(body.to_string())?)
            .with_context(failed)
    }
}

/// A text of an answer.
pub(super) fn text<'a>(answer: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    answer
        .pointer(&format!("/{}", name.replace('.', "/")))
        .and_then(Value::as_str)
        .with_context(|| format!("the answer has no text {name}"))
}
