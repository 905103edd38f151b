//! Devices whose certificates come later: kept with their requests, made ready all or nothing.

use super::ledger::on_both;
use crate::support::ledger::{Place, Work, device, organization, time, to_create, tss_id};
use siegel::csp::KeyId;
use siegel::ledger::{
    CaCertificate, CaRole, DeviceRow, DeviceState, LedgerError, PreparedDevice, Store,
    WaitingDevice,
};
use siegel::terms::{Environment, SerialNumber};
use std::collections::BTreeSet;

on_both! {
    a_request_is_kept_as_it_is_and_waits_until_there_is_a_certificate,
    no_lane_is_offered_a_device_without_certificate,
    certificates_are_kept_all_or_none,
    a_ca_is_kept_once_with_one_certificate,
    every_device_is_listed_where_it_stands,
    devices_whose_certificates_have_ended_are_offered_to_nobody,
    the_keys_of_a_token_tell_what_it_is_for,
}

/// A device with random bytes for a key, and for a request.
pub(super) fn waiting(token: &str, environment: Environment, made: i64) -> WaitingDevice {
    let device = device(token, environment, made);
    WaitingDevice {
        serial_number: device.serial_number,
        environment,
        token: device.token,
        request: device.key.public_key.point.clone(),
        key: device.key,
        algorithm: device.algorithm,
        signature_counter: device.signature_counter,
        time_creation: device.time_creation,
    }
}

fn kept(store: &Store, token: &str, made: i64) -> WaitingDevice {
    let waiting = waiting(token, Environment::Live, made);
    store.add_request(&waiting).unwrap();
    waiting
}

pub(super) fn certified(waiting: &WaitingDevice) -> PreparedDevice {
    let issuer = SerialNumber::of_public_point(b"issuing");
    waiting.certified(b"certificate".to_vec(), issuer, time(1_000_000))
}

fn authority(name: &[u8], environment: Environment) -> CaCertificate {
    CaCertificate {
        serial_number: SerialNumber::of_public_point(name),
        environment,
        role: CaRole::Issuing,
        issuer: SerialNumber::of_public_point(b"root"),
        key: None,
        certificate: name.to_vec(),
    }
}

fn exists<T>(result: Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Exists(_)))
}

fn free(store: &Store) -> u64 {
    store.free_devices(Environment::Live).unwrap()
}

fn a_request_is_kept_as_it_is_and_waits_until_there_is_a_certificate(place: &Place) {
    let store = place.open();
    // The second one is the older one.
    let [young, old, other] =
        [("one", 2), ("one", 1), ("two", 0)].map(|(token, made)| kept(&store, token, made));
    assert!(exists(store.add_request(&young)));
    let mut same_key = waiting("one", Environment::Live, 3);
    same_key.key.id = young.key.id;
    assert!(exists(store.add_request(&same_key)), "one key, one request");
    let waiting = |token| store.waiting_devices(token).unwrap();
    assert_eq!(waiting("one"), [old.clone(), young.clone()]);
    assert_eq!(waiting("two"), std::slice::from_ref(&other));
    let keys =
        |token| -> BTreeSet<KeyId> { store.known_keys(token).unwrap().into_iter().collect() };
    assert_eq!(keys("one"), BTreeSet::from([old.key.id, young.key.id]));

    store.add_certified(&[certified(&old)], &[]).unwrap();
    assert_eq!(waiting("one"), std::slice::from_ref(&young));
    assert_eq!(store.known_keys("one").unwrap().len(), 2, "each key once");
    let both = [old.serial_number, young.serial_number];
    assert_eq!(store.certified_devices(&both).unwrap(), [certified(&old)]);
    let mut requested = store.requested_devices(&both).unwrap();
    requested.sort_by_key(|device| device.time_creation);
    assert_eq!(requested, [old, young], "the request stays");
    assert_eq!(store.requested_devices(&[]).unwrap(), []);
    drop(store);
    let store = place.open();
    assert_eq!(store.waiting_devices("two").unwrap(), [other]);
}

fn no_lane_is_offered_a_device_without_certificate(place: &Place) {
    let store = place.open();
    let waiting = waiting("token", Environment::Test, 0);
    store.add_request(&waiting).unwrap();
    let mut lane = store.lane_for_token("token").unwrap();
    let id = tss_id();
    let mut offered = || {
        let mut held = lane.lock(&to_create(&[id])).unwrap();
        let loaded = held.take_loaded().remove(&id).unwrap();
        loaded.key
    };
    assert_eq!(offered(), None);
    // A lane that is open sees at once what somebody else has imported.
    store.add_certified(&[certified(&waiting)], &[]).unwrap();
    assert_eq!(offered(), Some(waiting.key));
}

fn certificates_are_kept_all_or_none(place: &Place) {
    let store = place.open();
    let [first, second, third] = [1, 2, 3].map(|made| kept(&store, "token", made));
    let ca = authority(b"issuing", Environment::Live);
    store.add_certified(&[certified(&first)], &[]).unwrap();
    let devices = [certified(&second), certified(&first), certified(&third)];
    let refused = store.add_certified(&devices, std::slice::from_ref(&ca));
    assert!(exists(refused), "the first one has a certificate");
    assert_eq!(free(&store), 1);
    assert_eq!(store.cas(Environment::Live).unwrap(), []);
    let devices = [certified(&second), certified(&third)];
    store
        .add_certified(&devices, std::slice::from_ref(&ca))
        .unwrap();
    assert_eq!(free(&store), 3);
    assert_eq!(store.cas(Environment::Live).unwrap(), [ca]);
}

