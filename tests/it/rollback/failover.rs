//! PostgreSQL with a standby: a synchronous one loses nothing, one that lags is noticed.

use super::cluster::Cluster;
use super::shop::{Shop, notes};
use crate::http::client::{Api, Till, new_id, receipt, wait_for};
use crate::support::installation::siegel;
use crate::support::places::leave_out;
use crate::support::process::{Log, Process};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// `None`, with a line that says so, where this run is without PostgreSQL.
pub fn cluster() -> Option<Cluster> {
    if std::env::var_os("SIEGEL_TEST_POSTGRES").is_none() {
        let what = "this run is without PostgreSQL; see scripts/with-postgres";
        leave_out("SIEGEL_NEED_POSTGRES", what);
        return None;
    }
    Some(Cluster::start())
}

pub fn open(cluster: &Cluster) -> Shop {
    let mut shop = Shop::closed(Some(&cluster.url()));
    shop.start();
    shop
}

/// A second server beside that of the shop: same ledger, same token, a node file of its own.
fn second(shop: &Shop) -> Process {
    let text = std::fs::read_to_string(shop.path("siegel.toml")).unwrap();
    let text = text.replace("[ledger]", "[ledger]\nwitness_file = \"second.witness\"");
    let config = shop.path("second.toml");
    std::fs::write(&config, text).unwrap();
    Process::start(&config, None, &Log::default()).unwrap()
}

/// Repeats a step until it is answered for good.
pub fn insist(till: &Till, tx: &str, revision: u64, state: &str) -> Value {
    wait_for("an answer", || {
        let schema = (state == "FINISHED").then(|| receipt("4.20"));
        let answer = till.try_step(tx, revision, state, schema)?;
        (answer.status != 503).then(|| answer.ok())
    })
}

