//! Lanes on SQLite that commit together, and what a lane does while the connection of all lanes is in use.

use crate::http::client::wait_for;
use crate::support::ledger::{
    Place, Work, commit_for, counter, create_tss, lock_only, organization, sqlite,
};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use siegel::ledger::{CommitError, LaneLedger, SignedKind, Store};
use siegel::sma::{Needs, TransactionRef, TransactionState};
use siegel::terms::{TransactionId, TssId};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use uuid::Uuid;

/// Somebody else who is about to write: whoever commits waits for the end of it, and holds the connection.
fn somebody_who_writes(place: &Place) -> SqliteConnection {
    let Place::Sqlite(folder) = place else {
        panic!("this is about SQLite");
    };
    let path = folder.path().join("ledger.db");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("BEGIN IMMEDIATE").unwrap();
    connection
}

/// So many TSSs that all lanes know.
fn shop(place: &Place, count: usize) -> (Store, Vec<TssId>) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let mut tss = Vec::new();
    for _ in 0..count {
        tss.push(create_tss(&store, lane.as_mut(), owner));
    }
    drop(lane.lock(&lock_only(&tss)).unwrap());
    (store, tss)
}

/// A commit of one message; a spoilt one expects another counter than is stored.
fn commit_one(store: &Store, tss: TssId, is_spoilt: bool) -> Result<(), CommitError> {
    let mut lane = store.lane().unwrap();
    commit_for(lane.as_mut(), tss, |work| {
        let last = work.message(SignedKind::System);
        if is_spoilt {
            // Not the one that is stored.
            work.entry.expected_counter = Some(counter(999));
            work.entry.messages[0].signature_counter = counter(1000);
            work.tss().device.signature_counter = counter(1000);
            assert_ne!(last, counter(1000));
        }
    })
}

fn last_counter(lane: &mut dyn LaneLedger, tss: TssId) -> u64 {
    let mut held = lane.lock(&lock_only(&[tss])).unwrap();
    let loaded = held.take_loaded().remove(&tss).unwrap();
    loaded.slice.tss.unwrap().device.signature_counter.value()
}

#[test]
fn one_batch_that_does_not_fit_keeps_none_of_those_beside_it_from_being_kept() {
    const LANES: usize = 6;
    const SPOILT: usize = 3;
    let place = sqlite();
    let (store, tss) = shop(&place, LANES);
    let mut lane = store.lane().unwrap();
    let before: Vec<_> = tss
        .iter()
        .map(|id| last_counter(lane.as_mut(), *id))
        .collect();
    let mut somebody = somebody_who_writes(&place);
    let (told, outcomes) = channel();
    thread::scope(|scope| {
        for (number, id) in tss.iter().enumerate() {
            let (store, told) = (&store, told.clone());
            scope.spawn(move || {
                let outcome = commit_one(store, *id, number == SPOILT);
                told.send((number, outcome)).unwrap();
            });
        }
        // They come together behind the first one, which waits.
        let early = outcomes.recv_timeout(Duration::from_millis(500));
        assert!(early.is_err(), "one was kept past a writer");
        somebody.batch_execute("ROLLBACK").unwrap();
        for _ in 0..LANES {
            let (number, outcome) = outcomes.recv().unwrap();
            match outcome {
                Ok(()) => assert_ne!(number, SPOILT),
                Err(CommitError::RolledBack { .. }) => assert_eq!(number, SPOILT),
                Err(CommitError::Unknown { source }) => panic!("unknown: {source}"),
            }
        }
    });
    for (number, id) in tss.iter().enumerate() {
        let kept = u64::from(number != SPOILT);
        assert_eq!(last_counter(lane.as_mut(), *id), before[number] + kept);
    }
}

#[test]
fn a_lane_goes_on_while_another_one_commits_and_what_a_stranger_has_written_is_noticed() {
    let place = sqlite();
    let (store, tss) = shop(&place, 2);
    let (first, second) = (tss[0], tss[1]);
    let mut lane = store.lane().unwrap();
    let mut somebody = somebody_who_writes(&place);
    thread::scope(|scope| {
        let other = scope.spawn(|| commit_one(&store, first, false));
        wait_until_in_use(&store, first);
        let unheard_of = TransactionRef::Id(TransactionId::new(Uuid::new_v4()));
        let mut held = lane.lock(&naming(second, unheard_of)).unwrap();
        assert!(!other.is_finished(), "it was kept past a writer");
        let mut work = Work::on(second, held.take_loaded().remove(&second).unwrap());
        work.message(SignedKind::System);
        somebody
            .batch_execute("UPDATE tss SET description = 'by a stranger'; COMMIT")
            .unwrap();
        let refused = other.join().unwrap();
        assert!(is_rolled_back(&refused), "{refused:?}");
        let refused = held.commit(&work.into_batch());
        assert!(is_rolled_back(&refused), "{refused:?}");
    });
    let loaded = |lane: &mut dyn LaneLedger| {
        let mut held = lane.lock(&lock_only(&tss)).unwrap();
        held.take_loaded()
    };
    for (_, loaded) in loaded(lane.as_mut()) {
        assert_eq!(loaded.slice.tss.unwrap().description, "by a stranger");
    }
    // With what is true now both go on.
    for id in [first, second] {
        commit_for(lane.as_mut(), id, |work| {
            work.message(SignedKind::System);
        })
        .unwrap();
    }
}

#[test]
fn what_another_lane_has_begun_is_found_while_the_connection_is_in_use() {
    let place = sqlite();
    let (store, tss) = shop(&place, 2);
    let (first, second) = (tss[0], tss[1]);
    let mut lane = store.lane().unwrap();
    let mut made = None;
    commit_for(lane.as_mut(), second, |work| {
        let till = work.client("KASSE-1");
        let (begun, _) = work.step(None, &till, TransactionState::Active);
        made = Some(begun.clone());
        work.step(Some(&begun), &till, TransactionState::Finished);
    })
    .unwrap();
    // It has ended, so nobody remembers it.
    let ended = TransactionRef::Id(made.unwrap().id);
    let mut somebody = somebody_who_writes(&place);
    thread::scope(|scope| {
        let other = scope.spawn(|| commit_one(&store, first, false));
        wait_until_in_use(&store, first);
        let mut held = lane.lock(&naming(second, ended)).unwrap();
        let loaded = held.take_loaded().remove(&second).unwrap();
        assert_eq!(loaded.slice.transactions.len(), 1);
        assert!(!other.is_finished());
        drop(held);
        somebody.batch_execute("ROLLBACK").unwrap();
        other.join().unwrap().unwrap();
    });
}

/// Waits until another lane holds this TSS, and for as long as a lock waits: by then it is committing.
fn wait_until_in_use(store: &Store, tss: TssId) {
    let mut lane = store.lane().unwrap();
    wait_for("a TSS to be locked", || {
        let held = lane.lock(&lock_only(&[tss])).unwrap();
        (!held.late().is_empty()).then_some(())
    });
}

fn naming(tss: TssId, transaction: TransactionRef) -> BTreeMap<TssId, Needs> {
    let needs = Needs {
        transactions: [transaction].into(),
        ..Needs::default()
    };
    [(tss, needs)].into()
}

fn is_rolled_back(outcome: &Result<(), CommitError>) -> bool {
    matches!(outcome, Err(CommitError::RolledBack { .. }))
}
