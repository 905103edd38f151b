//! Clients that take their answers slowly, or not at all.

use super::client::{Till, new_id, wait_for};
use crate::support::server::{PATIENCE_MS, TestServer};
use crate::support::token::TestClock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::json;
use siegel::terms::Clock as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long a client of these servers may take nothing, in milliseconds.
const ANSWER_TIMEOUT_MS: u64 = 400;
/// More than what lies between server and client: in the sockets of both.
const SALES: usize = 12;
const SALE_LEN: usize = 500_000;

fn server(lines: &str) -> TestServer {
    let timeout = format!("[protection]\nanswer_timeout_ms = {ANSWER_TIMEOUT_MS}\n{lines}");
    TestServer::builder().section(&timeout).start()
}

/// Sells things with much to say about them, and exports them: the path of the file.
fn exported(till: &Till) -> String {
    let data = STANDARD.encode(vec![b'x'; SALE_LEN]);
    for _ in 0..SALES {
        let raw = json!({"raw": {"process_type": "SonstigerVorgang", "process_data": data}});
        till.step(&till.start(), 2, "FINISHED", Some(raw)).ok();
    }
    let export = till.path(&format!("/export/{}", new_id()));
    till.api.put(&export, &json!({})).ok();
    wait_for("the export", || {
        (till.api.get(&export).ok()["state"] == "COMPLETED").then_some(())
    });
    format!("{export}/file")
}

/// Asks for something, and reads nothing of the answer.
fn ask(till: &Till, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(till.api.address).unwrap();
    set_socket_recv_buffer_size(&stream, 64 * 1024).unwrap();
    let patience = Duration::from_millis(PATIENCE_MS);
    stream.set_read_timeout(Some(patience)).unwrap();
    let token = till.api.token.as_deref().unwrap();
    let head = format!(
        "GET /api/v2{path} HTTP/1.1\r\nHost: till\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Waits until the server has given a client up.
fn is_given_up(stream: &TcpStream) {
    wait_for("the end of the connection", || stream.take_error().unwrap());
}

#[test]
fn who_reads_slowly_but_steadily_gets_everything() {
    let server = server("");
    let till = Till::new(&server);
    let path = exported(&till);
    let mut stream = ask(&till, &path);
    let clock = TestClock::start();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let len = stream.read(&mut piece).unwrap();
        if len == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..len]);
        // A quarter of the patience of the server would pass with every 400 kB.
        let due_ms = u64::try_from(answer.len()).unwrap() / 4_000;
        while clock.monotonic_ms() < due_ms {
            std::thread::yield_now();
        }
    }
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "the archive is whole");
    assert!(answer.len() > SALES * SALE_LEN);
    assert!(clock.monotonic_ms() > 3 * ANSWER_TIMEOUT_MS);
}

#[test]
fn who_takes_nothing_is_disconnected_and_holds_up_nobody() {
    let server = server("connections_max = 40");
    let till = Till::new(&server);
    let file = exported(&till);
    let whole = till.api.get(&file).bytes.len();
    // One in pieces, one at once.
    for (path, count) in [(file.as_str(), 30), (&till.path("/tx"), 4)] {
        let mut stuck: Vec<_> = (0..count).map(|_| ask(&till, path)).collect();
        // Neither signing nor exporting waits for them.
        till.sell();
        till.api.get(&till.path("")).ok();
        for stream in &stuck {
            is_given_up(stream);
        }
        // Nobody takes what had come until then for a whole answer.
        let mut rest = Vec::new();
        let ended = stuck[0].read_to_end(&mut rest);
        assert!(rest.len() < whole, "{path}: {} bytes", rest.len());
        assert!(
            ended.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"),
            "{path}"
        );
    }
    assert_eq!(till.api.get(&file).bytes.len(), whole);
}

#[test]
fn places_of_those_who_take_nothing_become_free() {
    let server = server("connections_max = 4");
    let till = Till::new(&server);
    let file = exported(&till);
    let stuck: Vec<_> = (0..4).map(|_| ask(&till, &file)).collect();
    // There is no place left, until the server gives them up.
    till.api.get(&till.path("")).ok();
    stuck.iter().for_each(is_given_up);
}

#[test]
fn a_call_that_the_server_takes_long_for_is_answered_all_the_same() {
    let server = TestServer::builder()
        .section(
            "[protection]\nheader_timeout_ms = 500\nbody_timeout_ms = 500\nanswer_timeout_ms = 500",
        )
        .start();
    let till = Till::new(&server);
    let ledger = server.config_path().with_file_name("ledger.db");
    let mut elsewhere = SqliteConnection::establish(ledger.to_str().unwrap()).unwrap();
    elsewhere
        .batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
        .unwrap();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| till.step(&new_id(), 1, "ACTIVE", None));
        let clock = TestClock::start();
        // Twice of what a client has for a whole call.
        while clock.monotonic_ms() < 3000 {
            std::thread::yield_now();
        }
        assert!(!started.is_finished(), "it waits for the ledger");
        elsewhere.batch_execute("ROLLBACK").unwrap();
        started.join().unwrap().ok();
    });
}

#[test]
fn a_later_call_of_a_connection_has_to_end_as_the_first_one_has_to() {
    let server = TestServer::builder()
        .section(
            "[protection]\nheader_timeout_ms = 500\nbody_timeout_ms = 200\nanswer_timeout_ms = 200",
        )
        .pool_target(0)
        .start();
    let call = b"GET /health/live HTTP/1.1\r\nHost: till\r\n\r\n";
    for begun in [&b"G"[..], b"GET /health/live HTTP/1.1\r\nX-Slow: y"] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let patience = Duration::from_millis(PATIENCE_MS);
        stream.set_read_timeout(Some(patience)).unwrap();
        // Idle between calls it may be for longer.
        for _ in 0..2 {
            stream.write_all(call).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(br#"{"status":"live"}"#) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.extend_from_slice(&byte);
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            let clock = TestClock::start();
            while clock.monotonic_ms() < 1000 {
                std::thread::yield_now();
            }
        }
        stream.write_all(begun).unwrap();
        is_given_up(&stream);
    }
}
