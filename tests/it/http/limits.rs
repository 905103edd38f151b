//! What is refused because it comes too often, too slowly or too large.

use super::client::{Answer, Api, Till, new_id, wait_for};
use crate::support::ledger::postgres;
use crate::support::server::{Credentials, PATIENCE_MS, TestServer, TestServerBuilder, shared};
use serde_json::json;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn protected(lines: &str) -> TestServerBuilder {
    TestServer::builder().section(&format!("[protection]\n{lines}"))
}

/// Seconds that a refused call is told to wait.
#[track_caller]
fn wait_of(answer: &Answer) -> i64 {
    answer.refused_without_code(429);
    let seconds = answer.header("retry-after").unwrap();
    seconds.parse().unwrap()
}

#[test]
fn exports_and_lists_of_transactions_can_be_limited_per_minute() {
    let server =
        protected("export_reads_per_minute = 12\ntransaction_lists_per_minute = 20").start();
    let till = Till::new(&server);
    till.sell();
    let export = |id: &str| till.path(&format!("/export/{id}"));
    let (one, other) = (export(&new_id()), export(&new_id()));
    till.api.put(&one, &json!({})).ok();
    // Somebody who may not look uses nothing up.
    let stranger = Api::new(&server);
    for _ in 0..15 {
        stranger.get(&one).refused(404, "E_TSS_NOT_FOUND");
    }
    for _ in 0..12 {
        till.api.get(&one).ok();
    }
    server.advance(20);
    assert_eq!(wait_of(&till.api.get(&one)), 40);
    // Another export, the file and other calls have counts of their own.
    till.api.get(&other).refused(404, "E_EXPORT_NOT_FOUND");
    let file = format!("{one}/file");
    let taken = (0..12).map(|_| till.api.get(&file).status);
    assert!(
        taken
            .into_iter()
            .all(|status| status == 200 || status == 404)
    );
    assert_eq!(wait_of(&till.api.get(&file)), 60);
    server.advance(40);
    till.api.get(&one).ok();
    assert_eq!(wait_of(&till.api.get(&file)), 20);

    let list = till.path("/tx");
    for _ in 0..20 {
        till.api.get(&list).ok();
    }
    assert_eq!(wait_of(&till.api.get(&list)), 60);
    till.api.get("/tx").ok();
    till.signing(2, || till.sell());
    server.advance(60);
    till.api.get(&list).ok();
}

#[test]
fn all_calls_of_a_key_can_be_limited_per_minute() {
    let server = protected("calls_per_key_per_minute = 5")
        .pool_target(0)
        .start();
    let credentials = server.organization();
    let (one, same) = (
        Api::log_in(&server, &credentials),
        Api::log_in(&server, &credentials),
    );
    for api in [&one, &same, &one, &same, &one] {
        api.get("/tss").ok();
    }
    for path in ["/tss", "/tx", "/tss/x"] {
        assert_eq!(wait_of(&same.get(path)), 60);
    }
    // Another key is another key, a login is no call, and a bad token uses nothing up.
    Api::new(&server).get("/tss").ok();
    Api::log_in(&server, &credentials);
    one.with_token(Some("x"))
        .get("/tss")
        .refused_without_code(401);
    server.advance(60);
    one.get("/tss").ok();
}

#[test]
fn without_settings_nothing_is_limited() {
    let till = Till::new(shared());
    let export = till.path(&format!("/export/{}", new_id()));
    till.api.put(&export, &json!({})).ok();
    for path in [export, till.path("/tx")] {
        for _ in 0..30 {
            till.api.get(&path).ok();
        }
    }
}

/// A login with a wrong secret, as if from there.
fn wrong(server: &TestServer, key: &str, from: &str) -> Answer {
    let body = json!({"api_key": key, "api_secret": "wrong"}).to_string();
    let nobody = Api::new(server).with_token(None);
    nobody.call(
        "POST",
        "/auth",
        Some(body.as_bytes()),
        &[("x-forwarded-for", from)],
    )
}

