//! The promises of the ledger to signing lanes, proven on SQLite and PostgreSQL.

use crate::support::ledger::{
    self as sample, Place, Work, batch, commit_for, counter, create_tss, device, load, lock_only,
    organization, stored, to_create, tss_id, with_all,
};
use siegel::ledger::{Batch, CommitError, LaneLedger, Store};
use siegel::sma::{Needs, Slice, TransactionRef, TransactionState};
use siegel::terms::{
    ClientId, ClientSerial, Environment, Revision, TransactionId, TransactionNumber, TssId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use uuid::Uuid;

/// Runs each promise on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($promise:ident,)*) => {
        mod sqlite {
            $(#[test] fn $promise() { super::$promise(&crate::support::ledger::sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $promise() {
                if let Some(place) = crate::support::ledger::postgres() { super::$promise(&place); }
            })*
        }
    };
}
pub(super) use on_both;

on_both! {
    what_was_committed_is_loaded_again,
    many_tss_are_kept_in_one_commit,
    a_lock_keeps_other_lanes_out_until_it_ends,
    other_tss_can_be_signed_for_meanwhile,
    nothing_is_left_of_a_lock_that_was_let_go,
    a_batch_on_another_counter_is_rolled_back_as_a_whole,
    messages_with_a_gap_are_rolled_back,
    a_message_that_exists_is_never_replaced,
    a_tss_that_is_not_locked_is_not_written,
    a_free_device_goes_to_one_tss_only,
    a_device_of_another_counter_is_not_taken,
    devices_come_from_the_token_of_the_lane,
    two_lanes_that_create_the_same_tss_make_one,
    a_client_id_belongs_to_one_tss_of_all,
    only_what_is_named_is_loaded,
    eight_lanes_leave_no_gap,
}

/// A store with one TSS.
fn with_one_tss(place: &Place) -> (Store, Box<dyn LaneLedger>, TssId) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    (store, lane, id)
}

fn is_rolled_back(result: Result<(), CommitError>) -> bool {
    matches!(result, Err(CommitError::RolledBack { .. }))
}

fn what_was_committed_is_loaded_again(place: &Place) {
    let (store, mut lane, id) = with_one_tss(place);
    let mut expected = Slice::default();
    commit_for(lane.as_mut(), id, |work| {
        let client = work.client("KASSE-1");
        let (first, _) = work.step(None, &client, TransactionState::Active);
        work.step(Some(&first), &client, TransactionState::Finished);
        work.step(None, &client, TransactionState::Active);
        expected = work.entry.slice.clone();
    })
    .unwrap();
    drop((lane, store));
    // As after a restart.
    let store = place.open();
    let mut lane = store.lane().unwrap();
    let mut needs = lock_only(&[id]);
    let own = needs.get_mut(&id).unwrap();
    own.clients.extend(expected.clients.keys().copied());
    let by_number = expected
        .transactions
        .keys()
        .map(|number| TransactionRef::Number(*number));
    own.transactions.extend(by_number);
    own.revisions.insert((
        TransactionRef::Number(TransactionNumber::new(1)),
        Revision::new(1),
    ));
    let mut held = lane.lock(&needs).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    assert_eq!(loaded.slice.tss, expected.tss);
    assert_eq!(loaded.slice.clients, expected.clients);
    assert_eq!(loaded.slice.transactions, expected.transactions);
    assert_eq!(loaded.slice.transaction_ids, expected.transaction_ids);
    assert_eq!(loaded.slice.steps, expected.steps);
    assert_eq!(loaded.slice.tss_id, Some(id));
    let point = &loaded.slice.tss.unwrap().device.public_point;
    assert_eq!(loaded.key.unwrap().public_key.point, *point);
    assert_eq!(loaded.token.unwrap(), "token");
}

