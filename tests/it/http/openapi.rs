//! The description of the door: the same as what is checked in, complete, and true for every example.

use super::client::{Answer, Api, wait_for};
use crate::support::server::{Credentials, TestServer, shared};
use serde_json::{Map, Value};
use siegel::http::{endpoints, openapi};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Files of `schema/openapi` that the code writes.
fn files() -> [(&'static str, String); 2] {
    [
        ("sign-de-v2.json", openapi::json().to_owned()),
        ("errors.md", openapi::errors_page()),
    ]
}

/// Set to write the files instead of comparing them.
const WRITE: &str = "SIEGEL_WRITE_SCHEMA";

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(openapi::json()).unwrap()
}

/// Method, path and description of every operation.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path} {method}");
            all.push((method.to_uppercase(), path.clone(), operation));
        }
    }
    all
}

#[test]
fn what_is_checked_in_is_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/openapi");
    for (name, text) in files() {
        let file = folder.join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == text,
            "schema/openapi/{name} is not what the code says; read the difference after: \
             {WRITE}=1 cargo test --test it what_is_checked_in"
        );
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(method, path, operation)| (method, path, operation.get("security").is_none()))
        .collect();
    // The Management API is another one, with a description of its own maker.
    let routes: BTreeSet<_> = endpoints()
        .filter(|(path, _)| !path.starts_with("/api/v0/"))
        .map(|(path, endpoint)| (endpoint.method.to_string(), path, endpoint.is_open))
        .collect();
    assert_eq!(described, routes);
}

#[test]
fn every_operation_says_what_a_reader_needs() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{place}"
        );
        let parameters = operation["parameters"].as_array();
        let parameters = parameters.map_or(&[][..], Vec::as_slice);
        let in_path: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let named: BTreeSet<_> = path
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap())
            .collect();
        assert_eq!(in_path, named, "{place}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let headers = response["headers"].as_object().unwrap();
            assert!(headers.contains_key("Request-Id"), "{place} {status}");
            assert!(!response["description"].as_str().unwrap().is_empty());
        }
        let takes_token = operation.get("security").is_some();
        let refuses = operation["responses"].get("401").is_some();
        assert!(refuses || !takes_token, "{place} needs a token");
    }
}

#[test]
fn the_document_and_its_page_are_served_to_everybody() {
    let nobody = Api::new(shared()).with_token(None);
    let served = nobody.get("/_spec.json");
    assert_eq!(served.ok(), document());
    assert_eq!(served.header("access-control-allow-origin"), None);
    let page = nobody.get("/_docs");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let text = page.text();
    // Everything that the page loads comes from here.
    let mut loaded = 0;
    for name in ["href=\"", "src=\"", "url: \""] {
        for rest in text.split(name).skip(1) {
            let path = rest.split('"').next().unwrap();
            let answer = nobody.call_at_root("GET", path, None, &[]);
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.bytes.len() > 500, "{path}");
            loaded += 1;
        }
    }
    assert!(loaded >= 4, "{loaded} parts");
    assert!(!text.contains("://"), "the page names another server");
    assert!(text.contains("validatorUrl: null"));
    let slash = nobody.get("/_docs/");
    assert_eq!(slash.text(), text);
    for file in [
        "nothing.css",
        "..%2fCargo.toml",
        "%2e%2e",
        "swagger-ui.css%00",
    ] {
        nobody
            .get(&format!("/_docs/{file}"))
            .refused(404, "E_NOT_FOUND");
    }
}

#[test]
fn the_document_tells_errors_and_differences() {
    let document = document();
    let text = document["info"]["description"].as_str().unwrap();
    assert!(text.contains(&openapi::errors_page()));
    assert!(text.contains("## Deliberate differences from the original"));
    assert!(text.contains("not certified by the BSI"));
}

/// Holds answers against the document, by operation and status.
struct Judge {
    document: Value,
    /// Names of examples of requests and answers that were run, by operation.
    run: BTreeSet<(String, String)>,
}

impl Judge {
    fn new() -> Self {
        Self {
            document: document(),
            run: BTreeSet::new(),
        }
    }

    fn operation(&self, id: &str) -> (String, String, Value) {
        operations(&self.document)
            .into_iter()
            .find(|(_, _, operation)| operation["operationId"] == id)
            .map(|(method, path, operation)| (method, path, operation.clone()))
            .unwrap_or_else(|| panic!("{id} is not described"))
    }