#[test]
fn wrong_secrets_of_a_key_wait_longer_and_longer_and_right_ones_never() {
    let lines = "wrong_logins_per_key = 3\nwrong_logins_per_address = 0";
    let mut server = protected(lines).pool_target(0).start();
    let (right, other) = (server.organization(), server.organization());
    let try_once = |server: &TestServer| wrong(server, &right.key, "192.0.2.1");
    for _ in 0..3 {
        try_once(&server).refused_without_code(401);
    }
    for wait in [1, 2, 4, 8] {
        assert_eq!(wait_of(&try_once(&server)), wait);
        // Refused tries do not make it longer, and a restart does not make it shorter.
        assert_eq!(wait_of(&try_once(&server)), wait);
        server.restart();
        assert_eq!(wait_of(&try_once(&server)), wait);
        // Nobody can lock a shop out by sending wrong secrets.
        Api::log_in(&server, &right).get("/tss").ok();
        wrong(&server, &other.key, "192.0.2.1").refused_without_code(401);
        server.advance(wait - 1);
        if wait > 1 {
            assert_eq!(wait_of(&try_once(&server)), 1);
        }
        server.advance(1);
        try_once(&server).refused_without_code(401);
        if wait == 2 {
            // The other one has now failed as often as it may.
            wrong(&server, &other.key, "192.0.2.1").refused_without_code(401);
            assert_eq!(wait_of(&wrong(&server, &other.key, "192.0.2.1")), 1);
            break;
        }
    }
    server.advance(900);
    for _ in 0..3 {
        try_once(&server).refused_without_code(401);
    }
    assert_eq!(wait_of(&try_once(&server)), 1);
}

#[test]
fn wrong_logins_from_an_address_wait_whatever_key_they_name() {
    let lines = "wrong_logins_per_key = 0\nwrong_logins_per_address = 4\n\
                 client_address_header = \"x-forwarded-for\"";
    let server = protected(lines).pool_target(0).start();
    let right = server.organization();
    let unknown = ["nobody", "no\u{0}body", right.key.as_str(), "' OR 1=1 --"];
    for key in unknown {
        wrong(&server, key, "198.51.100.9, 192.0.2.1").refused_without_code(401);
    }
    for key in unknown {
        assert_eq!(wait_of(&wrong(&server, key, "192.0.2.1")), 1);
    }
    // What the client itself writes in front is not believed, another client is not meant.
    assert_eq!(wait_of(&wrong(&server, "x", "203.0.113.5, 192.0.2.1")), 1);
    wrong(&server, "x", "192.0.2.1, 203.0.113.5").refused_without_code(401);
    let body = right.body().to_string();
    let nobody = Api::new(&server).with_token(None);
    let from = [("x-forwarded-for", "192.0.2.1")];
    nobody
        .call("POST", "/auth", Some(body.as_bytes()), &from)
        .ok();
    // The other door counts together with this one.
    let mail = json!({"email": "a@example.org", "password": "x"}).to_string();
    let answer = nobody.call_at_root("POST", "/api/v0/auth", Some(mail.as_bytes()), &from);
    assert_eq!(wait_of(&answer), 1);
}

#[test]
fn two_nodes_count_wrong_secrets_together() {
    let Some(place) = postgres() else { return };
    let lines = "[protection]\nwrong_logins_per_key = 4\nwrong_logins_per_address = 0";
    let first = TestServer::builder()
        .pool_target(0)
        .section(lines)
        .on(place)
        .start();
    let second = first.neighbour().section(lines).start();
    let right = first.organization();
    for node in [&first, &second, &first, &second] {
        wrong(node, &right.key, "").refused_without_code(401);
    }
    for node in [&first, &second] {
        assert_eq!(wait_of(&wrong(node, &right.key, "")), 1);
        Api::log_in(node, &right);
    }
}

#[test]
fn wrong_secrets_at_the_same_time_are_all_counted() {
    let lines = "wrong_logins_per_key = 64\nwrong_logins_per_address = 0";
    let server = protected(lines).pool_target(0).start();
    let right: Credentials = server.organization();
    for _ in 0..8 {
        for answer in super::client::eightfold(|| wrong(&server, &right.key, "")) {
            answer.refused_without_code(401);
        }
    }
    assert_eq!(wait_of(&wrong(&server, &right.key, "")), 1);
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let patience = Duration::from_millis(PATIENCE_MS);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
}

