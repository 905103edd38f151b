//! The crash test: a small world in which every call may fail, before or after its effect, and in which
//! processes end whenever they like. Afterwards the ledger is asked: are the counters 1, 2, 3 … without
//! gap or repetition? Is every answered step there? Does every kept message verify?
//!
//! `SIEGEL_CRASH_ROUNDS` sets how many random worlds there are, `SIEGEL_CRASH_SEED` the first one.

mod chaos;
mod disk;
mod early;
mod locked_out;
mod mutants;
mod ports;
mod questions;
mod rounds;
mod scenes;
mod script;
mod token;
mod token_scenes;
mod world;

use chaos::{Fault, Profile, Seam};
use world::{Plan, World};

/// Random worlds of each kind in the quick run.
const ROUNDS: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn quiet() -> Plan {
    Plan {
        nodes: 1,
        lanes: 1,
        tss: 2,
        tills: 2,
        transactions: 3,
        rounds: 3,
        ..Plan::default()
    }
}

/// A short life, for walks that live it hundreds of times.
fn short() -> Plan {
    Plan {
        tills: 1,
        transactions: 2,
        rounds: 1,
        ..quiet()
    }
}

/// Runs a world to its end and fails with everything that is wrong in it.
#[track_caller]
fn check(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.run();
    let complaints = world.complaints();
    assert!(
        complaints.is_empty(),
        "\n{}\n{}\n",
        complaints.join("\n"),
        world.story()
    );
    world
}

/// Many worlds; each differs by its seed.
fn check_many(kind: &str, plan: impl Fn(u64) -> Plan) {
    let first = setting("SIEGEL_CRASH_SEED").unwrap_or(1);
    let rounds = setting("SIEGEL_CRASH_ROUNDS").unwrap_or(ROUNDS);
    for seed in first..first + rounds {
        println!("{kind}: seed {seed}");
        check(Plan { seed, ..plan(seed) });
    }
}

#[test]
fn a_world_without_faults_has_nothing_to_complain_about() {
    let world = check(quiet());
    let disk = world.shared.disk();
    assert_eq!(world.wasted(&disk), 0);
    assert_eq!(disk.steps.len(), 2 * 2 * (3 + 2 + 3));
    assert!(world.counts()[&Seam::Commit] > 20);
}

#[test]
fn every_call_fails_once_in_every_way() {
    let mut calls = World::new(short());
    calls.run();
    for seam in Seam::ALL {
        let count = calls.counts().get(&seam).copied().unwrap_or_default();
        for number in 1..=count {
            for fault in seam.faults() {
                check(Plan {
                    planned: vec![(seam, number, *fault)],
                    ..short()
                });
            }
        }
    }
}

/// The recovery is where a first failure leads to; there everything fails again.
#[test]
fn what_is_done_after_an_unknown_outcome_fails_as_well() {
    let unknown = [
        Fault::UnknownLost,
        Fault::UnknownKept,
        Fault::UnknownLate,
        Fault::RolledBack,
        Fault::PanicLate,
    ];
    for commit in [1, 4, 12] {
        for first in unknown {
            for seam in [Seam::Lock, Seam::Commit, Seam::Message] {
                for second in seam.faults() {
                    let next = match seam {
                        Seam::Message => 1,
                        Seam::Lock | Seam::Commit | Seam::Clock | Seam::Sign => commit + 1,
                    };
                    check(Plan {
                        planned: vec![(Seam::Commit, commit, first), (seam, next, *second)],
                        ..short()
                    });
                }
            }
        }
    }
}

#[test]
fn a_ledger_that_fails_at_random_loses_no_signature() {
    check_many("ledger", |seed| Plan {
        lanes: 1 + usize::try_from(seed % 2).unwrap(),
        tss: 3,
        profile: Profile {
            percent: 5 + seed * 7 % 80,
            ledger: true,
            ..Profile::default()
        },
        ..quiet()
    });
}

#[test]
fn a_token_that_fails_at_random_leaves_no_gap() {
    check_many("token", |seed| Plan {
        tss: 3,
        profile: Profile {
            percent: 5 + seed * 7 % 60,
            token: true,
            ..Profile::default()
        },
        ..quiet()
    });
}

#[test]
fn processes_that_end_at_random_tell_nothing_that_is_not_kept() {
    check_many("deaths", |seed| Plan {
        lanes: 2,
        tss: 3,
        profile: Profile {
            percent: 3 + seed % 20,
            ledger: seed % 2 == 0,
            token: seed % 3 == 0,
            panics: true,
            deaths: true,
        },
        ..quiet()
    });
}

#[test]
fn several_nodes_take_turns_at_the_same_tss() {
    check_many("nodes", |seed| Plan {
        nodes: 2 + usize::try_from(seed % 2).unwrap(),
        lanes: 2,
        tss: 3,
        spare_devices: u128::from(seed % 3),
        profile: Profile {
            percent: seed * 7 % 50,
            ledger: true,
            token: seed % 2 == 0,
            panics: seed % 3 == 0,
            deaths: seed % 4 == 0,
        },
        clocks: seed % 5 == 0,
        ..quiet()
    });
}

#[test]
fn clocks_that_are_wrong_make_no_message_go_back_in_time() {
    check_many("clocks", |seed| Plan {
        nodes: 1 + usize::try_from(seed % 2).unwrap(),
        tss: 2,
        profile: Profile {
            percent: seed % 10,
            ledger: true,
            ..Profile::default()
        },
        clocks: true,
        ..quiet()
    });
}
