//! What `/metrics` tells, and where.

use super::{Point, Told};
use crate::http::client::{Api, Till, raw, wait_for};
use crate::support::installation::Installation;
use crate::support::ledger::{Place, postgres};
use crate::support::server::TestServer;
use serde_json::json;
use siegel::telemetry::{METRICS, metrics_page};
use std::collections::BTreeSet;
use std::path::Path;

const WATCHED: &str = "[telemetry]\nmetrics_listen = \"127.0.0.1:0\"";

#[test]
fn what_is_checked_in_about_metrics_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/metrics.md");
    if std::env::var_os("SIEGEL_WRITE_SCHEMA").is_some() {
        std::fs::write(&file, metrics_page()).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == metrics_page(),
        "schema/metrics.md is not what the code says; read the difference after: \
         SIEGEL_WRITE_SCHEMA=1 cargo test --test it what_is_checked_in"
    );
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut names = BTreeSet::new();
    for row in METRICS {
        let name = row.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("siegel_") || name.starts_with("process_"),
            "{name}"
        );
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        // The kind adds it.
        assert!(!name.ends_with("_total"), "{name}");
        for unit in [
            "_ms", "_millis", "_minutes", "_days", "_kb", "_mb", "_percent",
        ] {
            assert!(!name.contains(unit), "{name} is not in a base unit");
        }
        assert!(
            row.help.len() > 10 && !row.help.ends_with('.'),
            "{name}: {}",
            row.help
        );
        assert!(
            row.labels.iter().all(|label| label.chars().all(plain)),
            "{name}"
        );
    }
}

/// What the ledger says is sampled; this waits for a sample that is as wanted.
fn told_when(server: &TestServer, is_wanted: impl Fn(&Told) -> bool) -> Told {
    let metrics = server.node().metrics();
    wait_for("a sample of the ledger", || {
        server.node().sample();
        let told = Told::read(&metrics.text());
        let is_sampled = told
            .0
            .iter()
            .any(|point| point.name == "siegel_ledger_bytes");
        (is_sampled && is_wanted(&told)).then_some(told)
    })
}

fn a_day_is_counted(place: Option<Place>) {
    let is_sqlite = place.is_none();
    let builder = TestServer::builder().section(WATCHED);
    let server = match place {
        Some(place) => builder.on(place),
        None => builder,
    }
    .start();
    let till = Till::new(&server);
    till.sell();
    let open = till.start();
    let export = till.path(&format!("/export/{}", crate::http::client::new_id()));
    till.api.put(&export, &json!({})).ok();
    wait_for("the export", || {
        (till.api.get(&export).ok()["state"] == "COMPLETED").then_some(())
    });
    till.api
        .with_token(None)
        .get("/tss")
        .refused_without_code(401);
    till.api.get("/no/such/route").refused(404, "E_NOT_FOUND");
    let messages = f64::from(u32::try_from(till.api.counter(&till.tss) - 1).unwrap());

    let told = told_when(&server, |told| {
        let of_all = |point: &&Point| point.name == "siegel_ledger_messages";
        let sum: f64 = told.0.iter().filter(of_all).map(|point| point.value).sum();
        // The anchor is written at most once a second.
        let caught_up =
            |point: &Point| point.name == "siegel_anchor_lag_messages" && point.value == 0.0;
        sum == messages && told.0.iter().any(caught_up)
    });
    // Everything in the table is told, but for what cannot be here.
    let missing: &[&str] = match is_sqlite {
        true => &[],
        false => &["siegel_ledger_disk_free_bytes"],
    };
    assert_eq!(told.missing(), missing);

    let sum = |name: &str, labels: &[(&str, &str)]| told.sum(name, labels);
    // The request of the key's certificate was signed before the lanes were there.
    assert_eq!(sum("siegel_lane_messages_total", &[]), messages);
    assert_eq!(sum("siegel_token_signatures_total", &[]), messages);
    let batches = sum("siegel_lane_commit_seconds_count", &[]);
    assert!(batches > 0.0 && batches <= messages);
    assert_eq!(
        sum("siegel_lane_sign_seconds_count", &[]),
        sum("siegel_lane_batch_commands_count", &[])
    );
    assert!(sum("siegel_lane_batch_commands_sum", &[]) >= messages - 2.0);
    for idle in [
        "commands",
        "early_commands",
        "locked_out_commands",
        "unfinished_batches",
        "stopped_tss",
    ] {
        assert_eq!(sum(&format!("siegel_lane_{idle}"), &[]), 0.0, "{idle}");
    }
    assert_eq!(sum("siegel_lane_places", &[("lane", "0")]), 1024.0);
    assert_eq!(sum("siegel_lane_refused_total", &[]), 0.0);
    assert_eq!(sum("siegel_ledger_transactions_open", &[]), 1.0);
    assert_eq!(sum("siegel_ledger_tss", &[("state", "INITIALIZED")]), 1.0);
    assert_eq!(sum("siegel_ledger_exports", &[]), 0.0);
    assert_eq!(sum("siegel_ledger_up", &[]), 1.0);
    assert_eq!(sum("siegel_ledger_compared", &[]), 1.0);
    assert_eq!(sum("siegel_ledger_held_tss", &[]), 0.0);
    assert!(sum("siegel_ledger_bytes", &[]) > 10_000.0);
    assert!(
        sum("siegel_ledger_certificate_expiry_timestamp_seconds", &[])
            > f64::from(u32::try_from(server.now_s()).unwrap())
    );
    assert_eq!(sum("siegel_token_state", &[("state", "ready")]), 1.0);
    assert_eq!(sum("siegel_token_state", &[]), 1.0);
    assert_eq!(sum("siegel_token_sessions_max", &[]), 8.0);
    assert_eq!(sum("siegel_token_errors_total", &[]), 0.0);

    let steps = [
        ("method", "PUT"),
        ("route", "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}"),
    ];
    assert_eq!(sum("siegel_http_requests_total", &steps), 3.0);
    assert_eq!(
        sum("siegel_http_request_duration_seconds_count", &steps),
        3.0
    );
    assert!(sum("siegel_http_requests_total", &[("status", "4xx")]) >= 2.0);
    assert_eq!(sum("siegel_http_requests_in_flight", &[]), 0.0);
    assert!(sum("siegel_http_connections_max", &[]) == 4096.0);

    no_label_holds_what_a_client_chose(&told, &till, &open);
}

