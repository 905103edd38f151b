//! Steps that come before their predecessors: a till may send start, update and finish without waiting
//! for answers, and a network may turn their order around.

use super::client::{Answer, Api, Till, new_id, receipt, wait_for};
use super::hostile::Dice;
use super::races::seeded;
use super::wire::Wire;
use crate::support::ledger::postgres;
use crate::support::server::{TestServer, TestServerBuilder};
use crate::support::token::TestClock;
use serde_json::{Value, json};
use siegel::terms::Clock as _;
use std::net::SocketAddr;

const STEPS: [&str; 3] = ["ACTIVE", "ACTIVE", "FINISHED"];

/// A server that lets steps wait so long, and so many calls per lane.
fn patient(early_wait_ms: u64, queue_len_max: u64) -> TestServerBuilder {
    let section = format!(
        "[lanes]\nlanes_per_token = 1\nearly_wait_ms = {early_wait_ms}\nqueue_len_max = {queue_len_max}"
    );
    TestServer::builder().section(&section)
}

/// Runs a test on both databases, each on a server of its own.
fn on_patient(early_wait_ms: u64, test: impl Fn(&TestServer)) {
    test(&patient(early_wait_ms, 1024).start());
    if let Some(place) = postgres() {
        test(&patient(early_wait_ms, 1024).on(place).start());
    }
}

/// A step that was sent, over a connection of its own, and not waited for.
struct Fired(Wire);

impl Fired {
    fn new(till: &Till, tx: &str, revision: usize, state: &str) -> Self {
        Self::at(till.api.address, till, tx, revision, state)
    }

    fn at(address: SocketAddr, till: &Till, tx: &str, revision: usize, state: &str) -> Self {
        let mut body = json!({"state": state, "client_id": till.client});
        if revision > 1 {
            body["schema"] = receipt("4.20");
        }
        let bearer = format!("Bearer {}", till.api.token.as_deref().unwrap());
        let target = format!(
            "/api/v2{}?tx_revision={revision}",
            till.path(&format!("/tx/{tx}"))
        );
        let mut wire = Wire::to(address).always("Authorization", &bearer);
        wire.send("PUT", &target, &[], Some(body.to_string().as_bytes()));
        Self(wire)
    }

    fn answer(mut self) -> Answer {
        self.0.receive()
    }

    /// The client goes away.
    fn give_up(mut self) {
        self.0.hang_up();
    }
}

fn in_random_order(dice: &mut Dice) -> Vec<usize> {
    let mut left = vec![1, 2, 3];
    let mut order = Vec::new();
    while !left.is_empty() {
        order.push(left.remove(dice.below(left.len())));
    }
    order
}

#[test]
fn steps_that_are_sent_at_once_are_signed_in_their_order_and_without_delay() {
    const WAIT_MS: u64 = 30_000;
    on_patient(WAIT_MS, |server| {
        let till = Till::new(server);
        let (seed, mut dice) = seeded();
        // Last to first is the hardest of all.
        let mut orders = vec![vec![3, 2, 1]];
        orders.extend((0..12).map(|_| in_random_order(&mut dice)));
        for order in orders {
            let tx = new_id();
            let clock = TestClock::start();
            let answers = till.signing(3, || {
                let fire = |revision: &usize| {
                    let fired = Fired::new(&till, &tx, *revision, STEPS[revision - 1]);
                    (*revision, fired)
                };
                let fired: Vec<_> = order.iter().map(fire).collect();
                let mut answers: Vec<(usize, Value)> = fired
                    .into_iter()
                    .map(|(revision, fired)| (revision, fired.answer().ok()))
                    .collect();
                answers.sort_by_key(|(revision, _)| *revision);
                answers
            });
            let first = answers[0].1["signature"]["counter"].as_u64().unwrap();
            for ((revision, answer), counter) in answers.iter().zip(first..) {
                assert_eq!(answer["revision"], *revision, "seed {seed}, {order:?}");
                assert_eq!(
                    answer["signature"]["counter"], counter,
                    "seed {seed}, {order:?}"
                );
                assert_eq!(answer["number"], answers[0].1["number"]);
            }
            assert_eq!(answers[2].1["state"], "FINISHED");
            let took_ms = clock.monotonic_ms();
            assert!(took_ms < WAIT_MS, "seed {seed}, {order:?}: {took_ms} ms");
        }
    });
}

