//! One connection, whose client has to send its calls and to take what it is answered.

use super::door::Transport;
use super::meter::Counted;
use actix_web::rt::net::TcpStream;
use prometheus_client::metrics::gauge::Gauge;
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What the kernel keeps of an answer for a client, in bytes. Left to itself it would keep megabytes; a
/// client that reads slowly but steadily would then seem to take nothing for minutes, because the kernel
/// wants more only when a good part of that has gone. Its price: one download gets no more than about
/// this much per round trip.
const SEND_BUFFER_LEN: usize = 128 * 1024;

/// How long a connection waits for its client.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a call to the first byte of its answer, but for the time in which the server is
    /// at work. The HTTP library measures the time of a header only for the first call of a connection.
    pub call: Duration,
    /// With something to take, and nothing of it taken.
    pub answer: Duration,
}

impl Patience {
    /// As an operator has set it. In a call there is time for all that has a limit of its own.
    pub fn of(transport: Transport) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let answer = ms(transport.answer_timeout_ms);
        Self {
            call: ms(transport.header_timeout_ms) + ms(transport.body_timeout_ms) + answer,
            answer,
        }
    }
}

/// Whether the server is at work at a call of a connection. Then it is not the client that is waited for: a
/// body has a limit of its own, and so has everything else that a call may wait for.
#[derive(Clone, Default)]
pub(super) struct Work(Rc<Cell<bool>>);

impl Work {
    /// From now on, until what it returns is dropped. Calls of a connection come one after the other.
    pub fn begin(&self) -> AtWork {
        self.0.set(true);
        AtWork(self.clone())
    }

    fn is_going_on(&self) -> bool {
        self.0.get()
    }
}

/// The server is at work as long as this is there.
pub(super) struct AtWork(Work);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.set(false);
    }
}

/// A TCP connection that breaks off when its client sends or takes nothing for too long.
pub(super) struct Connection {
    io: TcpStream,
    client: Option<SocketAddr>,
    patience: Patience,
    work: Work,
    /// Runs while something of a call has come, nothing of an answer has gone, and the server is not at work.
    called: Option<Pin<Box<Sleep>>>,
    /// Runs while the client has room for nothing more.
    stalled: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

impl Connection {
    /// Takes a connection over, and counts it as long as it is open.
    pub fn new(io: TcpStream, patience: Patience, open: &Gauge) -> Self {
        // Neither can fail on a connection that is there, and it works without them.
        let _ = set_socket_send_buffer_size(&io, SEND_BUFFER_LEN);
        let _ = io.set_nodelay(true);
        Self {
            client: io.peer_addr().ok(),
            io,
            patience,
            work: Work::default(),
            called: None,
            stalled: None,
            _counted: Counted::one(open),
        }
    }

    /// Who is at the other end.
    pub const fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Where whoever is at work at a call says so.
    pub fn work(&self) -> Work {
        self.work.clone()
    }

    /// What the kernel still holds goes at once, so that no client takes half an answer for a whole one.
    fn give_up(&self, what: &str) -> io::Error {
        let _ = self.io.set_zero_linger();
        let client = self.client.map(tracing::field::display);
        tracing::info!(client, "a client that {what} was disconnected");
        io::ErrorKind::TimedOut.into()
    }
}

/// Ready once the time is over; it begins with the first question.
fn poll_over(
    timer: &mut Option<Pin<Box<Sleep>>>,
    patience: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(patience)));
    timer.as_mut().poll(cx)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            io,
            work,
            called,
            patience,
            ..
        } = &mut *self;
        if work.is_going_on() {
            *called = None;
        }
        let before = buffer.filled().len();
        match Pin::new(io).poll_read(cx, buffer) {
            Poll::Pending if called.is_none() => Poll::Pending,
            Poll::Pending => {
                ready!(poll_over(called, patience.call, cx));
                Poll::Ready(Err(self.give_up("did not end its call")))
            }
            read @ Poll::Ready(_) => {
                if buffer.filled().len() > before && called.is_none() {
                    *called = Some(Box::pin(sleep(patience.call)));
                }
                read
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            io,
            called,
            stalled,
            patience,
            ..
        } = &mut *self;
        match Pin::new(io).poll_write(cx, bytes) {
            Poll::Pending => {
                ready!(poll_over(stalled, patience.answer, cx));
                Poll::Ready(Err(self.give_up("took nothing of its answer")))
            }
            written @ Poll::Ready(_) => {
                *stalled = None;
                *called = None;
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
