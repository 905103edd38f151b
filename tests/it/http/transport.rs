//! What is around the calls: paths, headers, connections, bodies.

use super::client::{Api, Till, keys, new_id, raw};
use crate::support::server::{TestServer, shared};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// The lines of a request, with a token.
fn request(api: &Api, first: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let token = api.token.as_deref().unwrap();
    let mut text = format!("{first} HTTP/1.1\r\nHost: till\r\nAuthorization: Bearer {token}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

fn closing(api: &Api, first: &str, headers: &[&str], body: &[u8]) -> String {
    let headers = [headers, &["Connection: close"]].concat();
    raw(api.address, &request(api, first, &headers, body))
}

#[test]
fn an_unknown_path_is_answered_as_documented() {
    let api = Api::new(shared());
    let tss = new_id();
    for path in [
        "/",
        "/api",
        "/api/v2",
        "/api/v2/",
        "/api/v2/x",
        "/api/v3/tss",
        "/api/v2/auth/x",
        "/API/V2/tss",
        "/health",
        "/health/x",
        "/api/v2/../v2/x",
        "/api/v2/%2e%2e/tss",
        "/api/v2/tss/%2f",
        "/%00",
        "/api/v2/%ff",
    ] {
        let answer = api.call_at_root("GET", path, None, &[]);
        match path {
            // An id of one slash.
            "/api/v2/tss/%2f" => drop(answer.refused(400, "E_FAILED_SCHEMA_VALIDATION")),
            _ => assert_eq!(answer.refused(404, "E_NOT_FOUND"), "Not Found", "{path}"),
        }
    }
    let nobody = api.with_token(None);
    nobody.get("/x").refused(404, "E_NOT_FOUND");
    nobody
        .delete(&format!("/tss/{tss}"))
        .refused(404, "E_NOT_FOUND");
    api.delete(&format!("/tss/{tss}"))
        .refused(404, "E_NOT_FOUND");
}

#[test]
fn slashes_too_many_mean_nothing() {
    let server = shared();
    let credentials = server.organization();
    let till = Till::created(server);
    let api = &till.api;
    for path in ["//auth", "/auth/", "///auth//"] {
        api.with_token(None).post(path, &credentials.body()).ok();
    }
    for path in ["//api/v2/tss", "/api//v2///tss/", "/api/v2//tss//?limit=1"] {
        api.call_at_root("GET", path, None, &[]).ok();
    }
    api.get(&format!("//tss//{}/", till.tss)).ok();
    api.get(&format!("//tss//{}/?none=none", till.tss)).ok();
}

#[test]
fn every_answer_carries_a_request_id_and_its_time() {
    let api = Api::new(shared());
    for (path, headers) in [
        ("/tss", vec![]),
        ("/x", vec![]),
        ("/tss/x", vec![]),
        ("/tss", vec![("authorization", "Bearer x")]),
        ("/tss", vec![("request-id", "")]),
        ("/tss", vec![("origin", "https://till.example")]),
    ] {
        let answer = api.call("GET", path, None, &headers);
        let id = answer.header("request-id").unwrap();
        let is_hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hex, "{path}: {id:?}");
        let time = answer.header("response-time").unwrap();
        let (seconds, milliseconds) = time.split_once('.').unwrap();
        assert!(seconds.parse::<u32>().is_ok() && milliseconds.len() == 3);
    }
    let longest = "x".repeat(128);
    let given = new_id();
    for id in [given.as_str(), "1", "a b;c=\"d\"", &longest] {
        for path in ["/tss", "/x", "/tss/x"] {
            let answer = api.call("GET", path, None, &[("request-id", id)]);
            assert_eq!(answer.header("request-id"), Some(id));
        }
    }
    let too_long = "x".repeat(129);
    let answer = api.call("GET", "/tss", None, &[("Request-ID", &too_long)]);
    assert_eq!(answer.header("request-id").unwrap().len(), 32);
    let first = api.get("/tss");
    assert_ne!(
        first.header("request-id"),
        api.get("/tss").header("request-id")
    );
}

#[test]
fn a_till_in_a_browser_may_call() {
    let api = Api::new(shared());
    let nobody = api.with_token(None);
    for (path, method) in [
        ("/auth", "POST"),
        ("/tss/x", "PUT"),
        ("/tss/x", "PATCH"),
        ("/tss", "GET"),
        ("/tss/x/export/y", "DELETE"),
    ] {
        let answer = nobody.call(
            "OPTIONS",
            path,
            None,
            &[
                ("origin", "https://till.example"),
                ("access-control-request-method", method),
                (
                    "access-control-request-headers",
                    "Authorization, Content-Type",
                ),
            ],
        );
        assert!([200, 204].contains(&answer.status), "{}", answer.status);
        let header = |name: &str| answer.header(name).unwrap().to_lowercase();
        assert_eq!(header("access-control-allow-origin"), "*");
        let methods = header("access-control-allow-methods");
        assert!(
            methods.split(", ").any(|m| m == method.to_lowercase()),
            "{methods}"
        );
        let headers = header("access-control-allow-headers");
        for wanted in ["authorization", "content-type"] {
            assert!(headers.contains(wanted), "{headers}");
        }
        assert!(answer.header("access-control-max-age").is_some());
    }
    // Refusals, too, or the browser hides them from the till.
    for (api, path, status) in [
        (&api, "/tss", 200),
        (&api, "/tss/x", 400),
        (&api, "/x", 404),
        (&nobody, "/tss", 401),
    ] {
        let answer = api.call("GET", path, None, &[("origin", "https://till.example")]);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer
            .header("access-control-expose-headers")
            .unwrap()
            .to_lowercase();
        assert!(exposed.contains("request-id"), "{exposed}");
    }
}

#[test]
fn reading_calls_may_carry_a_body_and_need_no_user_agent() {
    let till = Till::created(shared());
    let first = format!("GET /api/v2/tss/{}", till.tss);
    let json = "Content-Type: application/json";
    for (headers, body) in [
        (vec![], &b""[..]),
        (vec![json], b""),
        (vec![json, "Content-Length: 2"], b"{}"),
        (vec!["Content-Length: 2"], b"{}"),
        (vec!["Content-Length: 1"], b"{"),
        (
            vec![json, "Transfer-Encoding: chunked"],
            b"2\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let answer = closing(&till.api, &first, &headers, body);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

#[test]
fn a_body_is_json_whatever_it_says_it_is() {
    let till = Till::created(shared());
    let first = format!("PATCH /api/v2/tss/{}/metadata", till.tss);
    for kind in [
        "Content-Type: application/json",
        "Content-Type: application/json; charset=UTF-8",
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "X-None: none",
    ] {
        let answer = closing(
            &till.api,
            &first,
            &[kind, "Content-Length: 12"],
            br#"{"a": "b\n"}"#,
        );
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let chunked = closing(
        &till.api,
        &first,
        &["Transfer-Encoding: chunked"],
        b"5\r\n{\"a\":\r\n4\r\n\"c\"}\r\n0\r\n\r\n",
    );
    assert!(chunked.ends_with(r#"{"a":"c"}"#), "{chunked}");
}

#[test]
fn a_byte_order_mark_before_a_body_means_nothing() {
    let till = Till::created(shared());
    let path = till.path("/metadata");
    let patch = |body: &str| till.api.call("PATCH", &path, Some(body.as_bytes()), &[]);
    assert_eq!(patch("\u{feff}{\"a\": \"b\"}").ok(), json!({"a": "b"}));
    // As text it stays.
    assert_eq!(
        patch("{\"a\": \"\u{feff}\"}").ok(),
        json!({"a": "\u{feff}"})
    );
    for nothing in ["\u{feff}", "\u{feff}\r\n", "\u{feff}[]", "\u{feff}null"] {
        assert_eq!(patch(nothing).ok(), json!({"a": "\u{feff}"}));
    }
    for wrong in ["\u{feff}\u{feff}{}", "{\u{feff}}", "{}\u{feff}"] {
        patch(wrong).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_told_where() {
    let till = Till::created(shared());
    let path = till.path("/metadata");
    let told = |body: &str| {
        let answer = till.api.call("PATCH", &path, Some(body.as_bytes()), &[]);
        answer.refused(400, "E_FAILED_SCHEMA_VALIDATION")
    };
    assert_eq!(
        told("{\n  \"a\": x}"),
        "body should be JSON in UTF-8 (line 2, column 8)"
    );
    // Such a number is good JSON, and no machine reads it.
    let digits = "9".repeat(400);
    let message = told(&format!("{{\"a\": {digits}}}"));
    assert!(
        message.starts_with("body holds a number that is too large (line 1, column "),
        "{message}"
    );
    assert!(message.len() < 80, "{message}");
}

/// Reads one answer and leaves the connection open.
fn next_answer(reader: &mut BufReader<TcpStream>) -> (Vec<String>, Value) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap_or_else(|| panic!("the length is told: {lines:?}"));
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (lines, serde_json::from_slice(&body).unwrap())
}

#[test]
fn many_calls_go_over_one_connection_with_bodies_or_without() {
    let till = Till::created(shared());
    let mut stream = TcpStream::connect(till.api.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let log_out = format!("POST /api/v2/tss/{}/admin/logout", till.tss);
    let get = format!("GET /api/v2/tss/{}", till.tss);
    let delete = format!("DELETE /api/v2/tss/{}", till.tss);
    let json = "Content-Type: application/json";
    for (first, headers, body, status) in [
        (&get, vec!["Content-Length: 2"], &b"{}"[..], "200 ok"),
        (&get, vec![json], b"", "200 ok"),
        (
            &log_out,
            vec!["Content-Length: 15"],
            br#"{"none":"none"}"#,
            "200 ok",
        ),
        (&delete, vec!["Content-Length: 2"], b"[]", "404 not found"),
        (
            &get,
            vec!["Transfer-Encoding: chunked"],
            b"2\r\n{}\r\n0\r\n\r\n",
            "200 ok",
        ),
        (&get, vec![], b"", "200 ok"),
    ] {
        // In two pieces, as some clients do: the body comes when the call is being worked on.
        let head = request(&till.api, first, &headers, b"");
        stream.write_all(&head).unwrap();
        stream.write_all(body).unwrap();
        let (lines, answer) = next_answer(&mut reader);
        assert_eq!(lines[0], format!("http/1.1 {status}"), "{lines:?}");
        assert!(
            !lines.contains(&"connection: close".to_owned()),
            "{lines:?}"
        );
        assert!(answer.is_object());
    }
}

#[test]
fn a_body_of_more_than_one_megabyte_is_too_large() {
    let till = Till::created(shared());
    let path = till.path("/metadata");
    let of_length = |length: usize| {
        let start = br#"{"a":"b"}"#;
        let mut body = vec![b' '; length];
        body[..start.len()].copy_from_slice(start);
        body
    };
    let largest = of_length(1_048_576);
    till.api.call("PATCH", &path, Some(&largest), &[]).ok();
    till.signing(0, || {
        for length in [1_048_577, 3_000_000] {
            let body = of_length(length);
            let answer = till.api.call("PATCH", &path, Some(&body), &[]);
            answer.refused_without_code(413);
        }
    });
    // In pieces, whose sum nobody told before.
    let first = format!("PATCH /api/v2{path}");
    let mut pieces = Vec::new();
    for _ in 0..17 {
        pieces.extend_from_slice(b"10000\r\n");
        pieces.extend_from_slice(&[b' '; 0x1_0000]);
        pieces.extend_from_slice(b"\r\n");
    }
    pieces.extend_from_slice(b"0\r\n\r\n");
    let answer = closing(&till.api, &first, &["Transfer-Encoding: chunked"], &pieces);
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
        "{answer}"
    );
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let till = Till::created(shared());
    let tss = &till.tss;
    for first in [
        format!("PATCH /api/v2/tss/{tss}/metadata"),
        format!("POST /api/v2/tss/{tss}/admin/logout"),
        format!("GET /api/v2/tss/{tss}"),
        "POST /api/v2/auth".to_owned(),
        "POST /api/v0/auth".to_owned(),
    ] {
        for length in ["1048577", "99999999999", "18446744073709551615"] {
            let header = format!("Content-Length: {length}");
            let head = request(&till.api, &first, &[&header], b"");
            let mut stream = TcpStream::connect(till.api.address).unwrap();
            // Not one byte of it: whoever waits for the body waits for ever.
            stream.write_all(&head).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (lines, answer) = next_answer(&mut reader);
            assert_eq!(lines[0], "http/1.1 413 payload too large", "{first}");
            assert!(lines.contains(&"connection: close".to_owned()), "{lines:?}");
            assert!(lines.iter().any(|line| line.starts_with("request-id: ")));
            assert_eq!(
                answer,
                json!({
                    "status_code": 413,
                    "error": "Payload Too Large",
                    "message": "body is larger than 1 MB",
                })
            );
        }
    }
}

#[test]
fn what_is_no_http_is_refused_and_the_connection_ends() {
    let server = shared();
    for (bytes, status) in [
        (&b"x\r\n\r\n"[..], "400"),
        (b"GET\r\n\r\n", "400"),
        (b"GET /health/live HTTP/7.0\r\n\r\n", "400"),
        (
            b"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "400",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
    ] {
        let answer = raw(server.address(), bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{text}: {answer}"
        );
    }
}

#[test]
fn health_tells_what_works() {
    let api = Api::new(shared()).with_token(None);
    let live = api.call_at_root("GET", "/health/live", None, &[]).ok();
    assert_eq!(live, json!({"status": "live"}));
    let ready = api.call_at_root("GET", "/health/ready", None, &[]).ok();
    let fields = [
        "status",
        "ledger",
        "tokens",
        "witnesses",
        "stopped_tss",
        "ledger_check",
    ];
    assert_eq!(keys(&ready), fields);
    assert_eq!(ready["witnesses"], "know no more than the ledger");
    assert_eq!(ready["stopped_tss"], 0);
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["ledger"], "answers");
    let tokens = ready["tokens"].as_object().unwrap();
    assert_eq!(tokens.len(), 1);
    let main = &tokens["main"];
    assert_eq!(
        keys(main),
        ["signs", "state", "role", "label", "generation"]
    );
    assert_eq!(main["signs"], true);
    assert_eq!(main["state"], "ready");
    assert_eq!(main["role"], "active");
}

#[test]
fn lives_of_tokens_are_those_of_the_configuration() {
    let server = TestServer::builder()
        .pool_target(0)
        .section("[api]\naccess_token_s = 600\nrefresh_token_s = 1200")
        .start();
    let api = Api::new(&server);
    let body = server.organization().body();
    let answer = api.post("/auth", &body).ok();
    assert_eq!(answer["access_token_expires_in"], 600);
    assert_eq!(answer["refresh_token_expires_in"], 1200);
}
