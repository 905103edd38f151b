//! Who may call what. The list of routes is the server's own, so a new route without an entry in
//! [`SAMPLES`] fails here.

use super::client::{Answer, Api, Till, new_id, receipt, wait_for};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::{Value, json};
use siegel::http::endpoints;
use std::collections::BTreeSet;

/// A call that is right but for who makes it.
pub struct Sample {
    pub method: &'static str,
    /// As the route says it.
    pub path: &'static str,
    query: &'static str,
    body: Option<fn(&World) -> Value>,
    /// What the owner is answered; `None` for success.
    owner: Option<(u16, &'static str)>,
}

const fn read(path: &'static str) -> Sample {
    Sample {
        method: "GET",
        path,
        query: "",
        body: None,
        owner: None,
    }
}

const fn write(
    method: &'static str,
    path: &'static str,
    body: Option<fn(&World) -> Value>,
) -> Sample {
    Sample {
        method,
        body,
        ..read(path)
    }
}

const METADATA: Option<fn(&World) -> Value> = Some(|_| json!({"a": "b"}));

/// Every route of the server. None of these calls changes anything when the owner makes it again,
/// so their order means nothing.
pub const SAMPLES: &[Sample] = &[
    read("/health/live"),
    read("/health/ready"),
    read("/api/v2/_docs"),
    read("/api/v2/_docs/{file}"),
    read("/api/v2/_spec.json"),
    Sample {
        owner: Some((400, "E_FAILED_SCHEMA_VALIDATION")),
        ..write("POST", "/api/v2/auth", Some(|_| json!({})))
    },
    read("/api/v2/tss"),
    Sample {
        owner: Some((409, "E_TSS_CONFLICT")),
        ..write("PUT", "/api/v2/tss/{tss_id}", Some(|_| json!({})))
    },
    read("/api/v2/tss/{tss_id}"),
    write(
        "PATCH",
        "/api/v2/tss/{tss_id}",
        Some(|_| json!({"state": "INITIALIZED"})),
    ),
    read("/api/v2/tss/{tss_id}/metadata"),
    write("PATCH", "/api/v2/tss/{tss_id}/metadata", METADATA),
    write(
        "PATCH",
        "/api/v2/tss/{tss_id}/admin",
        Some(|world| json!({"admin_puk": world.till.puk, "new_admin_pin": "123456"})),
    ),
    write(
        "POST",
        "/api/v2/tss/{tss_id}/admin/auth",
        Some(|_| json!({"admin_pin": "123456"})),
    ),
    write(
        "POST",
        "/api/v2/tss/{tss_id}/admin/logout",
        Some(|_| json!({})),
    ),
    read("/api/v2/client"),
    read("/api/v2/tss/{tss_id}/client"),
    Sample {
        owner: Some((401, "E_UNAUTHORIZED")),
        ..write(
            "PUT",
            "/api/v2/tss/{tss_id}/client/{client_id}",
            Some(|world| json!({"serial_number": world.till.serial})),
        )
    },
    read("/api/v2/tss/{tss_id}/client/{client_id}"),
    Sample {
        owner: Some((401, "E_UNAUTHORIZED")),
        ..write(
            "PATCH",
            "/api/v2/tss/{tss_id}/client/{client_id}",
            Some(|_| json!({"state": "REGISTERED"})),
        )
    },
    read("/api/v2/tss/{tss_id}/client/{client_id}/metadata"),
    write(
        "PATCH",
        "/api/v2/tss/{tss_id}/client/{client_id}/metadata",
        METADATA,
    ),
    read("/api/v2/tx"),
    read("/api/v2/tss/{tss_id}/tx"),
    read("/api/v2/tss/{tss_id}/client/{client_id}/tx"),
    Sample {
        query: "?tx_revision=2",
        ..write(
            "PUT",
            "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}",
            Some(|world| {
                json!({
                    "state": "FINISHED",
                    "client_id": world.till.client,
                    "schema": receipt("4.20"),
                })
            }),
        )
    },
    read("/api/v2/tss/{tss_id}/tx/{tx_id_or_number}"),
    read("/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/log"),
    read("/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/receipt"),
    read("/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/metadata"),
    write(
        "PATCH",
        "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/metadata",
        METADATA,
    ),
    read("/api/v2/export"),
    read("/api/v2/tss/{tss_id}/export"),
    Sample {
        owner: Some((400, "E_DUPLICATE_EXPORT")),
        ..write(
            "PUT",
            "/api/v2/tss/{tss_id}/export/{export_id}",
            Some(|_| json!({})),
        )
    },
    read("/api/v2/tss/{tss_id}/export/{export_id}"),
    Sample {
        owner: Some((400, "E_CANCEL_EXPORT")),
        ..write("DELETE", "/api/v2/tss/{tss_id}/export/{export_id}", None)
    },
    read("/api/v2/tss/{tss_id}/export/{export_id}/file"),
    read("/api/v2/tss/{tss_id}/export/{export_id}/metadata"),
    write(
        "PATCH",
        "/api/v2/tss/{tss_id}/export/{export_id}/metadata",
        METADATA,
    ),
    Sample {
        owner: Some((400, "E_FAILED_SCHEMA_VALIDATION")),
        ..write("POST", "/api/v0/auth", Some(|_| json!({})))
    },
    // These two make something new each time, which is nobody else's business.
    write(
        "POST",
        "/api/v0/organizations",
        Some(|_| super::management::shop()),
    ),
    write(
        "POST",
        "/api/v0/organizations/{organization_id}/api-keys",
        Some(|_| json!({"name": "till-1", "status": "enabled"})),
    ),
    read("/api/v0/organizations"),
    read("/api/v0/organizations/{organization_id}"),
    write(
        "PATCH",
        "/api/v0/organizations/{organization_id}",
        Some(|_| json!({"display_name": "Bakery"})),
    ),
    read("/api/v0/organizations/{organization_id}/api-keys"),
    read("/api/v0/organizations/{organization_id}/api-keys/{key_id}"),
    write(
        "PATCH",
        "/api/v0/organizations/{organization_id}/api-keys/{key_id}",
        Some(|_| json!({"status": "enabled"})),
    ),
    Sample {
        owner: Some((404, "E_API_KEY_NOT_FOUND")),
        query: "?revoked",
        ..write(
            "DELETE",
            "/api/v0/organizations/{organization_id}/api-keys/{key_id}",
            None,
        )
    },
];

/// Something of everything.
pub struct World {
    pub till: Till,
    tx: String,
    export: String,
    organization: String,
    api_key: String,
    /// Of another key, which is no more.
    revoked_key: String,
}

impl World {
    pub fn new(server: &TestServer) -> Self {
        Self::of(Till::new(server))
    }

