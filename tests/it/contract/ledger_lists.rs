//! Lists, pages and choices of messages: the same rows in the same order on SQLite and PostgreSQL.

use super::ledger::on_both;
use crate::support::ledger::{
    Place, commit_for, counter, create_tss, load, metadata, organization, stored, time, tss_id,
};
use siegel::ledger::{
    ClientFilter, ExportFilter, ExportRow, ExportState, LaneLedger, ListOrder, Page, Selection,
    SignedKind, Store, TransactionFilter, TransactionLookup, TssFilter,
};
use siegel::sma::{Client, ClientState, Transaction, TransactionRef, TransactionState, TssState};
use siegel::terms::{
    ClientId, Environment, ExportId, OrganizationId, Revision, SignatureCounter, TransactionNumber,
    TssId,
};
use uuid::Uuid;

on_both! {
    tss_are_listed_by_every_column,
    clients_are_listed_by_every_column,
    transactions_are_listed_with_their_latest_step,
    exports_are_listed_by_every_column,
    a_step_is_found_by_id_number_and_revision,
    messages_are_chosen_as_an_export_wants_them,
    bounds_of_transactions_are_found,
}

fn page(order_by: &'static str, order: ListOrder) -> Page {
    Page {
        limit: 100,
        offset: 0,
        order_by,
        order,
    }
}

/// The list in both directions, and the same in pages of two. What sorts equal keeps its order in
/// both directions.
fn both_ways<T: PartialEq + std::fmt::Debug + Clone>(
    order_by: &'static str,
    list: impl Fn(&Page) -> Vec<T>,
) -> (Vec<T>, Vec<T>) {
    [ListOrder::Ascending, ListOrder::Descending]
        .map(|order| {
            let whole = list(&page(order_by, order));
            let mut pages = Vec::new();
            for offset in (0..=u64::try_from(whole.len()).unwrap()).step_by(2) {
                let page = Page {
                    limit: 2,
                    offset,
                    order_by,
                    order,
                };
                pages.extend(list(&page));
            }
            assert_eq!(pages, whole, "{order_by} {order:?} in pages");
            whole
        })
        .into()
}

struct World {
    store: Store,
    lane: Box<dyn LaneLedger>,
    owner: OrganizationId,
}

fn world(place: &Place) -> World {
    let store = place.open();
    let owner = organization(&store);
    let lane = store.lane().unwrap();
    // Somebody else has some too.
    let stranger = organization(&store);
    let mut world = World {
        store,
        lane,
        owner: stranger,
    };
    let foreign = world.tss();
    world.client(foreign, "KASSE-1");
    world.owner = owner;
    world
}

impl World {
    fn tss(&mut self) -> TssId {
        create_tss(&self.store, self.lane.as_mut(), self.owner)
    }

    fn client(&mut self, tss: TssId, serial: &str) -> Client {
        let mut client = None;
        commit_for(self.lane.as_mut(), tss, |work| {
            client = Some(work.client(serial));
        })
        .unwrap();
        client.unwrap()
    }

    fn step(
        &mut self,
        tss: TssId,
        transaction: Option<&Transaction>,
        client: &Client,
        state: TransactionState,
    ) -> Transaction {
        let mut stepped = None;
        commit_for(self.lane.as_mut(), tss, |work| {
            stepped = Some(work.step(transaction, client, state).0);
        })
        .unwrap();
        stepped.unwrap()
    }

    fn owner(&self) -> (OrganizationId, Environment) {
        (self.owner, Environment::Test)
    }
}

