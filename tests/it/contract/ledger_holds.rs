//! What stops a TSS that the ledger has forgotten something of, and what lets it go on.

use super::ledger::on_both;
use super::ledger_requests::{certified, waiting};
use crate::support::ledger::{
    Place, commit_for, counter, create_tss, device, organization, time, tss_id,
};
use crate::support::token::TestClock;
use siegel::ledger::{
    Hold, HoldScope, LaneLedger, Mark, SignedKind, Standing, Store, WaitingDevice,
};
use siegel::terms::{Environment, SerialNumber, TransactionNumber, TssId};
use siegel::witness::{Testimony, look, release_restored, stop};
use std::collections::{BTreeMap, BTreeSet};

on_both! {
    what_restoring_cannot_mend_stays_stopped,
    only_those_go_on_that_were_asked_for,
    a_limit_that_came_from_a_sum_stays_one_of_the_token,
    devices_are_free_again_when_nothing_is_missing_of_their_token,
    a_jump_leaves_no_sum_to_tell_that_the_others_are_whole,
    no_sum_lets_a_token_go_on_that_says_nothing,
    the_key_of_a_lost_tss_never_becomes_a_device,
}

const TOKEN: &str = "token";

/// A ledger with TSSs of two messages each, on one token.
struct Shop {
    store: Store,
    lane: Box<dyn LaneLedger>,
    tss: Vec<TssId>,
}

impl Shop {
    fn new(place: &Place, count: usize) -> Self {
        let store = place.open();
        let owner = organization(&store);
        let mut lane = store.lane().unwrap();
        let tss = (0..count).map(|_| create_tss(&store, lane.as_mut(), owner));
        let tss = tss.collect();
        let mut shop = Self { store, lane, tss };
        for tss in shop.tss.clone() {
            shop.sign(tss, 1);
        }
        shop
    }

    fn sign(&mut self, tss: TssId, count: u32) {
        commit_for(self.lane.as_mut(), tss, |work| {
            for _ in 0..count {
                work.message(SignedKind::System);
            }
        })
        .unwrap();
    }

    fn standing(&self, tss: TssId) -> Standing {
        self.store.standing(tss).unwrap().unwrap()
    }

    fn scope(&self, tss: TssId) -> Option<HoldScope> {
        self.standing(tss).hold.map(|hold| hold.scope)
    }

    /// A witness that knows so many more messages of a TSS.
    fn knows_more(&self, tss: TssId, more: u64) -> Testimony {
        let standing = self.standing(tss);
        let mark = Mark {
            device: standing.device,
            signature_counter: counter(standing.signature_counter.value() + more),
            transaction: standing.transaction,
            digest: [1; 32],
        };
        Testimony {
            name: "a node file".to_owned(),
            marks: BTreeMap::from([(tss, mark)]),
            totals: BTreeMap::new(),
        }
    }

    /// A witness that knows so many more numbers of the token.
    fn sum(&self, more: u64) -> Testimony {
        let spent = self.store.token_totals().unwrap()[TOKEN] + more;
        Testimony {
            name: "an anchor".to_owned(),
            totals: BTreeMap::from([(TOKEN.to_owned(), spent)]),
            ..Testimony::default()
        }
    }

    fn stop(&self, testimony: &Testimony) {
        let clock = TestClock::start();
        stop(&self.store, std::slice::from_ref(testimony), clock.as_ref()).unwrap();
    }

    fn release(&self, testimonies: &[Testimony], asked: &[TssId]) -> Vec<TssId> {
        let asked: BTreeSet<_> = asked.iter().copied().collect();
        release_restored(&self.store, testimonies, &asked).unwrap()
    }

    /// Raises a stopped TSS, as a jump does.
    fn raise(&self, tss: TssId, by: u64) {
        let standing = self.standing(tss);
        let hold = standing.hold.clone().unwrap();
        let to = Hold {
            signature_counter: counter(hold.signature_counter.value() + by),
            ..hold
        };
        let mut survey = self.store.survey().unwrap();
        assert!(survey.raise(tss, &standing, &to).unwrap());
    }

    fn free(&self) -> u64 {
        self.store.free_devices(Environment::Test).unwrap()
    }

    fn request(&self) -> WaitingDevice {
        let waiting = waiting(TOKEN, Environment::Test, 5);
        self.store.add_request(&waiting).unwrap();
        waiting
    }

    fn is_refused(&self, device: SerialNumber) -> bool {
        let refused = self.store.unusable_requests(&[device]).unwrap();
        refused.contains_key(&device)
    }
}

fn what_restoring_cannot_mend_stays_stopped(place: &Place) {
    let shop = Shop::new(place, 2);
    let [forked, whole] = [shop.tss[0], shop.tss[1]];
    // Another message stands in the place of the one that the witness knows.
    shop.stop(&shop.knows_more(forked, 0));
    assert_eq!(shop.scope(forked), Some(HoldScope::Unmendable));
    assert_eq!(shop.scope(whole), None);
    // The witness is not there when it is looked again, so nothing speaks against it.
    assert_eq!(shop.release(&[shop.sum(0)], &shop.tss), []);
    // A later finding that could be mended changes nothing about that.
    shop.stop(&shop.knows_more(forked, 1));
    assert_eq!(shop.scope(forked), Some(HoldScope::Unmendable));
}

fn only_those_go_on_that_were_asked_for(place: &Place) {
    let mut shop = Shop::new(place, 2);
    let [one, other] = [shop.tss[0], shop.tss[1]];
    for tss in [one, other] {
        shop.stop(&shop.knows_more(tss, 2));
        assert_eq!(shop.scope(tss), Some(HoldScope::Tss));
        assert_eq!(shop.release(&[], &[tss]), [], "two are missing");
        shop.sign(tss, 2);
    }
    assert_eq!(shop.release(&[], &[one]), [one]);
    assert_eq!(shop.scope(other), Some(HoldScope::Tss));
    assert_eq!(shop.release(&[], &[other]), [other]);
}

