//! A server that is stopped and started again in the middle of everything.

use super::client::{Answer, Api, Till, keys, new_id, receipt, wait_for};
use crate::support::installation::Installation;
use crate::support::ledger::{Place, postgres};
use crate::support::server::TestServer;
use serde_json::{Value, json};
use siegel::verify::{Settings, verify_archive};
use std::io::Cursor;
use std::num::NonZeroUsize;

fn export(till: &Till) -> (String, Vec<u8>) {
    let path = till.path(&format!("/export/{}", new_id()));
    till.api.put(&path, &json!({})).ok();
    wait_for("the export", || {
        (till.api.get(&path).ok()["state"] == "COMPLETED").then_some(())
    });
    let bytes = till.api.get(&format!("{path}/file")).bytes;
    (path, bytes)
}

/// Calls that change nothing when they come again, and must be answered as the first time.
fn repeats(till: &Till, fresh: &Till, sold: &str, open: &str, export: &str) -> Vec<Answer> {
    vec![
        fresh.api.put(&fresh.path(""), &json!({})),
        till.register(),
        till.step(sold, 1, "ACTIVE", None),
        till.step(sold, 2, "FINISHED", Some(receipt("4.20"))),
        till.step(open, 1, "ACTIVE", None),
        till.step(sold, 2, "FINISHED", Some(receipt("4.21"))),
        till.api.put(export, &json!({})),
        till.api.get("/tss"),
        till.api.get("/client"),
        till.api.get("/tx"),
        till.api.get("/export"),
        till.api.get(export),
        till.api.get(&format!("{export}/file")),
        till.api.get(&till.path("/metadata")),
        till.api.get(&till.path("/tx/1?tx_revision=1")),
        till.api.get(&till.path("/tx/1/log")),
    ]
}

fn a_restart_in_the_middle(place: Option<Place>) {
    let builder = TestServer::builder();
    let builder = match place {
        Some(place) => builder.on(place),
        None => builder,
    };
    let mut server = builder.start();
    let credentials = server.organization();
    let login =
        |server: &TestServer| -> Value { Api::log_in(server, &credentials).token.unwrap().into() };
    let till = Till::new_by(&Api::log_in(&server, &credentials));
    let fresh = Till::created_by(&till.api);
    let token = login(&server);
    let sold = new_id();
    till.step(&sold, 1, "ACTIVE", None).ok();
    till.step(&sold, 2, "FINISHED", Some(receipt("4.20"))).ok();
    let open = till.start();
    till.api
        .patch(&till.path("/metadata"), &json!({"a": "b"}))
        .ok();
    let (path, file) = export(&till);
    let ask = || {
        let answers = repeats(&till, &fresh, &sold, &open, &path);
        let shown = |answer: &Answer| (answer.call.clone(), answer.status, answer.bytes.clone());
        answers.iter().map(shown).collect::<Vec<_>>()
    };
    let before = till.signing(0, ask);
    server.restart();
    // The token is good, and is the one that a login gets.
    assert_eq!(login(&server), token);
    let after = till.signing(0, ask);
    assert_eq!(after, before);
    assert_eq!(till.api.get(&format!("{path}/file")).bytes, file);
    assert_eq!(
        fresh.api.put(&fresh.path(""), &json!({})).ok()["admin_puk"],
        *fresh.puk
    );

    // The admin is still logged in, wrong PINs are still counted.
    till.signing(1, || till.register_as(&new_id(), "KASSE-2").ok());
    for left in [4, 3] {
        let message = till.log_in("000000").refused(401, "E_ADMIN_LOGIN_FAILED");
        assert!(message.contains(&format!(" {left} tries")), "{message}");
        server.restart();
    }
    // What was open goes on where it was, with the next numbers.
    let answer = till.signing(1, || {
        till.step(&open, 2, "FINISHED", Some(receipt("1.00"))).ok()
    });
    assert_eq!(answer["number"], 2);
    assert!(keys(&answer).contains(&"qr_code_data"));
    assert_eq!(till.sell()["number"], 3);
    let (_, file) = export(&till);
    let report = verify_archive(Cursor::new(file), &Settings::new(NonZeroUsize::MIN)).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs, till.api.counter(&till.tss) - 1);
}

#[test]
fn a_restart_on_sqlite_changes_no_answer() {
    a_restart_in_the_middle(None);
}

#[test]
fn a_restart_on_postgresql_changes_no_answer() {
    if let Some(place) = postgres() {
        a_restart_in_the_middle(Some(place));
    }
}

#[test]
fn a_till_that_sells_during_a_restart_loses_nothing_and_doubles_nothing() {
    let mut server = TestServer::builder().start();
    let till = Till::new(&server);
    let first = till.api.counter(&till.tss);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let seller = till.clone();
    let selling = std::thread::spawn(move || {
        let mut sold = Vec::new();
        let mut is_told = false;
        // At least five sales after the last restart.
        let mut left = 5;
        while left > 0 {
            is_told = is_told || stopped.try_recv().is_ok();
            if is_told {
                left -= 1;
            }
            let tx = new_id();
            let answered = |revision, state: &str, schema: Option<Value>| {
                wait_for("an answer", || {
                    let answer = seller.try_step(&tx, revision, state, schema.clone())?;
                    (answer.status == 200).then(|| answer.ok())
                })
            };
            answered(1, "ACTIVE", None);
            sold.push(answered(2, "FINISHED", Some(receipt("4.20"))));
        }
        sold
    });
    for _ in 0..3 {
        let before = till.api.counter(&till.tss);
        wait_for("a few sales", || {
            (till.api.counter(&till.tss) > before + 4).then_some(())
        });
        server.restart();
    }
    stop.send(()).unwrap();
    let sold = selling.join().unwrap();
    let numbers: Vec<_> = sold
        .iter()
        .map(|answer| answer["number"].as_u64().unwrap())
        .collect();
    let expected: Vec<_> = (1..).take(sold.len()).collect();
    assert_eq!(numbers, expected);
    let signed = till.api.counter(&till.tss) - first;
    assert_eq!(signed, 2 * u64::try_from(sold.len()).unwrap());
}

#[test]
fn a_server_that_is_stopped_as_soon_as_it_is_ready_ends_well() {
    let mut installation = Installation::new();
    for round in 0..5 {
        installation.start();
        assert!(installation.stop(), "round {round}");
    }
}
