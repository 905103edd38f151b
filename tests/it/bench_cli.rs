//! `siegel bench`, through the built binary.

use crate::http::client::wait_for;
use crate::support::cluster::{Cluster, Stop};
use crate::support::installation::{Installation, siegel};
use crate::support::ledger;
use crate::support::server::{self, TestServer};
use serde_json::{Map, Value};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

fn bench(arguments: &[&str]) -> Run {
    let output = siegel().arg("bench").args(arguments).output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Loads a server through whatever listens at the address.
fn load(server: &TestServer, address: SocketAddr, arguments: &[&str]) -> Run {
    let credentials = server.organization();
    let url = format!("http://{address}/api/v2");
    let mut all = vec!["--url", &url, "--api-key", &credentials.key];
    all.extend(["--api-secret", &credentials.secret, "--json"]);
    all.extend(arguments);
    bench(&all)
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn count(document: &Value, operation: &str) -> u64 {
    document["operations"][operation]["count"].as_u64().unwrap()
}

#[test]
fn a_run_gives_the_document_that_is_promised_and_counts_what_the_ledger_holds() {
    let server = TestServer::builder().start();
    let run = load(
        &server,
        server.address(),
        &["--tss", "2", "--tills", "3", "--connections", "4"]
            .into_iter()
            .chain([
                "--shape",
                "start-update-finish",
                "--duration",
                "1s",
                "--verify",
            ])
            .collect::<Vec<_>>(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(
        keys(&document),
        [
            "messages_per_second",
            "transactions_per_second",
            "latency_ms",
            "operations",
            "errors",
            "duration_s",
            "own_cores",
            "verified",
        ]
    );
    assert_eq!(document["errors"], Value::Object(Map::new()));
    assert_eq!(keys(&document["operations"]), ["start", "update", "finish"]);
    let mut latencies = vec![&document["latency_ms"]];
    for operation in ["start", "update", "finish"] {
        let told = &document["operations"][operation];
        assert_eq!(keys(told), ["count", "latency_ms"]);
        latencies.push(&told["latency_ms"]);
    }
    for told in latencies {
        assert_eq!(keys(told), ["p50", "p95", "p99", "max"]);
        let of = |name: &str| told[name].as_f64().unwrap();
        assert!(of("p50") > 0.0 && of("p50") <= of("p95"), "{told}");
        assert!(of("p95") <= of("p99") && of("p99") <= of("max"), "{told}");
    }
    let transactions = count(&document, "start");
    assert!(transactions > 0);
    assert_eq!(count(&document, "update"), transactions);
    assert_eq!(count(&document, "finish"), transactions);
    assert_eq!(document["verified"], 3 * transactions);
    // All that was begun was ended; up to four transactions ended after the second was over.
    let per_second = document["transactions_per_second"].as_f64().unwrap();
    let counted = f64::from(u32::try_from(transactions).unwrap());
    assert!(
        (counted - 4.0..=counted).contains(&per_second),
        "{document}"
    );

    let store = server.store();
    let tss = tss_of(&run, 2);
    let mut kept = 0;
    for tss in tss {
        let row = store.tss(tss).unwrap().unwrap();
        kept += row.tss.transaction_counter.value();
        assert_eq!(row.tss.transactions_open, 0);
        assert!(row.tss.description.contains("Siegel bench"));
    }
    assert_eq!(kept, transactions);
}

/// The TSSs that a run says it has made.
fn tss_of(run: &Run, count: usize) -> Vec<siegel::terms::TssId> {
    let lines = run.stderr.lines();
    let ids: Vec<_> = lines.filter_map(|line| line.trim().parse().ok()).collect();
    assert_eq!(ids.len(), count, "{}", run.stderr);
    ids
}

#[test]
fn an_open_loop_begins_every_transaction_of_its_rate() {
    let server = server::shared();
    let arguments = ["--rate", "20", "--duration", "1500ms", "--connections", "8"];
    let run = load(server, server.address(), &arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(document["errors"], Value::Object(Map::new()));
    assert_eq!(count(&document, "start"), 30);
    assert_eq!(count(&document, "finish"), 30);
}

/// A way to the server on which answers to steps change or come late.
struct Detour {
    address: SocketAddr,
}

/// What happens to the bytes of an answer to a step; its number counts from 1.
type Change = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

impl Detour {
    fn to(server: SocketAddr, change: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (change, answers): (Arc<Change>, _) = (Arc::new(change), Arc::new(AtomicU64::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(up, server, |_| {}));
                let (change, answers) = (Arc::clone(&change), Arc::clone(&answers));
                std::thread::spawn(move || {
                    pass(down, client, |bytes| {
                        if position(bytes, b"\"_type\":\"TRANSACTION\"").is_some() {
                            change(answers.fetch_add(1, Ordering::SeqCst) + 1, bytes);
                        }
                    })
                });
            }
        });
        Self { address }
    }
}

/// Answers are small: one read holds a whole one.
fn pass(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut Vec<u8>)) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = buffer[..count].to_vec();
        change(&mut bytes);
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

#[test]
fn a_changed_signature_is_noticed() {
    let server = server::shared();
    let detour = Detour::to(server.address(), |number, bytes| {
        if number == 3 {
            let at = position(bytes, b"\"signature\":{\"value\":\"").unwrap() + 30;
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        }
    });
    let arguments = ["--duration", "300ms", "--connections", "1", "--verify"];
    let run = load(server, detour.address, &arguments);
    let document = run.document();
    assert_eq!(document["errors"].to_string(), r#"{"SIGNATURE_INVALID":1}"#);
    assert_eq!(run.code, 1);
}

#[test]
fn an_answer_to_another_call_is_noticed() {
    let server = server::shared();
    // The second answer is signed well, and is not the answer to the fourth call.
    let second = std::sync::Mutex::new(Vec::new());
    let detour = Detour::to(server.address(), move |number, bytes| {
        let mut second = second.lock().unwrap();
        match number {
            2 => *second = bytes.clone(),
            4 => *bytes = second.clone(),
            _ => {}
        }
    });
    let arguments = ["--duration", "300ms", "--connections", "1", "--verify"];
    let run = load(server, detour.address, &arguments);
    assert_eq!(
        run.document()["errors"].to_string(),
        r#"{"ANSWER_WRONG":1}"#
    );
    assert_eq!(run.code, 1);
}

#[test]
fn a_stall_shows_in_the_latency_of_all_that_should_have_begun_meanwhile() {
    let server = server::shared();
    let detour = Detour::to(server.address(), |number, _| {
        if number == 1 {
            stall();
        }
    });
    let arguments = ["--rate", "25", "--duration", "2s", "--connections", "1"];
    let run = load(server, detour.address, &arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(count(&document, "start"), 50);
    // One answer of a hundred is late; twenty starts had to wait for it.
    let start = &document["operations"]["start"]["latency_ms"];
    let finish = &document["operations"]["finish"]["latency_ms"];
    assert!(start["p95"].as_f64().unwrap() >= 500.0, "{document}");
    assert!(finish["p95"].as_f64().unwrap() < 500.0, "{document}");
}

/// Keeps an answer back for 0.8 seconds.
fn stall() {
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    let _ = wait.recv_timeout(Duration::from_millis(800));
}

#[test]
fn refusals_are_counted_by_their_code() {
    let server = TestServer::builder()
        .section("[limits]\ntransactions_open_max = 0")
        .start();
    let arguments = ["--duration", "200ms", "--connections", "2"];
    let run = load(&server, server.address(), &arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    let errors = document["errors"].as_object().unwrap();
    assert_eq!(errors.len(), 1, "{document}");
    assert!(
        errors["E_TX_LIMIT_REACHED"].as_u64().unwrap() > 0,
        "{document}"
    );
    assert_eq!(count(&document, "start"), 0);
    assert_eq!(document["messages_per_second"], 0.0);
}

#[test]
fn what_cannot_be_measured_is_told_in_one_sentence() {
    for (arguments, problem) in [
        (vec!["--csp"], "--config"),
        (vec![], "--url"),
        (vec!["--csp", "--ledger", "--config", "x"], "cannot be used"),
        (
            vec!["--url", "ftp://x", "--api-key", "k", "--api-secret", "s"],
            "no base URL",
        ),
        (vec!["--csp", "--config", "nowhere.toml"], "nowhere.toml"),
    ] {
        let run = bench(&arguments);
        assert_eq!(run.code, 2, "{arguments:?}");
        assert!(
            run.stderr.contains(problem),
            "{arguments:?}: {}",
            run.stderr
        );
    }
}

#[test]
fn the_token_alone_signs_with_a_key_that_is_gone_afterwards() {
    let installation = Installation::new();
    let config = installation.path("siegel.toml");
    let config = config.to_str().unwrap();
    let objects = || {
        let folders = std::fs::read_dir(installation.path("tokens")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        files.count()
    };
    let before = objects();
    let arguments = ["--csp", "--config", config, "--threads", "2"];
    let run = bench(&[&arguments[..], &["--duration", "300ms", "--json"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(document["threads"], 2);
    for rate in ["signatures_per_second", "verifications_per_second_and_core"] {
        assert!(document[rate].as_f64().unwrap() > 10.0, "{document}");
    }
    assert_eq!(objects(), before, "{}", run.stderr);
}

#[test]
fn a_ledger_is_measured_beside_the_real_one_which_stays_as_it_is() {
    let installation = Installation::new();
    let config = installation.path("siegel.toml");
    measure_ledger(config.to_str().unwrap());
    assert!(!installation.path("siegel.db").exists());
    let left = std::fs::read_dir(installation.path("")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let is_ours = |name: &std::ffi::OsString| name.to_str().unwrap().contains("bench");
    assert!(!left.iter().any(is_ours), "{left:?}");
}

#[test]
fn a_ledger_on_postgresql_is_measured_in_a_schema_of_its_own() {
    let Some(place) = ledger::postgres() else {
        return;
    };
    let siegel::ledger::StoreConfig::Postgres { url, .. } = place.config() else {
        panic!("not PostgreSQL");
    };
    let installation = Installation::new();
    let config = installation.path("siegel.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("sqlite = \"siegel.db\"", &format!("postgres = {url:?}"));
    assert!(text.contains("postgres = \"postgres"), "{text}");
    std::fs::write(&config, text).unwrap();
    measure_ledger(config.to_str().unwrap());
    assert_eq!(schemas(&url), Vec::<String>::new());
}

#[track_caller]
fn measure_ledger(config: &str) {
    let run = bench(&[
        "--ledger",
        "--config",
        config,
        "--duration",
        "400ms",
        "--json",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(document["one_by_one"]["messages_per_commit"], 1);
    assert_eq!(document["in_batches"]["messages_per_commit"], 256);
    for part in ["one_by_one", "in_batches"] {
        assert!(
            document[part]["messages_per_second"].as_f64().unwrap() > 10.0,
            "{document}"
        );
    }
}

/// What measurements have left in a database.
fn schemas(url: &str) -> Vec<String> {
    use diesel::prelude::*;
    #[derive(QueryableByName)]
    struct Schema {
        #[diesel(sql_type = diesel::sql_types::Text)]
        name: String,
    }
    let mut connection = PgConnection::establish(url).unwrap();
    let sql = "SELECT nspname::text AS name FROM pg_namespace WHERE nspname LIKE 'siegel%'";
    let found: Vec<Schema> = diesel::sql_query(sql).load(&mut connection).unwrap();
    found.into_iter().map(|schema| schema.name).collect()
}

#[test]
fn what_a_fill_writes_is_served_loaded_and_verified() {
    let mut installation = Installation::new();
    let path = |name: &str| installation.path(name).to_str().unwrap().to_owned();
    let (config, shops) = (path("siegel.toml"), path("shops.json"));
    let fill = |tss, messages| {
        let arguments = ["--fill", "--config", &config, "--shops", &shops];
        bench(&[&arguments[..], &["--tss", tss, "--messages", messages]].concat())
    };
    let run = fill("2", "20");
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Again: one TSS more, and messages of all three.
    let run = fill("3", "18");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, "3 TSSs, 18 messages more\n");

    let filled: Value = serde_json::from_str(&std::fs::read_to_string(&shops).unwrap()).unwrap();
    let address = installation.start();
    let url = format!("http://{address}/api/v2");
    let text = |name: &str| filled[name].as_str().unwrap();
    let login = ["--url", &url, "--api-key", text("api_key")];
    let rest = [
        "--api-secret",
        text("api_secret"),
        "--shops",
        &shops,
        "--tss",
        "3",
    ];
    let more = [
        "--connections",
        "3",
        "--duration",
        "300ms",
        "--verify",
        "--json",
    ];
    let run = bench(&[&login[..], &rest, &more].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = run.document();
    assert_eq!(document["errors"], Value::Object(Map::new()));
    assert!(count(&document, "finish") > 0);
    assert!(installation.stop());
}

#[test]
fn a_ledger_with_somebody_in_it_is_not_filled() {
    let installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let path = |name: &str| installation.path(name).to_str().unwrap().to_owned();
    let (config, shops) = (path("siegel.toml"), path("shops.json"));
    let run = bench(&[
        "--fill", "--config", &config, "--shops", &shops, "--tss", "1",
    ]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("somebody else's data"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_schema_that_cannot_be_removed_is_named() {
    let Some(mut cluster) = Cluster::new() else {
        return;
    };
    let installation = Installation::new();
    let file = installation.path("siegel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let ledger = format!("postgres = {:?}", cluster.url());
    std::fs::write(&file, text.replace("sqlite = \"siegel.db\"", &ledger)).unwrap();
    let run = siegel()
        .args(["bench", "--ledger", "--duration", "1m", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let schema = wait_for("the schema", || schemas(&cluster.url()).pop());
    cluster.stop(Stop::Immediate);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains(&format!("the schema {schema} stays")),
        "{told}"
    );
}
