//! Which free devices a lane is offered, and which it is not.

use super::ledger::on_both;
use crate::support::ledger::{Place, Work, device, organization, to_create, tss_id};
use siegel::ledger::{LaneLedger, Store};
use siegel::signing::DEVICE_FLAWS;
use siegel::terms::{Environment, SerialNumber};

on_both! {
    a_withheld_device_is_offered_to_no_lane_of_the_process,
    a_device_that_was_set_aside_is_kept_and_never_offered,
    a_device_is_taken_back_if_it_was_set_aside_for_its_key_alone,
    a_device_that_has_signed_is_taken_though_another_node_set_it_aside,
    a_lane_leaves_the_devices_of_other_tokens_alone,
}

/// The devices that a lane would give to so many new TSSs, oldest first.
fn offered(lane: &mut dyn LaneLedger, count: usize) -> Vec<SerialNumber> {
    let ids: Vec<_> = (0..count).map(|_| tss_id()).collect();
    let mut held = lane.lock(&to_create(&ids)).unwrap();
    let loaded = held.take_loaded();
    let device = |id| Some(loaded[id].slice.free_device.as_ref()?.serial_number);
    let mut devices: Vec<_> = ids.iter().filter_map(device).collect();
    devices.sort();
    devices
}

fn sorted<const N: usize>(mut devices: [SerialNumber; N]) -> [SerialNumber; N] {
    devices.sort();
    devices
}

/// So many free devices in this token, oldest first.
fn filled<const N: usize>(store: &Store, token: &str) -> [SerialNumber; N] {
    std::array::from_fn(|made| {
        let made = i64::try_from(made).unwrap();
        let device = device(token, Environment::Test, made);
        store.add_device(&device).unwrap();
        device.serial_number
    })
}

fn a_withheld_device_is_offered_to_no_lane_of_the_process(place: &Place) {
    let store = place.open();
    let [first, second] = filled(&store, "token");
    let withheld = store.lane().unwrap().withheld();
    let mut other = store.lane().unwrap();
    withheld.withhold(first);
    assert_eq!(offered(other.as_mut(), 1), [second]);
    assert_eq!(offered(other.as_mut(), 2), [second]);
    let free = || store.free_devices_in("token", Environment::Test).unwrap();
    assert_eq!(free(), 1, "the pool makes another one");
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 2);
    withheld.release(first);
    assert_eq!(offered(other.as_mut(), 1), [first]);
    assert_eq!(free(), 2);
}

fn a_device_is_taken_back_if_it_was_set_aside_for_its_key_alone(place: &Place) {
    let store = place.open();
    let [flawed, forgotten, free] = filled(&store, "token");
    let mut lane = store.lane().unwrap();
    lane.set_device_aside(flawed, DEVICE_FLAWS[0]).unwrap();
    lane.set_device_aside(forgotten, "its key has signed")
        .unwrap();
    assert_eq!(offered(lane.as_mut(), 3), [free]);
    for (device, is_back) in [(flawed, true), (forgotten, false), (free, false)] {
        let taken = store.take_device_back(device, &DEVICE_FLAWS).unwrap();
        assert_eq!(taken, is_back);
    }
    assert_eq!(offered(lane.as_mut(), 3), sorted([flawed, free]));
}

fn a_device_that_was_set_aside_is_kept_and_never_offered(place: &Place) {
    let store = place.open();
    let [first, second] = filled(&store, "token");
    let mut lane = store.lane().unwrap();
    lane.set_device_aside(first, "its key is gone").unwrap();
    assert_eq!(offered(lane.as_mut(), 2), [second]);
    assert_eq!(offered(store.lane().unwrap().as_mut(), 2), [second]);
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
    let free = store.free_devices_in("token", Environment::Test).unwrap();
    assert_eq!(free, 1);
    assert_eq!(store.known_keys("token").unwrap().len(), 2, "never deleted");
}

fn a_device_that_has_signed_is_taken_though_another_node_set_it_aside(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let [signing] = filled(&store, "token");
    let mut lane = store.lane().unwrap();
    let id = tss_id();
    let loaded = {
        let mut held = lane.lock(&to_create(&[id])).unwrap();
        held.take_loaded().remove(&id).unwrap()
    };
    lane.set_device_aside(signing, "seen wrongly").unwrap();
    assert!(!lane.is_device_taken(signing).unwrap());
    let held = lane.lock(&to_create(&[id])).unwrap();
    held.commit(&Work::creating(id, owner, loaded).into_batch())
        .unwrap();
    assert!(lane.is_device_taken(signing).unwrap());
}

fn a_lane_leaves_the_devices_of_other_tokens_alone(place: &Place) {
    let store = place.open();
    let [_, _] = filled(&store, "no longer configured");
    let [one] = filled(&store, "one");
    let [two] = filled(&store, "two");
    for (token, own) in [("one", one), ("two", two)] {
        let mut lane = store.lane_for_token(token).unwrap();
        assert_eq!(offered(lane.as_mut(), 4), [own]);
    }
    let free = |token| store.free_devices_in(token, Environment::Test).unwrap();
    assert_eq!((free("one"), free("two"), free("three")), (1, 1, 0));
    let live = store.free_devices_in("one", Environment::Live).unwrap();
    assert_eq!(live, 0);
}
