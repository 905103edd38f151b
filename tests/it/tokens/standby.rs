//! A token and its standby, which has the same keys.

use super::{Away, health, section, sell_patiently, told_to_come_again};
use crate::http::client::{Api, Till, new_id, wait_for};
use crate::support::installation::{siegel, succeed};
use crate::support::ledger::{Place, postgres};
use crate::support::server::TestServer;
use crate::support::token::home;
use serde_json::{Value, json};
use siegel::app::NodeError;
use siegel::verify::{Settings, verify_archive};
use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// A server that has had its token for a while, and then gets a standby with a copy of what is in it.
fn with_standby(place: Option<Place>, lines: &str, before: impl FnOnce(&TestServer)) -> TestServer {
    let builder = TestServer::builder().by_serial().pool_target(1);
    let builder = match place {
        Some(place) => builder.on(place),
        None => builder,
    };
    let mut server = builder.start();
    before(&server);
    let serial = server.token.serial();
    server.restart_after(|server| {
        let replica = server.token.replicate(&serial);
        let selector = format!("serial = {replica:?}\nstandby_of = \"main\"\n{lines}");
        server.configure(&section("standby", &server.token, &selector));
    });
    server
}

/// `siegel admin token …` beside the running server.
fn admin(server: &TestServer, arguments: &[&str]) -> Value {
    let mut command = siegel();
    command
        .args(["admin", "--json", "--config"])
        .arg(server.config_path())
        .arg("token")
        .args(arguments);
    serde_json::from_slice(&succeed(&mut command).stdout).unwrap()
}

fn switch_to(server: &TestServer, name: &str, epoch: u64) {
    let label = &server.token.label;
    let told = admin(server, &["switch", "--to", name]);
    assert_eq!(
        told,
        json!({"label": label, "active": name, "epoch": epoch})
    );
}

/// The export of a TSS verifies, and holds every counter from 2 on (1 is the request) once.
fn check(till: &Till) {
    let path = till.path(&format!("/export/{}", new_id()));
    till.api.put(&path, &json!({})).ok();
    wait_for("the export", || {
        (till.api.get(&path).ok()["state"] == "COMPLETED").then_some(())
    });
    let file = till.api.get(&format!("{path}/file")).bytes;
    let report = verify_archive(Cursor::new(file), &Settings::new(NonZeroUsize::MIN)).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs, till.api.counter(&till.tss) - 1);
}

fn a_switch_under_load(place: Option<Place>) {
    let mut made = Vec::new();
    let server = with_standby(place, "", |server| {
        made = (0..3).map(|_| Till::new(server)).collect();
    });
    let stop = AtomicBool::new(false);
    let sold: Vec<u64> = std::thread::scope(|scope| {
        let sellers: Vec<_> = made
            .iter()
            .map(|till| {
                scope.spawn(|| {
                    let mut sold = 0;
                    while !stop.load(Ordering::Relaxed) {
                        sold += 1;
                        assert_eq!(sell_patiently(till), sold, "no gap, no repetition");
                    }
                    sold
                })
            })
            .collect();
        let goes_on = || {
            let counters = || made.iter().map(|till| till.api.counter(&till.tss));
            let before: Vec<_> = counters().collect();
            wait_for("a few sales of each", || {
                let mut both = counters().zip(&before);
                both.all(|(now, before)| now > before + 4).then_some(())
            });
        };
        goes_on();
        switch_to(&server, "standby", 2);
        goes_on();
        let (ready, tokens) = health(&made[0].api);
        assert!(ready, "{tokens}");
        wait_for("the roles", || {
            let tokens = health(&made[0].api).1;
            let roles = (&tokens["main"]["role"], &tokens["standby"]["role"]);
            (roles == (&"standby".into(), &"active".into())).then_some(())
        });
        // Nothing but the standby can be signing now.
        let away = Away::take(&server.token);
        goes_on();
        drop(away);
        wait_for("the main token", || {
            (health(&made[0].api).1["main"]["signs"] == true).then_some(())
        });
        switch_to(&server, "main", 3);
        goes_on();
        stop.store(true, Ordering::Relaxed);
        sellers
            .into_iter()
            .map(|seller| seller.join().unwrap())
            .collect()
    });
    assert!(sold.iter().all(|sold| *sold > 4), "{sold:?}");
    made.iter().for_each(check);
    let listed = admin(&server, &["list"]);
    assert_eq!(listed[0]["active"], "main");
    assert_eq!(listed[0]["standby"], "standby");
    // Again is no switch.
    switch_to(&server, "main", 3);
}

