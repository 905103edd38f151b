//! What the ledger is asked after each round, through the same doors as everybody's: is every acknowledged
//! step there, with the same bytes? Are the counters without gap or repetition? Does the export verify?

use super::rounds::{open_shops, site_with, under_load};
use super::tills::{Acknowledged, Board, Shop, Till, masked};
use crate::http::client::{Api, new_id, wait_for};
use crate::http::hostile::Dice;
use crate::support::installation::siegel;
use crate::support::site::{Database, Site};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use siegel::asn1::{self, ReadKind};
use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

/// What must be zero, and why it is not.
#[derive(Default)]
pub struct Verdict {
    /// Acknowledged, and not kept as acknowledged.
    pub lost: usize,
    /// Signed, or given a number, twice.
    pub doubled: usize,
    /// Numbers that nobody has.
    pub gaps: usize,
    /// A sentence for each of them, and for everything else that is not as it must be.
    pub complaints: Vec<String>,
}

/// A transaction message of an export.
#[derive(PartialEq, Eq, Debug)]
struct Kept {
    number: u64,
    signature: String,
}

/// What an export holds of one TSS.
#[derive(Default)]
struct History {
    steps: BTreeMap<u64, Kept>,
    /// Every signature counter, as often as it comes.
    counters: Vec<u64>,
    /// Transaction numbers, one for each start.
    starts: Vec<u64>,
}

impl Verdict {
    /// Asks about some shops; `answers` are all that their tills were ever told.
    pub fn add(&mut self, site: &Site, shops: &[Shop], first: usize, answers: &[Acknowledged]) {
        for (index, shop) in shops.iter().enumerate() {
            let place = first + index;
            let own: Vec<_> = answers.iter().filter(|told| told.shop == place).collect();
            self.ask_about(site, shop, &own);
        }
    }

    fn complain(&mut self, shop: &Shop, text: &str) {
        self.complaints.push(format!("TSS {}: {text}", shop.tss));
    }

    fn ask_about(&mut self, site: &Site, shop: &Shop, answers: &[&Acknowledged]) {
        let api = site.api(0);
        let archive = export(&api, &shop.tss);
        self.verify(site, shop, &archive);
        let history = History::read(&archive);
        let last = api.counter(&shop.tss);
        self.check_counters(shop, &history, last);
        for told in answers {
            let expected = Kept {
                number: told.number,
                signature: told.signature.clone(),
            };
            let kept = history.steps.get(&told.counter);
            if kept != Some(&expected) {
                self.lost += 1;
                let text = format!("{} was told {expected:?}, kept is {kept:?}", told.path);
                self.complain(shop, &text);
            }
        }
        // Every step was asked for until it was answered, so each has one message.
        let surplus = history.steps.len().saturating_sub(answers.len());
        if surplus > 0 {
            self.doubled += surplus;
            self.complain(shop, &format!("{surplus} steps were signed twice"));
        }
    }

    fn check_counters(&mut self, shop: &Shop, history: &History, last: u64) {
        // Number 1 is the certificate request.
        for (what, numbers, first) in [
            ("signature counter", &history.counters, 2),
            ("transaction number", &history.starts, 1),
        ] {
            let mut expected = first;
            for number in numbers {
                if *number < expected {
                    self.doubled += 1;
                    self.complain(shop, &format!("{what} {number} comes twice"));
                } else {
                    let missing = number - expected;
                    if missing > 0 {
                        self.gaps += usize::try_from(missing).unwrap();
                        self.complain(shop, &format!("{what} {expected} is missing"));
                    }
                    expected = number + 1;
                }
            }
        }
        if history.counters.last() != Some(&last) {
            self.lost += 1;
            self.complain(shop, &format!("the TSS is at {last}, the export is not"));
        }
    }

    /// The checker, as anybody has it.
    fn verify(&mut self, site: &Site, shop: &Shop, archive: &[u8]) {
        let file = site.path("export.tar");
        std::fs::write(&file, archive).unwrap();
        let output = siegel().arg("verify").arg(&file).output().unwrap();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            self.complain(shop, &format!("the export does not verify:\n{text}"));
        }
    }

    /// Whoever asks again is told the same, at every node.
    pub fn ask_again<'a>(
        &mut self,
        site: &Site,
        board: &Board,
        answers: impl Iterator<Item = &'a Acknowledged>,
    ) {
        let till = Till::new(site, board, 0);
        for first in answers {
            for node in 0..site.nodes() {
                let again = wait_for("a repeat", || {
                    let told = till.ask(node, &first.path, &first.body).ok()?;
                    (told.status != 503).then_some(told)
                });
                let same = again.status == 200
                    && masked(serde_json::from_str(&again.text).unwrap()) == first.text;
                if !same {
                    self.doubled += 1;
                    let (path, before, now) = (&first.path, &first.text, &again.text);
                    let text = format!("{path} was told\n{before}\nand at node {node}\n{now}");
                    self.complaints.push(text);
                }
            }
        }
    }
}

