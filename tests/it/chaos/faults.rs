//! What goes wrong, one thing per round, while tills sell.

use super::tills::Board;
use crate::http::client::wait_for;
use crate::http::hostile::Dice;
use crate::support::cluster::Stop;
use crate::support::process::faketime;
use crate::support::proxy::Cut;
use crate::support::remote::RemoteToken;
use crate::support::site::{Database, Site};
use crate::support::token::TestClock;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use siegel::terms::Clock as _;
use std::fs;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP, on PostgreSQL while the process holds row locks, and later SIGCONT.
    Freeze,
    /// The folder of the SoftHSM tokens is elsewhere for a while.
    TokenVanishes,
    /// The token is behind a link, and the link ends.
    LinkDies,
    /// No file can grow beyond some length.
    DiskFull,
    /// The clock of a node is set.
    ClockSteps,
    /// PostgreSQL ends, politely or not, and starts again.
    DatabaseStops,
    /// Connections end at a COMMIT, before or after it.
    CommitCut,
}

/// Longest time a node may wait for one that is frozen, in milliseconds.
pub const FROZEN_MS_MAX: u64 = 10_000;

impl Fault {
    /// All that can be had on this machine.
    pub fn all(on_postgres: bool) -> Vec<Self> {
        let mut all = vec![Self::Kill, Self::Freeze, Self::TokenVanishes];
        if RemoteToken::module().is_some() {
            all.push(Self::LinkDies);
        }
        if faketime().is_some() {
            all.push(Self::ClockSteps);
        }
        match on_postgres {
            true => all.extend([Self::DatabaseStops, Self::CommitCut]),
            false => all.push(Self::DiskFull),
        }
        all
    }

    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "server killed",
            Self::Freeze => "server frozen and woken",
            Self::TokenVanishes => "token folder vanishes",
            Self::LinkDies => "link to the token dies",
            Self::DiskFull => "disk full",
            Self::ClockSteps => "clock steps",
            Self::DatabaseStops => "PostgreSQL stopped",
            Self::CommitCut => "connection cut at COMMIT",
        }
    }

    /// Causes it under load and lets it pass. Answers with how long it took, in milliseconds, until every TSS
    /// signed again: from the moment when the cause is gone and what was ended is started again, or when another node
    /// can take over.
    pub fn happen(self, site: &Site, board: &Board, dice: &mut Dice) -> u64 {
        let node = dice.below(site.nodes());
        match self {
            Self::Kill => kill(site, board, node),
            Self::Freeze => freeze(site, board, node),
            Self::TokenVanishes => take_the_token_away(site, board, dice),
            Self::LinkDies => cut_the_link(site, board, dice),
            Self::DiskFull => fill_the_disk(site, board, node, dice),
            Self::ClockSteps => step_the_clock(site, board, node, dice),
            Self::DatabaseStops => stop_the_database(site, board, dice),
            Self::CommitCut => cut_commits(site, board, dice),
        }
    }
}

fn take_the_token_away(site: &Site, board: &Board, dice: &mut Dice) -> u64 {
    let (tokens, away) = (site.path("tokens"), site.path("tokens-away"));
    fs::rename(&tokens, &away).unwrap();
    board.wait_for_misses(4 + dice.below(40));
    fs::rename(&away, &tokens).unwrap();
    board.wait_for_every_shop()
}

fn fill_the_disk(site: &Site, board: &Board, node: usize, dice: &mut Dice) -> u64 {
    let log = fs::metadata(site.path("siegel.db-wal"));
    let length = usize::try_from(log.map_or(0, |log| log.len())).unwrap();
    let limit = u64::try_from(dice.below(length + 1)).unwrap();
    site.with_node(node, |process| process.limit_files(Some(limit)));
    // What does not fit behind the log's end may at first fit before it.
    board.wait_for_misses(1 + dice.below(20));
    site.with_node(node, |process| process.limit_files(None));
    board.wait_for_every_shop()
}

fn stop_the_database(site: &Site, board: &Board, dice: &mut Dice) -> u64 {
    let how = [Stop::Fast, Stop::Immediate][dice.below(2)];
    if let Database::Own { cluster, .. } = &mut *site.database() {
        cluster.stop(how);
    }
    board.wait_for_misses(1 + dice.below(40));
    let clock = TestClock::start();
    if let Database::Own { cluster, proxy } = &mut *site.database() {
        cluster.start();
        proxy.point_to(cluster.address());
    }
    board.wait_for_every_shop();
    clock.monotonic_ms()
}