fn many_tss_are_kept_in_one_commit(place: &Place) {
    const COUNT: i64 = 120;
    let store = place.open();
    let owner = organization(&store);
    for made in 0..COUNT {
        let device = device("token", Environment::Test, made);
        store.add_device(&device).unwrap();
    }
    let mut lane = store.lane().unwrap();
    let ids: BTreeSet<TssId> = (0..COUNT).map(|_| tss_id()).collect();
    let ids: Vec<TssId> = ids.into_iter().collect();
    let mut held = lane.lock(&to_create(&ids)).unwrap();
    let loaded = held.take_loaded();
    let created = loaded.into_iter().map(|(id, loaded)| {
        let mut work = Work::creating(id, owner, loaded);
        let client = work.client("KASSE-1");
        let mut latest = work.step(None, &client, TransactionState::Active).0;
        for _ in 0..3 {
            latest = work
                .step(Some(&latest), &client, TransactionState::Active)
                .0;
        }
        work
    });
    let whole: Batch = batch(created);
    held.commit(&whole).unwrap();
    for entry in &whole.entries {
        assert_eq!(entry.messages.len(), 5);
        for message in &entry.messages {
            let kept = stored(lane.as_mut(), entry.tss, message.signature_counter);
            assert_eq!(kept.as_ref(), Some(&message.der));
        }
    }
    // All of them again, each by its transaction's id and by its number.
    let mut needs = lock_only(&ids);
    for entry in &whole.entries {
        let own = needs.get_mut(&entry.tss).unwrap();
        own.transactions
            .insert(TransactionRef::Number(TransactionNumber::new(1)));
        let id = *entry.slice.transaction_ids.keys().next().unwrap();
        let first = (TransactionRef::Id(id), Revision::new(1));
        own.revisions.insert(first);
        own.serials
            .insert(ClientSerial::try_from("KASSE-1").unwrap());
    }
    let mut held = lane.lock(&needs).unwrap();
    let loaded = held.take_loaded();
    for entry in &whole.entries {
        let slice = &loaded[&entry.tss].slice;
        assert_eq!(slice.tss, entry.slice.tss);
        assert_eq!(slice.transactions, entry.slice.transactions);
        assert_eq!(slice.steps.len(), 2, "the first one and the latest one");
        assert_eq!(slice.serials.len(), 1);
    }
}

fn a_lock_keeps_other_lanes_out_until_it_ends(place: &Place) {
    let (store, mut lane, id) = with_one_tss(place);
    let mut other = store.lane().unwrap();
    let held = lane.lock(&lock_only(&[id])).unwrap();
    let (waiting, started) = channel();
    let (told, loaded) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            waiting.send(()).unwrap();
            let seen = load(other.as_mut(), id);
            told.send(seen.slice.tss.unwrap().device.signature_counter)
                .unwrap();
        });
        started.recv().unwrap();
        // It cannot answer while we hold the lock, however long we look.
        let early = loaded.recv_timeout(std::time::Duration::from_millis(300));
        assert!(early.is_err(), "a second lane got the lock");
        let mut held = held;
        let mut work = Work::on(id, held.take_loaded().remove(&id).unwrap());
        let last = work.message(siegel::ledger::SignedKind::System);
        held.commit(&work.into_batch()).unwrap();
        assert_eq!(
            loaded.recv().unwrap(),
            last,
            "it sees what was committed last"
        );
    });
}

fn other_tss_can_be_signed_for_meanwhile(place: &Place) {
    let (store, mut lane, id) = with_one_tss(place);
    let owner = organization(&store);
    let mut other = store.lane().unwrap();
    let second = create_tss(&store, other.as_mut(), owner);
    let held = lane.lock(&lock_only(&[id])).unwrap();
    commit_for(other.as_mut(), second, |work| {
        work.client("KASSE-1");
    })
    .unwrap();
    drop(held);
    // A token that takes its time keeps no login waiting.
    let held = lane.lock(&lock_only(&[id])).unwrap();
    organization(&store);
    assert!(store.tss(id).unwrap().is_some());
    drop(held);
}

fn nothing_is_left_of_a_lock_that_was_let_go(place: &Place) {
    let (store, mut lane, id) = with_one_tss(place);
    let before = store.tss(id).unwrap();
    for _ in 0..3 {
        let mut held = lane.lock(&lock_only(&[id])).unwrap();
        let mut work = Work::on(id, held.take_loaded().remove(&id).unwrap());
        work.message(siegel::ledger::SignedKind::System);
        drop(held);
    }
    assert_eq!(store.tss(id).unwrap(), before);
    let mut other = store.lane().unwrap();
    load(other.as_mut(), id);
}

