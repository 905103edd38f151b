//! What happens while somebody else holds a TSS.

use super::chaos::{Fault, Seam};
use super::ports::lock;
use super::quiet;
use super::scenes::{
    A, B, STUCK, goes_wrong, is_done, is_unavailable, next_batch_stays_unfinished,
    nothing_to_complain_about, stage,
};
use super::script::{self, finish, start};
use super::world::{Plan, World};
use crate::sma::{Command, Needs};
use crate::terms::TssId;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

/// A holder that is no lane of this world.
const STRANGER: u64 = u64::MAX;
const WAIT_MS: u64 = 1000;

fn patient() -> World {
    stage(Plan {
        lock_wait_ms: WAIT_MS,
        ..quiet()
    })
}

fn held_by_a_stranger(world: &World, tss: u128) {
    let needs = BTreeMap::from([(script::tss(tss), Needs::default())]);
    let late = world.shared.disk().lock(&needs, STRANGER);
    assert!(late.is_empty(), "nobody else holds it");
}

fn let_go(world: &World) {
    world.shared.disk().unlock(STRANGER);
}

fn later(world: &mut World, by_ms: u64) {
    world.clock(0).monotonic_ms.fetch_add(by_ms, SeqCst);
    world.post(0, &[]);
}

fn asked(tss: u128, command: Command) -> (TssId, Command) {
    (script::tss(tss), command)
}

#[test]
fn a_tss_that_is_held_elsewhere_keeps_nobody_else_waiting() {
    let mut world = patient();
    held_by_a_stranger(&world, A);
    let first = world.post(0, &[asked(A, start(A, 0, 0)), asked(B, start(B, 0, 0))]);
    assert!(World::heard(&first[0]).is_none(), "it waits");
    assert!(is_done(&World::heard(&first[1])));
    // What comes for the same TSS goes behind it, although it might be free by now.
    let_go(&world);
    let second = world.post(0, &[asked(A, finish(A, 0, 0, 2))]);
    assert!(World::heard(&second[0]).is_none());
    let number = world.counts()[&Seam::Commit];
    later(&mut world, WAIT_MS / 2);
    assert!(is_done(&World::heard(&first[0])));
    assert!(is_done(&World::heard(&second[0])));
    assert_eq!(world.counts()[&Seam::Commit], number + 1, "one batch");
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_tss_that_is_held_for_too_long_is_unavailable() {
    let mut world = patient();
    held_by_a_stranger(&world, A);
    let waiting = world.post(0, &[asked(A, start(A, 0, 0))]);
    let before = world.counts()[&Seam::Lock];
    for _ in 0..9 {
        later(&mut world, WAIT_MS / 10);
        assert!(World::heard(&waiting[0]).is_none());
    }
    let tries = world.counts()[&Seam::Lock] - before;
    assert!((3..=9).contains(&tries), "tried {tries} times");
    later(&mut world, WAIT_MS / 5);
    assert!(is_unavailable(&World::heard(&waiting[0])));
    let_go(&world);
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_batch_is_not_given_up_because_somebody_else_holds_its_tss() {
    let mut world = patient();
    let before = world.shared.signatures_made();
    goes_wrong(&world, Seam::Commit, &STUCK);
    let start = start(A, 0, 0);
    let first = world.post(0, &[asked(A, start.clone())]);
    assert!(is_unavailable(&World::heard(&first[0])));
    // For all that is known it is the stranger who is committing it.
    held_by_a_stranger(&world, A);
    for _ in 0..2 {
        assert!(is_unavailable(&world.ask(0, script::tss(A), &start)));
    }
    let_go(&world);
    assert!(is_done(&world.ask(0, script::tss(A), &start)));
    assert_eq!(world.shared.signatures_made(), before + 1, "signed once");
    nothing_to_complain_about(&mut world);
}

#[test]
fn of_a_batch_without_its_commit_only_what_is_held_elsewhere_goes_on_waiting() {
    let mut world = patient();
    let before = world.shared.signatures_made();
    next_batch_stays_unfinished(&world);
    let (of_a, of_b) = (start(A, 0, 0), start(B, 0, 0));
    let told = world.post(0, &[asked(A, of_a.clone()), asked(B, of_b.clone())]);
    assert!(told.iter().all(|told| is_unavailable(&World::heard(told))));
    later(&mut world, 1);
    held_by_a_stranger(&world, A);
    assert!(is_done(&world.ask(0, script::tss(B), &of_b)));
    assert!(is_unavailable(&world.ask(0, script::tss(A), &of_a)));
    let_go(&world);
    assert!(is_done(&world.ask(0, script::tss(A), &of_a)));
    assert_eq!(world.shared.signatures_made(), before + 2, "signed once");
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_lane_that_ends_tries_what_waits_and_answers_it() {
    let mut world = patient();
    held_by_a_stranger(&world, A);
    let waiting = world.post(0, &[asked(A, start(A, 0, 0))]);
    let_go(&world);
    let lane = world.first_lane(0);
    let jobs = lock(&lane).locked_out.take_all();
    assert_eq!(jobs.len(), 1);
    lock(&lane).process(jobs);
    assert!(is_done(&World::heard(&waiting[0])));
    goes_wrong(&world, Seam::Lock, &[Fault::Refused]);
    assert!(is_unavailable(&world.ask(
        0,
        script::tss(A),
        &finish(A, 0, 0, 2)
    )));
    nothing_to_complain_about(&mut world);
}
