//! What a lane remembers of the ledger is what stands there.

use super::ledger::on_both;
use crate::support::ledger::{
    Place, Work, batch, commit_for, counter, create_tss, load, lock_only, metadata, organization,
    time,
};
use siegel::ledger::{CommitError, LaneLedger, LoadedTss, Store};
use siegel::sma::{Needs, Transaction, TransactionRef, TransactionState, TssChange};
use siegel::terms::{ClientId, ProcessData, Revision, TssId};
use std::collections::BTreeMap;

on_both! {
    what_a_lane_remembers_is_what_whoever_begins_anew_reads,
    a_batch_writes_the_counters_of_one_tss_and_all_of_another,
    what_another_connection_writes_is_seen_by_the_next_lock,
    nothing_is_remembered_of_a_batch_that_was_rolled_back,
    what_another_lane_has_written_is_seen_even_beside_a_tss_that_is_held,
}

/// A lane, and everything that was ever made with it.
struct Shop {
    store: Store,
    lane: Box<dyn LaneLedger>,
    tss: Vec<TssId>,
    clients: Vec<ClientId>,
    transactions: Vec<Transaction>,
}

impl Shop {
    fn new(place: &Place) -> Self {
        let store = place.open();
        let owner = organization(&store);
        let mut lane = store.lane().unwrap();
        let tss = vec![
            create_tss(&store, lane.as_mut(), owner),
            create_tss(&store, lane.as_mut(), owner),
        ];
        Self {
            store,
            lane,
            tss,
            clients: Vec::new(),
            transactions: Vec::new(),
        }
    }

    /// All of it, by each of its names.
    fn needs(&self) -> BTreeMap<TssId, Needs> {
        let named = |named: &Transaction| {
            [
                TransactionRef::Id(named.id),
                TransactionRef::Number(named.number),
            ]
        };
        let named: Vec<_> = self.transactions.iter().flat_map(named).collect();
        let revisions = named
            .iter()
            .flat_map(|named| (1..=4).map(move |revision| (*named, Revision::new(revision))));
        let needs = Needs {
            clients: self.clients.iter().copied().collect(),
            revisions: revisions.collect(),
            transactions: named.iter().copied().collect(),
            ..Needs::default()
        };
        self.tss.iter().map(|id| (*id, needs.clone())).collect()
    }

    fn loaded(&mut self, needs: &BTreeMap<TssId, Needs>) -> String {
        let mut held = self.lane.lock(needs).unwrap();
        assert!(held.late().is_empty());
        let loaded: BTreeMap<TssId, LoadedTss> = held.take_loaded();
        format!("{loaded:#?}")
    }

    /// All together, and each transaction alone by one name, as tills ask.
    fn everything(&mut self) -> Vec<String> {
        let all = self.needs();
        let mut seen = vec![self.loaded(&all)];
        for transaction in self.transactions.clone() {
            let named = TransactionRef::Id(transaction.id);
            let next = transaction.latest_revision.next().unwrap();
            let alone = |_: &Needs| Needs {
                transactions: [named].into(),
                revisions: [(named, next), (named, transaction.latest_revision)].into(),
                ..Needs::default()
            };
            let needs = all.iter().map(|(id, all)| (*id, alone(all))).collect();
            seen.push(self.loaded(&needs));
        }
        seen
    }

    fn check(&mut self, place: &Place) {
        let remembered = self.everything();
        place
            .execute("UPDATE ledger_meta SET value = value")
            .unwrap();
        assert_eq!(remembered, self.everything());
    }

    fn commit(&mut self, tss: usize, work: impl FnOnce(&mut Work)) -> Result<(), CommitError> {
        commit_for(self.lane.as_mut(), self.tss[tss], work)
    }

