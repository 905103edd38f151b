//! Stands between a server and its PostgreSQL and cuts connections in the moment of a COMMIT.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What the protocol calls a simple query, with its text.
const COMMIT: &[u8] = b"COMMIT\0";

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT never arrives.
    BeforeTheCommit,
    /// It arrives, and the connection ends at once.
    AfterTheCommit,
    /// It is done, and nobody hears of it.
    BeforeTheAnswer,
}

struct State {
    target: Mutex<SocketAddr>,
    plan: Mutex<Option<Cut>>,
    /// COMMITs still to be cut.
    left: AtomicUsize,
    cut: AtomicUsize,
    closed: AtomicBool,
}

/// A listening proxy. Dropping it takes no more connections.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Passes connections on to a database.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: Mutex::new(target),
            plan: Mutex::new(None),
            left: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let own = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if own.closed.load(SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    pass_on(&own, client);
                }
            }
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    /// New connections go there.
    pub fn point_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap() = target;
    }

    /// Cuts the next COMMITs, of whatever connection.
    pub fn cut(&self, how: Cut, commits: usize) {
        *self.state.plan.lock().unwrap() = Some(how);
        self.state.left.store(commits, SeqCst);
    }

    /// COMMITs cut so far.
    pub fn cut_so_far(&self) -> usize {
        self.state.cut.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies both ways until either side ends; a database that is not there ends the client.
fn pass_on(state: &Arc<State>, client: TcpStream) {
    let target = *state.target.lock().unwrap();
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let deaf = Arc::new(AtomicBool::new(false));
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let (state, own_deaf) = (Arc::clone(state), Arc::clone(&deaf));
    thread::spawn(move || {
        watch(&state, from_client, &server, &own_deaf);
        let _ = server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        answer(from_server, &client, &deaf);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// From the node to the database, until it ends or is cut.
fn watch(state: &State, mut client: TcpStream, mut server: &TcpStream, deaf: &AtomicBool) {
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..read];
        let is_commit = bytes.windows(COMMIT.len()).any(|part| part == COMMIT);
        let plan = match is_commit && take_one(state) {
            true => *state.plan.lock().unwrap(),
            false => None,
        };
        match plan {
            None => {}
            Some(Cut::BeforeTheCommit) => break,
            // The other direction ends as soon as there is an answer.
            Some(Cut::BeforeTheAnswer) => deaf.store(true, SeqCst),
            Some(Cut::AfterTheCommit) => {
                let _ = server.write_all(bytes);
                break;
            }
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn answer(mut server: TcpStream, mut client: &TcpStream, deaf: &AtomicBool) {
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if deaf.load(SeqCst) || client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Whether this COMMIT is one of those to be cut.
fn take_one(state: &State) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    let taken = state.left.fetch_update(SeqCst, SeqCst, one_less).is_ok();
    if taken {
        state.cut.fetch_add(1, SeqCst);
    }
    taken
}
