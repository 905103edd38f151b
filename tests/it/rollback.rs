//! A ledger that was put back to an older state signs nothing with numbers that were given before, and
//! each of the three exits leads on. On both databases, through the built binary.

mod base_backup;
mod cluster;
mod failover;
mod shop;

use crate::http::client::{Answer, Till, receipt, wait_for};
use crate::support::ledger::{Place, postgres};
use shop::{Shop, counter_of, findings, messages, notes};
use std::collections::BTreeMap;
use std::fs;

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(None); })*
        }
        mod postgres {
            $(#[test] fn $test() {
                if let Some(place) = super::postgres() { super::$test(Some(place)); }
            })*
        }
    };
}

mod decisions;

on_both! {
    an_old_backup_is_noticed_and_messages_come_back_from_the_node_file,
    messages_come_back_from_an_export,
    a_jump_goes_on_above_every_number_and_the_gap_stays,
    a_retired_tss_is_defective_and_the_others_go_on,
    the_token_alone_notices_an_old_backup,
    a_backup_that_lacks_nothing_is_no_loss,
}

/// A shop that lost what one of its two TSSs has signed since a backup.
struct Loss {
    shop: Shop,
    /// Has lost something.
    victim: Till,
    /// Has lost nothing.
    other: Till,
    /// All that the victim had signed.
    archive: Vec<u8>,
    /// A transaction that was started after the backup and is open.
    open: String,
    /// A client that was registered after the backup.
    second_client: String,
}

impl Loss {
    /// The server is running again, on the old ledger.
    fn new(place: Option<Place>) -> Self {
        Self::of(place, |_| {})
    }

    /// `beside` happens while the server is down.
    fn of(place: Option<Place>, beside: impl FnOnce(&Shop)) -> Self {
        let mut shop = Shop::open(place);
        let api = shop.api();
        let [victim, other] = [(); 2].map(|()| Till::new_by(&api));
        victim.sell();
        other.sell();
        let backup = shop.back_up();
        victim.sell();
        let second_client = crate::http::client::new_id();
        victim.register_as(&second_client, "KASSE-2").ok();
        let open = victim.start();
        let archive = shop.export(&victim);
        shop.stop();
        shop.put_back(&backup);
        beside(&shop);
        shop.start();
        let [victim, other] = [victim, other].map(|till| shop.at_home(&till));
        Self {
            shop,
            victim,
            other,
            archive,
            open,
            second_client,
        }
    }

    #[track_caller]
    fn is_stopped(&self, till: &Till) {
        let start = || till.step(&crate::http::client::new_id(), 1, "ACTIVE", None);
        // A node without its file does not know that the other one, which has left, was itself.
        let answer: Answer = till.signing(0, || {
            wait_for("a ledger that was compared", || {
                Some(start()).filter(|answer| answer.status != 503)
            })
        });
        answer.refused_without_code(500);
    }
}