#[test]
fn a_switch_under_load_loses_nothing_on_sqlite() {
    a_switch_under_load(None);
}

#[test]
fn a_switch_under_load_loses_nothing_on_postgresql() {
    if let Some(place) = postgres() {
        a_switch_under_load(Some(place));
    }
}

#[test]
fn a_key_that_has_not_come_to_the_standby_stops_its_tss_alone_and_no_key_is_made_for_it() {
    let mut known = None;
    let server = with_standby(None, "", |server| known = Some(Till::new(server)));
    let known = known.unwrap();
    // The first one gets the device that was there when the token was copied.
    let late = wait_for("a TSS with a key made after the copy", || {
        let till = Till::new_by(&known.api);
        switch_to_and_back(&server, |server| {
            let told = wait_for("a compared token", || {
                let text = till.step(&new_id(), 1, "ACTIVE", None).text();
                (!text.contains("is being compared")).then_some(text)
            });
            told.contains("has not come to the standby")
                .then_some(server)
        })
        .map(|_| till)
    });
    let keys = || server.store().known_keys(&server.token.label).unwrap();
    let device = |till: &Till| server.store().chain(till.tss.parse().unwrap()).unwrap()[0].0;
    let (epoch, serial) = (active_epoch(&server), device(&late));
    switch_to(&server, "standby", epoch + 1);
    let before = (late.api.counter(&late.tss), keys().len());
    for _ in 0..3 {
        told_to_come_again(&late.step(&new_id(), 1, "ACTIVE", None));
        sell_patiently(&known);
    }
    assert_eq!(late.api.counter(&late.tss), before.0);
    assert_eq!(device(&late), serial);
    // New TSSs get devices of the standby, or such as are known to both.
    let newcomer = Till::new_by(&known.api);
    sell_patiently(&newcomer);
    switch_to(&server, "main", epoch + 2);
    sell_patiently(&late);
    sell_patiently(&known);
    [&late, &known, &newcomer]
        .into_iter()
        .for_each(check_if_it_signs);
}

/// A TSS whose key was made on the standby need not be known to the main token.
fn check_if_it_signs(till: &Till) {
    if till.step(&new_id(), 1, "ACTIVE", None).status == 200 {
        check(till);
    }
}

fn active_epoch(server: &TestServer) -> u64 {
    admin(server, &["list"])[0]["epoch"].as_u64().unwrap()
}

fn switch_to_and_back<'a, T>(
    server: &'a TestServer,
    act: impl FnOnce(&'a TestServer) -> Option<T>,
) -> Option<T> {
    let epoch = active_epoch(server);
    switch_to(server, "standby", epoch + 1);
    let found = act(server);
    switch_to(server, "main", epoch + 2);
    found
}

#[test]
fn a_standby_takes_over_by_itself_when_the_main_token_is_silent_and_stays_active() {
    let mut till = None;
    let server = with_standby(None, "switch_after_s = 2", |server| {
        till = Some(Till::new(server));
    });
    let till = till.unwrap();
    assert_eq!(sell_patiently(&till), 1);
    assert_eq!(active_epoch(&server), 1);
    let away = Away::take(&server.token);
    // Refused until the standby has taken over, which nobody has to do by hand.
    assert_eq!(sell_patiently(&till), 2);
    assert_eq!(admin(&server, &["list"])[0]["active"], "standby");
    assert_eq!(active_epoch(&server), 2);
    drop(away);
    wait_for("the main token", || {
        (health(&till.api).1["main"]["signs"] == true).then_some(())
    });
    assert_eq!(sell_patiently(&till), 3);
    assert_eq!(active_epoch(&server), 2, "back again is for a person");
    check(&till);
}

