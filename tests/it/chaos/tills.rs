//! Tills that sell, ask again until they are answered, and write down what they were told.

use crate::http::client::{new_id, receipt};
use crate::support::site::Site;
use crate::support::token::TestClock;
use serde_json::{Value, json};
use siegel::terms::Clock as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use ureq::http::Request;

/// Longest wait of a till for an answer to one step, in milliseconds, however often it asks.
pub const PATIENCE_MS: u64 = 60_000;

/// Longest wait for an answer to one call.
const CALL_WAIT: Duration = Duration::from_millis(2500);

/// Pause of a till that was told to come back.
const PAUSE: Duration = Duration::from_millis(20);

/// A TSS with its tills.
pub struct Shop {
    pub tss: String,
    /// Ids of its clients.
    pub clients: Vec<String>,
}

/// One step and what was answered.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Place of the TSS in the list of shops.
    pub shop: usize,
    pub path: String,
    pub body: String,
    /// The answer, but for what belongs to the moment.
    pub text: String,
    pub number: u64,
    pub counter: u64,
    pub signature: String,
    /// Asked more than once, because an answer was missing.
    pub was_in_doubt: bool,
    /// From the first call to the answer, in milliseconds.
    pub took_ms: u64,
}

/// What tills and disturbers know of each other.
pub struct Board {
    acknowledged: AtomicUsize,
    attempts: AtomicUsize,
    /// Calls that were answered 503, or not at all.
    missed: AtomicUsize,
    /// Raised by the disturber; a step that was asked for and answered in it counts for it.
    epoch: AtomicUsize,
    /// Of each shop, the latest epoch in which a step was answered.
    signed_in: Vec<AtomicUsize>,
    closing: AtomicBool,
    /// A till has panicked; there is nothing to wait for.
    broken: AtomicBool,
    bell: (Mutex<()>, Condvar),
}

impl Board {
    /// For so many shops.
    pub fn new(shops: usize) -> Self {
        Self {
            acknowledged: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            missed: AtomicUsize::new(0),
            epoch: AtomicUsize::new(1),
            signed_in: (0..shops).map(|_| AtomicUsize::new(0)).collect(),
            closing: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            bell: (Mutex::new(()), Condvar::new()),
        }
    }

    /// The tills finish what they have begun and go home.
    pub fn close(&self) {
        self.closing.store(true, SeqCst);
        self.bell.1.notify_all();
    }

    /// A till gave up.
    fn tell_broken(&self) {
        self.broken.store(true, SeqCst);
        self.bell.1.notify_all();
    }

    fn pause(&self, at_most: Duration) {
        let guard = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.bell.1.wait_timeout(guard, at_most));
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> u64 {
        let clock = TestClock::start();
        while !is_so() {
            assert!(clock.monotonic_ms() < PATIENCE_MS, "{what}: not so");
            assert!(!self.broken.load(SeqCst), "a till gave up");
            self.pause(Duration::from_millis(5));
        }
        clock.monotonic_ms()
    }

    /// Waits until so many more steps were answered.
    pub fn wait_for_steps(&self, more: usize) {
        let wanted = self.acknowledged.load(SeqCst) + more;
        self.wait_until("tills are answered", || {
            self.acknowledged.load(SeqCst) >= wanted
        });
    }

    /// Waits until so many more calls were made, with whatever success.
    pub fn wait_for_attempts(&self, more: usize) {
        let wanted = self.attempts.load(SeqCst) + more;
        self.wait_until("tills ask", || self.attempts.load(SeqCst) >= wanted);
    }

    /// Waits until so many more calls found nobody who could sign.
    pub fn wait_for_misses(&self, more: usize) {
        let wanted = self.missed.load(SeqCst) + more;
        self.wait_until("tills are refused", || self.missed.load(SeqCst) >= wanted);
    }

    /// Waits until every shop has a step that was asked for after this call; answers with the milliseconds that
    /// this took.
    pub fn wait_for_every_shop(&self) -> u64 {
        self.wait_for_every_shop_and(|| {})
    }

    /// The same, doing something again and again meanwhile.
    pub fn wait_for_every_shop_and(&self, meanwhile: impl Fn()) -> u64 {
        let epoch = self.epoch.fetch_add(1, SeqCst) + 1;
        let all = || {
            meanwhile();
            let mut epochs = self.signed_in.iter();
            epochs.all(|last| last.load(SeqCst) >= epoch)
        };
        self.wait_until("every TSS signs", all)
    }
}

