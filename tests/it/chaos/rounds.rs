//! Round after round: new TSSs, tills that sell, a fault, questions. In the end the same questions once more
//! about everything, and a table.

use super::faults::Fault;
use super::questions::Verdict;
use super::tills::{Acknowledged, Board, Shop, Till};
use crate::http::client::{self, new_id};
use crate::http::hostile::Dice;
use crate::support::site::{Database, Site};
use crate::support::token::TestClock;
use siegel::terms::Clock as _;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// TSSs per round, and tills of each.
const SHOPS: usize = 3;
const TILLS: usize = 2;

/// Steps before and after the fault of a round.
const STEPS_AROUND: usize = 12;

/// Repeats of a round at most; each is asked for at every node.
const REPEATS_MAX: usize = 60;

/// How long, and with which chances.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub seed: u64,
}

/// Everything that is told in the end.
#[derive(Default)]
struct Tally {
    faults: BTreeMap<Fault, usize>,
    again_ms: BTreeMap<Fault, Vec<u64>>,
    acknowledged: usize,
    verdict: Verdict,
}

/// Starts a site with two nodes where there may be two; `sections` is added to their configuration.
pub fn site_with(database: Database, sections: &str) -> Site {
    let nodes = match database {
        Database::Sqlite => 1,
        Database::Shared(_) | Database::Own { .. } => 2,
    };
    let pool = "[pki]\npool_target = 12\n";
    Site::start(database, nodes, &format!("{pool}{sections}"))
}

/// Plays a whole run, prints its table, and fails if anything is lost, doubled or missing.
#[track_caller]
pub fn play(database: Database, plan: Plan) {
    println!("seed {}", plan.seed);
    let site = site_with(database, "");
    let mut dice = Dice(plan.seed);
    let mut tally = Tally::default();
    let clock = TestClock::start();
    let played = catch_unwind(AssertUnwindSafe(|| {
        play_rounds(&site, plan, &mut dice, &mut tally);
    }));
    tally.print(plan, clock.monotonic_ms());
    let complaints = tally.verdict.complaints;
    if played.is_err() || !complaints.is_empty() {
        for node in 0..site.nodes() {
            println!("the end of the log of node {node}:\n{}", site.log(node));
        }
        println!("{}", complaints.join("\n"));
        panic!("seed {}: see above", plan.seed);
    }
}

fn play_rounds(site: &Site, plan: Plan, dice: &mut Dice, tally: &mut Tally) {
    let mut deck = Vec::new();
    let (mut shops, mut answers) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        if deck.is_empty() {
            deck = shuffled(Fault::all(site.nodes() > 1), dice);
        }
        let fault = deck.pop().expect("there are faults");
        let clock = TestClock::start();
        let first = shops.len();
        let new = open_shops(site, dice);
        let board = Board::new(SHOPS);
        let opened_ms = clock.monotonic_ms();
        let (told, again_ms) = under_load(site, &board, &new, |board| {
            board.wait_for_steps(STEPS_AROUND);
            let again_ms = fault.happen(site, board, dice);
            board.wait_for_steps(STEPS_AROUND);
            again_ms
        });
        let played_ms = clock.monotonic_ms();
        let told: Vec<_> = told
            .into_iter()
            .map(|told| Acknowledged {
                shop: told.shop + first,
                ..told
            })
            .collect();
        let doubtful = told.iter().filter(|told| told.was_in_doubt);
        tally
            .verdict
            .ask_again(site, &board, doubtful.take(REPEATS_MAX));
        tally.verdict.add(site, &new, first, &told);
        *tally.faults.entry(fault).or_default() += 1;
        tally.again_ms.entry(fault).or_default().push(again_ms);
        tally.acknowledged += told.len();
        println!(
            "round {round}: {}, {} steps acknowledged, signing again after {again_ms} ms; \
             {opened_ms} ms to begin, {played_ms} ms until the last till was answered, {} ms in all",
            fault.name(),
            told.len(),
            clock.monotonic_ms()
        );
        shops.extend(new);
        answers.extend(told);
    }
    // What came later must not have touched what was there.
    tally.verdict.add(site, &shops, 0, &answers);
}

fn shuffled(mut cards: Vec<Fault>, dice: &mut Dice) -> Vec<Fault> {
    for last in (1..cards.len()).rev() {
        cards.swap(last, dice.below(last + 1));
    }
    cards
}

/// New TSSs with clients; nothing is wrong at this moment.
pub fn open_shops(site: &Site, dice: &mut Dice) -> Vec<Shop> {
    let open = |_| {
        let till = client::Till::new_by(&site.api(dice.below(site.nodes())));
        let mut clients = vec![till.client.clone()];
        while clients.len() < TILLS {
            let id = new_id();
            till.register_as(&id, &format!("KASSE-{id}")).ok();
            clients.push(id);
        }
        Shop {
            tss: till.tss,
            clients,
        }
    };
    (0..SHOPS).map(open).collect()
}

/// Lets all tills play beside `disturb`; returns all that they were told.
pub fn under_load<T>(
    site: &Site,
    board: &Board,
    shops: &[Shop],
    disturb: impl FnOnce(&Board) -> T,
) -> (Vec<Acknowledged>, T) {
    std::thread::scope(|scope| {
        let tills = shops.iter().enumerate().flat_map(|(number, shop)| {
            let tills = shop.clients.iter().enumerate();
            tills.map(move |(till, client)| (number, shop, number + till, client))
        });
        let tills: Vec<_> = tills
            .map(|(number, shop, node, client)| {
                scope.spawn(move || Till::new(site, board, node).play(number, shop, client))
            })
            .collect();
        // Whatever happens, or the tills would go on for ever.
        let disturbed = catch_unwind(AssertUnwindSafe(|| disturb(board)));
        board.close();
        let told = tills.into_iter().map(|till| till.join());
        let told: Vec<_> = told.collect();
        let disturbed = disturbed.unwrap_or_else(|problem| std::panic::resume_unwind(problem));
        (
            told.into_iter().flat_map(|told| told.unwrap()).collect(),
            disturbed,
        )
    })
}

impl Tally {
    fn print(&self, plan: Plan, took_ms: u64) {
        let rounds: usize = self.faults.values().sum();
        println!("\n| fault | rounds | signing again, p50 | max |\n|---|---|---|---|");
        for (fault, count) in &self.faults {
            let (half, max) = summary(&self.again_ms[fault]);
            println!("| {} | {count} | {half} ms | {max} ms |", fault.name());
        }
        let all: Vec<u64> = self.again_ms.values().flatten().copied().collect();
        let (half, max) = summary(&all);
        println!("| all | {rounds} | {half} ms | {max} ms |\n");
        let Verdict {
            lost,
            doubled,
            gaps,
            ..
        } = &self.verdict;
        println!("seed {}, {} s", plan.seed, took_ms / 1000);
        println!("acknowledged {}", self.acknowledged);
        println!("lost {lost}\ndoubled {doubled}\ngaps {gaps}");
    }
}

/// The middle and the largest.
fn summary(values: &[u64]) -> (u64, u64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let half = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    (half, sorted.last().copied().unwrap_or_default())
}
