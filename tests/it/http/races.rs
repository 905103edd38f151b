//! The same calls again and again, from many connections at once and in random order: each step is
//! signed once, and whoever asks for it is told the same.
//!
//! `SIEGEL_LONG_TESTS=1` makes it 100,000 calls over 200 transactions; `scripts/races` does that against
//! a server that was built for release.

use super::client::{Api, Till, receipt};
use super::hostile::Dice;
use super::tills::signed_steps;
use super::wire::Wire;
use crate::support::ledger::postgres;
use crate::support::server::TestServer;
use crate::support::token::{TestClock, TestEntropy};
use serde_json::{Value, json};
use siegel::terms::{Clock as _, Entropy as _, OrganizationId};
use siegel::verify::{Settings, verify_archive};
use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use uuid::Uuid;

/// Steps of a transaction: start, update, finish.
const STEPS: usize = 3;

/// Numbers by chance, and the seed that gives them again.
pub(super) fn seeded() -> (u64, Dice) {
    let mut bytes = [0; 8];
    TestEntropy.fill(&mut bytes);
    let seed = u64::from_le_bytes(bytes);
    println!("seed {seed}");
    (seed, Dice(seed))
}

/// How much is played.
#[derive(Clone, Copy)]
struct Size {
    transactions: usize,
    calls: usize,
    connections: usize,
}

impl Size {
    fn chosen(short: Self) -> Self {
        match std::env::var("SIEGEL_LONG_TESTS").is_ok_and(|wanted| wanted == "1") {
            false => short,
            true => Self {
                transactions: 200,
                calls: 100_000,
                connections: 32,
            },
        }
    }
}

/// One call of one step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    transaction: usize,
    step: usize,
}

/// All calls, each step as often as any other, in no order.
fn calls(size: Size, dice: &mut Dice) -> VecDeque<Call> {
    let mut calls: Vec<_> = (0..size.calls)
        .map(|number| Call {
            transaction: number / STEPS % size.transactions,
            step: number % STEPS,
        })
        .collect();
    for last in (1..calls.len()).rev() {
        calls.swap(last, dice.below(last + 1));
    }
    calls.into()
}

/// Where tills call, and how.
struct Field<'t> {
    till: &'t Till,
    nodes: Vec<SocketAddr>,
    ids: Vec<String>,
}

impl Field<'_> {
    fn request(&self, call: Call) -> (String, String) {
        let state = ["ACTIVE", "ACTIVE", "FINISHED"][call.step];
        let mut body = json!({"state": state, "client_id": self.till.client});
        if call.step > 0 {
            body["schema"] = receipt(&format!("{}.{:02}", call.transaction, call.step));
        }
        let path = self
            .till
            .path(&format!("/tx/{}", self.ids[call.transaction]));
        let target = format!("/api/v2{path}?tx_revision={}", call.step + 1);
        (target, body.to_string())
    }

    fn wire(&self, node: usize) -> Wire {
        let bearer = format!("Bearer {}", self.till.api.token.as_deref().unwrap());
        Wire::to(self.nodes[node % self.nodes.len()]).always("Authorization", &bearer)
    }
}

/// An answer but for the latest revision, which is that of the moment.
fn masked(text: &str) -> String {
    let (before, rest) = text.split_once("\"latest_revision\":").unwrap();
    let (latest, after) = rest.split_once(',').unwrap();
    assert!(
        (1..=STEPS).contains(&latest.parse::<usize>().unwrap()),
        "{text}"
    );
    format!("{before}{after}")
}

