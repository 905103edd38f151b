//! The three exits of a ledger that knows less than its witnesses.

use super::inspect::of_file;
use crate::app::{Node, SystemClock};
use crate::asn1;
use crate::cli::operator::{self, on_node};
use crate::config::Config;
use crate::ledger::{Hold, Standing};
use crate::sma::{Command, TssState};
use crate::terms::{COUNTER_MAX, SerialNumber, SignatureCounter, TransactionNumber, TssId};
use crate::witness::{self, LostMessage};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest message that is taken from an archive, in bytes; a till sends 1 MB at most.
const MESSAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Stops what these node files know more of than the ledger, like what the node's own witnesses do.
fn stop_by(node: &Node, files: &[PathBuf]) -> anyhow::Result<()> {
    let store = node.door().store;
    for file in files {
        let testimony = of_file(file, store.ledger_id())?;
        witness::stop(&store, &[testimony], &SystemClock::new())?;
    }
    Ok(())
}

fn held(node: &Node) -> anyhow::Result<BTreeMap<TssId, (Standing, Hold)>> {
    let standings = node.door().store.survey()?.all_standings()?;
    let held = |(tss, standing): (TssId, Standing)| {
        let hold = standing.hold.clone()?;
        Some((tss, (standing, hold)))
    };
    Ok(standings.into_iter().filter_map(held).collect())
}

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
        for (tss, (standing, hold)) in held {
            match standing.state {
                TssState::Created | TssState::Uninitialized | TssState::Initialized => {
                    jump_one(node, tss, &standing, &hold, margin)?;
                }
                TssState::Disabled | TssState::Defective => {
                    println!("{tss} signs nothing any more; retire it, or restore what is missing");
                }
            }
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
    let counter = hold.signature_counter.max(standing.signature_counter);
    let transaction = hold.transaction.max(standing.transaction);
    let to = Hold {
        signature_counter: SignatureCounter::new(counter.value() + u64::from(margin)),
        transaction: TransactionNumber::new(transaction.value() + u64::from(margin)),
        ..hold.clone()
    };
    if to.signature_counter.value() >= COUNTER_MAX || to.transaction.value() >= COUNTER_MAX {
        bail!("{tss} has no numbers left above what may have been issued; retire it");
    }
    raise(node, tss, standing, &to)?;
    ask(node, tss, Command::LeaveSecureState { since: hold.since })?;
    node.door().store.survey()?.release(tss)?;
    println!(
        "{tss} goes on above signature {} and transaction {}; the gap after signature {} stays",
        to.signature_counter, to.transaction, standing.signature_counter
    );
    Ok(())
}

fn raise(node: &Node, tss: TssId, from: &Standing, to: &Hold) -> anyhow::Result<()> {
    if !node.door().store.survey()?.raise(tss, from, to)? {
        bail!("{tss} was changed by somebody else; look again with `siegel ledger inspect`");
    }
    Ok(())
}

pub(super) fn retire(config: Config, tss: TssId) -> anyhow::Result<()> {
    on_node(config, |node| {
        let Some((standing, hold)) = held(node)?.remove(&tss) else {
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
        node.door().store.survey()?.release(tss)?;
        println!("{tss} is defective");
        Ok(())
    })
}

pub(super) fn restore(
    config: Config,
    from: &[PathBuf],
    only: Option<TssId>,
) -> anyhow::Result<bool> {
    let witness_file = config.witness.file.clone();
    on_node(config, |node| {
        let store = node.door().store;
        let mut held = held(node)?;
        if let Some(tss) = only {
            held.retain(|id, _| *id == tss);
        }
        if held.is_empty() {
            bail!("there is nothing to restore: no such TSS is stopped");
        }
        let wanted = held
            .iter()
            .map(|(tss, (standing, _))| (standing.device, (*tss, standing.signature_counter)))
            .collect();
        let mut lane = store.lane()?;
        for (tss, messages) in read_all(from, &wanted)? {
            let restored = witness::restore(lane.as_mut(), tss, messages);
            let restored = restored.with_context(|| format!("the TSS {tss} is not restored"))?;
            println!("{tss}: {restored} messages put back");
        }
        drop(lane);
        let mut testimonies = node.witnesses().testimonies()?;
        if witness_file.is_file() {
            testimonies.push(of_file(&witness_file, store.ledger_id())?);
        }
        for tss in witness::release_restored(&store, &testimonies)? {
            println!("{tss} signs again");
            held.remove(&tss);
        }
        for tss in held.keys() {
            println!("{tss} is still stopped; see `siegel ledger inspect`");
        }
        Ok(held.is_empty())
    })
}

type Wanted = BTreeMap<SerialNumber, (TssId, SignatureCounter)>;

/// The messages that the ledger lacks, by TSS.
fn read_all(
    from: &[PathBuf],
    wanted: &Wanted,
) -> anyhow::Result<BTreeMap<TssId, Vec<LostMessage>>> {
    let mut found = BTreeMap::<TssId, Vec<LostMessage>>::new();
    for path in from {
        let named = || format!("{} cannot be read", path.display());
        let messages = match witness::read(path) {
            Ok(Some(content)) => content
                .messages
                .into_iter()
                .map(|more| LostMessage {
                    der: more.message.der.clone(),
                    more: Some(more),
                })
                .collect(),
            Ok(None) => bail!("there is no file {}", path.display()),
            Err(witness::FileError::NoNodeFile) => {
                read_archive(path, wanted).with_context(named)?
            }
            Err(error @ witness::FileError::Disk { .. }) => {
                return Err(anyhow::Error::from(error).context(named()));
            }
        };
        for message in messages {
            if let Some(tss) = lacks(wanted, &message.der) {
                found.entry(tss).or_default().push(message);
            }
        }
    }
    // The same message may stand in several sources; what a node file says of it is worth more.
    for messages in found.values_mut() {
        messages.sort_by_key(|message| (message.der.clone(), message.more.is_none()));
        messages.dedup_by(|next, kept| next.der == kept.der);
    }
    Ok(found)
}

/// Whose message this is, if the ledger lacks it.
fn lacks(wanted: &Wanted, der: &[u8]) -> Option<TssId> {
    let message = asn1::read(der).ok()?;
    let (tss, counter) = wanted.get(&message.serial_number)?;
    (message.signature_counter > counter.value()).then_some(*tss)
}

fn read_archive(path: &Path, wanted: &Wanted) -> anyhow::Result<Vec<LostMessage>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let mut messages = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let is_log = entry.path()?.extension().is_some_and(|end| end == "log");
        if !is_log {
            continue;
        }
        let mut der = Vec::new();
        entry.take(MESSAGE_BYTES_MAX).read_to_end(&mut der)?;
        if lacks(wanted, &der).is_some() {
            messages.push(LostMessage { der, more: None });
        }
    }
    Ok(messages)
}

fn ask(node: &Node, tss: TssId, command: Command) -> anyhow::Result<()> {
    let row = node.door().store.tss(tss)?;
    let row = row.context("there is no such TSS")?;
    operator::command(node, &row, command).with_context(|| format!("the TSS {tss} did not do it"))
}
