//! What a person decides, where it does not go straight on.

use super::Loss;
use super::shop::{Shop, messages};
use crate::http::client::Till;
use crate::support::ledger::{Place, postgres};
use crate::support::token::TestEntropy;
use diesel::connection::{Connection as _, SimpleConnection as _};
use siegel::ledger::{Hold, HoldScope, Store, StoreConfig};
use siegel::terms::{Environment, SignatureCounter, TssId};
use std::fs;
use std::path::Path;
use std::process::Command;

on_both! {
    an_export_that_shows_a_fork_is_not_put_back_on_top_of_it,
    a_node_file_that_is_restored_from_is_a_witness,
    all_others_jump_where_one_cannot,
    a_jump_that_was_cut_off_goes_on_where_it_was,
    a_lost_tss_is_written_off,
    a_lost_tss_that_only_another_node_knows_is_written_off,
}

fn config(shop: &Shop) -> StoreConfig {
    match &shop.place {
        Some(place) => place.config(),
        None => StoreConfig::Sqlite {
            path: shop.path("siegel.db"),
        },
    }
}

fn execute(shop: &Shop, sql: &str) {
    match &shop.place {
        Some(place) => place.execute(sql).unwrap(),
        None => {
            let file = shop.path("siegel.db");
            let mut connection =
                diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
            connection.batch_execute(sql).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

fn restore(shop: &Shop, code: i32, from: &[&Path]) -> String {
    let mut arguments = vec!["restore", "--yes-i-understand"];
    for file in from {
        arguments.extend(["--from", file.to_str().unwrap()]);
    }
    shop.told(code, &arguments)
}

/// Everything was put back at once, so that nothing is noticed, and another message was told with a number
/// that was given before. Returns the till, stopped, and all that it had signed before.
fn forked(place: Option<Place>) -> (Shop, Till, Vec<u8>) {
    let mut shop = Shop::open(place);
    let till = Till::new_by(&shop.api());
    till.sell();
    shop.stop();
    let backup = shop.back_up();
    let (tokens, kept) = (shop.path("tokens"), shop.path("kept"));
    copy(&tokens, &kept);
    let (witness, kept_witness) = (shop.path("node.witness"), shop.path("kept.witness"));
    fs::copy(&witness, &kept_witness).unwrap();
    shop.start();
    let till = shop.at_home(&till);
    till.sell();
    till.sell();
    let archive = shop.export(&till);
    shop.stop();
    fs::copy(&witness, shop.path("other.witness")).unwrap();
    shop.put_back(&backup);
    copy(&kept, &tokens);
    fs::copy(&kept_witness, &witness).unwrap();
    shop.start();
    shop.at_home(&till).sell();
    shop.stop();
    (shop, till, archive)
}

fn an_export_that_shows_a_fork_is_not_put_back_on_top_of_it(place: Option<Place>) {
    let (mut shop, till, archive) = forked(place);
    let whole = shop.path("whole.tar");
    fs::write(&whole, &archive).unwrap();
    let other = shop.path("other.witness");
    let told = restore(&shop, 1, &[&whole, &other]);
    assert!(told.contains("is another one in the ledger"), "{told}");
    assert!(!told.contains("put back"), "{told}");
    let seen = shop.inspect(1);
    assert_eq!(seen["stopped"][0]["scope"], "unmendable", "{seen}");
    // Two sales, four messages; one sale of them was signed over.
    let last = seen["stopped"][0]["signature_counter_max"].as_u64();
    let jumped = shop.told(0, &["jump", "--all", "--margin", "0", "--yes-i-understand"]);
    assert!(jumped.contains(&till.tss), "{jumped}");
    shop.inspect(0);
    shop.start();
    let till = shop.at_home(&till);
    assert_eq!(till.api.counter(&till.tss), last.unwrap() + 2);
    till.sell();
    // Not one number beyond the fork has two messages.
    let old: Vec<u64> = messages(&archive)
        .keys()
        .map(|name| super::counter_of(name))
        .collect();
    assert_eq!(old.iter().max(), last.as_ref());
}

fn a_node_file_that_is_restored_from_is_a_witness(place: Option<Place>) {
    let mut loss = Loss::of(place, |shop| {
        // This node knows nothing any more, and neither does the token say whose it is.
        fs::rename(shop.path("node.witness"), shop.path("other.witness")).unwrap();
    });
    loss.is_stopped(&loss.victim);
    loss.shop.stop();
    let other = loss.shop.path("other.witness");
    // It lacks the last of the messages that its own mark speaks of.
    let text = fs::read_to_string(&other).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .iter()
        .rposition(|line| line.contains("{\"message\""))
        .unwrap();
    let cut: Vec<&str> = [&lines[..last], &lines[last + 1..]].concat();
    let short = loss.shop.path("short.witness");
    fs::write(&short, cut.join("\n") + "\n").unwrap();
    let told = restore(&loss.shop, 1, &[&short]);
    assert!(told.contains("3 messages put back"), "{told}");
    // Its mark explains what the sum of the token misses, so that the other one is free.
    assert!(
        told.contains(&format!("{} signs again", loss.other.tss)),
        "{told}"
    );
    assert!(
        told.contains(&format!("{} is still stopped", loss.victim.tss)),
        "{told}"
    );
    let told = restore(&loss.shop, 0, &[&other]);
    assert!(told.contains("1 messages put back"), "{told}");
    loss.shop.inspect(0);
}

fn all_others_jump_where_one_cannot(place: Option<Place>) {
    let mut loss = Loss::of(place, |shop| {
        fs::remove_file(shop.path("node.witness")).unwrap();
    });
    loss.is_stopped(&loss.victim);
    loss.is_stopped(&loss.other);
    loss.shop.stop();
    let mut tss = [loss.victim.tss.clone(), loss.other.tss.clone()];
    tss.sort();
    let [first, second] = tss;
    // Its numbers are at their end.
    execute(
        &loss.shop,
        &format!("UPDATE tss SET hold_counter = 4294967290 WHERE id = '{first}'"),
    );
    let jump = ["jump", "--all", "--yes-i-understand"];
    let told = loss.shop.told(2, &jump);
    assert!(
        told.contains(&format!("{first} has no numbers left")),
        "{told}"
    );
    assert!(told.contains(&format!("{second} goes on above")), "{told}");
    assert!(told.contains("1 of 2 TSSs have not jumped"), "{told}");
    // Again: only what is left.
    let told = loss.shop.told(2, &jump);
    assert!(told.contains("1 of 1 TSSs have not jumped"), "{told}");
    assert!(!told.contains(&second), "{told}");
}

fn a_jump_that_was_cut_off_goes_on_where_it_was(place: Option<Place>) {
    let mut loss = Loss::new(place);
    loss.is_stopped(&loss.victim);
    let before = loss.victim.api.counter(&loss.victim.tss);
    loss.shop.stop();
    {
        // As far as the counters, which are raised before the secure state is signed.
        let store = Store::open(&config(&loss.shop), &TestEntropy).unwrap();
        let tss: TssId = loss.victim.tss.parse().unwrap();
        let standing = store.standing(tss).unwrap().unwrap();
        let hold = standing.hold.clone().unwrap();
        assert_eq!(hold.scope, HoldScope::Tss);
        let to = Hold {
            signature_counter: SignatureCounter::new(hold.signature_counter.value() + 100),
            transaction: siegel::terms::TransactionNumber::new(hold.transaction.value() + 100),
            ..hold
        };
        assert!(store.survey().unwrap().raise(tss, &standing, &to).unwrap());
    }
    let jump = ["jump", "--all", "--margin", "100", "--yes-i-understand"];
    loss.shop.told(0, &jump);
    loss.shop.inspect(0);
    loss.shop.start();
    let victim = loss.shop.at_home(&loss.victim);
    assert_eq!(victim.api.counter(&victim.tss), before + 4 + 100 + 2);
}

fn a_lost_tss_is_written_off(place: Option<Place>) {
    let mut shop = Shop::open(place);
    let api = shop.api();
    let kept = Till::new_by(&api);
    kept.sell();
    let backup = shop.back_up();
    let lost = Till::new_by(&api);
    lost.sell();
    shop.stop();
    shop.put_back(&backup);
    shop.start();
    // The other one lacks nothing, and signs on.
    let kept = shop.at_home(&kept);
    kept.signing(1, || {
        crate::http::client::wait_for("a ledger that was compared", || {
            let answer = kept.step(&crate::http::client::new_id(), 1, "ACTIVE", None);
            (answer.status != 503).then(|| answer.ok())
        })
    });
    let seen = shop.inspect(1);
    assert_eq!(seen["missing"][0]["tss"], lost.tss.as_str(), "{seen}");
    assert_eq!(seen["missing_of_tokens"], serde_json::json!([]));
    assert_eq!(seen["stopped"], serde_json::json!([]));
    // Its till makes the TSS anew, under the same id and with another key, which is no loss.
    let api = shop.api();
    crate::http::client::wait_for("a prepared device", || {
        let answer = api.put(&format!("/tss/{}", lost.tss), &serde_json::json!({}));
        (answer.status != 503).then(|| answer.ok())
    });
    shop.stop();
    shop.start();
    let health = shop.api().call_at_root("GET", "/health/ready", None, &[]);
    assert_eq!(health.json()["stopped_tss"], 0, "{}", health.text());
    shop.stop();
    let retire = ["retire", "--tss", &lost.tss, "--yes-i-understand"];
    let told = shop.told(0, &retire);
    assert!(told.contains("is written off"), "{told}");
    let told = shop.told(2, &retire);
    assert!(told.contains("is not stopped"), "once: {told}");
    shop.inspect(0);
    shop.start();
    let till = shop.at_home(&kept);
    till.sell();
}

fn a_lost_tss_that_only_another_node_knows_is_written_off(place: Option<Place>) {
    let mut shop = Shop::open(place);
    crate::http::client::wait_for("a device beside the one that gets lost", || {
        let store = Store::open_beside(&config(&shop)).unwrap();
        (store.free_devices(Environment::Test).unwrap() > 1).then_some(())
    });
    let backup = shop.back_up();
    let lost = Till::new_by(&shop.api());
    shop.stop();
    shop.put_back(&backup);
    let other = shop.path("other.witness");
    fs::rename(shop.path("node.witness"), &other).unwrap();
    let other = other.to_str().unwrap();
    let retire = ["retire", "--tss", &lost.tss, "--yes-i-understand"];
    let told = shop.told(2, &retire);
    assert!(told.contains("is not stopped"), "{told}");
    let free = || {
        let store = Store::open(&config(&shop), &TestEntropy).unwrap();
        store.free_devices(Environment::Test).unwrap()
    };
    // The token knows of numbers that may be of any key.
    assert_eq!(free(), 0);
    let told = shop.told(0, &[&retire[..], &["--witness", other]].concat());
    assert!(told.contains("is written off"), "{told}");
    shop.told(0, &["inspect", "--witness", other]);
    assert!(free() > 0, "now it is known whose they are");
}
