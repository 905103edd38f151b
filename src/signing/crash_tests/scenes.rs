//! Scenes that chance would rarely play: each names one promise of the lanes.

use super::chaos::{Fault, Seam};
use super::ports::lock;
use super::quiet;
use super::script::{self, assign, client, initialize, merge, register, setup, start};
use super::world::{Plan, World};
use crate::signing::SigningError;
use crate::sma::{Command, Outcome, Rejection, TssState};
use crate::terms::TssId;

pub const A: u128 = 0;
pub const B: u128 = 1;

/// Nobody asks anything by himself, and both TSSs have a till.
pub fn stage(plan: Plan) -> World {
    let mut world = bare_stage(plan);
    for tss in [A, B] {
        for command in setup(tss, 1) {
            assert!(
                matches!(world.ask(0, script::tss(tss), &command), Some(Ok(_))),
                "{command:?}"
            );
        }
    }
    world
}

/// The same before there is any TSS.
pub fn bare_stage(plan: Plan) -> World {
    World::new(Plan {
        callers_stay_away: true,
        ..plan
    })
}

pub fn two_nodes() -> Plan {
    Plan {
        nodes: 2,
        ..quiet()
    }
}

/// The next call of this port goes wrong, and so do as many after it.
pub fn goes_wrong(world: &World, seam: Seam, faults: &[Fault]) {
    let mut chaos = lock(&world.shared.chaos);
    let count = chaos.counts.get(&seam).copied().unwrap_or_default();
    let faults = faults.iter().zip(count + 1..);
    let faults = faults.map(|(fault, number)| (seam, number, *fault));
    chaos.planned.extend(faults);
}

/// The next batch is signed and not kept, and neither this turn nor the next one can look after it.
pub fn next_batch_stays_unfinished(world: &World) {
    let mut chaos = lock(&world.shared.chaos);
    let last = |seam| chaos.counts.get(&seam).copied().unwrap_or_default();
    let (commit, lock) = (last(Seam::Commit), last(Seam::Lock));
    chaos.planned.extend([
        (Seam::Commit, commit + 1, Fault::UnknownLost),
        (Seam::Lock, lock + 2, Fault::Refused),
        (Seam::Lock, lock + 3, Fault::Refused),
    ]);
}

pub fn is_unavailable(answer: &Option<Result<Outcome, SigningError>>) -> bool {
    matches!(answer, Some(Err(SigningError::Unavailable { .. })))
}

pub fn is_broken(answer: &Option<Result<Outcome, SigningError>>) -> bool {
    matches!(answer, Some(Err(SigningError::Broken { .. })))
}

pub fn is_done(answer: &Option<Result<Outcome, SigningError>>) -> bool {
    matches!(answer, Some(Ok(_)))
}

