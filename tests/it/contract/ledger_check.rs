//! Verifying the whole ledger again, while it is signed with and where it is damaged.

use super::ledger::on_both;
use super::ledger_safety::with_messages;
use crate::support::ledger::{Place, commit_for, counter, create_tss, organization, time};
use siegel::ledger::{Hold, HoldScope, LaneLedger, SignedKind};
use siegel::terms::TssId;
use siegel::witness::check_ledger;

on_both! {
    a_damaged_row_does_not_hide_what_else_is_wrong,
    a_gap_that_is_decided_on_during_a_check_is_no_finding,
}

fn sign(lane: &mut dyn LaneLedger, tss: TssId, count: u32) {
    commit_for(lane, tss, |work| {
        for _ in 0..count {
            work.message(SignedKind::System);
        }
    })
    .unwrap();
}

fn a_damaged_row_does_not_hide_what_else_is_wrong(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    // A message each.
    let mut tss = [(); 3].map(|()| create_tss(&store, lane.as_mut(), owner));
    // In the order in which they are looked at.
    tss.sort_by_key(ToString::to_string);
    let [first, second, _] = tss;
    let device = store.standing(second).unwrap().unwrap().device;
    place
        .execute(&format!(
            "UPDATE tss SET state = 'NONSENSE' WHERE id = '{first}'; \
             UPDATE device SET algorithm = 'nonsense' WHERE serial_number = '{device}'"
        ))
        .unwrap();
    let report = check_ledger(&store, None, |_| true).unwrap().unwrap();
    assert_eq!(report.tss, 3);
    // Nothing that this test has put there is a log message.
    assert_eq!((report.messages, report.findings), (1, 3));
    let told = report.told.join("\n");
    for damage in [
        format!("TSS {first}: tss.state holds a value that cannot be"),
        format!("TSS {second}: device.algorithm holds a value that cannot be"),
    ] {
        assert!(told.contains(&damage), "{told}");
    }
}

fn a_gap_that_is_decided_on_during_a_check_is_no_finding(place: &Place) {
    let (store, mut lane, tss) = with_messages(place);
    // More than are read at a time.
    sign(lane.as_mut(), tss, 120);
    let mut pauses = 0;
    let report = check_ledger(&store, None, |_| {
        pauses += 1;
        if pauses == 1 {
            let mut survey = store.survey().unwrap();
            let standing = store.standing(tss).unwrap().unwrap();
            let hold = Hold {
                reason: "a test".to_owned(),
                signature_counter: counter(standing.signature_counter.value() + 10),
                transaction: standing.transaction,
                since: time(0),
                scope: HoldScope::Tss,
            };
            survey.hold(tss, &hold).unwrap();
            assert!(survey.raise(tss, &standing, &hold).unwrap());
            survey.release(tss).unwrap();
            sign(lane.as_mut(), tss, 1);
        }
        true
    });
    let report = report.unwrap().unwrap();
    assert!(pauses > 1, "one page is no test");
    assert_eq!(report.gaps_decided, 1);
    assert_eq!(report.findings, report.messages, "and no other one");
}