#[test]
fn steps_that_follow_each_other_over_one_connection_are_answered_in_turn() {
    on_patient(30_000, |server| {
        let till = Till::new(server);
        let tx = new_id();
        let bearer = format!("Bearer {}", till.api.token.as_deref().unwrap());
        let mut wire = Wire::to(till.api.address).always("Authorization", &bearer);
        let path = till.path(&format!("/tx/{tx}"));
        let revisions = till.signing(3, || {
            for (revision, state) in (1..).zip(STEPS) {
                let mut body = json!({"state": state, "client_id": till.client});
                if revision > 1 {
                    body["schema"] = receipt("4.20");
                }
                let target = format!("/api/v2{path}?tx_revision={revision}");
                wire.send("PUT", &target, &[], Some(body.to_string().as_bytes()));
            }
            STEPS.map(|_| wire.receive().ok()["revision"].as_u64().unwrap())
        });
        assert_eq!(revisions, [1, 2, 3]);
        assert_eq!(wire.connections, 1);
    });
}

#[test]
fn many_tills_that_do_not_wait_disturb_each_other_no_more_than_those_that_do() {
    on_patient(30_000, |server| {
        let till = Till::new(server);
        let (seed, mut dice) = seeded();
        let txs: Vec<_> = (0..10).map(|_| new_id()).collect();
        let mut calls: Vec<(usize, usize)> = (0..txs.len())
            .flat_map(|tx| (1..=3).map(move |revision| (tx, revision)))
            .collect();
        let mut fired = Vec::new();
        till.signing(30, || {
            while !calls.is_empty() {
                let (tx, revision) = calls.swap_remove(dice.below(calls.len()));
                fired.push(Fired::new(&till, &txs[tx], revision, STEPS[revision - 1]));
            }
            for fired in fired.drain(..) {
                fired.answer().ok();
            }
        });
        for tx in &txs {
            let answer = till.api.get(&till.path(&format!("/tx/{tx}"))).ok();
            assert_eq!(answer["state"], "FINISHED", "seed {seed}");
            assert_eq!(answer["latest_revision"], 3, "seed {seed}");
        }
    });
}

#[test]
fn a_finish_that_stays_alone_is_refused_after_the_wait_and_holds_nobody_up() {
    const WAIT_MS: u64 = 1500;
    on_patient(WAIT_MS, |server| {
        let till = Till::new(server);
        let other = Till::new(server);
        let clock = TestClock::start();
        till.signing(0, || {
            let alone = Fired::new(&till, &new_id(), 2, "FINISHED");
            // The next till in the same lane sells meanwhile.
            other.sell();
            let answer = alone.answer();
            assert!(clock.monotonic_ms() >= WAIT_MS, "{}", clock.monotonic_ms());
            answer.refused(400, "E_TX_UPSERT");
        });
        // What can never fit is refused at once: this till would wait in vain.
        let sold = till.sell();
        let tx = sold["_id"].as_str().unwrap();
        let clock = TestClock::start();
        till.step(tx, 3, "FINISHED", Some(receipt("4.20")))
            .refused(400, "E_TX_UPSERT");
        assert!(clock.monotonic_ms() < WAIT_MS, "{}", clock.monotonic_ms());
    });
}