#[track_caller]
pub fn nothing_to_complain_about(world: &mut World) {
    world.calm_down();
    world.settle();
    let complaints = world.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// So many refusals in a row that finishing at once gives up.
pub const STUCK: [Fault; 4] = [Fault::UnknownLost; 4];

#[test]
fn an_unfinished_batch_is_finished_with_the_same_bytes_and_the_retry_gets_its_answer() {
    let mut world = stage(quiet());
    let before = world.shared.signatures_made();
    goes_wrong(&world, Seam::Commit, &STUCK);
    // One refusal more than the batch tries at once, and the last one is met by the next turn.
    let asked = [(script::tss(A), start(A, 0, 0))];
    assert!(is_unavailable(&world.ask_all(0, &asked)[0]));
    assert!(is_done(&world.ask_all(0, &asked)[0]));
    assert_eq!(world.shared.signatures_made(), before + 1, "signed once");
    nothing_to_complain_about(&mut world);
}

#[test]
fn what_another_node_changed_without_a_message_is_not_written_over() {
    let mut world = stage(two_nodes());
    // Node 0 has signed and cannot commit; its counter still fits afterwards.
    next_batch_stays_unfinished(&world);
    assert!(is_unavailable(&world.ask(
        0,
        script::tss(A),
        &start(A, 0, 0)
    )));
    assert!(is_done(&world.ask(1, script::tss(A), &merge("answered"))));
    world.settle();
    let kept = world.shared.disk().tss[&script::tss(A)].metadata.clone();
    assert!(
        kept.pairs().contains_key("answered"),
        "an answered change was written over"
    );
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_batch_overtaken_for_one_tss_is_still_finished_for_the_other() {
    let mut world = stage(two_nodes());
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let before = world.shared.signatures_made();
    next_batch_stays_unfinished(&world);
    let answers = world.ask_all(0, &asked);
    assert!(answers.iter().all(is_unavailable), "{answers:?}");
    // Node 1 signs for A, with the counter that node 0 has used in vain.
    assert!(is_done(&world.ask(1, script::tss(A), &start(A, 0, 1))));
    world.settle();
    let kept = world.shared.disk().messages.len();
    assert!(is_done(&world.ask(0, script::tss(B), &start(B, 0, 0))));
    assert_eq!(
        world.shared.disk().messages.len(),
        kept,
        "B was finished, not signed again"
    );
    assert_eq!(world.shared.signatures_made(), before + 3);
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_device_that_went_to_another_tss_does_not_block_for_ever() {
    let mut world = bare_stage(two_nodes());
    next_batch_stays_unfinished(&world);
    assert!(is_unavailable(&world.ask(0, script::tss(A), &assign())));
    assert!(is_done(&world.ask(1, script::tss(B), &assign())));
    world.settle();
    assert!(is_done(&world.ask(0, script::tss(A), &assign())));
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_device_that_has_signed_and_waits_for_its_commit_is_given_to_nobody_else() {
    // B belongs to the same lane as A, and then to another lane of the same process.
    for lanes in [1, 2] {
        let mut world = bare_stage(Plan { lanes, ..quiet() });
        next_batch_stays_unfinished(&world);
        assert!(is_unavailable(&world.ask(0, script::tss(A), &assign())));
        // Its lane cannot finish it yet where it is asked for B; B gets the next device all the same.
        if lanes == 1 {
            let locks = lock(&world.shared.chaos).counts[&Seam::Lock];
            let fault = (Seam::Lock, locks + 1, Fault::Refused);
            lock(&world.shared.chaos).planned.push_back(fault);
        } else {
            lock(&world.shared.chaos).planned.clear();
        }
        assert!(is_done(&world.ask(0, script::tss(B), &assign())));
        assert!(is_done(&world.ask(0, script::tss(A), &assign())));
        assert_eq!(world.shared.signatures_made(), 6, "three for each TSS");
        let first = world.shared.disk().devices[0].taken_by;
        assert_eq!(first, Some(script::tss(A)));
        nothing_to_complain_about(&mut world);
    }
}

#[test]
fn a_device_whose_key_does_not_sign_is_set_aside_and_the_next_one_is_taken() {
    let mut world = bare_stage(Plan {
        spare_devices: 1,
        ..quiet()
    });
    let bad = world.shared.disk().devices[0].clone();
    lock(&world.csp(0).wrong).push(bad.key.id);
    let asked = [
        (script::tss(A), assign()),
        (script::tss(A), assign()),
        (script::tss(B), assign()),
    ];
    let answers = world.ask_all(0, &asked);
    assert!(answers.iter().all(is_done), "{answers:?}");
    {
        let disk = world.shared.disk();
        assert!(disk.set_aside.contains(&bad.device.serial_number));
        assert_eq!(disk.devices[0].taken_by, None);
    }
    nothing_to_complain_about(&mut world);
}

#[test]
fn when_no_free_device_signs_the_pool_is_empty_and_the_tss_is_not_stopped() {
    let mut world = bare_stage(quiet());
    let keys: Vec<_> = {
        let disk = world.shared.disk();
        disk.devices.iter().map(|device| device.key.id).collect()
    };
    lock(&world.csp(0).wrong).extend(keys);
    // The ledger does not take the first mark; the device is withheld none the less.
    goes_wrong(&world, Seam::Message, &[Fault::Refused]);
    let asked = [(script::tss(A), assign())];
    let mailbox = world.post(0, &asked).remove(0);
    // One turn for each device that does not sign, and one for the answer.
    for _ in 0..3 {
        world.post(0, &[]);
    }
    let answer = World::heard(&mailbox);
    assert!(
        matches!(
            answer,
            Some(Err(SigningError::Rejected(Rejection::NoFreeDevice)))
        ),
        "{answer:?}"
    );
    // What a pool does that is filled again.
    lock(&world.csp(0).wrong).clear();
    world.shared.disk().set_aside.clear();
    assert!(is_done(&world.ask(0, script::tss(A), &assign())));
}

#[test]
fn a_client_id_that_went_to_another_tss_does_not_block_for_ever() {
    let mut world = stage(two_nodes());
    let id = client(A, 500);
    next_batch_stays_unfinished(&world);
    assert!(is_unavailable(&world.ask(
        0,
        script::tss(A),
        &register(id, "a")
    )));
    assert!(is_done(&world.ask(1, script::tss(B), &register(id, "b"))));
    world.settle();
    let late = world.ask(0, script::tss(A), &register(id, "a"));
    assert!(
        matches!(late, Some(Err(SigningError::Rejected(_)))),
        "{late:?}"
    );
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_wrong_key_stops_its_tss_alone() {
    let mut world = stage(quiet());
    let key = world.shared.disk().devices[0].key.id;
    lock(&world.csp(0).wrong).push(key);
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let answers = world.ask_all(0, &asked);
    assert!(
        is_broken(&answers[0]) && is_done(&answers[1]),
        "{answers:?}"
    );
    // Though the key is found again: a person has to look.
    lock(&world.csp(0).wrong).clear();
    let before = world.shared.signatures_made();
    assert!(is_broken(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    assert!(is_broken(&world.ask(0, script::tss(A), &merge("no"))));
    assert_eq!(world.shared.signatures_made(), before);
    assert!(is_done(&world.ask(0, script::tss(B), &start(B, 0, 1))));
    // The person may give the TSS up without a restart.
    assert!(is_done(&world.ask(
        0,
        script::tss(A),
        &Command::DeclareDefective
    )));
    let state = world.shared.disk().tss[&script::tss(A)].state;
    assert_eq!(state, TssState::Defective);
}

#[test]
fn damaged_rows_of_one_tss_do_not_stop_the_others() {
    let mut world = stage(quiet());
    world.shared.disk().damaged.insert(script::tss(A));
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let answers = world.ask_all(0, &asked);
    assert!(
        is_broken(&answers[0]) && is_done(&answers[1]),
        "{answers:?}"
    );
    world.shared.disk().damaged.clear();
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    nothing_to_complain_about(&mut world);
}

#[test]
fn damaged_rows_do_not_keep_the_rest_of_an_unfinished_batch_waiting() {
    let mut world = stage(quiet());
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let before = world.shared.signatures_made();
    next_batch_stays_unfinished(&world);
    assert!(world.ask_all(0, &asked).iter().all(is_unavailable));
    world.shared.disk().damaged.insert(script::tss(A));
    assert!(is_done(&world.ask(0, script::tss(B), &start(B, 0, 0))));
    world.shared.disk().damaged.clear();
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    assert_eq!(
        world.shared.signatures_made(),
        before + 2,
        "each signed once"
    );
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_message_that_cannot_be_written_spoils_its_own_command_alone() {
    let mut world = bare_stage(quiet());
    let commands = setup(A, 0);
    for command in &commands[..4] {
        assert!(is_done(&world.ask(0, script::tss(A), command)));
    }
    let asked: Vec<(TssId, Command)> = [
        register(client(A, 0), "before"),
        initialize(Some("not printable: ä")),
        register(client(A, 1), "after"),
    ]
    .map(|command| (script::tss(A), command))
    .into();
    let answers = world.ask_all(0, &asked);
    assert!(is_done(&answers[0]), "{answers:?}");
    assert!(is_broken(&answers[1]), "{answers:?}");
    assert!(is_done(&answers[2]), "{answers:?}");
    let state = world.shared.disk().tss[&script::tss(A)].state;
    assert_eq!(state, TssState::Uninitialized);
    nothing_to_complain_about(&mut world);
}
