//! A client that writes its requests itself: which headers there are, how a body is sent and when a
//! connection ends is part of what makes a till.

use super::client::Answer;
use crate::support::server::PATIENCE_MS;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// One connection at a time, kept as long as the server keeps it.
pub struct Wire {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    headers: Vec<(String, String)>,
    patience_ms: u64,
    /// Connections made so far.
    pub connections: usize,
    /// The last call sent, for messages.
    call: String,
}

impl Wire {
    /// To a server, with no header but `Host`.
    pub fn to(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            headers: Vec::new(),
            patience_ms: PATIENCE_MS,
            connections: 0,
            call: String::new(),
        }
    }

    /// Sends a header with every call; a second one of the same name, too.
    pub fn always(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits no longer than this for an answer.
    pub const fn patience_ms(mut self, patience_ms: u64) -> Self {
        self.patience_ms = patience_ms;
        self
    }

    /// Sends a call and reads its answer.
    pub fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        self.send(method, target, headers, body);
        self.receive()
    }

    /// Sends a call, and does not wait.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        let always = self.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in always.chain(headers.iter().copied()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let request = [text.as_bytes(), body.unwrap_or_default()].concat();
        self.call = format!("{method} {target}");
        self.write(&request);
    }

    /// Sends more of a call.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut stream = self.stream().get_ref();
        stream.write_all(bytes).unwrap();
    }

    fn stream(&mut self) -> &mut BufReader<TcpStream> {
        let (address, patience) = (self.address, Duration::from_millis(self.patience_ms));
        let connections = &mut self.connections;
        self.stream.get_or_insert_with(|| {
            *connections += 1;
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(patience)).unwrap();
            BufReader::new(stream)
        })
    }

    /// Reads the answer to what was sent.
    pub fn receive(&mut self) -> Answer {
        let call = self.call.clone();
        let patience_ms = self.patience_ms;
        let lines = read_head(self.stream())
            .unwrap_or_else(|error| panic!("{call}: no answer in {patience_ms} ms: {error}"));
        let (first, lines) = lines.split_first().expect("an answer has a first line");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value.trim()).unwrap(),
            );
        }
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        let bytes = match text("transfer-encoding") {
            Some(coding) => {
                assert_eq!(coding, "chunked");
                read_chunks(self.stream())
            }
            None => {
                let length = text("content-length").map_or(0, |length| length.parse().unwrap());
                let mut bytes = vec![0; length];
                self.stream().read_exact(&mut bytes).unwrap();
                bytes
            }
        };
        if text("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.hang_up();
        }
        Answer {
            call,
            status,
            headers,
            bytes,
        }
    }

    /// Ends the connection, whatever is under way.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

fn read_chunks(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        bytes.extend_from_slice(&chunk[..length]);
        if length == 0 {
            return bytes;
        }
    }
}