fn a_ca_is_kept_once_with_one_certificate(place: &Place) {
    let store = place.open();
    let [first, second, third] = [1, 2, 3].map(|made| kept(&store, "token", made));
    let ca = authority(b"issuing", Environment::Live);
    let import = |device: &WaitingDevice, ca: &CaCertificate| {
        store.add_certified(&[certified(device)], std::slice::from_ref(ca))
    };
    import(&first, &ca).unwrap();
    import(&second, &ca).unwrap();
    let mut renewed = ca.clone();
    renewed.certificate.push(0);
    assert!(exists(import(&third, &renewed)));
    let of_test = authority(b"issuing", Environment::Test);
    assert!(exists(import(&third, &of_test)));
    assert_eq!(free(&store), 2, "nothing of what was refused is there");
    assert_eq!(store.cas(Environment::Live).unwrap(), [ca]);
    assert_eq!(store.cas(Environment::Test).unwrap(), []);
}

fn every_device_is_listed_where_it_stands(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let of_test = |made| {
        let device = device("b", Environment::Test, made);
        store.add_device(&device).unwrap();
        device
    };
    let (used, unusable, ready) = (of_test(1), of_test(2), of_test(3));
    let waiting = kept(&store, "a", 4);
    let mut lane = store.lane().unwrap();
    let id = tss_id();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    held.commit(&Work::creating(id, owner, loaded).into_batch())
        .unwrap();
    lane.set_device_aside(unusable.serial_number, "its key is gone")
        .unwrap();

    let row = |device: &PreparedDevice, state| DeviceRow {
        serial_number: device.serial_number,
        token: device.token.clone(),
        environment: device.environment,
        curve: device.key.public_key.curve,
        state,
        certificate_not_after: Some(device.certificate_not_after),
        tss: None,
        unusable_reason: None,
        time_creation: device.time_creation,
    };
    let expected = [
        DeviceRow {
            certificate_not_after: None,
            ..row(&certified(&waiting), DeviceState::Waiting)
        },
        DeviceRow {
            tss: Some(id),
            ..row(&used, DeviceState::Used)
        },
        DeviceRow {
            unusable_reason: Some("its key is gone".to_owned()),
            ..row(&unusable, DeviceState::Unusable)
        },
        row(&ready, DeviceState::Ready),
    ];
    assert_eq!(store.devices().unwrap(), expected);
}

fn devices_whose_certificates_have_ended_are_offered_to_nobody(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let [used, ended, good] = [(1, 500), (2, 100), (3, 501)].map(|(made, end)| {
        let mut device = device("token", Environment::Test, made);
        device.certificate_not_after = time(end);
        store.add_device(&device).unwrap();
        device
    });
    let mut lane = store.lane().unwrap();
    let id = tss_id();
    let mut held = lane.lock(&to_create(&[id])).unwrap();
    let loaded = held.take_loaded().remove(&id).unwrap();
    held.commit(&Work::creating(id, owner, loaded).into_batch())
        .unwrap();
    let states = || -> Vec<_> {
        let rows = store.devices().unwrap();
        rows.iter()
            .map(|row| (row.serial_number, row.state))
            .collect()
    };
    let standing = |second, third| {
        vec![
            (used.serial_number, DeviceState::Used),
            (ended.serial_number, second),
            (good.serial_number, third),
        ]
    };
    let (ready, unusable) = (DeviceState::Ready, DeviceState::Unusable);
    assert_eq!(store.set_ended_devices_aside(time(99)).unwrap(), 0);
    assert_eq!(states(), standing(ready, ready));
    // The last second is none of use any more.
    assert_eq!(store.set_ended_devices_aside(time(100)).unwrap(), 1);
    assert_eq!(states(), standing(unusable, ready));
    // A clock that was wrong for a while costs nothing.
    assert_eq!(store.set_ended_devices_aside(time(501)).unwrap(), 1);
    assert_eq!(states(), standing(unusable, unusable));
    assert_eq!(store.set_ended_devices_aside(time(200)).unwrap(), 0);
    assert_eq!(states(), standing(unusable, ready));
    // Whoever is set aside for another reason stays so.
    lane.set_device_aside(good.serial_number, "its key is gone")
        .unwrap();
    store.set_ended_devices_aside(time(0)).unwrap();
    assert_eq!(states(), standing(ready, unusable));
}

fn the_keys_of_a_token_tell_what_it_is_for(place: &Place) {
    let store = place.open();
    let in_token = |token| store.environments_in(token).unwrap();
    assert_eq!(in_token("one"), BTreeSet::new());
    kept(&store, "one", 0);
    assert_eq!(in_token("one"), BTreeSet::from([Environment::Live]));
    store
        .add_device(&device("two", Environment::Test, 0))
        .unwrap();
    assert_eq!(in_token("two"), BTreeSet::from([Environment::Test]));
    assert_eq!(in_token("one"), BTreeSet::from([Environment::Live]));
    let key = waiting("three", Environment::Test, 0).key;
    let mut ca = authority(b"ours", Environment::Test);
    ca.key = Some(("three".to_owned(), key));
    store.add_ca(&ca).unwrap();
    assert_eq!(in_token("three"), BTreeSet::from([Environment::Test]));
}
