//! Which of a token and its standby signs: one answer for all nodes, and a fence around it.

use super::ledger::on_both;
use crate::support::ledger::{
    Place, Work, device, lock_only, organization, time, to_create, tss_id,
};
use siegel::ledger::{
    ActiveToken, Batch, CommitError, LaneLedger, LoadedTss, SignedKind, Store, Switched,
};
use siegel::terms::{Environment, TssId};

on_both! {
    the_first_section_is_active_until_somebody_switches,
    a_switch_that_expects_another_epoch_changes_nothing,
    what_was_signed_before_a_switch_is_not_committed_after_it,
    a_new_tss_of_a_device_is_fenced_too,
    a_token_without_a_standby_knows_no_switch,
    the_label_of_a_token_is_remembered_by_its_section,
}

const LABEL: &str = "token";

fn active(section: &str, epoch: u64) -> ActiveToken {
    ActiveToken {
        label: LABEL.to_owned(),
        section: section.to_owned(),
        epoch,
    }
}

/// A TSS whose token has the standby "other".
fn paired(store: &Store) -> TssId {
    let (owner, id) = (organization(store), tss_id());
    let prepared = device(LABEL, Environment::Test, 1);
    store.add_device(&prepared).unwrap();
    store.pair_up(LABEL, "main", time(1)).unwrap();
    let mut lane = store.lane().unwrap();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    let mut work = Work::creating(id, owner, loaded.clone());
    work.entry.active = loaded.active;
    held.commit(&batch(work)).unwrap();
    id
}

fn batch(work: Work) -> Batch {
    Batch {
        entries: vec![work.entry],
    }
}

fn signed_by(id: TssId, loaded: LoadedTss) -> Batch {
    let active = loaded.active.clone();
    let mut work = Work::on(id, loaded);
    work.message(SignedKind::System);
    work.entry.active = active;
    batch(work)
}

fn load(lane: &mut dyn LaneLedger, id: TssId) -> LoadedTss {
    let mut held = lane.lock(&lock_only(&[id])).unwrap();
    held.take_loaded().remove(&id).unwrap()
}

fn the_first_section_is_active_until_somebody_switches(place: &Place) {
    let store = place.open();
    assert_eq!(store.active_token(LABEL).unwrap(), None);
    let made = store.pair_up(LABEL, "main", time(1)).unwrap();
    assert_eq!(made, active("main", 1));
    // Another node, which may call its own section first.
    let found = store.pair_up(LABEL, "other", time(2)).unwrap();
    assert_eq!(found, active("main", 1));
    let switched = store.switch_token(LABEL, "other", None, time(3)).unwrap();
    assert_eq!(switched, Switched::Done(active("other", 2)));
    assert_eq!(store.active_tokens().unwrap(), [active("other", 2)]);
    let again = store.switch_token(LABEL, "other", None, time(4)).unwrap();
    assert_eq!(again, Switched::WasAlready(active("other", 2)));
    assert_eq!(
        store.pair_up(LABEL, "main", time(5)).unwrap(),
        active("other", 2)
    );
}

fn a_switch_that_expects_another_epoch_changes_nothing(place: &Place) {
    let store = place.open();
    store.pair_up(LABEL, "main", time(1)).unwrap();
    let switch = |to, epoch| store.switch_token(LABEL, to, Some(epoch), time(2)).unwrap();
    assert_eq!(switch("other", 1), Switched::Done(active("other", 2)));
    // Two nodes that both find the token silent, one of them late.
    assert_eq!(switch("main", 1), Switched::Overtaken(active("other", 2)));
    assert_eq!(store.active_token(LABEL).unwrap(), Some(active("other", 2)));
    assert_eq!(switch("main", 2), Switched::Done(active("main", 3)));
}

fn what_was_signed_before_a_switch_is_not_committed_after_it(place: &Place) {
    let store = place.open();
    let id = paired(&store);
    let mut lane = store.lane().unwrap();
    let before = load(lane.as_mut(), id);
    assert_eq!(before.active, Some(active("main", 1)));
    {
        let mut held = lane.lock(&lock_only(&[id])).unwrap();
        let loaded = held.take_loaded().remove(&id).unwrap();
        // A node that was frozen while it signed.
        let switched = store.switch_token(LABEL, "other", None, time(3)).unwrap();
        assert_eq!(switched, Switched::Done(active("other", 2)));
        let error = held.commit(&signed_by(id, loaded)).unwrap_err();
        assert!(matches!(error, CommitError::RolledBack { .. }), "{error:?}");
    }
    let now = load(lane.as_mut(), id);
    assert_eq!(now.active, Some(active("other", 2)));
    assert_eq!(now.slice.tss, before.slice.tss, "nothing was kept");
    let held = lane.lock(&lock_only(&[id])).unwrap();
    held.commit(&signed_by(id, now)).unwrap();
    // Back to where it was is another epoch all the same.
    store.switch_token(LABEL, "main", None, time(4)).unwrap();
    let mut late = load(lane.as_mut(), id);
    late.active = Some(active("main", 1));
    let held = lane.lock(&lock_only(&[id])).unwrap();
    let error = held.commit(&signed_by(id, late)).unwrap_err();
    assert!(matches!(error, CommitError::RolledBack { .. }), "{error:?}");
}

fn a_new_tss_of_a_device_is_fenced_too(place: &Place) {
    let store = place.open();
    paired(&store);
    let (owner, id) = (organization(&store), tss_id());
    store
        .add_device(&device(LABEL, Environment::Test, 2))
        .unwrap();
    let mut lane = store.lane().unwrap();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    assert_eq!(loaded.active, Some(active("main", 1)));
    let mut work = Work::creating(id, owner, loaded.clone());
    work.entry.active = loaded.active;
    store.switch_token(LABEL, "other", None, time(3)).unwrap();
    let error = held.commit(&batch(work)).unwrap_err();
    assert!(matches!(error, CommitError::RolledBack { .. }), "{error:?}");
    assert!(load(lane.as_mut(), id).slice.tss.is_none());
}

fn a_token_without_a_standby_knows_no_switch(place: &Place) {
    let store = place.open();
    let switched = store.switch_token(LABEL, "other", None, time(3)).unwrap();
    assert_eq!(switched, Switched::NoPair);
    assert_eq!(store.active_tokens().unwrap(), []);
}

fn the_label_of_a_token_is_remembered_by_its_section(place: &Place) {
    let store = place.open();
    assert_eq!(store.token_label("main").unwrap(), None);
    for label in ["one", "one", "two"] {
        store.remember_token_label("main", label).unwrap();
        assert_eq!(store.token_label("main").unwrap().as_deref(), Some(label));
    }
    assert_eq!(store.token_label("other").unwrap(), None);
}
