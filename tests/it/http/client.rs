//! A client of the dialect that says exactly what was answered.

use crate::support::server::{Credentials, PATIENCE_MS, TestServer};
use crate::support::token::TestClock;
use serde_json::{Value, json};
use siegel::terms::{Clock as _, OrganizationId};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use ureq::http::{HeaderMap, Request};
use uuid::Uuid;

/// A new id for anything.
pub fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Names of the fields of an object, in their order.
pub fn keys(value: &Value) -> Vec<&str> {
    let fields = value.as_object().expect("this is an object");
    fields.keys().map(String::as_str).collect()
}

/// Asks again until the answer is as wanted.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let patience = TestClock::start();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(patience.monotonic_ms() < PATIENCE_MS, "{what} never came");
        std::thread::yield_now();
    }
}

/// Asks again while the token is compared with the ledger, as after every new attachment to it: tests of one
/// process share a module, and some have it initialised anew.
pub fn once_compared(ask: impl Fn() -> Answer) -> Answer {
    wait_for("a compared token", || {
        let answer = ask();
        let is_early = answer.status == 503 && answer.text().contains("is being compared");
        (!is_early).then_some(answer)
    })
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// What was asked, for messages.
    pub call: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.call, self.text()))
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}: {}", self.call, self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// The message of a refusal in the documented shape, with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!(self.status, status, "{}: {body}", self.call);
        assert_eq!(body["code"], code, "{}: {body}", self.call);
        // The two layers that clients know were recorded with two orders.
        let order = match is_of_middleware(&self.call) {
            true => ["code", "message", "status_code", "error"],
            false => ["status_code", "error", "code", "message"],
        };
        assert_eq!(keys(&body), order, "{}", self.call);
        self.problem(&body)
    }

    /// The message of a refusal that has no code.
    #[track_caller]
    pub fn refused_without_code(&self, status: u16) -> String {
        let body = self.json();
        assert_eq!(self.status, status, "{}: {body}", self.call);
        assert_eq!(
            keys(&body),
            ["status_code", "error", "message"],
            "{}",
            self.call
        );
        self.problem(&body)
    }

    #[track_caller]
    fn problem(&self, body: &Value) -> String {
        assert_eq!(body["status_code"], self.status, "{}", self.call);
        let status = ureq::http::StatusCode::from_u16(self.status).unwrap();
        assert_eq!(body["error"], status.canonical_reason().unwrap());
        assert_eq!(self.header("content-type"), Some("application/json"));
        // Some clients repeat whatever has this header, so final refusals must not have it. Whether an
        // export may yet be completed, its own tests know.
        if body["code"] != "E_EXPORT_NOT_COMPLETED" {
            let later = [429, 503].contains(&self.status);
            assert_eq!(self.header("retry-after").is_some(), later, "{}", self.call);
        }
        let message = body["message"].as_str().expect("the message is text");
        assert!(!message.is_empty(), "{}", self.call);
        message.to_owned()
    }
}

/// Whether the dialect says that the middleware answers this call.
fn is_of_middleware(call: &str) -> bool {
    let (method, path) = call.split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    let Some((_, path)) = path.split_once("/tss/") else {
        return false;
    };
    let parts: Vec<_> = path.trim_end_matches('/').split('/').skip(1).collect();
    matches!(
        (method, parts.as_slice()),
        ("PATCH", [] | ["admin"])
            | ("POST", ["admin", "auth" | "logout"])
            | ("PUT" | "PATCH", ["client", _])
            | ("PUT", ["tx", _])
    )
}

/// One login of one organisation.
#[derive(Clone, Debug)]
pub struct Api {
    pub address: SocketAddr,
    pub organization: OrganizationId,
    pub token: Option<String>,
}

impl Api {
    /// Logs a new organisation in.
    pub fn new(server: &TestServer) -> Self {
        Self::log_in(server, &server.organization())
    }

    pub fn log_in(server: &TestServer, credentials: &Credentials) -> Self {
        let mut api = Self {
            address: server.address(),
            organization: credentials.organization,
            token: None,
        };
        let answer = api.post("/auth", &credentials.body()).ok();
        api.token = Some(answer["access_token"].as_str().unwrap().to_owned());
        api
    }

