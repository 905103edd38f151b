//! Steps that come before the steps before them wait for a moment, and for no more than that.

use super::chaos::Seam;
use super::ports::lock;
use super::quiet;
use super::scenes::{is_done, nothing_to_complain_about, stage, two_nodes};
use super::script::{self, finish, start, update};
use super::world::{Answer, Mailbox, Plan, World};
use crate::signing::SigningError;
use crate::sma::{Command, Rejection};
use crate::terms::TssId;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

const A: u128 = 0;
const B: u128 = 1;
const WAIT_MS: u64 = 2000;

fn patient(plan: Plan) -> World {
    stage(Plan {
        early_wait_ms: WAIT_MS,
        ..plan
    })
}

fn posted(world: &mut World, node: usize, tss: u128, command: Command) -> Arc<Mutex<Mailbox>> {
    let asked = [(script::tss(tss), command)];
    world.post(node, &asked).remove(0)
}

fn is_conflict(answer: &Option<Answer>) -> bool {
    matches!(
        answer,
        Some(Err(SigningError::Rejected(
            Rejection::RevisionConflict { .. }
        )))
    )
}

/// The questions of the other tests, whose refused commands wait for nothing.
#[track_caller]
fn all_is_well(world: &mut World) {
    for node in 0..world.nodes() {
        lock(&world.first_lane(node)).settings.early_wait_ms = 0;
    }
    nothing_to_complain_about(world);
}

/// The lane gets a turn although nobody asks anything.
fn turn(world: &mut World, node: usize) {
    world.post(node, &[]);
}

#[test]
fn steps_in_the_wrong_order_are_signed_in_the_right_one() {
    let mut world = patient(quiet());
    let tss: TssId = script::tss(A);
    let before = world.shared.disk().messages.len();
    let asked = [
        (tss, finish(A, 0, 0, 3)),
        (tss, update(A, 0, 0)),
        (tss, start(A, 0, 0)),
    ];
    let answers = world.ask_all(0, &asked);
    assert!(answers.iter().all(is_done), "{answers:?}");
    assert_eq!(world.shared.disk().messages.len(), before + 3);
    all_is_well(&mut world);
}

#[test]
fn a_step_waits_for_one_that_comes_later() {
    let mut world = patient(quiet());
    let waiting = posted(&mut world, 0, A, finish(A, 0, 0, 2));
    turn(&mut world, 0);
    assert!(World::heard(&waiting).is_none());
    // Another TSS has nothing to do with it.
    assert!(is_done(&world.ask(0, script::tss(B), &start(B, 0, 0))));
    assert!(World::heard(&waiting).is_none());
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    assert!(is_done(&World::heard(&waiting)));
    all_is_well(&mut world);
}

#[test]
fn a_step_that_nothing_comes_before_is_refused_when_its_time_is_up() {
    let mut world = patient(quiet());
    let before = world.shared.signatures_made();
    let waiting = posted(&mut world, 0, A, finish(A, 0, 0, 2));
    world.clock(0).monotonic_ms.store(WAIT_MS - 1, SeqCst);
    turn(&mut world, 0);
    assert!(World::heard(&waiting).is_none());
    world.clock(0).monotonic_ms.store(WAIT_MS, SeqCst);
    turn(&mut world, 0);
    assert!(is_conflict(&World::heard(&waiting)));
    assert_eq!(world.shared.signatures_made(), before);
    all_is_well(&mut world);
}

#[test]
fn a_step_that_waits_is_looked_after_before_its_end() {
    let mut world = patient(two_nodes());
    let waiting = posted(&mut world, 0, A, finish(A, 0, 0, 2));
    assert!(is_done(&world.ask(1, script::tss(A), &start(A, 0, 0))));
    world.clock(0).monotonic_ms.store(WAIT_MS / 10, SeqCst);
    turn(&mut world, 0);
    assert!(is_done(&World::heard(&waiting)));
    // The pauses grow with the time that it has waited.
    let waiting = posted(&mut world, 0, A, finish(A, 1, 1, 2));
    let locks = |world: &World| world.counts()[&Seam::Lock];
    let before = locks(&world);
    for now_ms in WAIT_MS / 10..WAIT_MS {
        world.clock(0).monotonic_ms.store(now_ms, SeqCst);
        turn(&mut world, 0);
    }
    assert!(World::heard(&waiting).is_none());
    assert!((3..=8).contains(&(locks(&world) - before)));
    all_is_well(&mut world);
}

#[test]
fn at_its_end_a_step_finds_what_another_node_has_signed() {
    let mut world = patient(two_nodes());
    let waiting = posted(&mut world, 0, A, finish(A, 0, 0, 2));
    assert!(is_done(&world.ask(1, script::tss(A), &start(A, 0, 0))));
    turn(&mut world, 0);
    assert!(World::heard(&waiting).is_none());
    world.clock(0).monotonic_ms.store(WAIT_MS, SeqCst);
    turn(&mut world, 0);
    assert!(is_done(&World::heard(&waiting)));
    all_is_well(&mut world);
}

#[test]
fn what_can_never_be_accepted_does_not_wait() {
    let mut world = patient(quiet());
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    assert!(is_done(&world.ask(0, script::tss(A), &finish(A, 0, 0, 2))));
    let after_its_end = posted(&mut world, 0, A, finish(A, 0, 0, 4));
    assert!(is_conflict(&World::heard(&after_its_end)));
    let used = posted(&mut world, 0, A, finish(A, 0, 0, 1));
    assert!(is_conflict(&World::heard(&used)));
    all_is_well(&mut world);
}

#[test]
fn a_lane_that_ends_answers_what_waits() {
    let mut world = patient(quiet());
    let waiting = posted(&mut world, 0, A, finish(A, 0, 0, 2));
    let lane = world.first_lane(0);
    let jobs = lock(&lane).take_all_early();
    assert_eq!(jobs.len(), 1);
    lock(&lane).process(jobs);
    assert!(is_conflict(&World::heard(&waiting)));
}