fn tss_are_listed_by_every_column(place: &Place) {
    let mut world = world(place);
    let ids: Vec<TssId> = (0..3).map(|_| world.tss()).collect();
    let columns = [
        ("B", TssState::Created, None, None, 3),
        ("ä", TssState::Initialized, Some(5), None, 2),
        ("a", TssState::Disabled, Some(4), Some(6), 1),
    ];
    for (id, (description, state, init, disable, made)) in ids.iter().zip(columns) {
        commit_for(world.lane.as_mut(), *id, |work| {
            work.message(SignedKind::System);
            let tss = work.tss();
            tss.description = description.to_owned();
            tss.state = state;
            tss.time_init = init.map(time);
            tss.time_disable = disable.map(time);
            tss.time_creation = time(made);
        })
        .unwrap();
    }
    let name = |id: &TssId| ids.iter().position(|known| known == id).unwrap();
    let listed = |filter: &TssFilter, page: &Page| -> Vec<usize> {
        let rows = world.store.tss_list(world.owner(), filter, page).unwrap();
        rows.iter().map(|row| name(&row.tss.id)).collect()
    };
    let all = TssFilter::default();
    let sorted = |column| both_ways(column, |page| listed(&all, page));
    assert_eq!(sorted("time_creation"), (vec![2, 1, 0], vec![0, 1, 2]));
    assert_eq!(sorted("description"), (vec![0, 2, 1], vec![1, 2, 0]));
    assert_eq!(sorted("state"), (vec![0, 2, 1], vec![1, 2, 0]));
    // What has not happened yet comes after everything that has.
    assert_eq!(sorted("time_init"), (vec![2, 1, 0], vec![0, 1, 2]));
    let (forth, back) = sorted("time_disable");
    assert_eq!((forth[0], back[2]), (2, 2));
    let filter = TssFilter {
        states: vec![TssState::Created, TssState::Disabled],
    };
    let page = page("time_creation", ListOrder::Ascending);
    assert_eq!(listed(&filter, &page), [2, 0]);
    let live = (world.owner, Environment::Live);
    assert!(world.store.tss_list(live, &all, &page).unwrap().is_empty());
    let row = world.store.tss(ids[2]).unwrap().unwrap();
    let listed = world.store.tss_list(world.owner(), &all, &page).unwrap();
    assert_eq!(listed[0], row);
}

fn clients_are_listed_by_every_column(place: &Place) {
    let mut world = world(place);
    let (first, second) = (world.tss(), world.tss());
    let mut clients = [
        (first, world.client(first, "b")),
        (first, world.client(first, "B")),
        (second, world.client(second, "a")),
    ];
    for (at, (tss, client)) in clients.iter_mut().enumerate() {
        client.time_creation = time(30 - i64::try_from(at).unwrap());
        if at == 1 {
            client.state = ClientState::Deregistered;
        }
        commit_for(world.lane.as_mut(), *tss, |work| work.put_client(client)).unwrap();
    }
    let listed = |filter: &ClientFilter, page: &Page| {
        let rows = world.store.clients(world.owner(), filter, page).unwrap();
        let known = |row: &(TssId, Client)| clients.iter().position(|known| known == row);
        rows.iter()
            .map(|row| known(row).unwrap())
            .collect::<Vec<_>>()
    };
    let all = ClientFilter::default();
    let sorted = |column| both_ways(column, |page| listed(&all, page));
    assert_eq!(sorted("serial_number"), (vec![1, 2, 0], vec![0, 2, 1]));
    assert_eq!(sorted("time_creation"), (vec![2, 1, 0], vec![0, 1, 2]));
    let page = page("serial_number", ListOrder::Ascending);
    let of = |tss, state, serial| ClientFilter { tss, state, serial };
    assert_eq!(listed(&of(Some(first), None, None), &page), [1, 0]);
    let state = Some(ClientState::Deregistered);
    assert_eq!(listed(&of(None, state, None), &page), [1]);
    let serial = Some(clients[2].1.serial.clone());
    assert_eq!(listed(&of(None, None, serial.clone()), &page), [2]);
    assert!(listed(&of(Some(first), None, serial), &page).is_empty());
    let own = world.store.client(first, clients[0].1.id).unwrap();
    assert_eq!(own.as_ref(), Some(&clients[0].1));
    assert_eq!(world.store.client(second, clients[0].1.id).unwrap(), None);
}

