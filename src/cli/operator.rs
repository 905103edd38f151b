//! Commands that an operator gives to a node of the same process.

use crate::app::{Node, SystemEntropy};
use crate::http::management_v0::random_uuid;
use crate::ledger::TssRow;
use crate::sma::{Caller, Command};
use crate::terms::SessionId;
use anyhow::Context as _;
use std::sync::mpsc;

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