/// Everything until the server closes the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // It closed while something of ours was still on the way.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let server = protected("header_timeout_ms = 200").pool_target(0).start();
    for start in [
        "",
        "GET",
        "GET /health/live HTTP/1.1\r\nHost: till\r\nX-Slow: ",
    ] {
        let mut stream = connect(server.address());
        stream.write_all(start.as_bytes()).unwrap();
        let answer = rest(stream);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{start:?}: {answer}"
        );
    }
    // Nor does one that goes on and on, a little at a time.
    let mut stream = connect(server.address());
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        .unwrap();
    wait_for("the end of the connection", || stream.write_all(b"x").err());
}

#[test]
fn a_body_that_does_not_come_in_time_is_refused() {
    let server = protected("body_timeout_ms = 200").pool_target(0).start();
    let api = Api::new(&server);
    let head = "POST /api/v2/auth HTTP/1.1\r\nHost: till\r\nContent-Length: 1000000\r\n\r\n{";
    let mut stream = connect(api.address);
    stream.write_all(head.as_bytes()).unwrap();
    let answer = rest(stream);
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains(r#""status_code":408"#), "{answer}");
    // However many pieces it comes in.
    let mut stream = connect(api.address);
    stream.write_all(head.as_bytes()).unwrap();
    let reading = stream.try_clone().unwrap();
    let answer = std::thread::spawn(move || rest(reading));
    wait_for("the end of the connection", || {
        stream
            .write_all(b" ")
            .err()
            .map(drop)
            .or_else(|| answer.is_finished().then_some(()))
    });
    let answer = answer.join().unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    api.get("/tss").ok();
}

#[test]
fn headers_too_many_or_too_large_are_refused_and_the_connection_ends() {
    let api = Api::new(shared());
    let many = (0..200).map(|number| format!("X-{number}: y\r\n"));
    let many: String = many.collect();
    let large = format!("X-Large: {}\r\n", "y".repeat(300_000));
    let endless = "x".repeat(300_000);
    for request in [
        format!("GET /health/live HTTP/1.1\r\nHost: till\r\n{many}\r\n"),
        format!("GET /health/live HTTP/1.1\r\nHost: till\r\n{large}\r\n"),
        format!("GET /{endless} HTTP/1.1\r\nHost: till\r\n\r\n"),
        endless.clone(),
    ] {
        let mut stream = connect(api.address);
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let answer = rest(stream);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{}: {answer}",
            &request[..40]
        );
    }
    api.get("/tss").ok();
}

/// Asks over an open connection, without waiting for the answer.
fn ask(stream: &mut TcpStream) {
    let request = b"GET /health/live HTTP/1.1\r\nHost: till\r\n\r\n";
    stream.write_all(request).unwrap();
}

/// Whether the answer to [`ask`] comes within the time to read of the stream.
fn is_answered(stream: &mut TcpStream) -> bool {
    let mut start = [0; 15];
    match stream.read_exact(&mut start) {
        Ok(()) => {
            assert_eq!(&start, b"HTTP/1.1 200 OK");
            true
        }
        Err(error) => {
            let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
            assert!(kinds.contains(&error.kind()), "{error}");
            false
        }
    }
}

#[test]
fn connections_are_bounded_and_those_that_wait_are_served_when_others_end() {
    let server = protected("connections_max = 4").pool_target(0).start();
    let mut open: Vec<_> = (0..4).map(|_| connect(server.address())).collect();
    for stream in &mut open {
        ask(stream);
        assert!(is_answered(stream));
    }
    let mut waiting = connect(server.address());
    ask(&mut waiting);
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(!is_answered(&mut waiting), "there are four already");
    open.clear();
    waiting
        .set_read_timeout(Some(Duration::from_millis(PATIENCE_MS)))
        .unwrap();
    assert!(is_answered(&mut waiting));
}
