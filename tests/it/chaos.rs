//! The kill test: real servers, real tokens, real databases, tills that never stop selling, and every round
//! something that goes wrong. Afterwards nothing may be lost, doubled or missing.
//!
//! A short form runs with the other tests; `scripts/chaos` runs as many rounds as wanted. The seed decides
//! which faults come, in which order and how hard; when exactly they strike is up to the machine.

mod faults;
mod nodes;
mod questions;
mod readiness;
mod rounds;
mod tills;

use crate::support::site::Database;
use rounds::{Plan, play};

/// Rounds of the short form, with a fault of another kind each.
const ROUNDS: usize = 3;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn plan(seed: u64) -> Plan {
    Plan {
        rounds: setting("SIEGEL_CHAOS_ROUNDS").map_or(ROUNDS, |rounds| rounds.try_into().unwrap()),
        seed: setting("SIEGEL_CHAOS_SEED").unwrap_or(seed),
    }
}

#[test]
fn whatever_fails_nothing_is_lost_doubled_or_missing_on_sqlite() {
    play(Database::Sqlite, plan(1));
}

#[test]
fn whatever_fails_nothing_is_lost_doubled_or_missing_on_postgres() {
    if let Some(database) = Database::own() {
        play(database, plan(1));
    }
}