fn a_batch_on_another_counter_is_rolled_back_as_a_whole(place: &Place) {
    let (store, mut lane, first) = with_one_tss(place);
    let owner = organization(&store);
    let second = create_tss(&store, lane.as_mut(), owner);
    let ids = [first, second];
    let good = |id, held: &mut BTreeMap<_, _>| Work::on(id, held.remove(&id).unwrap());
    let mut held = lane.lock(&lock_only(&ids)).unwrap();
    let mut loaded = held.take_loaded();
    let (mut one, mut two) = (good(first, &mut loaded), good(second, &mut loaded));
    let client = one.client("KASSE-1");
    let (_, step) = one.step(None, &client, TransactionState::Active);
    two.message(siegel::ledger::SignedKind::Audit);
    // As if another signer had been at work: both counters one further.
    two.entry.expected_counter = two.entry.expected_counter.unwrap().next();
    two.entry.messages[0].signature_counter =
        two.entry.messages[0].signature_counter.next().unwrap();
    two.tss().device.signature_counter = two.entry.messages[0].signature_counter;
    assert!(is_rolled_back(held.commit(&batch([one, two]))));
    assert_eq!(store.client(first, client.id).unwrap(), None);
    assert_eq!(
        stored(lane.as_mut(), first, step.signature_counter),
        None,
        "nothing of the batch is there"
    );
    assert_eq!(load(lane.as_mut(), first).slice.tss.unwrap(), {
        let row = store.tss(first).unwrap().unwrap();
        assert_eq!(row.tss.device.signature_counter, counter(2));
        row.tss
    });
}

fn messages_with_a_gap_are_rolled_back(place: &Place) {
    let (_store, mut lane, id) = with_one_tss(place);
    let gap = commit_for(lane.as_mut(), id, |work| {
        work.message(siegel::ledger::SignedKind::System);
        work.message(siegel::ledger::SignedKind::System);
        work.entry.messages.remove(0);
    });
    assert!(is_rolled_back(gap));
    let behind = commit_for(lane.as_mut(), id, |work| {
        work.message(siegel::ledger::SignedKind::System);
        work.tss().device.signature_counter = counter(99);
    });
    assert!(is_rolled_back(behind));
    assert_eq!(stored(lane.as_mut(), id, counter(4)), None);
}

fn a_message_that_exists_is_never_replaced(place: &Place) {
    let (_store, mut lane, id) = with_one_tss(place);
    let kept = stored(lane.as_mut(), id, counter(2));
    assert!(kept.is_some());
    // Somebody set the counter of the TSS back, so that only the message itself stands in the way.
    place
        .execute("UPDATE tss SET signature_counter = 1")
        .unwrap();
    let again = commit_for(lane.as_mut(), id, |work| {
        work.message(siegel::ledger::SignedKind::System);
    });
    assert!(is_rolled_back(again));
    assert_eq!(stored(lane.as_mut(), id, counter(2)), kept);
}

fn a_tss_that_is_not_locked_is_not_written(place: &Place) {
    let (store, mut lane, first) = with_one_tss(place);
    let owner = organization(&store);
    let second = create_tss(&store, lane.as_mut(), owner);
    let mut work = Work::on(second, load(lane.as_mut(), second));
    let last = work.message(siegel::ledger::SignedKind::System);
    let held = lane.lock(&lock_only(&[first])).unwrap();
    assert!(is_rolled_back(held.commit(&work.into_batch())));
    assert_eq!(stored(lane.as_mut(), second, last), None);
}