fn a_limit_that_came_from_a_sum_stays_one_of_the_token(place: &Place) {
    let mut shop = Shop::new(place, 2);
    let [one, other] = [shop.tss[0], shop.tss[1]];
    let sum = shop.sum(4);
    shop.stop(&sum);
    // Now it is known of one what is missing, and less than the sum allows.
    shop.stop(&shop.knows_more(one, 1));
    assert_eq!(shop.scope(one), Some(HoldScope::Token));
    shop.sign(one, 1);
    assert_eq!(shop.release(std::slice::from_ref(&sum), &shop.tss), []);
    shop.sign(other, 3);
    let mut released = shop.release(&[sum], &shop.tss);
    released.sort();
    let mut both = shop.tss.clone();
    both.sort();
    assert_eq!(released, both, "nothing is missing of the sum");
}

fn devices_are_free_again_when_nothing_is_missing_of_their_token(place: &Place) {
    let mut shop = Shop::new(place, 2);
    let [one, other] = [shop.tss[0], shop.tss[1]];
    let requested = shop.request().serial_number;
    let free = device(TOKEN, Environment::Test, 6);
    shop.store.add_device(&free).unwrap();
    let elsewhere = device("elsewhere", Environment::Test, 7);
    shop.store.add_device(&elsewhere).unwrap();
    let sum = shop.sum(2);
    shop.stop(&sum);
    assert_eq!(shop.free(), 1, "that of the other token");
    assert!(shop.is_refused(requested));
    assert_eq!(shop.store.waiting_devices(TOKEN).unwrap(), []);
    // Found again, by another node or after a restart.
    shop.stop(&sum);
    shop.sign(one, 2);
    assert_eq!(shop.release(std::slice::from_ref(&sum), &[one]), [one]);
    assert_eq!(shop.free(), 1, "the other one is stopped still");
    assert_eq!(shop.release(&[sum], &[other]), [other]);
    assert_eq!(shop.free(), 2);
    assert!(!shop.is_refused(requested));
    assert_eq!(shop.store.waiting_devices(TOKEN).unwrap().len(), 1);
}

fn a_jump_leaves_no_sum_to_tell_that_the_others_are_whole(place: &Place) {
    let shop = Shop::new(place, 2);
    let [jumped, other] = [shop.tss[0], shop.tss[1]];
    let requested = shop.request().serial_number;
    let free = device(TOKEN, Environment::Test, 6);
    shop.store.add_device(&free).unwrap();
    let sum = shop.sum(2);
    shop.stop(&sum);
    shop.raise(jumped, 100);
    shop.store.survey().unwrap().release(jumped).unwrap();
    // The sum is larger than what the witness knows, though nothing was put back.
    assert_eq!(shop.release(&[sum], &shop.tss), []);
    assert_eq!(shop.scope(other), Some(HoldScope::Unmendable));
    assert_eq!(shop.free(), 0, "its key may be the one that has signed");
    assert!(shop.is_refused(requested));
}

fn no_sum_lets_a_token_go_on_that_says_nothing(place: &Place) {
    let mut shop = Shop::new(place, 1);
    let sum = shop.sum(2);
    shop.stop(&sum);
    shop.sign(shop.tss[0], 1);
    assert_eq!(shop.release(&[], &shop.tss), []);
    assert_eq!(shop.scope(shop.tss[0]), Some(HoldScope::Token));
}

fn the_key_of_a_lost_tss_never_becomes_a_device(place: &Place) {
    let shop = Shop::new(place, 1);
    let requested = shop.request();
    let ready = device(TOKEN, Environment::Test, 6);
    shop.store.add_device(&ready).unwrap();
    let total = shop.store.token_totals().unwrap()[TOKEN];
    let lost = tss_id();
    let mark = |device| Mark {
        device,
        signature_counter: counter(9),
        transaction: TransactionNumber::new(3),
        digest: [1; 32],
    };
    let again = tss_id();
    let testimony = Testimony {
        name: "a node file".to_owned(),
        marks: BTreeMap::from([
            (lost, mark(requested.serial_number)),
            (again, mark(ready.serial_number)),
        ]),
        totals: BTreeMap::from([(TOKEN.to_owned(), total + 16)]),
    };
    shop.stop(&testimony);
    assert_eq!(shop.scope(shop.tss[0]), None, "it lacks nothing");
    assert!(shop.is_refused(requested.serial_number));
    assert_eq!(shop.free(), 0);
    // Somebody who has looked before that brings its certificate.
    shop.store
        .add_certified(&[certified(&requested)], &[])
        .unwrap();
    assert_eq!(shop.free(), 0);
    assert_eq!(shop.release(&[], &shop.tss), []);
    assert_eq!(shop.free(), 0);
    // What they have spent counts, for witnesses that know nothing of a TSS.
    assert_eq!(shop.store.token_totals().unwrap()[TOKEN], total + 16);
    let mut survey = shop.store.survey().unwrap();
    let witnesses = [testimony];
    assert_eq!(look(&mut survey, &witnesses).unwrap().lost.len(), 2);
    assert!(survey.write_off(lost, time(9)).unwrap());
    assert!(!survey.write_off(lost, time(9)).unwrap(), "once");
    assert_eq!(look(&mut survey, &witnesses).unwrap().lost.len(), 1);
    assert!(survey.write_off(again, time(9)).unwrap());
    assert!(look(&mut survey, &witnesses).unwrap().is_empty());
}
