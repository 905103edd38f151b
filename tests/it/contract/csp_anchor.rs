//! What a token remembers of ledgers.

use super::csp::{key, sign, suite};
use crate::http::client::wait_for;
use crate::support::token::TestToken;
use siegel::csp::{Anchor, Csp};
use std::collections::BTreeMap;

suite! {
    an_anchor_is_found_again_and_only_rises,
    an_anchor_is_not_destroyed_for_one_that_is_as_high,
}

fn an_anchor_is_not_destroyed_for_one_that_is_as_high(token: &TestToken) {
    let anchor = Anchor {
        ledger: "one".to_owned(),
        spent: 5,
    };
    let (open, other) = (token.open(), token.open());
    open.write_anchor(&anchor).unwrap();
    other.write_anchor(&anchor).unwrap();
    assert_eq!(open.anchors().unwrap().len(), 2);
    // Each of two nodes might destroy the other one's, and none would be left.
    open.write_anchor(&anchor).unwrap();
    let found = open.anchors().unwrap();
    assert!(found.len() >= 2, "{found:?}");
}

fn an_anchor_is_found_again_and_only_rises(token: &TestToken) {
    let anchor = |ledger: &str, spent| Anchor {
        ledger: ledger.to_owned(),
        spent,
    };
    let sorted = |token: &dyn Csp| {
        let mut anchors = token.anchors().unwrap();
        anchors.sort_by_key(|anchor| (anchor.ledger.clone(), anchor.spent));
        anchors
    };
    // What is there: the highest of each ledger.
    let highest = |token: &dyn Csp| {
        let anchors = token.anchors().unwrap().into_iter();
        let mut highest = BTreeMap::new();
        for anchor in anchors {
            let spent: &mut u64 = highest.entry(anchor.ledger).or_default();
            *spent = anchor.spent.max(*spent);
        }
        highest
    };
    let told = |one, two| BTreeMap::from([("one".to_owned(), one), ("two".to_owned(), two)]);
    let open = token.open();
    assert_eq!(sorted(&open), []);
    for spent in [1, 2, 4711] {
        open.write_anchor(&anchor("one", spent)).unwrap();
    }
    open.write_anchor(&anchor("two", 5)).unwrap();
    assert_eq!(highest(&open), told(4711, 5));
    open.write_anchor(&anchor("one", 4710)).unwrap();
    assert_eq!(highest(&open), told(4711, 5), "it never falls");

    // Another node knows no handles of ours, and its higher one counts beside ours.
    let other = token.open();
    other.write_anchor(&anchor("one", 4712)).unwrap();
    assert_eq!(highest(&open), told(4712, 5));
    // Whoever has read destroys what is lower; unless the module was initialised anew between the two, as
    // other tests do, which makes it forget what it has read.
    let mut spent = 4712;
    wait_for("one anchor of each ledger", || {
        drop(open.anchors().unwrap());
        spent += 1;
        open.write_anchor(&anchor("one", spent)).unwrap();
        (sorted(&open) == [anchor("one", spent), anchor("two", 5)]).then_some(())
    });
    open.check_health().unwrap();
    let key = key(&open);
    sign(&open, &key);
}
