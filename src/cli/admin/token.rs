//! Which of a token and its standby signs.

use super::Told;
use crate::app::{SystemClock, label_of};
use crate::config::Config;
use crate::csp::pkcs11::TokenConfig;
use crate::ledger::{ActiveToken, LedgerError, Store, Switched};
use crate::terms::Clock as _;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a switch is tried that has to wait for commits which do not end, a few seconds each.
const TRIES: u32 = 10;
/// Pause between two tries on a database that refused at once.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn list(store: &Store, config: &Config) -> anyhow::Result<Told> {
    let mut lines = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    for active in store.active_tokens()? {
        let (main, standby) = sections_of(store, config, &active.label)?;
        let name = |section: Option<&TokenConfig>| section.map(|section| section.name.clone());
        let (main, standby) = (name(main), name(standby));
        lines.push(format!(
            "{}  {}  {}",
            active.label, active.section, active.epoch
        ));
        values.push(json!({
            "label": active.label,
            "active": active.section,
            "epoch": active.epoch,
            "main": main,
            "standby": standby,
        }));
    }
    Ok(Told {
        text: lines.join("\n"),
        json: values.into(),
    })
}

/// The token of a label that is no standby, and its standby, as this configuration has them.
fn sections_of<'a>(
    store: &Store,
    config: &'a Config,
    label: &str,
) -> Result<(Option<&'a TokenConfig>, Option<&'a TokenConfig>), LedgerError> {
    for main in mains(config) {
        if label_of(store, main)?.as_deref() == Some(label) {
            let is_its_own = |other: &&TokenConfig| other.standby_of.as_ref() == Some(&main.name);
            return Ok((Some(main), config.tokens.iter().find(is_its_own)));
        }
    }
    Ok((None, None))
}

fn mains(config: &Config) -> impl Iterator<Item = &TokenConfig> {
    let sections = config.tokens.iter();
    sections.filter(|section| section.standby_of.is_none())
}

/// Also to one whose standby is not configured any more, although it may be the active one: that is the way
/// out.
pub(super) fn switch(store: &Store, config: &Config, to: &str) -> anyhow::Result<Told> {
    let mut sections = config.tokens.iter();
    let section = sections.find(|section| section.name == to);
    let name = section.map(|section| section.standby_of.as_ref().unwrap_or(&section.name));
    let Some(main) = mains(config).find(|main| Some(&main.name) == name) else {
        bail!("the configuration has no [[token]] section named {to:?}");
    };
    let label = label_of(store, main)?.with_context(|| {
        format!(
            "the token {} was never there, so its label is not known",
            main.name
        )
    })?;
    match patiently(store, &label, to)? {
        Switched::Done(now) => Ok(told(&now, "is active from now on")),
        Switched::WasAlready(now) => Ok(told(&now, "was active already")),
        Switched::Overtaken(now) => bail!("{} has become active meanwhile", now.section),
        Switched::NoPair => bail!("no server has started with a standby for the token {label} yet"),
    }
}

fn told(now: &ActiveToken, what: &str) -> Told {
    Told {
        text: format!("{} {what}", now.section),
        json: json!({"label": now.label, "active": now.section, "epoch": now.epoch}),
    }
}

/// A batch that is being committed goes before, for as long as the database lets it.
fn patiently(store: &Store, label: &str, to: &str) -> Result<Switched, LedgerError> {
    let clock = SystemClock::new();
    let mut tries = 1;
    loop {
        match store.switch_token(label, to, None, clock.now()) {
            Err(LedgerError::Unavailable { .. }) if tries < TRIES => {
                tries += 1;
                std::thread::park_timeout(PAUSE);
            }
            outcome => return outcome,
        }
    }
}