#[test]
fn a_synchronous_promotion_under_load_loses_nothing() {
    let Some(cluster) = cluster() else {
        return;
    };
    cluster.make_synchronous();
    let shop = open(&cluster);
    let api = shop.api();
    let tills = [(); 2].map(|()| Till::new_by(&api));
    let (sold, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let told: Vec<Vec<(String, Value)>> = std::thread::scope(|scope| {
        let sellers: Vec<_> = tills
            .iter()
            .map(|till| {
                scope.spawn(|| {
                    let mut told = Vec::new();
                    while !enough.load(SeqCst) {
                        let tx = new_id();
                        insist(till, &tx, 1, "ACTIVE");
                        told.push((tx.clone(), insist(till, &tx, 2, "FINISHED")));
                        sold.fetch_add(1, SeqCst);
                    }
                    told
                })
            })
            .collect();
        let wait_for_sales = |more: usize| {
            let wanted = sold.load(SeqCst) + more;
            wait_for("sales", || (sold.load(SeqCst) >= wanted).then_some(()));
        };
        wait_for_sales(10);
        cluster.primary.crash();
        cluster.standby.promote();
        wait_for_sales(10);
        enough.store(true, SeqCst);
        sellers
            .into_iter()
            .map(|seller| seller.join().unwrap())
            .collect()
    });
    for (till, told) in tills.iter().zip(told) {
        for (tx, answer) in told {
            let kept = till.api.get(&till.path(&format!("/tx/{tx}"))).ok();
            assert_eq!(kept["signature"], answer["signature"]);
            assert_eq!(kept["number"], answer["number"]);
        }
        notes(&shop.export(till));
    }
    shop.inspect(0);
}

#[test]
fn a_promotion_of_a_standby_that_lags_is_noticed_before_the_first_signature() {
    let Some(cluster) = cluster() else {
        return;
    };
    let shop = open(&cluster);
    let api = shop.api();
    let [victim, other] = [(); 2].map(|()| Till::new_by(&api));
    let second = second(&shop);
    victim.sell();
    other.sell();
    // It has all of that when it goes.
    wait_for("the standby", || {
        let state = "SELECT 'all' AS answer FROM pg_stat_replication \
            WHERE flush_lsn = pg_current_wal_flush_lsn()";
        cluster.primary.ask(state)
    });
    cluster.standby.stop();
    let open = victim.start();
    let lost = victim.api.counter(&victim.tss);
    cluster.primary.crash();
    cluster.standby.start();
    cluster.standby.promote();
    // The servers run on. Only the first one knows what is not in the ledger any more, but the second one
    // does not sign over it either.
    let elsewhere = Till {
        api: Api {
            address: second.address,
            ..victim.api.clone()
        },
        ..victim.clone()
    };
    for till in [&elsewhere, &victim] {
        let refused = wait_for("an answer", || {
            let answer = till.try_step(&new_id(), 1, "ACTIVE", None)?;
            (answer.status != 503).then_some(answer)
        });
        refused.refused_without_code(500);
    }
    // Whoever counts the numbers of the whole token may have heard of the lost one before the crash, or not. Then
    // the other TSS waits, too.
    let asked = wait_for("an answer", || {
        let answer = other.try_step(&new_id(), 1, "ACTIVE", None)?;
        (answer.status != 503).then_some(answer)
    });
    let (scope, mut stopped) = match asked.status {
        500 => ("token", vec![victim.tss.as_str(), other.tss.as_str()]),
        _ => ("tss", vec![victim.tss.as_str()]),
    };
    if scope == "tss" {
        asked.ok();
    }
    assert_eq!(victim.api.counter(&victim.tss), lost - 1);
    let seen = shop.inspect(1);
    let told = seen["stopped"].as_array().unwrap();
    stopped.sort_unstable();
    let named: Vec<_> = told
        .iter()
        .map(|one| one["tss"].as_str().unwrap())
        .collect();
    assert_eq!(named, stopped, "{seen}");
    assert!(told.iter().all(|one| one["scope"] == scope), "{seen}");
    let of_victim = told.iter().find(|one| one["tss"] == victim.tss.as_str());
    assert_eq!(of_victim.unwrap()["signature_counter_max"], lost);

    // PostgreSQL lets people decide while the server runs.
    let file = shop.path("node.witness");
    let from = [
        "restore",
        "--from",
        file.to_str().unwrap(),
        "--yes-i-understand",
    ];
    shop.told(0, &from);
    assert_eq!(insist(&victim, &open, 2, "FINISHED")["number"], 2);
    insist(&other, &new_id(), 1, "ACTIVE");
    notes(&shop.export(&victim));
}

#[test]
fn a_commit_whose_wait_for_the_standby_was_cancelled_is_told_when_the_standby_has_it() {
    let Some(cluster) = cluster() else {
        return;
    };
    cluster.make_synchronous();
    let shop = open(&cluster);
    let till = Till::new_by(&shop.api());
    cluster.standby.stop();
    let (answered, tx) = (AtomicBool::new(false), new_id());
    std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            let answer = insist(&till, &tx, 1, "ACTIVE");
            answered.store(true, SeqCst);
            answer
        });
        // Some administrator cancels whatever waits, again and again.
        for _ in 0..2 {
            wait_for("a commit that waits for the standby", || {
                cluster.primary.ask(
                    "WITH waiting AS MATERIALIZED (SELECT pid FROM pg_stat_activity \
                     WHERE datname = 'siegel' AND wait_event = 'SyncRep' \
                     AND now() - state_change > interval '1 second') \
                     SELECT 'cancelled' AS answer FROM waiting WHERE pg_cancel_backend(pid)",
                )
            });
        }
        assert!(
            !answered.load(SeqCst),
            "told although only one machine has it"
        );
        cluster.standby.start();
        let answer = start.join().unwrap();
        assert_eq!(answer["number"], 1);
    });
    cluster.primary.crash();
    cluster.standby.promote();
    assert_eq!(insist(&till, &tx, 2, "FINISHED")["number"], 1);
}

#[test]
fn live_without_a_synchronous_standby_needs_a_dangerous_setting() {
    let Some(place) = crate::support::ledger::postgres() else {
        return;
    };
    let siegel::ledger::StoreConfig::Postgres { url, .. } = place.config() else {
        panic!("this place is in PostgreSQL");
    };
    let shop = Shop::closed(Some(&url));
    let file = shop.path("siegel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("environment = \"TEST\"", "environment = \"LIVE\"");
    let sentence = siegel::config::UNCERTIFIED_LIVE_SENTENCE;
    std::fs::write(
        &file,
        format!("danger_uncertified_live = {sentence:?}\n{text}"),
    )
    .unwrap();
    let output = siegel()
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("danger_live_without_standby"), "{told}");
    // The place outlives the server.
    drop(shop);
}
