//! The engine broken on purpose: the questions must notice each way. What passes here would pass in the
//! product, too.

use super::chaos::{Fault, Profile, Seam};
use super::ports::Mutant;
use super::world::{Plan, World};
use super::{check, quiet};

/// Worlds that are tried until one of them complains.
const WORLDS: u64 = 40;

/// A kind of world in which the unbroken engine has nothing to complain about, and the broken one does
/// so in these words.
#[track_caller]
fn is_noticed(mutant: Mutant, plan: &Plan, words: &str) {
    let mut heard = Vec::new();
    for seed in 1..=WORLDS {
        let plan = Plan {
            seed,
            ..plan.clone()
        };
        let mut world = World::new(Plan {
            mutant: Some(mutant),
            ..plan.clone()
        });
        world.run();
        let complaints = world.complaints();
        if complaints.iter().any(|complaint| complaint.contains(words)) {
            check(plan);
            return;
        }
        heard.extend(complaints);
    }
    panic!("{mutant:?} was not noticed by {words:?}, only by {heard:?}");
}

fn one_node(profile: Profile) -> Plan {
    Plan { profile, ..quiet() }
}

fn two_nodes(profile: Profile) -> Plan {
    Plan {
        nodes: 2,
        profile,
        ..quiet()
    }
}

fn unsure_ledger() -> Profile {
    Profile {
        percent: 20,
        ledger: true,
        ..Profile::default()
    }
}

fn deaths() -> Profile {
    Profile {
        percent: 5,
        deaths: true,
        ..Profile::default()
    }
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    let plan = one_node(deaths());
    let mutant = Mutant::AnswersBeforeTheCommit;
    is_noticed(mutant, &plan, "was answered and is not there");
    is_noticed(
        mutant,
        &plan,
        "was answered with a signature that is not kept",
    );
    is_noticed(mutant, &plan, "was answered and is not so");
}

#[test]
fn an_unknown_outcome_taken_for_success_is_noticed() {
    let plan = one_node(unsure_ledger());
    let mutant = Mutant::TakesUnknownForKept;
    is_noticed(mutant, &plan, "was answered and is not there");
}

#[test]
fn new_bytes_after_a_failed_commit_are_noticed() {
    // So bad that finishing at once does not succeed each time.
    let plan = one_node(Profile {
        percent: 70,
        ..unsure_ledger()
    });
    let mutant = Mutant::ForgetsUnfinished;
    is_noticed(mutant, &plan, "signatures were made and not kept");
}

#[test]
fn remembered_stale_state_is_noticed() {
    let mutant = Mutant::RemembersStaleState;
    let words = "its counter is not the expected one";
    is_noticed(mutant, &one_node(unsure_ledger()), words);
    is_noticed(mutant, &two_nodes(Profile::default()), words);
}

#[test]
fn a_skipped_lock_is_noticed() {
    let plan = two_nodes(Profile::default());
    let mutant = Mutant::SkipsTheLock;
    is_noticed(mutant, &plan, "its counter is not the expected one");
    is_noticed(mutant, &plan, "signatures were made and not kept");
}

#[test]
fn an_ignored_counter_is_noticed_by_what_was_answered() {
    let plan = two_nodes(Profile::default());
    let mutant = Mutant::IgnoresTheCounter;
    is_noticed(mutant, &plan, "is not there, or is another");
    is_noticed(
        mutant,
        &plan,
        "was answered with a signature that is not kept",
    );
}

#[test]
fn signatures_that_changed_places_are_noticed() {
    is_noticed(Mutant::MixesSignaturesUp, &quiet(), "does not verify");
}

#[test]
fn a_device_that_is_given_away_while_it_is_in_use_is_noticed() {
    // The first batch stays unfinished while the second one comes. Which TSSs come into being in which of
    // them is up to chance.
    let plan = Plan {
        tss: 4,
        planned: vec![
            (Seam::Commit, 1, Fault::UnknownLost),
            (Seam::Lock, 2, Fault::Refused),
            (Seam::Lock, 3, Fault::Refused),
        ],
        ..one_node(Profile::default())
    };
    let mutant = Mutant::GivesUsedDevicesAway;
    is_noticed(mutant, &plan, "a device that was in use was given away");
}

#[test]
fn finishing_without_a_look_is_noticed() {
    let plan = two_nodes(unsure_ledger());
    let mutant = Mutant::FinishesBlindly;
    is_noticed(mutant, &plan, "its counter is not the expected one");
}
