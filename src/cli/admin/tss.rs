//! TSSs by hand.

use super::Told;
use crate::app::{Node, SystemEntropy, label_of};
use crate::cli::operator;
use crate::config::Config;
use crate::csp::pkcs11::TokenConfig;
use crate::ledger::{ListOrder, Page, Store, TssFilter, TssRow};
use crate::signing::TokensNeeded;
use crate::sma::{Command, TssState};
use crate::terms::{Environment, TssId};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// TSSs read at a time.
const PAGE_LEN: u32 = 100;

pub(super) fn list(store: &Store) -> anyhow::Result<Told> {
    let mut rows = Vec::new();
    for owner in store.organizations()? {
        for environment in [Environment::Test, Environment::Live] {
            rows.extend(all_of(store, (owner.id, environment))?);
        }
    }
    let lines = rows.iter().map(|TssRow { tss, .. }| {
        let (state, counter) = (tss.state.as_str(), tss.device.signature_counter.value());
        format!(
            "{}  {}  {}  {state}  {counter}",
            tss.id, tss.organization, tss.environment
        )
    });
    Ok(Told {
        text: lines.collect::<Vec<_>>().join("\n"),
        json: rows.iter().map(value).collect(),
    })
}

fn all_of(store: &Store, owner: crate::ledger::Owner) -> anyhow::Result<Vec<TssRow>> {
    let mut rows = Vec::new();
    loop {
        let page = Page {
            limit: PAGE_LEN,
            offset: u64::try_from(rows.len())?,
            order_by: "time_creation",
            order: ListOrder::Ascending,
        };
        let more = store.tss_list(owner, &TssFilter::default(), &page)?;
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}

fn value(row: &TssRow) -> Value {
    let tss = &row.tss;
    json!({
        "id": tss.id.to_string(),
        "organization": tss.organization.to_string(),
        "environment": tss.environment.as_str(),
        "state": tss.state.as_str(),
        "serial_number": tss.device.serial_number.to_string(),
        "signature_counter": tss.device.signature_counter.value(),
    })
}

/// How a TSS ends for good.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// With a signed message.
    Disabled,
    /// Without one: whoever declares a TSS defective may do so because it cannot sign.
    Defective,
}

impl Ending {
    const fn state(self) -> TssState {
        match self {
            Self::Disabled => TssState::Disabled,
            Self::Defective => TssState::Defective,
        }
    }

    const fn command(self) -> Command {
        match self {
            Self::Disabled => Command::DisableCentrally,
            Self::Defective => Command::DeclareDefective,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Defective => "defective",
        }
    }
}

/// Through the same lanes and rules as every other command: locked, decided, kept, told.
pub(super) fn end(
    mut config: Config,
    id: TssId,
    ending: Ending,
    for_good: bool,
) -> anyhow::Result<Told> {
    let word = ending.word();
    if !for_good {
        bail!("a {word} TSS never signs again; say --for-good if that is what you want");
    }
    operator::prepare(&config)?;
    // No token is needed but that of the TSS.
    keep_token_of(&mut config, id)?;
    config.start_when = match ending {
        Ending::Disabled => TokensNeeded::Any,
        Ending::Defective => TokensNeeded::None,
    };
    let before = operator::on_node(config, |node| end_on(node, id, ending))?;
    let text = if before == ending.state() {
        format!("{id} was {word} already")
    } else {
        format!("{id} is {word}")
    };
    Ok(Told {
        text,
        json: json!({"id": id.to_string(), "state": ending.state().as_str()}),
    })
}

/// Drops the sections of all tokens that surely do not hold the key of this TSS: they may be away.
fn keep_token_of(config: &mut Config, id: TssId) -> anyhow::Result<()> {
    let store = Store::open(&config.store, &SystemEntropy)?;
    let label = store.token_of(id)?.context("there is no such TSS")?;
    let mut names = Vec::new();
    for section in &config.tokens {
        let known = label_of(&store, section)?;
        if section.standby_of.is_none() && known.is_none_or(|known| known == label) {
            names.push(section.name.clone());
        }
    }
    let holds = |section: &TokenConfig| {
        names.contains(section.standby_of.as_ref().unwrap_or(&section.name))
    };
    config.tokens.retain(holds);
    if config.tokens.is_empty() {
        bail!(
            "the configuration has no section for the token {label}, which holds the key of the TSS"
        );
    }
    Ok(())
}

/// Ends it and says what it was before.
fn end_on(node: &Node, id: TssId, ending: Ending) -> anyhow::Result<TssState> {
    let row = node.door().store.tss(id)?.context("there is no such TSS")?;
    if row.tss.state == ending.state() {
        return Ok(row.tss.state);
    }
    operator::command(node, &row, ending.command())
        .with_context(|| format!("the TSS {id} did not become {}", ending.word()))?;
    Ok(row.tss.state)
}
