//! Commands that an operator gives to a node of the same process.

use super::serve::forbid_core_dumps;
use crate::app::{Node, SystemClock, SystemEntropy};
use crate::config::{Config, TelemetryConfig};
use crate::csp::pkcs11::environment;
use crate::http::management_v0::random_uuid;
use crate::ledger::TssRow;
use crate::sma::{Caller, Command};
use crate::terms::SessionId;
use anyhow::{Context as _, anyhow};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How often it is looked whether the ledger was compared, and how often at most.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 400;

/// What a process has to do before it uses tokens and makes its first thread: it may start itself again, with
/// the variables that modules read.
pub(super) fn prepare(config: &Config) -> anyhow::Result<()> {
    environment::reexec_with(&environment::merge(&config.tokens)?)?;
    forbid_core_dumps()
}

/// Runs on a node that does nothing by itself: it prepares no devices, serves nobody, switches to no standby. It
/// is stopped whatever happens. With SQLite the server must be stopped.
pub(super) fn on_node<T>(
    mut config: Config,
    work: impl FnOnce(&Node) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    prepare(&config)?;
    config.pool_target = 0;
    config.check_messages_per_s = 0;
    config.telemetry = TelemetryConfig::default();
    for section in &mut config.tokens {
        section.switch_after_s = 0;
    }
    let node = Node::start(
        &config,
        Arc::new(SystemClock::new()),
        Arc::new(SystemEntropy),
    )?;
    let done = match becomes_compared(&node) {
        true => work(&node),
        false => Err(anyhow!(
            "the ledger could not be compared with its witnesses"
        )),
    };
    node.stop();
    // See `serve`: sessions must not be closed while the module's own end-of-process code runs.
    std::mem::forget(node);
    done
}

/// With other nodes beside it the ledger is signed with once they have compared it, too.
fn becomes_compared(node: &Node) -> bool {
    (0..LOOKS_MAX).any(|_| {
        let is_compared = node.witnesses().is_compared();
        if !is_compared {
            std::thread::sleep(LOOK_EVERY);
        }
        is_compared
    })
}

/// Goes through the same lanes and rules as the commands of tills, and waits for the answer.
pub(super) fn command(node: &Node, row: &TssRow, command: Command) -> anyhow::Result<()> {
    let caller = Caller {
        organization: row.tss.organization,
        environment: row.tss.environment,
        session: SessionId::new(random_uuid(&SystemEntropy)),
    };
    let (answer, waiting) = mpsc::channel();
    let reply = Box::new(move |result| {
        // The receiver waits below until it has this.
        let _ = answer.send(result);
    });
    node.door().lanes.submit(row.tss.id, caller, command, reply);
    let result = waiting.recv().context("the signing lane gave no answer")?;
    result.map(drop).context("the command was not carried out")
}