    /// Of a till whose admin is logged in.
    pub fn of(till: Till) -> Self {
        till.log_out().ok();
        let sold = till.sell();
        let own = super::management::own(&till.api);
        let [api_key, revoked_key] = ["till-1", "till-2"].map(|name| {
            let body = json!({"name": name});
            let made =
                super::management::call(&till.api, "POST", &format!("{own}/api-keys"), &body);
            made.ok()["_id"].as_str().unwrap().to_owned()
        });
        let gone = format!("{own}/api-keys/{revoked_key}");
        super::management::call(&till.api, "DELETE", &gone, &json!({})).ok();
        let export = new_id();
        let path = till.path(&format!("/export/{export}"));
        till.api.put(&path, &json!({})).ok();
        wait_for("the export", || {
            (till.api.get(&path).ok()["state"] == "COMPLETED").then_some(())
        });
        Self {
            tx: sold["_id"].as_str().unwrap().to_owned(),
            organization: till.api.organization.to_string(),
            till,
            export,
            api_key,
            revoked_key,
        }
    }
}

impl Sample {
    /// The path with real ids in it.
    pub fn filled(&self, world: &World) -> String {
        let path = self
            .path
            .replace("{tss_id}", &world.till.tss)
            .replace("{client_id}", &world.till.client)
            .replace("{tx_id_or_number}", &world.tx)
            .replace("{export_id}", &world.export)
            .replace("{file}", "swagger-ui.css")
            .replace("{organization_id}", &world.organization);
        let path = match self.query {
            "?revoked" => path.replace("{key_id}", &world.revoked_key),
            _ => path.replace("{key_id}", &world.api_key),
        };
        assert!(!path.contains('{'), "{path} has a name nobody knows");
        format!("{path}{}", self.query)
    }