#[test]
fn steps_that_wait_take_no_more_than_half_of_a_lane_and_the_next_one_is_told_at_once() {
    const WAIT_MS: u64 = 4000;
    let server = patient(WAIT_MS, 4).start();
    let till = Till::new(&server);
    let clock = TestClock::start();
    let fired: Vec<_> = (0..3)
        .map(|_| Fired::new(&till, &new_id(), 2, "FINISHED"))
        .collect();
    let answered = |fired: Fired| (fired.answer(), clock.monotonic_ms());
    let mut answers: Vec<_> = std::thread::scope(|scope| {
        let answered = &answered;
        let readers: Vec<_> = fired
            .into_iter()
            .map(|fired| scope.spawn(move || answered(fired)))
            .collect();
        // Another till finds room in the same lane.
        Till::new(&server).sell();
        assert!(clock.monotonic_ms() < WAIT_MS, "it sold too late");
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect()
    });
    answers.sort_by_key(|(_, at_ms)| *at_ms);
    for (refused, _) in &answers {
        refused.refused(400, "E_TX_UPSERT");
    }
    let told: Vec<_> = answers.iter().map(|(_, at_ms)| *at_ms < WAIT_MS).collect();
    assert_eq!(told, [true, false, false], "{answers:?}");
    // Their places are free again.
    till.sell();
}

#[test]
fn a_step_whose_client_has_gone_is_signed_and_answered_when_asked_again() {
    on_patient(30_000, |server| {
        let till = Till::new(server);
        let tx = new_id();
        let finish = || till.step(&tx, 2, "FINISHED", Some(receipt("4.20")));
        let (started, finished) = till.signing(2, || {
            Fired::new(&till, &tx, 2, "FINISHED").give_up();
            Fired::new(&till, &tx, 1, "ACTIVE").give_up();
            // Whether the calls that nobody waits for were taken is chance; that they count once is not.
            let started = till.step(&tx, 1, "ACTIVE", None).ok();
            (started, finish().ok())
        });
        assert_eq!(started["number"], finished["number"]);
        let again = till.signing(0, finish).ok();
        assert_eq!(again.to_string(), finished.to_string());
    });
}

#[test]
fn start_on_one_node_and_finish_on_another() {
    let Some(place) = postgres() else {
        return;
    };
    let server = patient(2000, 1024).on(place).start();
    let second = server.second_node();
    let till = Till::new(&server);
    let there = Till {
        api: Api {
            address: second.address,
            ..till.api.clone()
        },
        ..till.clone()
    };
    // One after the other.
    let tx = new_id();
    till.signing(2, || {
        let started = till.step(&tx, 1, "ACTIVE", None).ok();
        let again = there.step(&tx, 1, "ACTIVE", None).ok();
        assert_eq!(
            again.to_string(),
            started.to_string(),
            "the same on every node"
        );
        there.step(&tx, 2, "FINISHED", Some(receipt("4.20"))).ok();
    });
    // The finish is there first: it looks into the ledger once more when its wait is over.
    let tx = new_id();
    let finished = till.signing(2, || {
        let early = Fired::at(second.address, &till, &tx, 2, "FINISHED");
        till.step(&tx, 1, "ACTIVE", None).ok();
        early.answer().ok()
    });
    assert_eq!(finished["state"], "FINISHED");
    let read = till.api.get(&till.path(&format!("/tx/{tx}"))).ok();
    assert_eq!(read.to_string(), finished.to_string());
    // In any order on any node; what one node has signed the other one sees when its wait is over.
    let (seed, mut dice) = seeded();
    for _ in 0..4 {
        let tx = new_id();
        till.signing(3, || {
            let order = in_random_order(&mut dice);
            let fire = |revision: &usize| {
                let address = match dice.below(2) {
                    0 => till.api.address,
                    _ => second.address,
                };
                let state = STEPS[revision - 1];
                (*revision, Fired::at(address, &till, &tx, *revision, state))
            };
            let fired: Vec<_> = order.iter().map(fire).collect();
            for (revision, fired) in fired {
                // Two nodes do not wake each other: a step that has waited for nothing comes again.
                let answer = fired.answer();
                if answer.status == 400 {
                    answer.refused(400, "E_TX_UPSERT");
                    let schema = (revision > 1).then(|| receipt("4.20"));
                    let number = u64::try_from(revision).unwrap();
                    wait_for("the step", || {
                        let state = STEPS[revision - 1];
                        let again = there.step(&tx, number, state, schema.clone());
                        (again.status == 200).then_some(())
                    });
                }
            }
        });
        let read = there.api.get(&till.path(&format!("/tx/{tx}"))).ok();
        assert_eq!(read["state"], "FINISHED", "seed {seed}");
    }
}