fn no_label_holds_what_a_client_chose(told: &Told, till: &Till, open: &str) {
    let organization = till.api.organization.to_string();
    let private = [
        &till.tss,
        &till.client,
        &till.serial,
        &organization,
        open,
        "no/such",
    ];
    for Point { name, labels, .. } in &told.0 {
        for value in labels.values() {
            let hit = private.iter().find(|private| value.contains(**private));
            assert!(hit.is_none(), "{name} {labels:?}");
        }
    }
}

#[test]
fn a_day_at_the_till_is_counted_on_sqlite() {
    a_day_is_counted(None);
}

#[test]
fn a_day_at_the_till_is_counted_on_postgres() {
    if let Some(place) = postgres() {
        a_day_is_counted(Some(place));
    }
}

#[test]
fn a_node_that_nobody_watches_does_not_ask_its_ledger() {
    let server = TestServer::builder().start();
    server.node().sample();
    let told = Told::read(&server.node().metrics().text());
    assert_eq!(told.sum("siegel_ledger_up", &[]), 0.0);
    assert!(told.missing().contains(&"siegel_ledger_bytes"));
    // What is counted anyway is told.
    assert_eq!(told.sum("siegel_token_state", &[("state", "ready")]), 1.0);
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    let mut installation = Installation::new();
    installation.configure(WATCHED);
    let tills = installation.start();
    let line = installation.logged("metrics on http://");
    let (_, url) = line.split_once("metrics on http://").unwrap();
    let watchers = url.split('/').next().unwrap().parse().unwrap();
    let get = |address, path: &str| {
        raw(
            address,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    let answer = get(watchers, "/metrics");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let told = Told::read(text);
    assert_eq!(told.sum("siegel_build_info", &[]), 1.0);
    assert!(told.sum("process_resident_memory_bytes", &[]) > 1e6);
    // Neither door leads to the other.
    assert!(get(tills, "/metrics").starts_with("HTTP/1.1 404 "));
    for path in ["/", "/api/v2/tss", "/health/live"] {
        assert!(get(watchers, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(installation.stop(), "it ended well");
}

#[test]
fn connections_are_counted_until_they_end() {
    let server = TestServer::builder().start();
    let connections =
        || Told::read(&server.node().metrics().text()).sum("siegel_http_connections", &[]);
    let api = Api {
        address: server.address(),
        organization: siegel::terms::OrganizationId::new(uuid::Uuid::nil()),
        token: None,
    };
    let ask = || crate::http::wire::Wire::to(api.address);
    let mut wires = [ask(), ask(), ask()];
    for wire in &mut wires {
        wire.call("GET", "/health/live", &[], None);
    }
    assert_eq!(connections(), 3.0);
    drop(wires);
    wait_for("the end of the connections", || {
        (connections() == 0.0).then_some(())
    });
}

#[test]
fn a_node_keeps_no_devices_ready_that_a_foreign_ca_makes() {
    let target = |server: &TestServer| {
        let told = Told::read(&server.node().metrics().text());
        told.sum("siegel_devices_target", &[])
    };
    let ours = TestServer::builder().pool_target(2).start();
    assert_eq!(target(&ours), 2.0);
    let foreign = TestServer::builder().pool_target(2).foreign().start();
    assert_eq!(target(&foreign), 0.0);
}