fn transactions_are_listed_with_their_latest_step(place: &Place) {
    use TransactionState::{Active, Cancelled, Finished};
    let mut world = world(place);
    let tss = world.tss();
    let (one, two) = (world.client(tss, "1"), world.client(tss, "2"));
    let started: Vec<Transaction> = (0..4)
        .map(|_| world.step(tss, None, &one, Active))
        .collect();
    world.step(tss, Some(&started[2]), &two, Finished);
    world.step(tss, Some(&started[0]), &one, Cancelled);
    let updated = world.step(tss, Some(&started[1]), &two, Active);
    let listed = |filter: &TransactionFilter, page: &Page| {
        let rows = world.store.transactions(world.owner(), filter, page);
        let number = |row: &siegel::ledger::TransactionRow| {
            assert_eq!(row.step.revision, row.transaction.latest_revision);
            assert_eq!(row.step.number, row.transaction.number);
            row.transaction.number.value()
        };
        rows.unwrap().iter().map(number).collect::<Vec<_>>()
    };
    let all = TransactionFilter::default();
    let sorted = |column| both_ways(column, |page| listed(&all, page));
    assert_eq!(sorted("number"), (vec![1, 2, 3, 4], vec![4, 3, 2, 1]));
    assert_eq!(sorted("time_start"), (vec![1, 2, 3, 4], vec![4, 3, 2, 1]));
    assert_eq!(sorted("state"), (vec![2, 4, 1, 3], vec![3, 1, 2, 4]));
    // Those that have not ended come after those that have.
    assert_eq!(sorted("time_end"), (vec![3, 1, 2, 4], vec![2, 4, 1, 3]));
    let page = page("number", ListOrder::Ascending);
    let of = |tss, client: Option<&Client>, states: &[TransactionState]| TransactionFilter {
        tss,
        client: client.map(|client| client.id),
        states: states.to_vec(),
    };
    assert_eq!(listed(&of(Some(tss), Some(&two), &[]), &page), [2, 3]);
    assert_eq!(
        listed(&of(None, None, &[Finished, Cancelled]), &page),
        [1, 3]
    );
    assert!(listed(&of(Some(tss_id()), None, &[]), &page).is_empty());
    let filter = of(Some(tss), Some(&two), &[Active]);
    let rows = world.store.transactions(world.owner(), &filter, &page);
    let row = rows.unwrap().remove(0);
    assert_eq!((row.tss, &row.transaction), (tss, &updated));
    let device = load(world.lane.as_mut(), tss).slice.tss.unwrap().device;
    assert_eq!(row.serial_number, device.serial_number);
    assert_eq!(row.public_point, device.public_point);
    assert_eq!(row.algorithm, device.algorithm);
}

fn exports_are_listed_by_every_column(place: &Place) {
    let mut world = world(place);
    let (first, second) = (world.tss(), world.tss());
    let rows = [
        (first, ExportState::Pending, None, 3),
        (first, ExportState::Error, Some(1), 2),
        (second, ExportState::Completed, Some(2), 1),
    ]
    .map(|(tss, state, at, requested)| ExportRow {
        tss,
        id: ExportId::new(Uuid::new_v4()),
        state,
        filter: String::new(),
        selection: None,
        messages: None,
        messages_max: 1,
        counter_at_request: counter(2),
        time_request: time(requested),
        info_csv: Vec::new(),
        certificates: Vec::new(),
        time_start: at.map(time),
        time_end: at.map(time),
        time_expiration: at.map(time),
        time_error: at.map(time),
        exception: None,
        metadata: metadata(&[]),
    });
    for row in &rows {
        world.store.add_export(row).unwrap();
    }
    let listed = |filter: &ExportFilter, page: &Page| {
        let found = world.store.exports(world.owner(), filter, page).unwrap();
        let known = |row| rows.iter().position(|known| known == row);
        found
            .iter()
            .map(|row| known(row).unwrap())
            .collect::<Vec<_>>()
    };
    let all = ExportFilter::default();
    let sorted = |column| both_ways(column, |page| listed(&all, page));
    assert_eq!(sorted("time_request"), (vec![2, 1, 0], vec![0, 1, 2]));
    assert_eq!(sorted("state"), (vec![2, 1, 0], vec![0, 1, 2]));
    for column in ["time_start", "time_end", "time_expiration", "time_error"] {
        assert_eq!(sorted(column), (vec![1, 2, 0], vec![0, 2, 1]), "{column}");
    }
    let page = page("time_request", ListOrder::Ascending);
    let of = |tss, states: &[ExportState]| ExportFilter {
        tss,
        states: states.to_vec(),
    };
    assert_eq!(listed(&of(Some(first), &[]), &page), [1, 0]);
    assert_eq!(listed(&of(None, &[ExportState::Completed]), &page), [2]);
}

fn a_step_is_found_by_id_number_and_revision(place: &Place) {
    let mut world = world(place);
    let (tss, other) = (world.tss(), world.tss());
    let client = world.client(tss, "1");
    let started = world.step(tss, None, &client, TransactionState::Active);
    let ended = world.step(tss, Some(&started), &client, TransactionState::Finished);
    let find = |tss, which, revision: Option<u64>| {
        let revision = revision.map(Revision::new);
        world.store.transaction(tss, which, revision).unwrap()
    };
    let by_id = TransactionRef::Id(started.id);
    let by_number = TransactionRef::Number(TransactionNumber::new(1));
    for which in [by_id, by_number] {
        for (revision, expected) in [(None, 2), (Some(2), 2), (Some(1), 1)] {
            let TransactionLookup::Found(row) = find(tss, which, revision) else {
                panic!("{which:?} {revision:?} was not found");
            };
            assert_eq!(row.transaction, ended);
            assert_eq!(row.step.revision, Revision::new(expected));
        }
        assert_eq!(find(tss, which, Some(3)), TransactionLookup::NoRevision);
        assert_eq!(find(other, which, None), TransactionLookup::NoTransaction);
    }
    let message = world.store.message(tss, counter(4)).unwrap().unwrap();
    assert_eq!(message.signature_counter, counter(4));
    assert_eq!(message.file_name, "4.log");
    assert_eq!(
        Some(message.der),
        stored(world.lane.as_mut(), tss, counter(4))
    );
    assert_eq!(world.store.message(other, counter(4)).unwrap(), None);
}

