//! Far more calls than can be signed: who gets through, what the others are told, and what it costs.

use super::client::{Api, PIN, Till, new_id, raw, receipt, wait_for};
use super::wire::Wire;
use crate::support::installation::{Installation, read_json};
use crate::support::server::TestServer;
use crate::support::token::TestClock;
use serde_json::{Value, json};
use siegel::telemetry::METRICS;
use siegel::terms::{Clock as _, OrganizationId};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places in the lane, and ten times as many callers that never pause.
const PLACES: usize = 16;
const CALLERS: usize = 10 * PLACES;
const LOAD_MS: u64 = 6000;

#[derive(Default)]
struct Count {
    asked: AtomicU64,
    done: AtomicU64,
}

impl Count {
    /// In percent.
    fn rate(&self) -> u64 {
        100 * self.done.load(Relaxed) / self.asked.load(Relaxed)
    }
}

/// One till that signs as fast as it is let.
fn sell_without_a_pause(till: &Till, clock: &TestClock, starts: &Count, finishes: &Count) {
    let bearer = format!("Bearer {}", till.api.token.as_deref().unwrap());
    let mut wire = Wire::to(till.api.address).always("Authorization", &bearer);
    let mut step = |tx: &str, revision: u32, body: &Value, count: &Count| {
        let target = format!(
            "/api/v2{}?tx_revision={revision}",
            till.path(&format!("/tx/{tx}"))
        );
        let answer = wire.call("PUT", &target, &[], Some(body.to_string().as_bytes()));
        count.asked.fetch_add(1, Relaxed);
        match answer.status {
            200 => {
                count.done.fetch_add(1, Relaxed);
                true
            }
            503 => {
                let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..60).contains(&wait), "{wait} s");
                false
            }
            status => panic!("{status}: {}", answer.text()),
        }
    };
    let start = json!({"state": "ACTIVE", "client_id": till.client});
    let finish = json!({"state": "FINISHED", "client_id": till.client, "schema": receipt("4.20")});
    while clock.monotonic_ms() < LOAD_MS {
        let tx = new_id();
        if !step(&tx, 1, &start, starts) {
            continue;
        }
        while !step(&tx, 2, &finish, finishes) && clock.monotonic_ms() < LOAD_MS {}
    }
}

/// Memory of a process in RAM, in bytes: `VmRSS` for now, `VmHWM` for the most so far.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

fn log_in(installation: &Installation, address: SocketAddr) -> Api {
    let credentials = read_json(&installation.path("demo/credentials.json"));
    let mut api = Api {
        address,
        organization: OrganizationId::new(uuid::Uuid::nil()),
        token: None,
    };
    let login = json!({"api_key": credentials["api_key"], "api_secret": credentials["api_secret"]});
    let answer = api.post("/auth", &login).ok();
    api.token = Some(answer["access_token"].as_str().unwrap().to_owned());
    api
}

#[test]
fn under_ten_times_the_load_begun_transactions_go_first_and_memory_stays_flat() {
    let mut installation = Installation::new();
    installation.configure(&format!(
        "[lanes]\nqueue_len_max = {PLACES}\nbatch_len_max = 8\n[limits]\ntransactions_open_max = 100000"
    ));
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    let till = Till::new_by(&log_in(&installation, address));
    let counter = till.api.counter(&till.tss);
    let (starts, finishes) = (Count::default(), Count::default());
    let clock = TestClock::start();
    let (mut early, mut late) = (0, 0);
    std::thread::scope(|scope| {
        let (till, clock, starts, finishes) = (&till, &clock, &starts, &finishes);
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(move || sell_without_a_pause(till, clock, starts, finishes)))
            .collect();
        // Whoever is last has waited for an answer of its own, so this ends.
        while callers.iter().any(|caller| !caller.is_finished()) {
            let now = memory(installation.pid(), "VmRSS");
            match clock.monotonic_ms() {
                ms if ms < LOAD_MS / 2 => early = now.max(early),
                _ => late = now.max(late),
            }
            std::thread::yield_now();
        }
    });
    let signed = starts.done.load(Relaxed) + finishes.done.load(Relaxed);
    println!(
        "{} starts of {}, {} finishes of {}; {} and {} bytes in memory",
        starts.done.load(Relaxed),
        starts.asked.load(Relaxed),
        finishes.done.load(Relaxed),
        finishes.asked.load(Relaxed),
        early,
        late
    );
    // Everything that was answered 200 was signed, and nothing else.
    assert_eq!(till.api.counter(&till.tss) - counter, signed);
    assert!(starts.done.load(Relaxed) > 0, "starts are not starved");
    let refused = starts.asked.load(Relaxed) - starts.done.load(Relaxed);
    assert!(
        refused > u64::try_from(CALLERS).unwrap(),
        "there was no overload: {refused} refused"
    );
    assert!(
        finishes.rate() > starts.rate(),
        "{} and {}",
        finishes.rate(),
        starts.rate()
    );
    assert!(
        late < early + early / 8 + (8 << 20),
        "{early} bytes became {late}"
    );
    // As if nothing had been.
    till.log_in(PIN).ok();
    till.sell();
    assert!(installation.stop(), "it ended well");
}