#[test]
fn two_nodes_agree_on_which_token_is_active() {
    let Some(place) = postgres() else {
        return;
    };
    let mut till = None;
    let server = with_standby(Some(place), "", |server| till = Some(Till::new(server)));
    let here = till.unwrap();
    let second = server.second_node();
    let there = Till {
        api: Api {
            address: second.address,
            ..here.api.clone()
        },
        ..here.clone()
    };
    let mut sold = 0;
    let mut sell_on_both = || {
        for till in [&here, &there, &here, &there] {
            sold += 1;
            assert_eq!(sell_patiently(till), sold);
        }
    };
    sell_on_both();
    switch_to(&server, "standby", 2);
    {
        let _away = Away::take(&server.token);
        sell_on_both();
    }
    wait_for("both nodes", || {
        let active = |till: &Till| health(&till.api).1["standby"]["role"] == "active";
        (active(&here) && active(&there)).then_some(())
    });
    check(&there);
    drop(second);
}

#[test]
fn a_standby_that_is_active_and_not_configured_any_more_stops_the_start_and_a_switch_is_the_way_out()
 {
    let mut till = None;
    let mut server = with_standby(None, "", |server| till = Some(Till::new(server)));
    let till = till.unwrap();
    switch_to(&server, "standby", 2);
    assert_eq!(sell_patiently(&till), 1);
    let refused = server.refuses_to_start_after(|server| {
        let text = fs::read_to_string(server.config_path()).unwrap();
        let (without, _) = text.rsplit_once("[[token]]").unwrap();
        fs::write(server.config_path(), without).unwrap();
    });
    assert!(
        matches!(&refused, NodeError::ActiveUnknown { section, .. } if section == "standby"),
        "{refused:?}"
    );
    switch_to(&server, "main", 3);
    let listed = admin(&server, &["list"]);
    assert_eq!(
        (&listed[0]["main"], &listed[0]["standby"]),
        (&"main".into(), &Value::Null)
    );
    server.restart_after(|_| {});
    assert_eq!(sell_patiently(&till), 2);
    check(&till);
}

/// The server does not start with this token as the standby of its main one, because it has a section already.
fn stands_twice(server: &mut TestServer, label: &str, serial: &str) {
    let refused = server.refuses_to_start_after(|server| {
        let selector = format!("serial = {serial:?}\nstandby_of = \"main\"\n");
        server.configure(&section("standby", &server.token, &selector));
    });
    assert!(
        matches!(&refused, NodeError::TokenTwice(twice) if twice == label),
        "{refused:?}"
    );
}

#[test]
fn a_standby_that_leads_to_the_same_token_as_another_section_stops_the_start() {
    let mut server = TestServer::builder().pool_target(0).start();
    let (label, serial) = (server.token.label.clone(), server.token.serial());
    stands_twice(&mut server, &label, &serial);
}

#[test]
fn test_and_live_do_not_share_a_token_through_a_standby() {
    let mut server = TestServer::builder().pool_target(0).live(1).start();
    let (label, serial) = (server.live[0].label.clone(), server.live[0].serial());
    stands_twice(&mut server, &label, &serial);
}

#[test]
fn inspecting_a_ledger_asks_the_active_one_of_a_pair() {
    let mut till = None;
    let server = with_standby(None, "", |server| till = Some(Till::new(server)));
    let till = till.unwrap();
    assert_eq!(sell_patiently(&till), 1);
    let inspect = || {
        let mut command = siegel();
        command
            .env("SOFTHSM2_CONF", home().join("softhsm2.conf"))
            .args(["ledger", "inspect", "--json", "--config"])
            .arg(server.config_path());
        serde_json::from_slice::<Value>(&succeed(&mut command).stdout).unwrap()
    };
    let anchor = |seen: &Value| {
        let witnesses = seen["witnesses"].as_array().unwrap().clone();
        let name = format!("the anchor on token {}", server.token.label);
        let found = witnesses.into_iter().find(|one| one["name"] == *name);
        found.map(|one| one["totals"][&server.token.label].clone())
    };
    // What the ledger knows is known to the token at last.
    let has_all = |seen: &Value| {
        let known = &seen["totals"][&server.token.label];
        anchor(seen).is_some_and(|spent| spent == *known)
    };
    wait_for("the anchor of the main token", || {
        has_all(&inspect()).then_some(())
    });
    switch_to(&server, "standby", 2);
    assert_eq!(sell_patiently(&till), 2);
    wait_for("the anchor of the standby", || {
        has_all(&inspect()).then_some(())
    });
    // Nobody needs the one that does not sign.
    let _away = Away::take(&server.token);
    assert!(has_all(&inspect()));
}