/// The whole archive of a TSS.
fn export(api: &Api, tss: &str) -> Vec<u8> {
    let path = format!("/tss/{tss}/export/{}", new_id());
    api.put(&path, &json!({})).ok();
    wait_for("the export", || {
        (api.get(&path).ok()["state"] == "COMPLETED").then_some(())
    });
    api.get(&format!("{path}/file")).bytes
}

impl History {
    fn read(archive: &[u8]) -> Self {
        let mut history = Self::default();
        let mut archive = tar::Archive::new(Cursor::new(archive));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if !entry.path().unwrap().to_string_lossy().ends_with(".log") {
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let message = asn1::read(&bytes).unwrap();
            history.counters.push(message.signature_counter);
            if let ReadKind::Transaction {
                transaction_number,
                operation_type,
                ..
            } = message.kind
            {
                if operation_type == "StartTransaction" {
                    history.starts.push(transaction_number);
                }
                let kept = Kept {
                    number: transaction_number,
                    signature: STANDARD.encode(message.signature),
                };
                history.steps.insert(message.signature_counter, kept);
            }
        }
        history.counters.sort_unstable();
        history.starts.sort_unstable();
        history
    }
}

/// What these questions say about a site on which nothing has gone wrong, when tills remember it otherwise.
fn about(site: &Site, shops: &[Shop], answers: &[Acknowledged]) -> (usize, usize, usize) {
    let mut verdict = Verdict::default();
    verdict.add(site, shops, 0, answers);
    let failed = verdict.lost + verdict.doubled + verdict.gaps > 0;
    assert_eq!(failed, !verdict.complaints.is_empty());
    (verdict.lost, verdict.doubled, verdict.gaps)
}

#[test]
fn the_questions_notice_what_was_lost_and_what_was_signed_twice() {
    let site = site_with(Database::Sqlite, "");
    let shops = open_shops(&site, &mut Dice(1));
    let board = Board::new(shops.len());
    let (answers, ()) = under_load(&site, &board, &shops, |board| board.wait_for_steps(12));
    assert_eq!(about(&site, &shops, &answers), (0, 0, 0));
    // A till was told a signature that is not kept.
    let mut other = answers.clone();
    other[3].signature = answers[4].signature.clone();
    assert_eq!(about(&site, &shops, &other), (1, 0, 0));
    // A till was told a number that another step has.
    other = answers.clone();
    other[3].counter = answers[4].counter;
    assert_eq!(about(&site, &shops, &other), (1, 0, 0));
    // A step was signed that nobody was told of.
    assert_eq!(about(&site, &shops, &answers[1..]), (0, 1, 0));
    // A repeat is answered otherwise.
    let mut verdict = Verdict::default();
    other = answers.clone();
    other[0].text = answers[1].text.clone();
    verdict.ask_again(&site, &board, other.iter().take(2));
    assert_eq!((verdict.doubled, verdict.complaints.len()), (1, 1));
}

#[test]
fn the_questions_notice_gaps_and_repetitions() {
    let shop = Shop {
        tss: "of-a-test".to_owned(),
        clients: Vec::new(),
    };
    let about = |counters: &[u64], starts: &[u64], last: u64| {
        let history = History {
            counters: counters.to_vec(),
            starts: starts.to_vec(),
            ..History::default()
        };
        let mut verdict = Verdict::default();
        verdict.check_counters(&shop, &history, last);
        (verdict.lost, verdict.doubled, verdict.gaps)
    };
    assert_eq!(about(&[2, 3, 4, 5], &[1, 2], 5), (0, 0, 0));
    assert_eq!(about(&[2, 3, 5], &[1, 2], 5), (0, 0, 1));
    assert_eq!(about(&[4, 5], &[1, 2], 5), (0, 0, 2));
    assert_eq!(about(&[2, 3, 3, 4], &[1, 2], 4), (0, 1, 0));
    assert_eq!(about(&[2, 3, 4], &[2, 2], 4), (0, 1, 1));
    assert_eq!(about(&[2, 3, 4], &[1], 5), (1, 0, 0));
}
