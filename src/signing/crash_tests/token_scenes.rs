//! Scenes about tokens and clocks.

use super::chaos::{Fault, Seam};
use super::ports::{TOKEN, lock};
use super::quiet;
use super::scenes::{
    A, B, STUCK, bare_stage, goes_wrong, is_done, is_unavailable, nothing_to_complain_about, stage,
};
use super::script::{self, assign, merge, start, take_over};
use super::world::{Plan, World};
use crate::asn1;
use crate::terms::SignatureCounter;
use std::sync::atomic::Ordering::SeqCst;

/// What the messages of a TSS are about.
fn names(world: &World, tss: u128) -> Vec<String> {
    let disk = world.shared.disk();
    let own = disk.messages.range(
        (script::tss(tss), SignatureCounter::new(0))
            ..=(script::tss(tss), SignatureCounter::new(u64::MAX)),
    );
    own.map(|(_, kept)| match asn1::read(&kept.der).unwrap().kind {
        asn1::ReadKind::Transaction { operation_type, .. } => operation_type,
        asn1::ReadKind::System { event_type, .. } => event_type,
        asn1::ReadKind::Audit { .. } => "audit".to_owned(),
    })
    .collect()
}

#[test]
fn a_correction_of_the_clock_is_testified_once_and_by_whoever_signs_next() {
    let mut world = stage(quiet());
    world.clock(0).correct(60);
    // A refusal and a change without a message do not testify to anything.
    let asked = [
        (script::tss(A), script::refused(A)[0].clone()),
        (script::tss(A), merge("key")),
        (script::tss(B), start(B, 0, 0)),
    ];
    world.ask_all(0, &asked);
    let latest = names(&world, B).split_off(names(&world, B).len() - 2);
    assert_eq!(latest, ["updateTime", "StartTransaction"]);
    let before = names(&world, A).len();
    // Nor does a message that is lost; the one that is kept in the end counts once.
    goes_wrong(&world, Seam::Commit, &STUCK);
    for _ in 0..2 {
        world.ask(0, script::tss(A), &start(A, 0, 0));
    }
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 1))));
    let latest = names(&world, A).split_off(before);
    assert_eq!(
        latest,
        ["updateTime", "StartTransaction", "StartTransaction"]
    );
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_clock_behind_the_last_message_signs_nothing() {
    let mut world = stage(quiet());
    world.clock(0).offset_s.store(-1, SeqCst);
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    world.clock(0).offset_s.store(-2, SeqCst);
    let before = world.shared.signatures_made();
    assert!(is_unavailable(&world.ask(
        0,
        script::tss(A),
        &start(A, 0, 1)
    )));
    assert_eq!(world.shared.signatures_made(), before);
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_token_that_hangs_is_not_waited_for_for_ever_and_its_late_signature_goes_nowhere() {
    let mut world = stage(Plan {
        hsm_timeout_ms: Some(300),
        ..quiet()
    });
    goes_wrong(&world, Seam::Sign, &[Fault::Hang]);
    assert!(is_unavailable(&world.ask(
        0,
        script::tss(A),
        &start(A, 0, 0)
    )));
    let kept = world.shared.disk().messages.len();
    world.shared.release();
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    assert_eq!(world.shared.disk().messages.len(), kept + 1);
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_token_that_hangs_does_not_keep_another_one_from_signing() {
    let mut world = stage(Plan {
        hsm_timeout_ms: Some(300),
        second_token: true,
        ..quiet()
    });
    assert_ne!(world.shared.disk().devices[1].token, TOKEN);
    world.csp(0).hangs.store(true, SeqCst);
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let answers = world.ask_all(0, &asked);
    assert!(
        is_unavailable(&answers[0]) && is_done(&answers[1]),
        "{answers:?}"
    );
    world.shared.release();
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 0))));
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_failed_signature_drops_the_later_messages_of_its_tss_alone() {
    let mut world = stage(quiet());
    let asked = [
        (script::tss(A), start(A, 0, 0)),
        (script::tss(A), start(A, 0, 1)),
        (script::tss(A), start(A, 0, 2)),
        (script::tss(B), start(B, 0, 0)),
    ];
    let count = lock(&world.shared.chaos).counts[&Seam::Sign];
    // The second message, both times it is tried, and again when it is decided anew.
    for fault in [
        (count + 2, Fault::RefusedTwice),
        (count + 5, Fault::RefusedTwice),
    ] {
        lock(&world.shared.chaos)
            .planned
            .push_back((Seam::Sign, fault.0, fault.1));
    }
    let answers = world.ask_all(0, &asked);
    assert!(is_done(&answers[0]) && is_done(&answers[3]), "{answers:?}");
    assert!(is_unavailable(&answers[1]), "{answers:?}");
    assert!(is_unavailable(&answers[2]), "{answers:?}");
    assert!(is_done(&world.ask(0, script::tss(A), &start(A, 0, 1))));
    nothing_to_complain_about(&mut world);
}

#[test]
fn a_panic_in_the_token_ends_one_signature_and_not_the_thread_that_made_it() {
    let mut world = bare_stage(quiet());
    goes_wrong(
        &world,
        Seam::Sign,
        &[Fault::PanicEarly, Fault::PanicLate, Fault::PanicEarly],
    );
    assert!(is_done(&world.ask(0, script::tss(A), &assign())));
    assert!(is_done(&world.ask(0, script::tss(A), &take_over())));
    nothing_to_complain_about(&mut world);
}