    /// Whether the body is what the schema says.
    fn check(&self, schema: &Value, body: &Value, place: &str) {
        let mut root = schema.clone();
        // References start at the root of what is compiled.
        root["components"] = self.document["components"].clone();
        let schema = jsonschema::options()
            .should_validate_formats(true)
            .build(&root)
            .unwrap();
        let errors: Vec<_> = schema
            .iter_errors(body)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:?}: {body}");
    }

    /// An answer with JSON that was described.
    fn judge(&self, id: &str, answer: &Answer) {
        let (_, _, operation) = self.operation(id);
        let status = answer.status.to_string();
        let response = &operation["responses"][&status];
        assert!(
            response.is_object(),
            "{}: {status} is not described",
            answer.call
        );
        let content = response["content"].as_object().unwrap();
        let kind = answer.header("content-type").unwrap();
        let described = content.get(kind);
        let described = described.unwrap_or_else(|| panic!("{}: {kind}", answer.call));
        if kind == "application/json" {
            self.check(&described["schema"], &answer.json(), &answer.call);
        }
        for name in response["headers"].as_object().unwrap().keys() {
            let optional = name == "Retry-After";
            assert!(
                optional || answer.header(name).is_some(),
                "{}: {name}",
                answer.call
            );
        }
    }
}

/// The same keys in the same order, and values of the same kinds. Lists may differ in length.
fn assert_same_form(example: &Value, real: &Value, place: &str) {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => {
            let names = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            // Texts of the owner and names of tokens are as the world has them.
            if !place.ends_with("/metadata") && !place.ends_with("/tokens") {
                assert_eq!(names(example), names(real), "{place}");
            }
            for (name, value) in example {
                if let Some(real) = real.get(name) {
                    assert_same_form(value, real, &format!("{place}/{name}"));
                }
            }
        }
        (Value::Array(example), Value::Array(real)) => {
            assert!(!real.is_empty() || example.is_empty(), "{place} is empty");
            for (example, real) in example.iter().zip(real) {
                assert_same_form(example, real, place);
            }
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => {}
        (example, real) => panic!("{place}: {example} is not like {real}"),
    }
}

/// A walk over all examples, in an order in which they make sense.
struct Walk {
    judge: Judge,
    api: Api,
    credentials: Credentials,
    puk: String,
    refresh_token: String,
}

impl Walk {
    /// Runs an example: its path and body as described, but for secrets.
    fn run(&mut self, id: &str, example: &str, query: &str) -> Value {
        let (method, path, operation) = self.judge.operation(id);
        let mut filled = path.clone();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "path" {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                filled = filled.replace(&name, parameter["example"].as_str().unwrap());
            }
        }
        let body = &operation["requestBody"]["content"]["application/json"];
        let body = body["examples"].get(example).map(|request| {
            self.judge.check(&body["schema"], &request["value"], id);
            self.with_secrets(request["value"].clone())
        });
        let body = body.map(|body| body.to_string());
        let path = format!("{filled}{query}");
        let answer =
            self.api
                .call_at_root(&method, &path, body.as_ref().map(String::as_bytes), &[]);
        assert_eq!(answer.status, 200, "{id} {example}: {}", answer.text());
        self.judge.judge(id, &answer);
        self.judge.run.insert((id.to_owned(), example.to_owned()));
        if answer.header("content-type") != Some("application/json") {
            return Value::Null;
        }
        let real = answer.json();
        let content = &operation["responses"]["200"]["content"]["application/json"];
        if let Some(described) = content["examples"].get(example) {
            let described = &described["value"];
            self.judge.check(&content["schema"], described, id);
            assert_same_form(described, &real, &format!("{id} {example}"));
        }
        real
    }

    fn with_secrets(&self, mut body: Value) -> Value {
        for (name, secret) in [
            ("api_key", &self.credentials.key),
            ("api_secret", &self.credentials.secret),
            ("refresh_token", &self.refresh_token),
            ("admin_puk", &self.puk),
        ] {
            if let Some(field) = body.get_mut(name) {
                *field = Value::from(secret.as_str());
            }
        }
        body
    }

    /// All examples of answers to calls without a body.
    fn read(&mut self, ids: &[&str]) {
        for id in ids {
            self.run(id, "call", "");
        }
    }
}