    /// Another step of this transaction, or of a new one; with a text of this length.
    fn step(&mut self, tss: usize, at: Option<usize>, state: TransactionState, len: usize) {
        let before = at.map(|at| self.transactions[at].clone());
        let mut made = None;
        let mut client = None;
        self.commit(tss, |work| {
            let till = work.client(&format!(
                "KASSE-{}",
                work.entry.slice.tss.as_ref().unwrap().clients_registered
            ));
            let (now, mut step) = work.step(before.as_ref(), &till, state);
            step.process_data = ProcessData::new(vec![b'x'; len]);
            let key = (step.number, step.revision);
            work.entry.slice.steps.insert(key, step);
            client = Some(till.id);
            made = Some(now);
        })
        .unwrap();
        self.clients.extend(client);
        match at {
            Some(at) => self.transactions[at] = made.unwrap(),
            None => self.transactions.extend(made),
        }
    }
}

fn what_a_lane_remembers_is_what_whoever_begins_anew_reads(place: &Place) {
    use TransactionState::{Active, Cancelled, Finished};
    let mut shop = Shop::new(place);
    let steps = [
        (0, None, Active, 10),
        (0, None, Active, 10),
        (1, None, Active, 5000),
        (0, Some(0), Active, 0),
        (0, Some(0), Active, 7000),
        (1, Some(2), Active, 3),
        (0, Some(1), Cancelled, 3),
        (0, Some(0), Finished, 3),
        (1, Some(2), Finished, 3),
    ];
    for (tss, at, state, len) in steps {
        shop.check(place);
        shop.step(tss, at, state, len);
        shop.check(place);
    }
    // What has no step of its own: the TSS, a client, and what a till may add to an open transaction.
    shop.step(0, None, Active, 1);
    let (client, open) = (shop.clients[0], shop.transactions[3].clone());
    let needs = shop.needs();
    let mut held = shop.lane.lock(&needs).unwrap();
    let mut loaded = held.take_loaded();
    let mut work = Work::on(shop.tss[0], loaded.remove(&shop.tss[0]).unwrap());
    work.tss().description = "Kasse am Eingang".to_owned();
    work.tss().last_se_time = time(99);
    let slice = &mut work.entry.slice;
    slice.clients.get_mut(&client).unwrap().time_update = time(77);
    slice.changed.clients.insert(client);
    let added = metadata(&[("table", "7")]);
    slice.transactions.get_mut(&open.number).unwrap().metadata = added;
    slice.changed.transactions.insert(open.number);
    held.commit(&work.into_batch()).unwrap();
    let seen = shop.loaded(&needs);
    assert!(seen.contains("am Eingang") && seen.contains("\"table\""));
    shop.check(place);
}

fn a_batch_writes_the_counters_of_one_tss_and_all_of_another(place: &Place) {
    let mut shop = Shop::new(place);
    shop.step(0, None, TransactionState::Active, 3);
    let (first, second) = (shop.tss[0], shop.tss[1]);
    let (open, needs) = (shop.transactions[0].clone(), shop.needs());
    let mut held = shop.lane.lock(&needs).unwrap();
    let mut loaded = held.take_loaded();
    let till = loaded[&first].slice.clients[&shop.clients[0]].clone();
    let mut counters = Work::on(first, loaded.remove(&first).unwrap());
    counters.step(None, &till, TransactionState::Active);
    counters.step(Some(&open), &till, TransactionState::Finished);
    counters.tss().transactions_open = 7;
    counters.entry.slice.changed.tss = TssChange::Counters;
    let mut all = Work::on(second, loaded.remove(&second).unwrap());
    all.client("KASSE-2");
    all.tss().description = "Kasse am Ausgang".to_owned();
    let made = [counters.tss().clone(), all.tss().clone()];
    held.commit(&batch([counters, all])).unwrap();
    shop.check(place);
    let mut held = shop.lane.lock(&needs).unwrap();
    let loaded = held.take_loaded();
    for tss in made {
        assert_eq!(loaded[&tss.id].slice.tss.as_ref(), Some(&tss));
    }
}