fn a_free_device_goes_to_one_tss_only(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let only = device("token", Environment::Test, 0);
    store.add_device(&only).unwrap();
    store
        .add_device(&device("token", Environment::Live, 0))
        .unwrap();
    let mut lane = store.lane().unwrap();
    let (first, second) = (tss_id(), tss_id());
    let mut held = lane.lock(&to_create(&[first, second])).unwrap();
    let mut loaded = held.take_loaded();
    let given: Vec<_> = loaded
        .values()
        .filter(|loaded| loaded.slice.free_device.is_some())
        .collect();
    assert_eq!(given.len(), 1, "one device, two who want it");
    assert_eq!(given[0].key, Some(only.key.clone()));
    // Another lane gets none: it is as good as taken, or nobody else may choose one at this moment.
    let mut other = store.lane().unwrap();
    let third = tss_id();
    let mut others = other.lock(&to_create(&[third])).unwrap();
    let loaded_there = others.take_loaded();
    let given = loaded_there.get(&third);
    assert_eq!(
        given.and_then(|given| given.slice.free_device.as_ref()),
        None
    );
    drop(others);
    let winner = loaded
        .iter()
        .find(|(_, loaded)| loaded.slice.free_device.is_some())
        .map(|(id, _)| *id)
        .unwrap();
    let taken = loaded.remove(&winner).unwrap();
    let work = Work::creating(winner, owner, taken.clone());
    held.commit(&work.into_batch()).unwrap();
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 0);
    assert_eq!(store.free_devices(Environment::Live).unwrap(), 1);
    // A lane that still believes in the device is refused.
    let late = if winner == first { second } else { first };
    let held = lane.lock(&to_create(&[late])).unwrap();
    let work = Work::creating(late, owner, taken);
    assert!(is_rolled_back(held.commit(&work.into_batch())));
    assert_eq!(store.tss(late).unwrap(), None);
}

fn a_device_of_another_counter_is_not_taken(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    store
        .add_device(&device("token", Environment::Test, 0))
        .unwrap();
    let mut lane = store.lane().unwrap();
    let id = tss_id();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let mut loaded = held.take_loaded().remove(&id).unwrap();
    loaded.slice.free_device.as_mut().unwrap().signature_counter = counter(7);
    let work = Work::creating(id, owner, loaded);
    assert!(is_rolled_back(held.commit(&work.into_batch())));
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
}

fn devices_come_from_the_token_of_the_lane(place: &Place) {
    let store = place.open();
    for (token, made) in [("old", 0), ("mine", 1), ("mine", 2)] {
        let device = device(token, Environment::Test, made);
        store.add_device(&device).unwrap();
    }
    let ids = [tss_id(), tss_id(), tss_id()];
    let given = |lane: &mut dyn LaneLedger| {
        let mut held = lane.lock(&to_create(&ids)).unwrap();
        let loaded = held.take_loaded();
        let tokens = loaded.into_values().filter_map(|loaded| loaded.token);
        tokens.collect::<Vec<_>>()
    };
    let mut mine = store.lane_for_token("mine").unwrap();
    assert_eq!(given(mine.as_mut()), ["mine", "mine"]);
    let mut any = store.lane().unwrap();
    assert_eq!(given(any.as_mut()).len(), 3);
}

fn two_lanes_that_create_the_same_tss_make_one(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    for made in 0..2 {
        let device = device("token", Environment::Test, made);
        store.add_device(&device).unwrap();
    }
    let id = tss_id();
    let create = || {
        let mut lane = store.lane().unwrap();
        with_all(lane.as_mut(), &to_create(&[id]), |held, mut loaded| {
            let loaded = loaded.remove(&id).unwrap();
            if loaded.slice.tss.is_some() {
                return false;
            }
            held.commit(&Work::creating(id, owner, loaded).into_batch())
                .unwrap();
            true
        })
    };
    let made: Vec<bool> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
}

