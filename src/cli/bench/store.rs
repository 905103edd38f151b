//! The ledger alone: commits of real histories into a throw-away ledger.

use super::BenchArgs;
use super::ca::test_ca;
use super::figures::{Latencies, per_second};
use super::history::{Commands, History, Written};
use super::shop::Shop;
use super::soft_token::SoftToken;
use crate::app::{MachineWatch, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::csp::Csp;
use crate::http::management_v0::random_uuid;
use crate::ledger::{OrganizationRow, Store, ThrowAway};
use crate::sma::Caller;
use crate::telemetry;
use crate::terms::{Clock, Environment, OrganizationId, SessionId};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// TSSs of a large commit.
const SHOPS: usize = 16;

/// Measures with one message and with a whole batch per commit, half of the time each.
pub(super) fn run(file: &Path, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(file)?;
    telemetry::start_for_command()?;
    let place = ThrowAway::beside(&config.store, &SystemEntropy)?;
    let store = Store::open(place.config(), &SystemEntropy)?;
    let token: Arc<dyn Csp> = Arc::new(SoftToken::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let caller = Caller {
        organization: OrganizationId::new(random_uuid(&SystemEntropy)),
        environment: Environment::Test,
        session: SessionId::new(random_uuid(&SystemEntropy)),
    };
    store.add_organization(&OrganizationRow {
        id: caller.organization,
        name: "Siegel bench".to_owned(),
        time_creation: clock.now(),
    })?;
    let ca = test_ca(&store, &token, &clock)?;
    for _ in 0..SHOPS {
        store.add_device(&ca.prepare(config.curve)?)?;
    }
    let mut history = History {
        lane: store.lane()?,
        token: token.as_ref(),
        caller,
        rules: config.rules.clone(),
        threads: 1,
    };
    let shops: Vec<_> = (0..SHOPS)
        .map(|_| Shop::open(&mut history, clock.now()))
        .collect::<anyhow::Result<_>>()?;
    let half = args.duration / 2;
    let batch = config.lanes.batch_len_max;
    let (mut round, mut open) = (0, None);
    let single = measure(&mut history, clock.as_ref(), half, || {
        // A start, and in the next commit its end.
        let shop = shops
            .get(round / 2 % shops.len())
            .context("there is no TSS")?;
        round += 1;
        Ok(Commands::from([(shop.tss, vec![shop.step(&mut open)?])]))
    })?;
    let whole = measure(&mut history, clock.as_ref(), half, || {
        let each = (batch / 2 / shops.len()).max(1);
        let sell = |shop: &Shop| Ok((shop.tss, shop.sell(each)?));
        shops.iter().map(sell).collect()
    })?;
    drop(history);
    drop(store);
    let tell = |measured: &Measured| -> Value {
        json!({
            "messages_per_commit": measured.messages.checked_div(measured.commits.count()),
            "commits_per_second": per_second(measured.commits.count(), measured.ledger),
            "messages_per_second": per_second(measured.messages, measured.ledger),
            "commit_latency_ms": measured.commits.to_json(),
        })
    };
    if args.json {
        let document = json!({"one_by_one": tell(&single), "in_batches": tell(&whole)});
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        for (name, measured) in [("one by one", &single), ("in batches", &whole)] {
            let rate = per_second(measured.messages, measured.ledger);
            println!(
                "{name}: {rate:.1} messages/s; a commit takes {}",
                measured.commits.text()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Measured {
    messages: u64,
    /// Of the ledger, from lock to commit, without deciding and signing in between.
    commits: Latencies,
    ledger: Duration,
}

fn measure(
    history: &mut History<'_>,
    clock: &dyn Clock,
    time: Duration,
    mut commands: impl FnMut() -> anyhow::Result<Commands>,
) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        messages: 0,
        commits: Latencies::new()?,
        ledger: Duration::ZERO,
    };
    let watch = MachineWatch::start();
    while watch.elapsed() < time {
        let Written { messages, ledger } = history.write(&commands()?, clock.now())?;
        measured.messages = measured.messages.saturating_add(messages);
        measured.commits.record(ledger);
        measured.ledger = measured.ledger.saturating_add(ledger);
    }
    Ok(measured)
}