/// Plays all calls and answers with what was told for each step.
fn play(field: &Field<'_>, size: Size, seed: u64, dice: &mut Dice) -> BTreeMap<Call, String> {
    let queue = Mutex::new(calls(size, dice));
    let told = Mutex::new(BTreeMap::<Call, String>::new());
    let (early, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |node: usize| {
        let mut wire = field.wire(node);
        loop {
            let next = queue.lock().unwrap().pop_front();
            let Some(call) = next else {
                return;
            };
            let (target, body) = field.request(call);
            let answer = wire.call("PUT", &target, &[], Some(body.as_bytes()));
            match answer.status {
                200 => {
                    let text = masked(&answer.text());
                    let mut told = told.lock().unwrap();
                    let first = told.entry(call).or_insert_with(|| text.clone());
                    assert_eq!(*first, text, "seed {seed}");
                }
                // The step before it has not come, or the lane is full: later again.
                400 => {
                    answer.refused(400, "E_TX_UPSERT");
                    early.fetch_add(1, Relaxed);
                    queue.lock().unwrap().push_back(call);
                }
                503 => {
                    answer.refused(503, "E_TSS_LOCKED");
                    busy.fetch_add(1, Relaxed);
                    queue.lock().unwrap().push_back(call);
                }
                status => panic!("seed {seed}: {status} {}", answer.text()),
            }
        }
    };
    let clock = TestClock::start();
    std::thread::scope(|scope| {
        for node in 0..size.connections {
            let work = &work;
            scope.spawn(move || work(node));
        }
    });
    println!(
        "{} calls over {} transactions in {} ms; {} came too early, {} found a full lane",
        size.calls,
        size.transactions,
        clock.monotonic_ms(),
        early.into_inner(),
        busy.into_inner()
    );
    told.into_inner().unwrap()
}

/// Exactly one log message per step: in the counters, in the answers and in the archive.
fn check(till: &Till, size: Size, before: u64, told: &BTreeMap<Call, String>) {
    let steps = size.transactions * STEPS;
    assert_eq!(told.len(), steps, "every step was answered");
    let after = till.api.counter(&till.tss);
    assert_eq!(after - before, u64::try_from(steps).unwrap());
    let mut answered: Vec<_> = told
        .values()
        .map(|text| {
            let answer: Value = serde_json::from_str(text).unwrap();
            let signature = &answer["signature"];
            (
                answer["number"].as_u64().unwrap(),
                signature["counter"].as_u64().unwrap(),
                signature["value"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let path = till.path(&format!("/export/{}", Uuid::new_v4()));
    till.api.put(&path, &json!({})).ok();
    super::client::wait_for("the export", || {
        (till.api.get(&path).ok()["state"] == "COMPLETED").then_some(())
    });
    let archive = till.api.get(&format!("{path}/file")).bytes;
    let report = verify_archive(Cursor::new(&archive), &Settings::new(NonZeroUsize::MIN)).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs, after - 1);
    let mut kept = signed_steps(&archive);
    kept.sort_unstable();
    answered.sort_unstable();
    assert_eq!(kept, answered);
}

fn race(till: &Till, nodes: Vec<SocketAddr>, size: Size) {
    let (seed, mut dice) = seeded();
    let field = Field {
        till,
        nodes,
        ids: (0..size.transactions)
            .map(|_| Uuid::new_v4().to_string())
            .collect(),
    };
    let before = till.api.counter(&till.tss);
    let told = play(&field, size, seed, &mut dice);
    check(till, size, before, &told);
}

/// A server that `scripts/races` has started: its address, key and secret.
fn elsewhere() -> Option<(SocketAddr, Value)> {
    let file = std::env::var("SIEGEL_RACES_AT").ok()?;
    let credentials = crate::support::installation::read_json(file.as_ref());
    let base = credentials["base_url"].as_str().unwrap();
    let address = base.split('/').nth(2).unwrap().parse().unwrap();
    Some((address, credentials))
}

#[test]
fn raced_and_repeated_steps_are_signed_once_each() {
    let size = Size::chosen(Size {
        transactions: 20,
        calls: 3000,
        connections: 16,
    });
    if let Some((address, credentials)) = elsewhere() {
        let mut api = Api {
            address,
            // It is not asked for anything that needs to know it.
            organization: OrganizationId::new(Uuid::nil()),
            token: None,
        };
        let login = api.post("/auth", &credentials).ok();
        api.token = Some(login["access_token"].as_str().unwrap().to_owned());
        return race(&Till::new_by(&api), vec![address], size);
    }
    let server = TestServer::builder()
        .section("[lanes]\nearly_wait_ms = 50")
        .start();
    race(&Till::new(&server), vec![server.address()], size);
}

#[test]
fn two_nodes_that_race_on_one_ledger_sign_each_step_once() {
    let Some(place) = postgres() else {
        return;
    };
    let size = Size {
        transactions: 8,
        calls: 800,
        connections: 8,
    };
    let server = TestServer::builder()
        .on(place)
        .section("[lanes]\nearly_wait_ms = 50")
        .start();
    let second = server.second_node();
    race(
        &Till::new(&server),
        vec![server.address(), second.address],
        size,
    );
}
