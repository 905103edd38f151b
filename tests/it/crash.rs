//! A short crash test of the real lanes: a PKCS#11 token, a real database, many tills at once, and
//! restarts, ended connections and a second node in between. Afterwards the three questions: are the
//! counters 1, 2, 3 … without gap or repetition? Is every answered step there? Does every message verify?
//!
//! `src/signing/crash_tests.rs` plays the same on ports where every single call can be made to fail.

mod site;

use crate::support::ledger as sample;
use site::Site;

#[test]
fn restarts_under_load_lose_nothing_on_sqlite() {
    let site = Site::new(sample::sqlite());
    let answered = site.under_load(1, |site| {
        for _ in 0..3 {
            site.wait_for_steps(8);
            site.restart(0);
        }
    });
    site.three_questions(&answered);
}

#[test]
fn two_nodes_and_ended_connections_lose_nothing_on_postgres() {
    let Some(place) = sample::postgres() else {
        return;
    };
    let site = Site::new(place);
    let answered = site.under_load(2, |site| {
        for round in 0..6 {
            site.wait_for_steps(4);
            // All connections of both nodes, in whatever they are doing.
            site.place.kill_connections(false);
            if round % 2 == 1 {
                site.restart(round / 2 % 2);
            }
        }
    });
    site.three_questions(&answered);
}
