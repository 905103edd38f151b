//! The three exits of a ledger that knows less than its witnesses.

use super::inspect::of_file;
use super::sources::{self, Found};
use crate::app::{Node, SystemClock};
use crate::cli::operator::{self, on_node};
use crate::config::Config;
use crate::ledger::{Hold, HoldScope, Standing, Store};
use crate::sma::{Command, TssState};
use crate::terms::{COUNTER_MAX, Clock as _, SignatureCounter, TransactionNumber, TssId};
use crate::witness::{self, Placer, Testimony};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Stops what these node files know more of than the ledger, like what the node's own witnesses do.
fn stop_by(node: &Node, files: &[PathBuf]) -> anyhow::Result<()> {
    let store = node.door().store;
    for file in files {
        let testimony = of_file(file, store.ledger_id())?;
        witness::stop(&store, &[testimony], &SystemClock::new())?;
    }
    Ok(())
}

/// What all witnesses say now that can be asked.
fn testimonies(node: &Node, own_file: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<Testimony>> {
    let store = node.door().store;
    let mut testimonies = node.witnesses().testimonies()?;
    let own_file = Some(own_file).filter(|file| file.is_file());
    for file in own_file
        .into_iter()
        .chain(files.iter().map(PathBuf::as_path))
    {
        testimonies.push(of_file(file, store.ledger_id())?);
    }
    Ok(testimonies)
}

fn held(node: &Node) -> anyhow::Result<BTreeMap<TssId, (Standing, Hold)>> {
    let standings = node.door().store.survey()?.all_standings()?;
    let held = |(tss, standing): (TssId, Standing)| {
        let hold = standing.hold.clone()?;
        Some((tss, (standing, hold)))
    };
    Ok(standings.into_iter().filter_map(held).collect())
}

/// Goes on with the others where one fails, and can be called again.
pub(super) fn jump(
    config: Config,
    only: Option<TssId>,
    margin: u32,
    files: &[PathBuf],
) -> anyhow::Result<()> {
    on_node(config, |node| {
        stop_by(node, files)?;
        let mut held = held(node)?;
        if let Some(tss) = only {
            held.retain(|id, _| *id == tss);
        }
        if held.is_empty() {
            bail!("there is nothing to decide: no such TSS is stopped");
        }
        let count = held.len();
        let mut failed = 0;
        for (tss, (standing, hold)) in held {
            let jumped = match standing.state {
                TssState::Created | TssState::Uninitialized | TssState::Initialized => {
                    jump_one(node, tss, &standing, &hold, margin)
                }
                TssState::Disabled | TssState::Defective => {
                    println!("{tss} signs nothing any more; retire it, or restore what is missing");
                    Ok(())
                }
            };
            if let Err(error) = jumped {
                failed += 1;
                eprintln!("siegel: {error:#}");
            }
        }
        if failed > 0 {
            bail!("{failed} of {count} TSSs have not jumped; say it again when that is mended");
        }
        Ok(())
    })
}

fn jump_one(
    node: &Node,
    tss: TssId,
    standing: &Standing,
    hold: &Hold,
    margin: u32,
) -> anyhow::Result<()> {
    // Only a jump settles what was found. One that was cut off after that need not raise it again.
    let was_raised = standing.settled >= hold.signature_counter;
    let above = match was_raised {
        true => (hold.signature_counter, hold.transaction),
        false => (
            hold.signature_counter.max(standing.signature_counter),
            hold.transaction.max(standing.transaction),
        ),
    };
    let margin = u64::from(margin);
    let counter = SignatureCounter::new(above.0.value() + margin);
    let transaction = TransactionNumber::new(above.1.value() + margin);
    let is_above = standing.settled >= counter && standing.transaction >= transaction;
    let counter = counter.max(standing.signature_counter);
    let transaction = transaction.max(standing.transaction);
    if !is_above {
        if counter.value() >= COUNTER_MAX || transaction.value() >= COUNTER_MAX {
            bail!("{tss} has no numbers left above what may have been issued; retire it");
        }
        let to = Hold {
            signature_counter: counter,
            transaction,
            ..hold.clone()
        };
        raise(node, tss, standing, &to)?;
        println!(
            "{tss}: the gap after signature {} stays",
            standing.signature_counter
        );
    }
    ask(node, tss, Command::LeaveSecureState { since: hold.since })?;
    node.door().store.survey()?.release(tss)?;
    println!("{tss} goes on above signature {counter} and transaction {transaction}");
    Ok(())
}

fn raise(node: &Node, tss: TssId, from: &Standing, to: &Hold) -> anyhow::Result<()> {
    if !node.door().store.survey()?.raise(tss, from, to)? {
        bail!("{tss} was changed by somebody else; look again with `siegel ledger inspect`");
    }
    Ok(())
}

pub(super) fn retire(config: Config, tss: TssId, files: &[PathBuf]) -> anyhow::Result<()> {
    let own_file = config.witness.file.clone();
    on_node(config, |node| {
        stop_by(node, files)?;
        let store = node.door().store;
        let Some((standing, hold)) = held(node)?.remove(&tss) else {
            if store.survey()?.write_off(tss, SystemClock::new().now())? {
                // What it has spent may be all that was missing of its token.
                let testimonies = testimonies(node, &own_file, files)?;
                witness::release_restored(&store, &testimonies, &BTreeSet::new())?;
                println!("{tss} is written off; its key signs for no other TSS");
                return Ok(());
            }
            bail!("{tss} is not stopped; `siegel admin tss defective` ends it all the same");
        };
        // So that what its key has signed is accounted for, and its token is not found wanting again.
        let to = Hold {
            signature_counter: hold.signature_counter.max(standing.signature_counter),
            transaction: hold.transaction.max(standing.transaction),
            ..hold
        };
        raise(node, tss, &standing, &to)?;
        if standing.state != TssState::Defective {
            ask(node, tss, Command::DeclareDefective)?;
        }
        store.survey()?.release(tss)?;
        println!("{tss} is defective");
        Ok(())
    })
}

pub(super) fn restore(
    config: Config,
    from: &[PathBuf],
    only: Option<TssId>,
) -> anyhow::Result<bool> {
    let own_file = config.witness.file.clone();
    let node_files = sources::node_files(from)?;
    on_node(config, |node| {
        stop_by(node, &node_files)?;
        let store = node.door().store;
        let mut held = held(node)?;
        if let Some(tss) = only {
            held.retain(|id, _| *id == tss);
        }
        if held.is_empty() {
            bail!("there is nothing to restore: no such TSS is stopped");
        }
        put_back(&store, from, &held)?;
        let testimonies = testimonies(node, &own_file, &node_files)?;
        let asked = held.keys().copied().collect();
        for tss in witness::release_restored(&store, &testimonies, &asked)? {
            println!("{tss} signs again");
            held.remove(&tss);
        }
        for tss in held.keys() {
            println!("{tss} is still stopped; see `siegel ledger inspect`");
        }
        Ok(held.is_empty())
    })
}

/// Puts back what the ledger lacks. A TSS of which it holds something else than the sources gets nothing.
fn put_back(
    store: &Store,
    from: &[PathBuf],
    held: &BTreeMap<TssId, (Standing, Hold)>,
) -> anyhow::Result<()> {
    let standings = held.iter().map(|(tss, (standing, _))| (tss, standing));
    let placer = Placer::new(store, standings)?;
    let Found { messages, torn } = sources::read_all(from, &placer)?;
    let mut lane = store.lane()?;
    for (tss, messages) in messages {
        if let (Some(reason), Some((standing, hold))) = (torn.get(&tss), held.get(&tss)) {
            // What the source holds was issued, too.
            let mut hold = Hold {
                reason: reason.clone(),
                signature_counter: hold.signature_counter.max(standing.signature_counter),
                scope: HoldScope::Unmendable,
                ..hold.clone()
            };
            for message in &messages {
                if let Some((counter, transaction)) = placer.numbers(&message.der) {
                    hold.signature_counter = hold.signature_counter.max(counter);
                    hold.transaction = hold.transaction.max(transaction);
                }
            }
            store.survey()?.hold(tss, &hold)?;
            println!("{tss}: {reason}; restoring does not mend that: jump, or retire it");
            continue;
        }
        let restored = witness::restore(lane.as_mut(), tss, messages);
        let restored = restored.with_context(|| format!("the TSS {tss} is not restored"))?;
        println!("{tss}: {restored} messages put back");
    }
    Ok(())
}

fn ask(node: &Node, tss: TssId, command: Command) -> anyhow::Result<()> {
    let row = node.door().store.tss(tss)?;
    let row = row.context("there is no such TSS")?;
    operator::command(node, &row, command).with_context(|| format!("the TSS {tss} did not do it"))
}