fn cut_commits(site: &Site, board: &Board, dice: &mut Dice) -> u64 {
    let ways = [
        Cut::BeforeTheCommit,
        Cut::AfterTheCommit,
        Cut::BeforeTheAnswer,
    ];
    let (how, commits) = (ways[dice.below(3)], 1 + dice.below(6));
    let cut_so_far = || match &*site.database() {
        Database::Own { proxy, .. } => proxy.cut_so_far(),
        Database::Sqlite | Database::Shared(_) => panic!("there is no proxy"),
    };
    let before = cut_so_far();
    if let Database::Own { proxy, .. } = &*site.database() {
        proxy.cut(how, commits);
    }
    wait_for("the cut", || {
        (cut_so_far() >= before + commits).then_some(())
    });
    board.wait_for_every_shop()
}

fn kill(site: &Site, board: &Board, node: usize) -> u64 {
    site.kill_node(node);
    if site.nodes() > 1 {
        // The others go on by themselves.
        let took_ms = board.wait_for_every_shop();
        site.start_node(node);
        return took_ms;
    }
    let clock = TestClock::start();
    site.start_node(node);
    board.wait_for_every_shop();
    clock.monotonic_ms()
}

/// On PostgreSQL the other node has to go on although the frozen one holds locks.
pub fn freeze(site: &Site, board: &Board, node: usize) -> u64 {
    if site.nodes() == 1 {
        site.with_node(node, |process| process.freeze());
        board.wait_for_misses(1);
        site.with_node(node, |process| process.thaw());
        return board.wait_for_every_shop();
    }
    freeze_with_locks(site, node);
    let took_ms = board.wait_for_every_shop();
    site.with_node(node, |process| process.thaw());
    board.wait_for_every_shop();
    assert!(
        took_ms <= FROZEN_MS_MAX,
        "the others needed {took_ms} ms to go on beside a frozen node"
    );
    took_ms
}

/// Freezes a node again and again until it is frozen in the middle of a transaction that has locked TSSs.
pub fn freeze_with_locks(site: &Site, node: usize) {
    wait_for("a node that holds locks", || {
        site.with_node(node, |process| process.freeze());
        if holds_locks(site, node) {
            return Some(());
        }
        site.with_node(node, |process| process.thaw());
        None
    });
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Whether a connection of this node waits for it in a transaction, and has locked rows of TSSs in it.
fn holds_locks(site: &Site, node: usize) -> bool {
    let url = site.database_url();
    let mut connection = PgConnection::establish(&url).unwrap();
    let found: Count = diesel::sql_query(format!(
        "SELECT count(*) AS count FROM pg_stat_activity AS activity \
         JOIN pg_locks AS held ON held.pid = activity.pid \
         WHERE application_name = 'node-{node}' AND state = 'idle in transaction' \
         AND datname = current_database() \
         AND held.relation = 'tss'::regclass AND held.mode = 'RowShareLock' AND held.granted"
    ))
    .get_result(&mut connection)
    .unwrap();
    found.count > 0
}

fn cut_the_link(site: &Site, board: &Board, dice: &mut Dice) -> u64 {
    site.open_link();
    each_restarted(site, true);
    board.wait_for_every_shop();
    site.cut_link();
    board.wait_for_misses(4 + dice.below(40));
    site.open_link();
    // The client of p11-kit has calls that never return when several threads are in it as its link dies. No process
    // can get such a thread back.
    let took_ms = board.wait_for_every_shop_and(|| match site.restart_hanging_nodes() {
        0 => {}
        hanging => println!("{hanging} nodes had a call in their module that did not return"),
    });
    each_restarted(site, false);
    site.cut_link();
    took_ms
}

fn each_restarted(site: &Site, is_remote: bool) {
    for node in 0..site.nodes() {
        site.set_remote(node, is_remote);
        assert!(
            site.stop_node(node).success(),
            "node {node} did not end well"
        );
        site.start_node(node);
    }
}

/// Steps back are small: until the time has come again, a TSS signs nothing. A step forward is taken over by
/// all nodes in the end, as good clocks do.
fn step_the_clock(site: &Site, board: &Board, node: usize, dice: &mut Dice) -> u64 {
    let now_ms = site.clock_ms();
    let by_ms = [-3000, -300, 300, 3000, 20_000][dice.below(5)];
    site.shift_clock(node, now_ms + by_ms);
    board.wait_for_attempts(20 + dice.below(40));
    site.set_clocks(now_ms.max(now_ms + by_ms));
    board.wait_for_every_shop()
}