/// One answer, as far as a till looks at it.
pub struct Told {
    pub status: u16,
    pub has_retry_after: bool,
    pub text: String,
}

/// One till at work. Whoever waits for it is told if it panics.
pub struct Till<'s> {
    pub site: &'s Site,
    pub board: &'s Board,
    agent: ureq::Agent,
    /// The node it asks next.
    node: usize,
}

impl<'s> Till<'s> {
    pub fn new(site: &'s Site, board: &'s Board, node: usize) -> Self {
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_WAIT))
            .build();
        Self {
            site,
            board,
            agent: ureq::Agent::new_with_config(settings),
            node,
        }
    }

    /// Asks a node once.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, node: usize, path: &str, body: &str) -> Result<Told, String> {
        let request = Request::builder()
            .method("PUT")
            .uri(format!("http://{}/api/v2{path}", self.site.address(node)))
            .header(
                "authorization",
                format!("Bearer {}", self.site.access_token()),
            )
            .header("content-type", "application/json")
            .body(body.to_owned())
            .unwrap();
        let answer = self.agent.run(request);
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string();
        Ok(Told {
            status: answer.status().as_u16(),
            has_retry_after: answer.headers().contains_key("retry-after"),
            text: text.map_err(|error| error.to_string())?,
        })
    }

    /// Asks one node after the other until there is an answer that is one.
    pub fn step(&mut self, shop: usize, path: String, body: String) -> Acknowledged {
        let clock = TestClock::start();
        let mut was_in_doubt = false;
        let mut last = String::new();
        loop {
            assert!(
                clock.monotonic_ms() < PATIENCE_MS,
                "{path} is not answered, but {last}"
            );
            let epoch = self.board.epoch.load(SeqCst);
            let told = self.ask(self.node % self.site.nodes(), &path, &body);
            self.board.attempts.fetch_add(1, SeqCst);
            match told {
                Ok(told) if told.status == 200 => {
                    let took_ms = clock.monotonic_ms();
                    self.board.acknowledged.fetch_add(1, SeqCst);
                    self.board.signed_in[shop].fetch_max(epoch, SeqCst);
                    self.board.bell.1.notify_all();
                    let answer = Acknowledged::read(shop, path, body, &told.text);
                    return Acknowledged {
                        was_in_doubt,
                        took_ms,
                        ..answer
                    };
                }
                Ok(told) if told.status == 503 && told.has_retry_after => last = told.text,
                Ok(told) => panic!("{path} is answered {}: {}", told.status, told.text),
                Err(problem) => last = problem,
            }
            was_in_doubt = true;
            self.board.missed.fetch_add(1, SeqCst);
            self.node += 1;
            self.board.pause(PAUSE);
        }
    }

    /// Sells until the board says that it is over.
    pub fn play(&mut self, shop: usize, of: &Shop, client: &str) -> Vec<Acknowledged> {
        let mut answers: Vec<Acknowledged> = Vec::new();
        while !self.board.closing.load(SeqCst) {
            let tx = new_id();
            for (revision, state) in [(1, "ACTIVE"), (2, "ACTIVE"), (3, "FINISHED")] {
                let mut body = json!({"state": state, "client_id": client});
                if revision > 1 {
                    body["schema"] = receipt(&format!("{}.{revision:02}", answers.len()));
                }
                let path = format!("/tss/{}/tx/{tx}?tx_revision={revision}", of.tss);
                answers.push(self.step(shop, path, body.to_string()));
            }
            self.node += 1;
        }
        answers
    }
}

impl Acknowledged {
    fn read(shop: usize, path: String, body: String, text: &str) -> Self {
        let answer: Value = serde_json::from_str(text).unwrap();
        let signature = &answer["signature"];
        Self {
            shop,
            path,
            body,
            number: answer["number"].as_u64().unwrap(),
            counter: signature["counter"].as_u64().unwrap(),
            signature: signature["value"].as_str().unwrap().to_owned(),
            text: masked(answer),
            was_in_doubt: false,
            took_ms: 0,
        }
    }
}

impl Drop for Till<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.tell_broken();
        }
    }
}

/// An answer but for the latest revision, which is that of the moment.
pub fn masked(mut answer: Value) -> String {
    let latest = answer.as_object_mut().unwrap().remove("latest_revision");
    assert!(latest.is_some(), "{answer}");
    answer.to_string()
}
