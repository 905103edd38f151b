//! Genuine histories, written straight through the ledger's interface: decided by the rules, signed by a
//! token, committed as lanes commit.

use crate::app::MachineWatch;
use crate::csp::{Csp, KeyPair};
use crate::ledger::{Batch, LaneLedger, LoadedTss, TssBatch};
use crate::signing::PlannedMessage;
use crate::sma::{self, Caller, Command, Needs, Plan};
use crate::terms::{SeTime, TssId};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Commands by TSS, in order.
pub(super) type Commands = BTreeMap<TssId, Vec<Command>>;

/// Writes what commands lead to.
pub(super) struct History<'a> {
    pub lane: Box<dyn LaneLedger>,
    pub token: &'a dyn Csp,
    pub caller: Caller,
    pub rules: sma::Settings,
    /// Threads that sign.
    pub threads: usize,
}

/// What one commit wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub messages: u64,
    /// Time the ledger took, for locking, loading and committing.
    pub ledger: Duration,
}

/// A message that waits for its signature.
struct Unsigned {
    at: usize,
    key: KeyPair,
    message: PlannedMessage,
}

impl History<'_> {
    /// Carries all commands out in one commit.
    ///
    /// # Errors
    /// When a command is refused, or token or ledger do not do their part. Nothing is committed then, or
    /// it is not known.
    pub(super) fn write(&mut self, commands: &Commands, now: SeTime) -> anyhow::Result<Written> {
        let mut needs = BTreeMap::<TssId, Needs>::new();
        for (tss, commands) in commands {
            let needs = needs.entry(*tss).or_default();
            commands
                .iter()
                .for_each(|command| needs.add(&self.caller, command));
        }
        let watch = MachineWatch::start();
        let mut held = self.lane.lock(&needs)?;
        let loaded = held.take_loaded();
        let mut ledger = watch.elapsed();
        let mut entries = Vec::with_capacity(loaded.len());
        let mut unsigned = Vec::new();
        for (tss, loaded) in loaded {
            let commands = commands.get(&tss).context("a TSS that nobody asked for")?;
            let (entry, key) = entry(tss, loaded)?;
            let at = entries.len();
            entries.push(entry);
            let entry = entries.last_mut().context("an entry is gone")?;
            for command in commands {
                let plan = sma::decide(&entry.slice, &self.caller, command, &self.rules, now);
                let Plan::Act { steps, .. } = plan else {
                    bail!("a command was refused: {plan:?}");
                };
                for step in &steps {
                    if let Some(stamped) = entry.slice.record(step, now) {
                        let (key, message) = (key.clone(), PlannedMessage::new(stamped)?);
                        unsigned.push(Unsigned { at, key, message });
                    }
                }
            }
        }
        let messages = u64::try_from(unsigned.len())?;
        let signatures = sign_all(self.token, &unsigned, self.threads)?;
        for (mut one, signature) in unsigned.into_iter().zip(signatures) {
            let entry = entries.get_mut(one.at).context("an entry is gone")?;
            one.message.signature = signature;
            entry
                .messages
                .push(one.message.into_signed(&mut entry.slice)?);
        }
        let watch = MachineWatch::start();
        held.commit(&Batch { entries })?;
        ledger += watch.elapsed();
        Ok(Written { messages, ledger })
    }
}

fn entry(tss: TssId, loaded: LoadedTss) -> anyhow::Result<(TssBatch, KeyPair)> {
    let known = loaded.slice.tss.as_ref();
    let entry = TssBatch {
        tss,
        expected_counter: known.map(|tss| tss.device.signature_counter),
        slice: loaded.slice,
        active: loaded.active,
        messages: Vec::new(),
    };
    let key = loaded.key.context("there is no device for a TSS")?;
    Ok((entry, key))
}

/// In parallel, in order.
fn sign_all(
    token: &dyn Csp,
    unsigned: &[Unsigned],
    threads: usize,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let share = unsigned.len().div_ceil(threads.max(1)).max(1);
    let sign = |some: &[Unsigned]| -> anyhow::Result<Vec<Vec<u8>>> {
        let signed = some
            .iter()
            .map(|one| token.sign(&one.key, &one.message.digest));
        Ok(signed.collect::<Result<_, _>>()?)
    };
    thread::scope(|scope| {
        let sign = &sign;
        let shares: Vec<_> = unsigned
            .chunks(share)
            .map(|some| scope.spawn(move || sign(some)))
            .collect();
        let mut all = Vec::with_capacity(unsigned.len());
        for share in shares {
            match share.join() {
                Ok(signatures) => all.extend(signatures?),
                Err(_) => bail!("signing ended in a panic"),
            }
        }
        Ok(all)
    })
}
