//! HEAD: what load balancers and `curl -I` send.

use super::client::{Answer, Api, raw};
use super::routes::{SAMPLES, Sample, World};
use crate::support::server::shared;

fn readable() -> impl Iterator<Item = &'static Sample> {
    SAMPLES.iter().filter(|sample| sample.method == "GET")
}

fn call(api: &Api, method: &str, path: &str) -> Answer {
    api.call_at_root(method, path, None, &[("accept", "*/*")])
}

/// Two calls have ids and times of their own. The names of a set come in any order. Where the length is
/// not known before, GET comes in pieces.
const DIFFERS: [&str; 5] = [
    "access-control-expose-headers",
    "date",
    "request-id",
    "response-time",
    "transfer-encoding",
];

/// What HEAD says is what GET says.
#[track_caller]
fn assert_is_head_of(head: &Answer, get: &Answer) {
    assert_eq!(head.status, get.status, "{}", head.call);
    assert_eq!(head.bytes, b"", "{}", head.call);
    let told = |answer: &Answer| {
        let headers = answer.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .filter(|(name, _)| !DIFFERS.contains(&name.as_str()))
            .collect();
        headers.sort();
        headers
    };
    assert_eq!(told(head), told(get), "{}", head.call);
    assert!(head.header("request-id").is_some() && head.header("response-time").is_some());
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let world = World::new(shared());
    let api = &world.till.api;
    world.till.signing(0, || {
        for sample in readable() {
            let path = sample.filled(&world);
            let get = call(api, "GET", &path);
            assert_eq!(get.status, 200, "{path}");
            assert_is_head_of(&call(api, "HEAD", &path), &get);
        }
    });
}

#[test]
fn head_is_as_closed_as_get() {
    let world = World::new(shared());
    let (nobody, stranger) = (world.till.api.with_token(None), Api::new(shared()));
    let mut closed = 0;
    for sample in readable() {
        let path = sample.filled(&world);
        for api in [&nobody, &stranger] {
            let get = call(api, "GET", &path);
            closed += u32::from(get.status != 200);
            assert_is_head_of(&call(api, "HEAD", &path), &get);
        }
    }
    assert!(closed > 30, "{closed} calls are refused");
    let garbled = nobody.with_token(Some("garbled"));
    assert_eq!(call(&garbled, "HEAD", "/api/v2/tss").status, 401);
}

#[test]
fn where_there_is_no_get_there_is_no_head() {
    let world = World::new(shared());
    for sample in SAMPLES.iter().filter(|sample| sample.method != "GET") {
        let path = sample.filled(&world);
        let get = call(&world.till.api, "GET", &path);
        assert_is_head_of(&call(&world.till.api, "HEAD", &path), &get);
    }
    let unknown = call(&world.till.api, "HEAD", "/api/v2/x");
    assert_eq!((unknown.status, unknown.bytes), (404, Vec::new()));
}

#[test]
fn the_next_answer_follows_the_head_at_once() {
    let server = shared();
    let get = "GET /health/live HTTP/1.1\r\nHost: till\r\nConnection: close\r\n\r\n";
    for path in ["/health/live", "/api/v2/_spec.json", "/api/v2/tss", "/x"] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: till\r\n\r\n");
        // Without waiting for the first answer.
        let answers = raw(server.address(), format!("{head}{get}").as_bytes());
        let (first, rest) = answers.split_once("\r\n\r\n").expect("the head ends");
        assert!(first.contains("\r\ncontent-length: "), "{first}");
        // Whatever the library makes of both at once, no body stands where the next answer is read.
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 200 OK\r\n"),
            "{path}: {rest}"
        );
    }
}
