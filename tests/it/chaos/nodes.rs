//! Two server processes on one PostgreSQL and one SoftHSM folder.

use super::faults::{FROZEN_MS_MAX, freeze_with_locks};
use super::questions::Verdict;
use super::rounds::{open_shops, site_with, under_load};
use super::tills::{Acknowledged, Board, Till};
use crate::http::client::{self, new_id, receipt, wait_for};
use crate::http::hostile::Dice;
use crate::support::ledger::postgres;
use crate::support::process::faketime;
use crate::support::site::{Database, Site};
use crate::support::token::TestClock;
use serde_json::json;
use siegel::terms::Clock as _;

/// Longest time that a till may need for its FINISH while servers are restarted, in milliseconds.
const FINISH_MS_MAX: u64 = 10_000;

/// Answers that are asked for once more, at each node.
const REPEATS: usize = 40;

/// Steps that are signed between two disturbances.
const STEPS: usize = 40;

/// Two nodes; `None` where the run has no PostgreSQL.
fn two_nodes(sections: &str) -> Option<Site> {
    postgres().map(|place| site_with(Database::Shared(place), sections))
}

/// Lets tills play at both nodes beside `disturb`, and asks all questions about what they were told.
#[track_caller]
fn play(site: &Site, disturb: impl FnOnce(&Board)) -> Vec<Acknowledged> {
    let shops = open_shops(site, &mut Dice(1));
    let board = Board::new(shops.len());
    let (answers, ()) = under_load(site, &board, &shops, |board| {
        board.wait_for_steps(STEPS);
        disturb(board);
        board.wait_for_steps(STEPS);
    });
    let mut verdict = Verdict::default();
    // The last of each till, and so the steps around whatever has happened.
    verdict.ask_again(site, &board, answers.iter().rev().step_by(3).take(REPEATS));
    verdict.add(site, &shops, 0, &answers);
    assert!(
        verdict.complaints.is_empty(),
        "{}\n{}\n{}",
        verdict.complaints.join("\n"),
        site.log(0),
        site.log(1)
    );
    answers
}

#[test]
fn any_node_signs_for_any_tss_and_tells_what_the_other_has_told() {
    let Some(site) = two_nodes("") else {
        return;
    };
    let answers = play(&site, |board| board.wait_for_steps(STEPS));
    let restless = answers.iter().filter(|told| told.was_in_doubt);
    assert_eq!(restless.count(), 0, "two healthy nodes refuse nobody");
}

#[test]
fn a_node_goes_on_when_the_other_one_is_killed() {
    let Some(site) = two_nodes("") else {
        return;
    };
    play(&site, |board| {
        for node in [0, 1] {
            site.kill_node(node);
            let took_ms = board.wait_for_every_shop();
            assert!(took_ms <= FROZEN_MS_MAX, "it took {took_ms} ms");
            site.start_node(node);
        }
    });
}

#[test]
fn a_frozen_node_loses_its_locks_and_cannot_commit_when_it_wakes() {
    let Some(site) = two_nodes("") else {
        return;
    };
    play(&site, |board| {
        freeze_with_locks(&site, 1);
        let took_ms = board.wait_for_every_shop();
        println!("the other node went on after {took_ms} ms");
        assert!(took_ms <= FROZEN_MS_MAX, "it took {took_ms} ms");
        site.with_node(1, |process| process.thaw());
        wait_for("the woken node notices", || {
            let log = site.log(1);
            // The last one where it was frozen while its token signed: the time for that is over then.
            let noticed = [
                "was overtaken",
                "did not let a lane work",
                "log message not signed",
            ];
            noticed
                .iter()
                .any(|words| log.contains(words))
                .then_some(())
        });
        board.wait_for_every_shop();
    });
}

#[test]
fn a_node_whose_clock_is_behind_never_lets_time_go_back() {
    if faketime().is_none() {
        return;
    }
    let Some(site) = two_nodes("") else {
        return;
    };
    play(&site, |board| {
        for by_ms in [-300, -3000] {
            site.shift_clock(1, by_ms);
            board.wait_for_steps(4 * STEPS);
        }
        let refused = "s behind the last log message";
        assert!(site.log(1).contains(refused), "3 s are too much");
        site.shift_clock(1, 0);
    });
}

#[test]
fn servers_that_are_restarted_one_after_the_other_fail_no_finish() {
    let Some(site) = two_nodes("") else {
        return;
    };
    let answers = play(&site, |board| {
        for node in [0, 1, 0, 1] {
            assert!(site.stop_node(node).success(), "{}", site.log(node));
            site.start_node(node);
            board.wait_for_every_shop();
        }
    });
    // A step panics at any answer but 200 and a 503 that says when to come back.
    let slowest = answers.iter().map(|told| told.took_ms).max();
    println!("the slowest of {} steps took {slowest:?} ms", answers.len());
    assert!(slowest.unwrap() <= FINISH_MS_MAX, "{slowest:?} ms");
}

#[test]
fn a_finish_that_comes_early_to_one_node_waits_for_the_start_at_the_other() {
    // Longer than anybody should have to wait.
    let Some(site) = two_nodes("[lanes]\nearly_wait_ms = 30000\n") else {
        return;
    };
    let till = client::Till::new_by(&site.api(0));
    let board = Board::new(1);
    let clock = TestClock::start();
    for _ in 0..3 {
        let (tx, asked_ms) = (new_id(), clock.monotonic_ms());
        let path = |revision: u64| till.path(&format!("/tx/{tx}?tx_revision={revision}"));
        let finish = json!({
            "state": "FINISHED", "client_id": till.client, "schema": receipt("4.20"),
        });
        std::thread::scope(|scope| {
            let early = scope.spawn(|| {
                let till = Till::new(&site, &board, 1);
                till.ask(1, &path(2), &finish.to_string())
            });
            // It has to be there before the start is; it then waits in the lane of node 1.
            let waits = || (clock.monotonic_ms() > asked_ms + 300).then_some(());
            wait_for("the finish to wait", waits);
            assert!(!early.is_finished(), "it waits");
            let start = json!({"state": "ACTIVE", "client_id": till.client});
            let told = Till::new(&site, &board, 0).ask(0, &path(1), &start.to_string());
            assert_eq!(told.unwrap().status, 200);
            // A call is given up after 2.5 s, long before its last look.
            let told = early.join().unwrap().expect("it was answered in time");
            assert_eq!(told.status, 200, "{}", told.text);
        });
    }
}
