//! `siegel ledger check` and `backup`.

use crate::config::Config;
use crate::ledger::Store;
use crate::witness::check_ledger;
use anyhow::Context as _;
use serde_json::json;
use std::path::Path;

pub(super) fn check(config: &Config, rate: Option<u32>, as_json: bool) -> anyhow::Result<bool> {
    let store = Store::open_beside(&config.store)?;
    let report = check_ledger(&store, rate, |wait| {
        std::thread::sleep(wait);
        true
    })?;
    let report = report.context("the check was ended")?;
    if as_json {
        let document = json!({
            "ledger": store.ledger_id(),
            "tss": report.tss,
            "messages": report.messages,
            "gaps_decided": report.gaps_decided,
            "findings": report.findings,
            "told": report.told,
        });
        println!("{document}");
    } else {
        println!(
            "{} messages of {} TSSs checked: {} findings, {} gaps that were decided on",
            report.messages, report.tss, report.findings, report.gaps_decided
        );
        report.told.iter().for_each(|finding| println!("{finding}"));
    }
    Ok(report.findings == 0)
}

pub(super) fn back_up(config: &Config, to: &Path) -> anyhow::Result<()> {
    Store::open_beside(&config.store)?.back_up(to)?;
    println!(
        "{} is a copy of the ledger; keep the node file and the token out of what you put back with it",
        to.display()
    );
    Ok(())
}