fn a_client_id_belongs_to_one_tss_of_all(place: &Place) {
    let (store, mut lane, first) = with_one_tss(place);
    let owner = organization(&store);
    let second = create_tss(&store, lane.as_mut(), owner);
    let mut client = None;
    commit_for(lane.as_mut(), first, |work| {
        client = Some(work.client("KASSE-1"));
    })
    .unwrap();
    let client = client.unwrap();
    let fresh = ClientId::new(Uuid::new_v4());
    let mut needs = lock_only(&[first, second]);
    for needs in needs.values_mut() {
        needs.clients.extend([client.id, fresh]);
        needs.client_ids_new.extend([client.id, fresh]);
        needs.serials.insert(client.serial.clone());
    }
    let mut held = lane.lock(&needs).unwrap();
    let loaded = held.take_loaded();
    let (own, foreign) = (&loaded[&first].slice, &loaded[&second].slice);
    assert_eq!(own.clients.get(&client.id), Some(&client));
    assert_eq!(own.serials.get(&client.serial), Some(&client.id));
    assert!(!own.clients_elsewhere.contains(&client.id));
    assert!(foreign.clients.is_empty() && foreign.serials.is_empty());
    assert!(foreign.clients_elsewhere.contains(&client.id));
    // Of two that want the same new id in one batch, one gets it.
    let refused = [own, foreign].map(|slice| slice.clients_elsewhere.contains(&fresh));
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 1);
    drop(held);
    let stolen = commit_for(lane.as_mut(), second, |work| work.put_client(&client));
    assert!(is_rolled_back(stolen));
    assert_eq!(store.client(second, client.id).unwrap(), None);
}

fn only_what_is_named_is_loaded(place: &Place) {
    let (_store, mut lane, id) = with_one_tss(place);
    commit_for(lane.as_mut(), id, |work| {
        for serial in ["A", "B"] {
            let client = work.client(serial);
            work.step(None, &client, TransactionState::Active);
        }
    })
    .unwrap();
    let slice = load(lane.as_mut(), id).slice;
    assert!(slice.tss.is_some() && slice.free_device.is_none());
    assert!(slice.clients.is_empty() && slice.transactions.is_empty() && slice.steps.is_empty());
    let unknown = tss_id();
    let mut needs = lock_only(&[id, unknown]);
    let own: &mut Needs = needs.get_mut(&id).unwrap();
    let nowhere = TransactionRef::Id(TransactionId::new(Uuid::new_v4()));
    own.clients.insert(ClientId::new(Uuid::new_v4()));
    own.transactions.insert(nowhere);
    own.revisions.insert((nowhere, Revision::new(1)));
    own.serials.insert(ClientSerial::try_from("B").unwrap());
    let mut held = lane.lock(&needs).unwrap();
    let loaded = held.take_loaded();
    assert_eq!(loaded[&id].slice.serials.len(), 1);
    assert!(loaded[&id].slice.transactions.is_empty());
    assert!(loaded[&unknown].slice.tss.is_none() && loaded[&unknown].key.is_none());
    assert_eq!(loaded[&unknown].slice.tss_id, Some(unknown));
}

fn eight_lanes_leave_no_gap(place: &Place) {
    const LANES: u64 = 8;
    const BATCHES: u64 = 10;
    let (store, mut lane, first) = with_one_tss(place);
    let owner = organization(&store);
    let second = create_tss(&store, lane.as_mut(), owner);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let mut lane = store.lane().unwrap();
                for _ in 0..BATCHES {
                    with_all(
                        lane.as_mut(),
                        &lock_only(&[first, second]),
                        |held, loaded| {
                            let work = loaded.into_iter().map(|(id, loaded)| {
                                let mut work = Work::on(id, loaded);
                                work.message(siegel::ledger::SignedKind::System);
                                work
                            });
                            held.commit(&batch(work)).unwrap();
                        },
                    );
                }
            });
        }
    });
    for id in [first, second] {
        let everything = siegel::ledger::Selection {
            counters: 0..=u64::MAX,
            client: None,
            transactions: None,
            times: None,
        };
        let kept = store.messages(id, &everything, counter(0), 1000).unwrap();
        let counters: Vec<u64> = kept
            .iter()
            .map(|row| row.signature_counter.value())
            .collect();
        let expected: Vec<u64> = (2..=2 + LANES * BATCHES).collect();
        assert_eq!(counters, expected);
        let stored = sample::load(lane.as_mut(), id).slice.tss.unwrap();
        assert_eq!(
            stored.device.signature_counter,
            counter(2 + LANES * BATCHES)
        );
    }
}