/// Messages 2 (system), 3 to 8 (transactions 1 to 3 of clients one, two, one; start and finish), 9
/// (audit).
fn with_messages(place: &Place) -> (World, TssId, ClientId) {
    let mut world = world(place);
    let tss = world.tss();
    let (one, two) = (world.client(tss, "1"), world.client(tss, "2"));
    for client in [&one, &two, &one] {
        let started = world.step(tss, None, client, TransactionState::Active);
        world.step(tss, Some(&started), client, TransactionState::Finished);
    }
    commit_for(world.lane.as_mut(), tss, |work| {
        work.message(SignedKind::Audit);
    })
    .unwrap();
    (world, tss, one.id)
}

fn messages_are_chosen_as_an_export_wants_them(place: &Place) {
    let (world, tss, client) = with_messages(place);
    let everything = Selection {
        counters: 0..=u64::MAX,
        client: None,
        transactions: None,
        times: None,
    };
    let chosen = |selection: &Selection| {
        let mut all = Vec::new();
        let mut after = SignatureCounter::new(0);
        loop {
            let page = world.store.messages(tss, selection, after, 3).unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            after = last.signature_counter;
            all.extend(page.iter().map(|row| row.signature_counter.value()));
        }
        let count = world.store.count_messages(tss, selection, 100).unwrap();
        assert_eq!(count, u64::try_from(all.len()).unwrap());
        all
    };
    let some = |change: &dyn Fn(&mut Selection)| {
        let mut selection = everything.clone();
        change(&mut selection);
        chosen(&selection)
    };
    assert_eq!(chosen(&everything), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(some(&|s| s.counters = 3..=4), [3, 4]);
    // System and audit messages are always part of it.
    assert_eq!(some(&|s| s.client = Some(client)), [2, 3, 4, 7, 8, 9]);
    assert_eq!(some(&|s| s.transactions = Some(2..=2)), [2, 5, 6, 9]);
    assert_eq!(
        some(&|s| {
            s.client = Some(client);
            s.transactions = Some(2..=3);
            s.counters = 4..=9;
        }),
        [7, 8, 9]
    );
    let (from, to) = (time(4).unix_seconds(), time(6).unix_seconds());
    assert_eq!(some(&|s| s.times = Some(from..=to)), [4, 5, 6]);
    let enough = world.store.count_messages(tss, &everything, 3).unwrap();
    assert!(enough > 3);
    let elsewhere = world.store.messages(tss_id(), &everything, counter(0), 9);
    assert!(elsewhere.unwrap().is_empty());
}

fn bounds_of_transactions_are_found(place: &Place) {
    let (world, tss, client) = with_messages(place);
    let find = |client, numbers: Option<std::ops::RangeInclusive<u64>>, up_to| {
        let numbers = numbers.map(|numbers| {
            TransactionNumber::new(*numbers.start())..=TransactionNumber::new(*numbers.end())
        });
        let up_to = counter(up_to);
        let bounds = world.store.transaction_bounds(tss, client, numbers, up_to);
        bounds.unwrap().map(|bounds| {
            let last = bounds.transaction_last.value();
            (bounds.first.value(), bounds.last.value(), last)
        })
    };
    assert_eq!(find(None, None, 100), Some((3, 8, 3)));
    assert_eq!(find(Some(client), None, 100), Some((3, 8, 3)));
    assert_eq!(find(Some(client), None, 6), Some((3, 4, 1)));
    assert_eq!(find(None, Some(2..=2), 100), Some((5, 6, 2)));
    assert_eq!(find(Some(client), Some(2..=2), 100), None);
    assert_eq!(find(None, Some(2..=9), 5), Some((5, 5, 2)));
    assert_eq!(find(None, None, 2), None);
}