    /// The body of a call that is right.
    pub fn body(&self, world: &World) -> Option<Value> {
        self.body.map(|body| body(world))
    }

    pub fn call(&self, world: &World, path: &str, api: &Api) -> Answer {
        let body = self.body(world).map(|body| body.to_string());
        api.call_at_root(self.method, path, body.as_ref().map(String::as_bytes), &[])
    }
}

fn open_paths() -> BTreeSet<(String, String)> {
    endpoints()
        .filter(|(_, endpoint)| endpoint.is_open)
        .map(|(path, endpoint)| (endpoint.method.to_string(), path))
        .collect()
}

fn needs_token(sample: &Sample) -> bool {
    !open_paths().contains(&(sample.method.to_owned(), sample.path.to_owned()))
}

#[test]
fn every_route_of_the_server_has_a_sample() {
    let samples: BTreeSet<_> = SAMPLES
        .iter()
        .map(|sample| (sample.method.to_owned(), sample.path.to_owned()))
        .collect();
    assert_eq!(samples.len(), SAMPLES.len(), "a sample is there twice");
    let routes: BTreeSet<_> = endpoints()
        .map(|(path, endpoint)| (endpoint.method.to_string(), path))
        .collect();
    assert_eq!(samples, routes);
}

#[test]
fn only_logins_health_and_papers_are_open() {
    let open = [
        "GET /api/v2/_docs",
        "GET /api/v2/_docs/{file}",
        "GET /api/v2/_spec.json",
        "GET /health/live",
        "GET /health/ready",
        "POST /api/v0/auth",
        "POST /api/v2/auth",
    ];
    let found: Vec<_> = open_paths()
        .into_iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    assert_eq!(found, open);
}

#[test]
fn the_owner_is_answered_on_every_route() {
    on_both(|server| {
        let world = World::new(server);
        for sample in SAMPLES {
            let answer = sample.call(&world, &sample.filled(&world), &world.till.api);
            match sample.owner {
                None => assert_eq!(answer.status, 200, "{}: {}", answer.call, answer.text()),
                Some((status, code)) => drop(answer.refused(status, code)),
            }
        }
    });
}

#[test]
fn without_a_token_every_route_is_closed() {
    let world = World::new(shared());
    world.till.signing(0, || {
        for sample in SAMPLES.iter().filter(|sample| needs_token(sample)) {
            let bad_path = sample
                .path
                .replace("{tss_id}", "x")
                .replace("{client_id}", "x")
                .replace("{tx_id_or_number}", "x")
                .replace("{export_id}", "x")
                .replace("{organization_id}", "x")
                .replace("{key_id}", "x");
            // Whether ids and bodies fit is nobody's business who has no token.
            for path in [sample.filled(&world), bad_path] {
                let nobody = world.till.api.with_token(None);
                let message = sample
                    .call(&world, &path, &nobody)
                    .refused_without_code(401);
                assert_eq!(message, "no authorization token");
                if sample.body.is_some() {
                    let answer = nobody.call_at_root(sample.method, &path, Some(b"{"), &[]);
                    answer.refused_without_code(401);
                }
                let garbled = world.till.api.with_token(Some("garbled"));
                let message = sample
                    .call(&world, &path, &garbled)
                    .refused_without_code(401);
                assert!(message.starts_with("could not parse jwt"), "{message}");
            }
        }
    });
}

#[test]
fn with_an_expired_token_every_route_is_closed() {
    let server = TestServer::builder().start();
    let world = World::new(&server);
    server.advance(86_400);
    for sample in SAMPLES.iter().filter(|sample| needs_token(sample)) {
        sample
            .call(&world, &sample.filled(&world), &world.till.api)
            .refused_without_code(401);
    }
}

#[test]
fn a_stranger_finds_nothing_on_any_route() {
    on_both(|server| {
        let world = World::new(server);
        let stranger = Api::new(server);
        let before = world.till.api.get(&world.till.path("")).ok();
        let mut asked = 0;
        for sample in SAMPLES {
            // Papers are for everybody.
            if !sample.path.contains('{') || sample.path.contains("/_docs/") {
                continue;
            }
            let answer = sample.call(&world, &sample.filled(&world), &stranger);
            if sample.path.contains("{organization_id}") {
                let message = answer.refused(404, "E_ORGANIZATION_NOT_FOUND");
                assert_eq!(message, "Organization not found.");
                asked += 1;
                continue;
            }
            match (sample.method, sample.path) {
                // Ids are unique system-wide, so this one is taken for everybody.
                ("PUT", "/api/v2/tss/{tss_id}") => drop(answer.refused(409, "E_TSS_CONFLICT")),
                _ => {
                    let message = answer.refused(404, "E_TSS_NOT_FOUND");
                    assert_eq!(message, "TSS not found");
                }
            }
            asked += 1;
        }
        assert!(asked > 32, "{asked} routes name something");
        let after = world.till.api.get(&world.till.path("")).ok();
        assert_eq!(after.to_string(), before.to_string());
    });
}

#[test]
fn what_is_below_the_tss_of_another_is_not_below_ones_own() {
    let server = shared();
    let world = World::new(server);
    let stranger = Till::new(server);
    for sample in SAMPLES {
        let (_, below) = match sample.path.split_once("{tss_id}/") {
            Some(parts) if parts.1.contains('{') => parts,
            _ => continue,
        };
        let (status, code) = match (sample.method, below.split('/').next().unwrap()) {
            ("PUT", "client") => (409, "E_CLIENT_CONFLICT"),
            // The client in the body is the other's.
            ("PUT", "tx") => (400, "E_TX_UPSERT"),
            // Exports are counted per TSS: the id is free here.
            ("PUT", "export") => continue,
            (_, "client") => (404, "E_CLIENT_NOT_FOUND"),
            (_, "tx") => (404, "E_TX_NOT_FOUND"),
            (_, "export") => (404, "E_EXPORT_NOT_FOUND"),
            (method, kind) => panic!("what should {method} of {kind} answer?"),
        };
        let path = sample
            .filled(&world)
            .replace(&world.till.tss, &stranger.tss);
        stranger.signing(0, || {
            sample
                .call(&world, &path, &stranger.api)
                .refused(status, code)
        });
    }
}

#[test]
fn every_other_method_of_every_path_is_unknown() {
    let world = World::new(shared());
    let paths: BTreeSet<_> = SAMPLES.iter().map(|sample| sample.path).collect();
    for path in paths {
        let known: Vec<_> = SAMPLES
            .iter()
            .filter(|sample| sample.path == path)
            .collect();
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "TRACE"] {
            if known.iter().any(|sample| sample.method == method) {
                continue;
            }
            let answer = world
                .till
                .api
                .call_at_root(method, &known[0].filled(&world), None, &[]);
            let message = match path.starts_with("/api/v0/") {
                true => answer.refused_without_code(404),
                false => answer.refused(404, "E_NOT_FOUND"),
            };
            assert_eq!(message, "Not Found");
        }
    }
}
