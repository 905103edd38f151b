//! One connection that stays open: HTTP/1.1, one call at a time, with as little work as that takes.

use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Largest answer to a step; real ones have 2 KB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 64;
const READ_BYTES: usize = 8192;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Refused, broken, or no HTTP/1.1 with a length.
    Connection,
    /// Too late.
    Timeout,
}

/// An answer; its body is in the connection until the next call.
pub(super) struct Answer {
    pub status: u16,
    pub retry_after_s: Option<u64>,
    body: std::ops::Range<usize>,
    ends_connection: bool,
}

/// See the module comment. After [`NoAnswer`] the next call connects anew.
pub(super) struct Connection {
    authority: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            stream: None,
            buffer: Vec::with_capacity(READ_BYTES),
        }
    }

    /// Connects, so that no call has to wait for it.
    pub(super) async fn open(&mut self) -> Result<(), NoAnswer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.authority).await;
            let stream = stream.map_err(|_| NoAnswer::Connection)?;
            stream.set_nodelay(true).map_err(|_| NoAnswer::Connection)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends a request and waits for the whole answer.
    pub(super) async fn call(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        let answer = timeout(ANSWER_WAIT, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(NoAnswer::Timeout));
        if answer
            .as_ref()
            .map_or(true, |answer| answer.ends_connection)
        {
            self.stream = None;
        }
        answer
    }

    /// The body of the last answer.
    pub(super) fn body(&self, answer: &Answer) -> &[u8] {
        self.buffer.get(answer.body.clone()).unwrap_or_default()
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        self.open().await?;
        let stream = self.stream.as_mut().ok_or(NoAnswer::Connection)?;
        let sent = stream.write_all(request).await;
        sent.map_err(|_| NoAnswer::Connection)?;
        self.buffer.clear();
        let mut whole = None;
        loop {
            let read = stream.read_buf(&mut self.buffer).await;
            if read.map_err(|_| NoAnswer::Connection)? == 0 || self.buffer.len() > ANSWER_BYTES_MAX
            {
                return Err(NoAnswer::Connection);
            }
            if whole.is_none() {
                whole = head(&self.buffer)?;
            }
            if let Some(answer) = whole.take() {
                if self.buffer.len() >= answer.body.end {
                    return Ok(answer);
                }
                whole = Some(answer);
            }
        }
    }
}

/// What the header says; `None` when it is not all there.
fn head(bytes: &[u8]) -> Result<Option<Answer>, NoAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| NoAnswer::Connection)?;
    let httparse::Status::Complete(start) = parsed else {
        return Ok(None);
    };
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(str::trim)
    };
    let length = value("content-length").and_then(|value| value.parse::<usize>().ok());
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX);
    let end = start.saturating_add(length.ok_or(NoAnswer::Connection)?);
    Ok(Some(Answer {
        status: response.code.unwrap_or_default(),
        retry_after_s: value("retry-after").and_then(|value| value.parse().ok()),
        body: start..end,
        ends_connection: value("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")),
    }))
}
