//! What traces say, and what they never say.

use crate::http::client::wait_for;
use crate::support::installation::{Installation, read_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A server whose every trace is kept, in JSON.
fn talkative() -> Installation {
    let installation = Installation::new();
    installation.configure("[log]\nformat = \"json\"\nfilter = \"trace\"\ncalls = \"info\"");
    installation
}

/// An API key that calls under ids of its own.
pub struct Caller {
    base: String,
    pub token: String,
    /// Everything secret that was sent or answered.
    secrets: BTreeSet<String>,
}

impl Caller {
    pub fn new(installation: &Installation, base: String) -> Self {
        let credentials = read_json(&installation.path("demo/credentials.json"));
        let mut caller = Self {
            base,
            token: String::new(),
            secrets: BTreeSet::new(),
        };
        let secret = credentials["api_secret"].as_str().unwrap().to_owned();
        let login = json!({"api_key": credentials["api_key"], "api_secret": secret});
        let answer = caller.call("POST", "/auth", "login", &login);
        caller.token = answer["access_token"].as_str().unwrap().to_owned();
        let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
        caller
            .secrets
            .extend([secret, caller.token.clone(), refresh]);
        caller
    }

    pub fn call(&self, method: &str, path: &str, id: &str, body: &Value) -> Value {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("request-id", id)
            .body(body.to_string())
            .unwrap();
        let mut answer = ureq::Agent::new_with_config(config).run(request).unwrap();
        answer.body_mut().read_json().unwrap()
    }
}

#[test]
fn a_whole_day_leaves_no_secret_and_no_process_data_in_the_log() {
    let mut installation = talkative();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    let mut caller = Caller::new(&installation, format!("http://{address}/api/v2"));
    let id = || uuid::Uuid::new_v4().to_string();
    let (tss, client, tx) = (format!("/tss/{}", id()), id(), id());
    let puk = caller.call("PUT", &tss, "make", &json!({}))["admin_puk"]
        .as_str()
        .unwrap()
        .to_owned();
    let pin = "7350162894";
    caller.call("PATCH", &tss, "take", &json!({"state": "UNINITIALIZED"}));
    caller.call(
        "PATCH",
        &format!("{tss}/admin"),
        "pin",
        &json!({"admin_puk": puk, "new_admin_pin": pin}),
    );
    // One that is wrong is a secret as well: it may be that of another TSS.
    let wrong = "9264081735";
    let refused = caller.call(
        "POST",
        &format!("{tss}/admin/auth"),
        "wrong",
        &json!({"admin_pin": wrong}),
    );
    assert_eq!(refused["code"], "E_ADMIN_LOGIN_FAILED", "{refused}");
    caller.call(
        "POST",
        &format!("{tss}/admin/auth"),
        "auth",
        &json!({"admin_pin": pin}),
    );
    caller.call("PATCH", &tss, "init", &json!({"state": "INITIALIZED"}));
    caller.call(
        "PUT",
        &format!("{tss}/client/{client}"),
        "client",
        &json!({"serial_number": "KASSE-1"}),
    );
    let start = json!({"state": "ACTIVE", "client_id": client});
    caller.call(
        "PUT",
        &format!("{tss}/tx/{tx}?tx_revision=1"),
        "start",
        &start,
    );
    let data = "Beleg^1234.56_0.00_0.00_0.00_0.00^1234.56:Bar";
    let encoded = openssl::base64::encode_block(data.as_bytes());
    let finish = json!({"state": "FINISHED", "client_id": client,
        "schema": {"raw": {"process_type": "Kassenbeleg-V1", "process_data": encoded}},
        "metadata": {"cashier": "Mechthild"}});
    let done = caller.call(
        "PUT",
        &format!("{tss}/tx/{tx}?tx_revision=2"),
        "finish",
        &finish,
    );
    assert_eq!(done["state"], "FINISHED", "{done}");
    // Broken bodies are the ones that somebody would like to see in a log.
    caller.call(
        "PUT",
        &format!("{tss}/tx/{tx}?tx_revision=3"),
        "broken",
        &json!({"schema": encoded}),
    );
    let read = |name: &str| {
        std::fs::read_to_string(installation.path(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let kept = [read("token.pin"), read("seal.key")];
    let mut secrets = std::mem::take(&mut caller.secrets);
    secrets.extend(kept);
    secrets.extend([
        puk,
        pin.to_owned(),
        wrong.to_owned(),
        data.to_owned(),
        encoded,
        "1234.56".to_owned(),
        "Mechthild".to_owned(),
    ]);
    assert!(installation.stop(), "it ended well");
    let log = installation.log();
    assert!(log.len() > 50, "only {} lines were logged", log.len());
    for line in &log {
        let found = secrets.iter().find(|secret| line.contains(secret.as_str()));
        assert!(found.is_none(), "{found:?} stands in {line}");
    }
    every_line_is_an_object(&log);
    each_call_has_one_line_with_its_id(&log);
}

fn every_line_is_an_object(log: &[String]) {
    for line in log {
        let trace: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(trace[key].is_string(), "{line} has no {key}");
        }
    }
}

fn each_call_has_one_line_with_its_id(log: &[String]) {
    let lines: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (id, method, route, status) in [
        ("login", "POST", "/api/v2/auth", 200),
        (
            "client",
            "PUT",
            "/api/v2/tss/{tss_id}/client/{client_id}",
            200,
        ),
        (
            "finish",
            "PUT",
            "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}",
            200,
        ),
        (
            "broken",
            "PUT",
            "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}",
            400,
        ),
    ] {
        let of_call = |line: &&Value| line["span"]["request_id"] == id && line["route"].is_string();
        let found: Vec<_> = lines.iter().filter(of_call).collect();
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        assert_eq!(found[0]["level"], "INFO");
        assert_eq!(
            (&found[0]["method"], &found[0]["route"]),
            (&json!(method), &json!(route))
        );
        assert_eq!(found[0]["status"], status);
        assert!(found[0]["took_s"].is_number());
    }
}

#[test]
fn a_command_that_the_token_fails_is_traced_with_the_id_of_its_request() {
    let mut installation = talkative();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    let caller = Caller::new(&installation, format!("http://{address}/api/v2"));
    let tss = format!("/tss/{}", uuid::Uuid::new_v4());
    caller.call("PUT", &tss, "make", &json!({}));
    // The token's storage is gone from one moment to the next.
    let (tokens, away) = (
        installation.path("tokens"),
        installation.path("tokens.away"),
    );
    std::fs::rename(&tokens, &away).unwrap();
    let other = format!("/tss/{}", uuid::Uuid::new_v4());
    let answer = caller.call("PUT", &other, "lost-its-token", &json!({}));
    assert_eq!(answer["status_code"], 503, "{answer}");
    let line = wait_for("the trace", || {
        let log = installation.log();
        let is_wanted = |line: &&String| line.contains("a command was not carried out");
        log.iter().find(is_wanted).cloned()
    });
    let trace: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(trace["span"]["request_id"], "lost-its-token", "{line}");
    assert_eq!(trace["level"], "WARN");
    std::fs::rename(&away, &tokens).unwrap();
}
