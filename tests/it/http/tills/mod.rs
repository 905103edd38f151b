//! Tills as they are in the wild, each over a whole day: log in, set up, sell, export. What they send,
//! and what they expect, is in the HTTP dialect §6 and §16.

mod browser;
mod collection;
mod plugins;
mod queue;
mod readers;

use super::client::{Answer, new_id, wait_for};
use super::wire::Wire;
use crate::support::server::{Credentials, TestServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use siegel::asn1::{self, ReadKind};
use siegel::verify::{Settings, verify_archive};
use std::io::{Cursor, Read as _};
use std::num::NonZeroUsize;

/// PIN that these tills give.
const PIN: &str = "12345678";

/// A till on its day.
struct Day {
    wire: Wire,
    credentials: Credentials,
    /// What every path begins with.
    base: String,
    token: String,
    /// What it sends where there is nothing to say.
    nothing: Option<&'static str>,
    tss: String,
    client: String,
    /// The answer to its first call, with the PUK.
    created: Value,
}

impl Day {
    /// A till that is not logged in yet.
    fn new(server: &TestServer) -> Self {
        Self {
            wire: Wire::to(server.address()).always("Content-Type", "application/json"),
            credentials: server.organization(),
            base: "/api/v2".to_owned(),
            token: String::new(),
            nothing: Some("{}"),
            tss: new_id(),
            client: new_id(),
            created: Value::Null,
        }
    }

    /// A path below its TSS.
    fn path(&self, rest: &str) -> String {
        format!("/tss/{}{rest}", self.tss)
    }

    /// Any call, with the token.
    fn call(&mut self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let target = format!("{}{path}", self.base);
        let headers = [("Authorization", bearer.as_str())];
        self.wire
            .call(method, &target, &headers, body.map(str::as_bytes))
    }

    fn get(&mut self, path: &str) -> Value {
        self.call("GET", path, None).ok()
    }

    fn send(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, Some(&body.to_string())).ok()
    }

    /// `POST /auth` with this body, and the token from then on.
    fn log_in_with(&mut self, body: &Value) -> Value {
        let target = format!("{}/auth", self.base);
        let body = body.to_string();
        let answer = self
            .wire
            .call("POST", &target, &[], Some(body.as_bytes()))
            .ok();
        self.token = answer["access_token"].as_str().unwrap().to_owned();
        answer
    }

    fn log_in(&mut self) -> Value {
        let body = self.credentials.body();
        self.log_in_with(&body)
    }

    /// From nothing to a registered till, in the order that they all have.
    fn set_up(&mut self) {
        self.log_in();
        let nothing = self.nothing;
        let tss = self.path("");
        // The pool of prepared devices may be empty for a moment; they all come back then.
        let created = wait_for("a prepared device", || {
            let answer = self.call("PUT", &tss, nothing);
            (answer.status != 503).then_some(answer)
        });
        self.created = created.ok();
        self.send("PATCH", &tss, &json!({"state": "UNINITIALIZED"}));
        let puk = self.created["admin_puk"].clone();
        let pin = json!({"admin_puk": puk, "new_admin_pin": PIN});
        assert_eq!(self.send("PATCH", &self.path("/admin"), &pin), json!({}));
        let pin = json!({"admin_pin": PIN});
        assert_eq!(
            self.send("POST", &self.path("/admin/auth"), &pin),
            json!({})
        );
        self.send("PATCH", &tss, &json!({"state": "INITIALIZED"}));
        let client = self.path(&format!("/client/{}", self.client));
        let serial = format!("TILL-{}", self.client);
        self.send("PUT", &client, &json!({"serial_number": serial}));
        let logout = self.path("/admin/logout");
        assert_eq!(self.call("POST", &logout, nothing).ok(), json!({}));
    }

    /// The call of a step; `tx` is an id or a number.
    fn step(&self, tx: &str, revision: u64, state: &str, schema: Option<Value>) -> (String, Value) {
        let mut body = json!({"state": state, "client_id": self.client});
        if let Some(schema) = schema {
            body["schema"] = schema;
        }
        (self.path(&format!("/tx/{tx}?tx_revision={revision}")), body)
    }

    /// A step that is signed.
    fn sign(&mut self, tx: &str, revision: u64, state: &str, schema: Option<Value>) -> Value {
        let (path, body) = self.step(tx, revision, state, schema);
        self.send("PUT", &path, &body)
    }

    /// A step as it comes back, signed or not.
    fn try_sign(&mut self, tx: &str, revision: u64, state: &str, schema: Option<Value>) -> Answer {
        let (path, body) = self.step(tx, revision, state, schema);
        self.call("PUT", &path, Some(&body.to_string()))
    }

    /// Triggers an export with this query, waits, and downloads it.
    fn export(&mut self, query: &str) -> Vec<u8> {
        let path = self.path(&format!("/export/{}", new_id()));
        let nothing = self.nothing;
        self.call("PUT", &format!("{path}{query}"), nothing).ok();
        wait_for("the end of an export", || {
            (self.get(&path)["state"] == "COMPLETED").then_some(())
        });
        let answer = self.call("GET", &format!("{path}/file"), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.bytes
    }

    /// Exports the whole day, which must verify and hold so many steps of transactions.
    fn close(&mut self, steps: usize) {
        let bytes = self.export("");
        let report = verify_archive(Cursor::new(&bytes), &Settings::new(NonZeroUsize::MIN));
        let report = report.unwrap();
        assert_eq!(report.findings, []);
        let counter: u64 = self.get(&self.path(""))["signature_counter"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(report.logs, counter - 1);
        assert_eq!(report.signatures_valid, report.logs);
        assert_eq!(signed_steps(&bytes).len(), steps);
    }
}

/// Transaction number, counter and signature of each step in an archive.
pub(super) fn signed_steps(archive: &[u8]) -> Vec<(u64, u64, String)> {
    let mut archive = tar::Archive::new(Cursor::new(archive));
    let mut steps = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.path().unwrap().to_string_lossy().ends_with(".log") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let message = asn1::read(&bytes).unwrap();
        if let ReadKind::Transaction {
            transaction_number, ..
        } = message.kind
        {
            let signature = STANDARD.encode(message.signature);
            steps.push((transaction_number, message.signature_counter, signature));
        }
    }
    steps
}

/// What was signed, as `schema.raw` of an answer says.
fn signed(answer: &Value) -> (String, String) {
    let raw = &answer["schema"]["raw"];
    let data = STANDARD
        .decode(raw["process_data"].as_str().unwrap())
        .unwrap();
    (
        raw["process_type"].as_str().unwrap().to_owned(),
        String::from_utf8(data).unwrap(),
    )
}