fn an_old_backup_is_noticed_and_messages_come_back_from_the_node_file(place: Option<Place>) {
    let mut loss = Loss::new(place);
    loss.is_stopped(&loss.victim);
    loss.other.sell();

    let seen = loss.shop.inspect(1);
    let missing = seen["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{seen}");
    assert_eq!(missing[0]["tss"], loss.victim.tss.as_str());
    // A sale of two messages, a client, a start.
    assert_eq!(missing[0]["missing"], 4, "{seen}");
    assert_eq!(seen["missing_of_tokens"], serde_json::json!([]));
    let health = loss
        .victim
        .api
        .call_at_root("GET", "/health/ready", None, &[]);
    assert_eq!(health.json()["stopped_tss"], 1, "{}", health.text());
    loss.shop.stop();

    let file = loss.shop.path("node.witness");
    let from = ["restore", "--from", file.to_str().unwrap()];
    let told = loss.shop.told(2, &from);
    assert!(told.contains("--yes-i-understand"), "{told}");
    let told = loss
        .shop
        .told(0, &[&from[..], &["--yes-i-understand"]].concat());
    assert!(told.contains("4 messages put back"), "{told}");
    assert!(told.contains("signs again"), "{told}");
    loss.shop.inspect(0);
    loss.shop.told(0, &["check"]);

    loss.shop.start();
    let victim = loss.shop.at_home(&loss.victim);
    assert_eq!(
        messages(&loss.shop.export(&victim)),
        messages(&loss.archive)
    );
    // What the till asked before is answered as before, and it goes on by its own names.
    victim.signing(0, || victim.step(&loss.open, 1, "ACTIVE", None).ok());
    let finished = victim.step(&loss.open, 2, "FINISHED", Some(receipt("4.20")));
    assert_eq!(finished.ok()["number"], 3);
    victim.signing(1, || {
        let tx = crate::http::client::new_id();
        victim
            .step_of(&loss.second_client, &tx, 1, "ACTIVE", None)
            .ok()
    });
    assert_eq!(victim.sell()["number"], 5);
    assert_eq!(notes(&loss.shop.export(&victim)), notes(&loss.archive));
}

fn messages_come_back_from_an_export(place: Option<Place>) {
    let mut loss = Loss::new(place);
    loss.is_stopped(&loss.victim);
    loss.shop.stop();
    let whole = loss.shop.path("whole.tar");
    fs::write(&whole, &loss.archive).unwrap();
    // One bit is enough, and nothing after it is taken.
    let mut touched = loss.archive.clone();
    let last = messages(&loss.archive)
        .into_iter()
        .max_by_key(|(name, _)| counter_of(name));
    let (_, last) = last.unwrap();
    let at = touched
        .windows(last.len())
        .position(|part| part == last)
        .unwrap();
    touched[at + last.len() - 1] ^= 1;
    let bad = loss.shop.path("bad.tar");
    fs::write(&bad, touched).unwrap();
    let restore = |file: &std::path::Path, code| {
        let from = [
            "restore",
            "--from",
            file.to_str().unwrap(),
            "--yes-i-understand",
        ];
        loss.shop.told(code, &from)
    };
    let told = restore(&bad, 2);
    assert!(told.contains("its signature does not verify"), "{told}");
    restore(&whole, 0);
    loss.shop.told(0, &["check"]);
    loss.shop.start();
    let victim = loss.shop.at_home(&loss.victim);
    assert_eq!(
        messages(&loss.shop.export(&victim)),
        messages(&loss.archive)
    );
    // An archive does not tell the till's name for the transaction; its number does.
    let finished = victim.step("3", 2, "FINISHED", Some(receipt("4.20")));
    assert_eq!(finished.ok()["number"], 3);
    victim.sell();
    notes(&loss.shop.export(&victim));
}

