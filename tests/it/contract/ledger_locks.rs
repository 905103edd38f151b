//! Locks on PostgreSQL that somebody else holds: whoever waits for them keeps nobody from the rest.

use super::ledger_safety::with_messages;
use crate::support::ledger::{
    Work, create_tss, load, lock_only, organization, postgres, to_create, tss_id,
};
use siegel::ledger::CommitError;
use siegel::sma::Needs;
use siegel::terms::ClientId;
use std::collections::BTreeSet;
use uuid::Uuid;

#[test]
fn a_lock_that_is_held_too_long_is_not_waited_for() {
    let Some(place) = postgres() else {
        return;
    };
    let (store, mut lane, id) = with_messages(&place);
    let free = create_tss(&store, lane.as_mut(), organization(&store));
    let absent = tss_id();
    let held = lane.lock(&lock_only(&[id])).unwrap();
    let mut other = store.lane().unwrap();
    // The first time with a moment's patience, then with less.
    for _ in 0..2 {
        let mut both = other.lock(&lock_only(&[id, free, absent])).unwrap();
        assert_eq!(both.late(), &BTreeSet::from([id]));
        let loaded = both.take_loaded();
        let got: BTreeSet<_> = loaded.keys().copied().collect();
        assert_eq!(got, BTreeSet::from([free, absent]));
        // It is locked all the same.
        let work = Work::on(free, loaded[&free].clone());
        let mut third = store.lane().unwrap();
        let none = third.lock(&lock_only(&[free])).unwrap();
        assert_eq!(none.late(), &BTreeSet::from([free]));
        drop(none);
        // What is late cannot be written.
        let mut stolen = work.into_batch();
        stolen.entries[0].tss = id;
        assert!(matches!(
            both.commit(&stolen),
            Err(CommitError::RolledBack { .. })
        ));
    }
    drop(held);
    load(other.as_mut(), id);
}

#[test]
fn a_right_to_create_that_somebody_else_has_is_not_waited_for() {
    let Some(place) = postgres() else {
        return;
    };
    let (store, mut lane, id) = with_messages(&place);
    let [first, second] = [tss_id(), tss_id()];
    let client = ClientId::new(Uuid::new_v4());
    let mut needs = to_create(&[first]);
    let makes_client = Needs {
        client_ids_new: BTreeSet::from([client]),
        ..Needs::default()
    };
    needs.insert(id, makes_client.clone());
    let held = lane.lock(&needs).unwrap();
    let mut other = store.lane().unwrap();
    let mut needs = to_create(&[first, second]);
    let neighbour = tss_id();
    needs.insert(neighbour, makes_client);
    let late = other.lock(&needs).unwrap().late().clone();
    assert_eq!(late, BTreeSet::from([first, neighbour]));
    drop(held);
    assert_eq!(other.lock(&needs).unwrap().late(), &BTreeSet::new());
}