#[test]
fn every_example_of_the_document_works() {
    let server = TestServer::builder().start();
    let credentials = server.organization();
    let mut walk = Walk {
        judge: Judge::new(),
        api: Api::log_in(&server, &credentials),
        credentials,
        puk: String::new(),
        refresh_token: String::new(),
    };
    walk.read(&["live", "ready"]);
    for id in ["specification", "docs", "docsFile"] {
        walk.run(id, "nothing", "");
    }
    let tokens = walk.run("logIn", "key", "");
    walk.refresh_token = tokens["refresh_token"].as_str().unwrap().to_owned();
    let tokens = walk.run("logIn", "refresh", "");
    walk.api.token = Some(tokens["access_token"].as_str().unwrap().to_owned());
    let made = walk.run("createTss", "new", "");
    walk.puk = made["admin_puk"].as_str().unwrap().to_owned();
    walk.run("updateTss", "take_over", "");
    walk.run("changeAdminPin", "set", "");
    walk.run("logAdminIn", "log_in", "");
    walk.run("updateTss", "initialize", "");
    walk.run("registerClient", "new", "");
    walk.read(&["retrieveTss", "listTss", "retrieveTssMetadata"]);
    walk.read(&[
        "retrieveClient",
        "listClients",
        "listAllClients",
        "retrieveClientMetadata",
    ]);
    walk.run("updateTssMetadata", "merge", "");
    walk.run("updateTssMetadata", "remove", "");
    walk.run("updateClient", "deregister", "");
    walk.run("updateClient", "register_again", "");
    walk.run("updateClientMetadata", "merge", "");
    walk.run("updateClientMetadata", "remove", "");
    walk.run("upsertTransaction", "start", "?tx_revision=1");
    walk.run("upsertTransaction", "finish", "?tx_revision=2");
    walk.read(&[
        "retrieveTransaction",
        "listTransactions",
        "listAllTransactions",
    ]);
    walk.read(&[
        "listTransactionsOfClient",
        "retrieveTransactionMetadata",
        "retrieveReceipt",
    ]);
    walk.run("retrieveLog", "nothing", "");
    walk.run("updateTransactionMetadata", "merge", "");
    walk.run("updateTransactionMetadata", "remove", "");
    another_transaction(&mut walk, &[("start", 1), ("order", 2), ("cancel", 3)]);
    another_transaction(&mut walk, &[("start", 1), ("raw", 2)]);
    walk.run("triggerExport", "all", "");
    wait_for("the export", || {
        let export = walk.run("retrieveExport", "poll", "");
        (export["state"] == "COMPLETED").then_some(())
    });
    walk.read(&[
        "retrieveExport",
        "listExports",
        "listAllExports",
        "retrieveExportMetadata",
    ]);
    walk.run("downloadExport", "nothing", "");
    walk.run("updateExportMetadata", "merge", "");
    walk.run("updateExportMetadata", "remove", "");
    walk.run("updateTss", "disable", "");
    walk.run("logAdminOut", "log_out", "");
    assert_all_run(&walk.judge);
}

/// The same examples with the id of another transaction.
fn another_transaction(walk: &mut Walk, steps: &[(&str, u64)]) {
    let (_, _, operation) = walk.judge.operation("upsertTransaction");
    let parameters = operation["parameters"].as_array().unwrap();
    let parameter = |name: &str| {
        let found = parameters
            .iter()
            .find(|parameter| parameter["name"] == name);
        found.unwrap()["example"].as_str().unwrap()
    };
    let (tss, tx) = (parameter("tss_id"), super::client::new_id());
    for (example, revision) in steps {
        let body = &operation["requestBody"]["content"]["application/json"];
        let request = &body["examples"][example]["value"];
        walk.judge.check(&body["schema"], request, example);
        let path = format!("/tss/{tss}/tx/{tx}?tx_revision={revision}");
        let answer = walk.api.put(&path, request);
        assert_eq!(answer.status, 200, "{example}: {}", answer.text());
        walk.judge.judge("upsertTransaction", &answer);
        let run = ("upsertTransaction".to_owned(), (*example).to_owned());
        walk.judge.run.insert(run);
    }
}

fn assert_all_run(judge: &Judge) {
    let mut missing = BTreeMap::new();
    for (_, _, operation) in operations(&judge.document) {
        let id = operation["operationId"].as_str().unwrap();
        let of = |part: &Value| {
            let examples = part["content"]["application/json"]["examples"].as_object();
            examples
                .map(|examples| examples.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let mut names = of(&operation["requestBody"]);
        names.extend(of(&operation["responses"]["200"]));
        names.retain(|name| !judge.run.contains(&(id.to_owned(), name.clone())));
        if !names.is_empty() {
            missing.insert(id.to_owned(), names);
        }
    }
    assert!(missing.is_empty(), "examples that nobody runs: {missing:?}");
}