fn a_jump_goes_on_above_every_number_and_the_gap_stays(place: Option<Place>) {
    let mut loss = Loss::new(place);
    loss.is_stopped(&loss.victim);
    let before = loss.victim.api.counter(&loss.victim.tss);
    loss.shop.stop();
    let jump = ["jump", "--all", "--margin", "100"];
    loss.shop.told(2, &jump);
    let told = loss
        .shop
        .told(0, &[&jump[..], &["--yes-i-understand"]].concat());
    assert!(told.contains(&loss.victim.tss), "{told}");
    assert!(!told.contains(&loss.other.tss), "{told}");
    loss.shop.inspect(0);
    // Decided is decided.
    let told = loss
        .shop
        .told(2, &[&jump[..], &["--yes-i-understand"]].concat());
    assert!(told.contains("nothing to decide"), "{told}");
    loss.shop.start();
    let (victim, other) = (
        loss.shop.at_home(&loss.victim),
        loss.shop.at_home(&loss.other),
    );
    // Four were lost; secure state entered and left are two.
    assert_eq!(victim.api.counter(&victim.tss), before + 4 + 100 + 2);
    assert_eq!(victim.sell()["number"], 1 + 2 + 100 + 1);
    other.sell();
    let archive = loss.shop.export(&victim);
    // The checker tells an auditor what it must: that something was there.
    let found = findings(&archive);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "counter-missing");
    let gap = format!("{}-{} are missing", before + 1, before + 104);
    assert!(found[0].1.contains(&gap), "{found:?}");
    let names = messages(&archive).into_keys().collect::<Vec<_>>().concat();
    assert!(names.contains("Sys_enterSecureState"), "{names}");
    assert!(names.contains("Sys_exitSecureState"), "{names}");
    // No number that was told before has another message now.
    let (old, new) = (messages(&loss.archive), messages(&archive));
    let told: BTreeMap<_, _> = old
        .iter()
        .map(|(name, bytes)| (counter_of(name), bytes))
        .collect();
    for (name, bytes) in &new {
        let told = told.get(&counter_of(name));
        assert!(told.is_none_or(|told| *told == bytes), "{name}");
    }
    loss.shop.stop();
    let told = loss.shop.told(0, &["check"]);
    assert!(told.contains("0 findings, 1 gaps"), "{told}");
}

fn a_retired_tss_is_defective_and_the_others_go_on(place: Option<Place>) {
    let mut loss = Loss::new(place);
    loss.is_stopped(&loss.victim);
    loss.shop.stop();
    let tss = loss.victim.tss.clone();
    let retire = ["retire", "--tss", &tss];
    loss.shop.told(2, &retire);
    loss.shop
        .told(0, &[&retire[..], &["--yes-i-understand"]].concat());
    loss.shop.inspect(0);
    loss.shop.start();
    let (victim, other) = (
        loss.shop.at_home(&loss.victim),
        loss.shop.at_home(&loss.other),
    );
    let state = victim.api.get(&victim.path("")).ok();
    assert_eq!(state["state"], "DEFECTIVE");
    let answer = victim.step(&crate::http::client::new_id(), 1, "ACTIVE", None);
    assert_eq!(answer.json()["code"], "E_TSS_DEFECTIVE");
    other.sell();
    notes(&loss.shop.export(&victim));
}

fn the_token_alone_notices_an_old_backup(place: Option<Place>) {
    let mut loss = Loss::of(place, |shop| {
        fs::remove_file(shop.path("node.witness")).unwrap();
    });
    // Only the sum is known, so nobody can say whose numbers are missing.
    loss.is_stopped(&loss.victim);
    loss.is_stopped(&loss.other);
    let seen = loss.shop.inspect(1);
    assert_eq!(seen["missing"], serde_json::json!([]));
    assert_eq!(seen["stopped"].as_array().unwrap().len(), 2, "{seen}");
    // No new TSS is made of a key that may have signed.
    let answer = loss.victim.api.put(
        &format!("/tss/{}", crate::http::client::new_id()),
        &serde_json::json!({}),
    );
    drop(answer);
    loss.shop.stop();
    let whole = loss.shop.path("whole.tar");
    fs::write(&whole, &loss.archive).unwrap();
    let told = loss.shop.told(
        0,
        &[
            "restore",
            "--from",
            whole.to_str().unwrap(),
            "--yes-i-understand",
        ],
    );
    // Nothing is missing of the other one, which the sum tells now.
    assert!(
        told.contains(&format!("{} signs again", loss.other.tss)),
        "{told}"
    );
    loss.shop.start();
    loss.shop.at_home(&loss.other).sell();
    loss.shop.at_home(&loss.victim).sell();
}

fn a_backup_that_lacks_nothing_is_no_loss(place: Option<Place>) {
    let mut shop = Shop::open(place);
    let till = Till::new_by(&shop.api());
    till.sell();
    shop.stop();
    let backup = shop.back_up();
    shop.put_back(&backup);
    shop.inspect(0);
    shop.start();
    shop.at_home(&till).sell();
}