    /// The same with another token, or with none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self {
            token: token.map(str::to_owned),
            ..self.clone()
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None, &[])
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None, &[])
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body.to_string().as_bytes()), &[])
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(body.to_string().as_bytes()), &[])
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body.to_string().as_bytes()), &[])
    }

    /// Any call; `path` begins after `/api/v2`.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let path = format!("/api/v2{path}");
        self.call_at_root(method, &path, body, headers)
    }

    /// Any call of any path.
    pub fn call_at_root(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_call_at_root(method, path, body, headers)
            .unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same where it may be that nobody answers.
    fn try_call_at_root(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_global(Some(std::time::Duration::from_millis(PATIENCE_MS)))
            .build();
        let agent = ureq::Agent::new_with_config(settings);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let call = format!("{method} {path}");
        let answer = match body {
            None => agent.run(request.body(()).unwrap()),
            Some(bytes) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(bytes.to_vec()).unwrap())
            }
        };
        let mut answer = answer.map_err(|error| format!("{call}: {error}"))?;
        let mut bytes = Vec::new();
        let reader = answer.body_mut().as_reader();
        let read = reader.take(1 << 30).read_to_end(&mut bytes);
        read.map_err(|error| format!("{call} broke off: {error}"))?;
        Ok(Answer {
            call,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            bytes,
        })
    }

    /// Signature counter of a TSS.
    #[track_caller]
    pub fn counter(&self, tss: &str) -> u64 {
        let answer = self.get(&format!("/tss/{tss}")).ok();
        answer["signature_counter"]
            .as_str()
            .expect("the counter is text")
            .parse()
            .unwrap()
    }

    /// Does something that signs exactly so many messages.
    #[track_caller]
    pub fn signing<T>(&self, tss: &str, messages: u64, act: impl FnOnce() -> T) -> T {
        let before = self.counter(tss);
        let result = act();
        assert_eq!(self.counter(tss) - before, messages, "messages signed");
        result
    }
}

/// Sends bytes as they are, on a connection of their own, and reads until the server closes it.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_millis(PATIENCE_MS)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// PIN of every TSS of the tests.
pub const PIN: &str = "123456";

/// A TSS with what its owner knows about it.
#[derive(Clone, Debug)]
pub struct Till {
    pub api: Api,
    pub tss: String,
    pub puk: String,
    /// The client; registered by [`Till::new`] alone.
    pub client: String,
    pub serial: String,
}

impl Till {
    /// A TSS that was only just made, of an organisation of its own.
    pub fn created(server: &TestServer) -> Self {
        Self::created_by(&Api::new(server))
    }

    /// A TSS that was only just made.
    pub fn created_by(api: &Api) -> Self {
        let tss = new_id();
        let path = format!("/tss/{tss}");
        // The pool of prepared devices may be empty for a moment.
        let made = wait_for("a prepared device", || {
            let answer = api.put(&path, &json!({}));
            (answer.status != 503).then_some(answer)
        });
        let client = new_id();
        Self {
            api: api.clone(),
            puk: made.ok()["admin_puk"].as_str().unwrap().to_owned(),
            tss,
            serial: format!("KASSE-{client}"),
            client,
        }
    }

    /// A TSS whose owner has the PUK, with PIN, and its admin logged in.
    pub fn taken_over(server: &TestServer) -> Self {
        let till = Self::created(server);
        till.take_over();
        till
    }

    fn take_over(&self) {
        once_compared(|| self.state("UNINITIALIZED")).ok();
        once_compared(|| self.set_pin(&self.puk, PIN)).ok();
        once_compared(|| self.log_in(PIN)).ok();
    }

    /// An initialised TSS with a client, its admin still logged in.
    pub fn new(server: &TestServer) -> Self {
        Self::new_by(&Api::new(server))
    }

    /// The same for an organisation that is there.
    pub fn new_by(api: &Api) -> Self {
        let till = Self::created_by(api);
        till.take_over();
        once_compared(|| till.state("INITIALIZED")).ok();
        once_compared(|| till.register()).ok();
        till
    }

    /// A path below this TSS.
    pub fn path(&self, rest: &str) -> String {
        format!("/tss/{}{rest}", self.tss)
    }

