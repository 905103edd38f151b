//! A server that cannot keep what it signs says so: to tills, to whoever asks whether it is ready, and once in
//! its log.

use super::tills::{Board, Till, Told};
use crate::http::client::{self, new_id, wait_for};
use crate::support::site::{Database, Site};
use serde_json::{Value, json};
use std::fs;

fn readiness(site: &Site) -> (u16, Value) {
    let answer = site.api(0).call_at_root("GET", "/health/ready", None, &[]);
    (answer.status, answer.json()["ledger"].clone())
}

fn becomes(site: &Site, status: u16, ledger: &str) {
    wait_for(ledger, || {
        (readiness(site) == (status, json!(ledger))).then_some(())
    });
}

fn errors(site: &Site) -> Vec<String> {
    let log = site.log(0);
    let lines = log.lines().filter(|line| line.contains(" ERROR "));
    lines.map(str::to_owned).collect()
}

/// A till that starts the same transaction again and again.
struct Starts<'s> {
    till: Till<'s>,
    path: String,
    body: String,
}

impl<'s> Starts<'s> {
    fn new(site: &'s Site, board: &'s Board) -> Self {
        let till = client::Till::new_by(&site.api(0));
        Self {
            path: till.path(&format!("/tx/{}?tx_revision=1", new_id())),
            body: json!({"state": "ACTIVE", "client_id": till.client}).to_string(),
            till: Till::new(site, board, 0),
        }
    }

    fn ask(&self) -> Told {
        self.till.ask(0, &self.path, &self.body).unwrap()
    }

    #[track_caller]
    fn is_told_to_come_back(&self) {
        let told = self.ask();
        assert_eq!(
            (told.status, told.has_retry_after),
            (503, true),
            "{}",
            told.text
        );
    }
}

#[test]
fn a_server_whose_disk_is_full_is_not_ready_until_it_has_kept_what_it_signed() {
    let site = Site::start(Database::Sqlite, 1, "[pki]\npool_target = 1");
    let board = Board::new(1);
    let starts = Starts::new(&site, &board);
    becomes(&site, 200, "answers");
    assert_eq!(errors(&site), [""; 0]);
    site.with_node(0, |process| process.limit_files(Some(0)));
    for _ in 0..20 {
        starts.is_told_to_come_back();
    }
    assert_eq!(readiness(&site).0, 503);
    let (of_witnesses, others): (Vec<_>, Vec<_>) = errors(&site)
        .into_iter()
        .partition(|line| line.contains("the node file could not be written"));
    assert_eq!(others.len(), 1, "{}", site.log(0));
    assert!(of_witnesses.len() < 2, "{}", site.log(0));
    site.with_node(0, |process| process.limit_files(None));
    becomes(&site, 200, "answers");
    let told = starts.ask();
    assert_eq!(told.status, 200, "{}", told.text);
    let number: Value = serde_json::from_str(&told.text).unwrap();
    assert_eq!(number["number"], 1, "it was signed once");
}

#[test]
fn a_server_whose_database_was_replaced_signs_nothing_until_it_is_started_anew() {
    let site = Site::start(Database::Sqlite, 1, "[pki]\npool_target = 1");
    let board = Board::new(1);
    let starts = Starts::new(&site, &board);
    let (file, away) = (site.path("siegel.db"), site.path("away.db"));
    fs::rename(&file, &away).unwrap();
    starts.is_told_to_come_back();
    becomes(&site, 503, "does not answer");
    fs::copy(&away, &file).unwrap();
    starts.is_told_to_come_back();
    fs::rename(&away, &file).unwrap();
    // Parts of the server may look at the copy by now.
    starts.is_told_to_come_back();
    becomes(&site, 503, "does not answer");
    let errors = errors(&site);
    assert!(
        errors
            .iter()
            .any(|line| line.contains("was removed or replaced"))
    );
    assert!(errors.len() <= 3, "{errors:?}");
    site.kill_node(0);
    site.start_node(0);
    becomes(&site, 200, "answers");
    assert_eq!(starts.ask().status, 200);
}
