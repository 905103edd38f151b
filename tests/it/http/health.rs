//! What `/health/ready` says while a token hangs.

use super::client::{Api, wait_for};
use crate::support::server::{PATIENCE_MS, TestServer};
use crate::support::token::TestClock;
use serde_json::json;
use siegel::csp::TokenState;
use siegel::http::Door;
use siegel::signing::{Reply, Role, Signs, Submit, TokenStatus};
use siegel::sma::{Caller, Command};
use siegel::terms::{Clock as _, Environment, TssId};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

/// The lanes of a node with one more token, which hangs until it is let go.
struct WithHangingToken {
    lanes: Arc<dyn Submit>,
    stuck: Arc<Stuck>,
}

#[derive(Default)]
struct Stuck {
    asked: AtomicUsize,
    free: Mutex<bool>,
    changed: Condvar,
}

impl Stuck {
    fn sign(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let free = self.free.lock().unwrap();
        *self.changed.wait_while(free, |free| !*free).unwrap()
    }

    fn let_go(&self) {
        *self.free.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Submit for WithHangingToken {
    fn submit(&self, tss: TssId, caller: Caller, command: Command, reply: Reply) {
        self.lanes.submit(tss, caller, command, reply);
    }

    fn keeps_up(&self) -> bool {
        self.lanes.keeps_up()
    }

    fn token_health(&self) -> Vec<TokenStatus> {
        let stuck = Arc::clone(&self.stuck);
        let question: Signs = Box::new(move || stuck.sign());
        // First, so that whoever asks one after the other never comes to the others.
        let mut tokens = vec![TokenStatus {
            name: "a-stuck-one".to_owned(),
            label: "stuck".to_owned(),
            environment: Environment::Test,
            role: Role::Active,
            state: TokenState::Ready,
            generation: 1,
            signs: question,
        }];
        tokens.extend(self.lanes.token_health());
        tokens
    }
}

/// Serves while `work` asks.
fn serve(door: Door, work: impl FnOnce(&Api)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let organization = siegel::terms::OrganizationId::new(uuid::Uuid::nil());
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = siegel::http::serve(door, listener).unwrap();
            tell.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    let handle = told.recv().unwrap();
    work(&Api {
        address,
        organization,
        token: None,
    });
    actix_web::rt::System::new().block_on(handle.stop(true));
    thread.join().unwrap();
}

#[test]
fn a_token_that_hangs_hides_neither_the_ledger_nor_the_other_tokens() {
    let server = TestServer::builder().pool_target(0).start();
    let stuck = Arc::new(Stuck::default());
    let door = server.node().door();
    let lanes: Arc<dyn Submit> = Arc::new(WithHangingToken {
        lanes: Arc::clone(&door.lanes),
        stuck: Arc::clone(&stuck),
    });
    serve(Door { lanes, ..door }, |api| {
        let ready = || api.call_at_root("GET", "/health/ready", None, &[]);
        let signs = |name: &str| ready().ok()["tokens"][name]["signs"].clone();
        let answer = ready().ok();
        assert_eq!(answer["status"], "ready");
        assert_eq!(answer["ledger"], "answers");
        let tokens = answer["tokens"].as_object().unwrap();
        let states: Vec<_> = tokens.values().map(|token| &token["signs"]).collect();
        assert_eq!(states, [false, true]);
        // From now on nobody waits for it, and nobody asks it again.
        let patience = TestClock::start();
        for _ in 0..20 {
            assert_eq!(signs("a-stuck-one"), false);
        }
        let waited_ms = patience.monotonic_ms();
        assert!(waited_ms < PATIENCE_MS / 2, "{waited_ms} ms");
        assert_eq!(stuck.asked.load(Ordering::SeqCst), 1);
        stuck.let_go();
        wait_for("the token that hung", || {
            (signs("a-stuck-one") == json!(true)).then_some(())
        });
    });
}