/// The most that bodies may take together in these tests, in bytes: as much as one of them may take.
const ROOM: usize = siegel::http::BODY_IN_MEMORY_MAX;

#[test]
fn bodies_together_take_no_more_memory_than_they_may() {
    let server = TestServer::builder()
        .section(&format!(
            "[protection]\nbodies_len_max = {ROOM}\nbody_timeout_ms = 60000"
        ))
        .start();
    let body = format!("{{\"x\": \"{}\"}}", "y".repeat(900_000));
    let head = |length: usize| {
        format!(
            "POST /api/v2/auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    // Bodies that lack their last byte fill the room, until not even one fits whose buffer has just doubled. To be
    // read, one needs as much.
    let slow = || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(head(body.len()).as_bytes()).unwrap();
        stream
            .write_all(&body.as_bytes()[..body.len() - 1])
            .unwrap();
        stream
    };
    let in_memory = || {
        let name = METRICS
            .iter()
            .find(|row| row.name == "siegel_http_body_bytes")
            .unwrap()
            .name;
        let text = server.node().metrics().text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse::<usize>().unwrap()
    };
    let mut slow_ones = Vec::new();
    while in_memory() + 2 * body.len() <= ROOM {
        let before = in_memory();
        slow_ones.push(slow());
        wait_for("a body", || {
            (in_memory() >= before + body.len() - 1).then_some(())
        });
    }
    let ask = || raw(server.address(), (head(body.len()) + &body).as_bytes());
    let answer = ask();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("E_TSS_LOCKED"), "{answer}");
    // Nor does one fit whose text is small, but not its values.
    let zeros = format!("{{\"x\": [{}0]}}", "0,".repeat(30_000));
    let answer = raw(server.address(), (head(zeros.len()) + &zeros).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // Small ones still fit, and room comes back.
    let api = Api::new(&server);
    assert_eq!(api.get("/tss").status, 200);
    drop(slow_ones);
    wait_for("room", || (in_memory() == 0).then_some(()));
    assert!(ask().starts_with("HTTP/1.1 400 "), "{}", ask());
}

#[test]
fn bodies_of_very_many_values_take_no_more_memory_than_they_may() {
    let mut installation = Installation::new();
    installation.configure(&format!("[protection]\nbodies_len_max = {ROOM}"));
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    let till = Till::new_by(&log_in(&installation, address));
    let before = memory(installation.pid(), "VmHWM");
    // As text they have 1 MB and less; as values each would take 80 MB, and one that is let in takes 5 MB.
    let body = |values: usize| {
        let values = vec![json!({"": 0}); values];
        let body = json!({"state": "ACTIVE", "client_id": till.client, "x": values});
        body.to_string().into_bytes()
    };
    let (refused, taken) = (body(140_000), body(10_000));
    super::client::eightfold(|| {
        for _ in 0..4 {
            let call = |body: &Vec<u8>| {
                let path = till.path(&format!("/tx/{}?tx_revision=1", new_id()));
                till.api.call("PUT", &path, Some(body), &[])
            };
            // Whatever finds no room is not even looked at.
            let answer = call(&refused);
            if answer.status != 503 {
                answer.refused(400, "E_FAILED_SCHEMA_VALIDATION");
            }
            let answer = call(&taken);
            if answer.status != 200 {
                answer.refused(503, "E_TSS_LOCKED");
            }
        }
    });
    let after = memory(installation.pid(), "VmHWM");
    // The allocator of each thread keeps something of what was freed; two of the bodies that are refused would
    // take three times as much.
    let room = u64::try_from(ROOM).unwrap();
    assert!(after < before + 4 * room, "{before} bytes became {after}");
    till.sell();
    assert!(installation.stop(), "it ended well");
}