fn what_another_connection_writes_is_seen_by_the_next_lock(place: &Place) {
    let mut shop = Shop::new(place);
    shop.step(0, None, TransactionState::Active, 3);
    let needs = shop.needs();
    shop.loaded(&needs);
    for (sql, sign) in [
        ("UPDATE tss SET description = 'other text'", "other text"),
        ("UPDATE tss SET hold_reason = 'x'", "is_held: true"),
        ("UPDATE client SET serial = 'OTHER' || serial", "OTHERKASSE"),
        ("UPDATE transaction_step SET client_serial = 'ELSE'", "ELSE"),
    ] {
        assert!(!shop.loaded(&needs).contains(sign), "{sql}");
        place.execute(sql).unwrap();
        // As whoever changes anything of a TSS.
        place.execute("UPDATE tss SET state = state").unwrap();
        assert!(shop.loaded(&needs).contains(sign), "{sql}");
    }
    // The store's own connections are others, too.
    assert!(shop.store.tss(shop.tss[0]).unwrap().is_some());
}

fn nothing_is_remembered_of_a_batch_that_was_rolled_back(place: &Place) {
    for change in [TssChange::Counters, TssChange::Anything] {
        nothing_is_remembered_where_this_was_to_change(place, change);
    }
}

fn nothing_is_remembered_where_this_was_to_change(place: &Place, change: TssChange) {
    let mut shop = Shop::new(place);
    shop.step(0, None, TransactionState::Active, 3);
    let before = shop.everything();
    let (id, open) = (shop.tss[0], shop.transactions[0].clone());
    let refused = shop.commit(0, |work| {
        let client = work.client("KASSE-9");
        work.step(Some(&open), &client, TransactionState::Finished);
        // Not the one that is stored.
        work.entry.expected_counter = Some(counter(999));
        for (message, number) in work.entry.messages.iter_mut().zip(1000..) {
            message.signature_counter = counter(number);
        }
        work.tss().device.signature_counter = counter(1000);
        work.entry.slice.changed.tss = change;
    });
    assert!(
        matches!(refused, Err(CommitError::RolledBack { .. })),
        "{refused:?}"
    );
    assert_eq!(before, shop.everything());
    let tss = load(shop.lane.as_mut(), id).slice.tss.unwrap();
    assert_ne!(tss.device.signature_counter, counter(1000));
    shop.check(place);
}

fn what_another_lane_has_written_is_seen_even_beside_a_tss_that_is_held(place: &Place) {
    use TransactionState::{Active, Finished};
    let mut shop = Shop::new(place);
    shop.step(0, None, Active, 3);
    shop.step(0, None, Active, 3);
    let (first, second) = (shop.tss[0], shop.tss[1]);
    let needs = shop.needs();
    shop.loaded(&needs);
    // Another lane finishes the first transaction, and keeps the second TSS.
    let mut other = shop.store.lane().unwrap();
    let open = shop.transactions[0].clone();
    commit_for(other.as_mut(), first, |work| {
        let client = work.client("KASSE-OTHER");
        work.step(Some(&open), &client, Finished);
    })
    .unwrap();
    let held = other.lock(&lock_only(&[second])).unwrap();
    // Both are wanted, one is had; what is read and written then must not make the old state the new one.
    let mut mine = shop.lane.lock(&needs).unwrap();
    assert_eq!(*mine.late(), [second].into());
    let loaded = mine.take_loaded().remove(&first).unwrap();
    assert_eq!(loaded.slice.transactions[&open.number].state, Finished);
    let only = lock_only(&[first]);
    drop(mine);
    let mut mine = shop.lane.lock(&both(&only, second)).unwrap();
    let loaded = mine.take_loaded().remove(&first).unwrap();
    let mut work = Work::on(first, loaded);
    work.client("KASSE-MINE");
    mine.commit(&work.into_batch()).unwrap();
    drop(held);
    let mut mine = shop.lane.lock(&needs).unwrap();
    let loaded = mine.take_loaded().remove(&first).unwrap();
    assert_eq!(loaded.slice.transactions[&open.number].state, Finished);
    drop(mine);
    shop.check(place);
}

/// These and one more.
fn both(needs: &BTreeMap<TssId, Needs>, more: TssId) -> BTreeMap<TssId, Needs> {
    let more = (more, Needs::default());
    needs.clone().into_iter().chain([more]).collect()
}
