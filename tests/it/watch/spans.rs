//! Spans as a collector of OpenTelemetry gets them.

use super::traces::Caller;
use crate::http::client::wait_for;
use crate::support::installation::Installation;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Takes OTLP over HTTP on a free port, as long as the test lives.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<_>>>::default();
        let taken = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || take(stream.unwrap(), &taken));
            }
        });
        Self { address, got }
    }

    /// Every span, with the name of the service that it came from.
    fn spans(&self) -> Vec<(String, Span)> {
        let got = self.got.lock().unwrap();
        let mut spans = Vec::new();
        for resource in got.iter().flat_map(|request| &request.resource_spans) {
            let service = text(
                &resource.resource.as_ref().unwrap().attributes,
                "service.name",
            );
            let found = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.extend(found.map(|span| (service.clone(), span.clone())));
        }
        spans
    }
}

/// One connection.
fn take(stream: TcpStream, got: &Mutex<Vec<ExportTraceServiceRequest>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert!(
            head.contains(&"content-type: application/x-protobuf".to_owned()),
            "{head:?}"
        );
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        got.lock().unwrap().push(request);
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        reader.get_mut().write_all(answer).unwrap();
    }
}

fn value(attributes: &[KeyValue], name: &str) -> Option<Kind> {
    let found = attributes.iter().find(|pair| pair.key == name)?;
    let AnyValue { value } = found.value.clone()?;
    value
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    match value(attributes, name) {
        Some(Kind::StringValue(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn a_collector_gets_each_request_with_its_command_and_its_batch() {
    let collector = Collector::start();
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    installation.configure(&format!(
        "[telemetry]\notlp_endpoint = \"http://{}/\"",
        collector.address
    ));
    let address = installation.start();
    let caller = Caller::new(&installation, format!("http://{address}/api/v2"));
    let tss = format!("/tss/{}", uuid::Uuid::new_v4());
    let made = caller.call("PUT", &tss, "the-first-call", &json!({}));
    let puk = made["admin_puk"].as_str().unwrap().to_owned();
    // What is left is handed over at the end.
    assert!(installation.stop(), "it ended well");
    let spans = collector.spans();
    let named = |wanted: &str| {
        let found = spans.iter().filter(|(_, span)| span.name == wanted);
        found.map(|(_, span)| span).collect::<Vec<_>>()
    };
    assert!(spans.iter().all(|(service, _)| service == "siegel"));

    let requests = named("PUT /api/v2/tss/{tss_id}");
    assert_eq!(requests.len(), 1, "{spans:?}");
    let request = requests[0];
    assert_eq!(request.kind, 2, "it is a server's");
    assert_eq!(text(&request.attributes, "request_id"), "the-first-call");
    assert_eq!(
        value(&request.attributes, "http.response.status_code"),
        Some(Kind::IntValue(200))
    );
    assert!(request.end_time_unix_nano > request.start_time_unix_nano);

    let is_child = |span: &&&Span| span.parent_span_id == request.span_id;
    let commands = named("command");
    let command = commands
        .iter()
        .find(is_child)
        .expect("the request has a command");
    assert_eq!(command.trace_id, request.trace_id);
    let leads_here = |span: &&&Span| {
        span.links
            .iter()
            .any(|link| link.span_id == command.span_id)
    };
    let batches = named("batch");
    let batch = batches
        .iter()
        .find(leads_here)
        .expect("a batch names the command");
    assert_eq!(
        value(&batch.attributes, "commands"),
        Some(Kind::IntValue(1))
    );
    for part in ["load", "sign", "commit"] {
        let found = named(part);
        assert!(
            found
                .iter()
                .any(|span| span.parent_span_id == batch.span_id),
            "{part}"
        );
    }
    let told = format!("{spans:?}");
    for secret in [&puk, &caller.token] {
        assert!(!told.contains(secret.as_str()), "a secret was handed over");
    }
}

#[test]
fn a_collector_that_is_away_is_told_once_and_disturbs_nobody() {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    // Nobody listens on a port that was just given back.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    installation.configure(&format!("[telemetry]\notlp_endpoint = \"http://{nobody}\""));
    let address = installation.start();
    let caller = Caller::new(&installation, format!("http://{address}/api/v2"));
    let complaint = format!("could not be handed to http://{nobody}");
    let complaints = || {
        installation
            .log()
            .iter()
            .filter(|line| line.contains(&complaint))
            .count()
    };
    wait_for("the complaint", || (complaints() > 0).then_some(()));
    let tss = format!("/tss/{}", uuid::Uuid::new_v4());
    assert_eq!(
        caller.call("PUT", &tss, "still-there", &json!({}))["state"],
        "CREATED"
    );
    let log = |installation: &Installation| installation.log();
    assert!(installation.stop(), "it ended well");
    let told = log(&installation);
    assert_eq!(
        told.iter().filter(|line| line.contains(&complaint)).count(),
        1,
        "{told:?}"
    );
}