    /// `PATCH /tss/{tss_id}`
    pub fn state(&self, state: &str) -> Answer {
        self.api.patch(&self.path(""), &json!({"state": state}))
    }

    /// `PATCH /tss/{tss_id}/admin`
    pub fn set_pin(&self, puk: &str, pin: &str) -> Answer {
        let body = json!({"admin_puk": puk, "new_admin_pin": pin});
        self.api.patch(&self.path("/admin"), &body)
    }

    /// `POST /tss/{tss_id}/admin/auth`
    pub fn log_in(&self, pin: &str) -> Answer {
        let body = json!({"admin_pin": pin});
        self.api.post(&self.path("/admin/auth"), &body)
    }

    /// `POST /tss/{tss_id}/admin/logout`
    pub fn log_out(&self) -> Answer {
        self.api.post(&self.path("/admin/logout"), &json!({}))
    }

    /// Registers the till's own client.
    pub fn register(&self) -> Answer {
        self.register_as(&self.client, &self.serial)
    }

    /// `PUT /tss/{tss_id}/client/{client_id}`
    pub fn register_as(&self, client: &str, serial: &str) -> Answer {
        let path = self.path(&format!("/client/{client}"));
        self.api.put(&path, &json!({"serial_number": serial}))
    }

    /// One step of a transaction, named by id or number.
    pub fn step(&self, tx: &str, revision: u64, state: &str, schema: Option<Value>) -> Answer {
        self.step_of(&self.client, tx, revision, state, schema)
    }

    /// The same by any client.
    pub fn step_of(
        &self,
        client: &str,
        tx: &str,
        revision: u64,
        state: &str,
        schema: Option<Value>,
    ) -> Answer {
        let (path, body) = self.request_of(client, tx, revision, state, schema);
        self.api.put(&path, &body)
    }

    fn request_of(
        &self,
        client: &str,
        tx: &str,
        revision: u64,
        state: &str,
        schema: Option<Value>,
    ) -> (String, Value) {
        let mut body = json!({"state": state, "client_id": client});
        if let Some(schema) = schema {
            body["schema"] = schema;
        }
        (self.path(&format!("/tx/{tx}?tx_revision={revision}")), body)
    }

    /// One step of a transaction; `None` when nobody answers.
    pub fn try_step(
        &self,
        tx: &str,
        revision: u64,
        state: &str,
        schema: Option<Value>,
    ) -> Option<Answer> {
        let (path, body) = self.request_of(&self.client, tx, revision, state, schema);
        let path = format!("/api/v2{path}");
        self.api
            .try_call_at_root("PUT", &path, Some(body.to_string().as_bytes()), &[])
            .ok()
    }

    /// Starts a transaction and answers its id.
    pub fn start(&self) -> String {
        let tx = new_id();
        self.step(&tx, 1, "ACTIVE", None).ok();
        tx
    }

    /// Sells something: two messages.
    pub fn sell(&self) -> Value {
        let tx = self.start();
        self.step(&tx, 2, "FINISHED", Some(receipt("4.20"))).ok()
    }

    /// Messages that this closure signs.
    #[track_caller]
    pub fn signing<T>(&self, messages: u64, act: impl FnOnce() -> T) -> T {
        self.api.signing(&self.tss, messages, act)
    }
}

/// A receipt over one amount.
pub fn receipt(amount: &str) -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": amount}],
        "amounts_per_payment_type": [{"payment_type": "NON_CASH", "amount": amount}],
    }}})
}

/// An order of one line.
pub fn order() -> Value {
    json!({"standard_v1": {"order": {"line_items": [
        {"quantity": "2", "text": "Maultaschen", "price_per_unit": "9.50"},
    ]}}})
}

/// How many answers have each status.
pub fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

/// Does the same in eight threads at once and gives all answers.
pub fn eightfold<T: Send>(act: impl Fn() -> T + Sync) -> Vec<T> {
    in_eight_threads(|_| act())
}

/// Does something in eight threads at once, each with its number from 0.
pub fn in_eight_threads<T: Send>(act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let (act, barrier) = (&act, &barrier);
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    barrier.wait();
                    act(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
