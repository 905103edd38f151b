//! `siegel ledger inspect`.

use crate::app::{SystemClock, SystemEntropy, label_of};
use crate::config::Config;
use crate::csp::Csp;
use crate::csp::pkcs11::{Pkcs11Token, TokenConfig, environment};
use crate::ledger::{Standing, Store};
use crate::terms::{Clock, Entropy, SerialNumber, TssId};
use crate::witness::{self, Findings, LostFinding, Testimony, TssFault, TssFinding};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn run(
    config: &Config,
    files: &[PathBuf],
    no_tokens: bool,
    as_json: bool,
) -> anyhow::Result<bool> {
    if !no_tokens {
        // Before any thread is made: it may start this process again.
        environment::reexec_with(&environment::merge(&config.tokens)?)?;
    }
    let store = Store::open_beside(&config.store)?;
    let mut testimonies = Vec::new();
    if config.witness.file.is_file() {
        testimonies.push(of_file(&config.witness.file, store.ledger_id())?);
    }
    for file in files {
        testimonies.push(of_file(file, store.ledger_id())?);
    }
    if !no_tokens {
        let tokens = open(config, &store)?;
        testimonies.extend(witness::testimonies(&tokens, store.ledger_id())?);
    }
    let mut survey = store.survey()?;
    let standings = survey.all_standings()?;
    let totals = survey.token_totals()?;
    let findings = witness::look(&mut survey, &testimonies)?;
    let seen = Seen {
        ledger: store.ledger_id(),
        testimonies: &testimonies,
        standings: &standings,
        totals: &totals,
        findings: &findings,
    };
    if as_json {
        println!("{}", seen.json());
    } else {
        seen.print();
    }
    Ok(findings.is_empty() && seen.held().next().is_none())
}

/// What a node file says about this ledger.
pub(super) fn of_file(path: &Path, ledger: &str) -> anyhow::Result<Testimony> {
    let named = || format!("the node file {}", path.display());
    let content = witness::read(path).with_context(|| format!("{} cannot be read", named()))?;
    let content = content.with_context(|| format!("there is no node file {}", path.display()))?;
    if content.ledger != ledger {
        let other = content.ledger;
        bail!("{} belongs to the ledger {other}, not to {ledger}", named());
    }
    Ok(Testimony {
        name: named(),
        marks: content.marks,
        totals: content.totals,
    })
}

/// Opens the tokens by the labels that the ledger knows them by, of a pair the active one: it is that one
/// whose anchor is written. Leaves nothing on them.
fn open(config: &Config, store: &Store) -> anyhow::Result<BTreeMap<String, Arc<dyn Csp>>> {
    let mut tokens = BTreeMap::new();
    for main in config.tokens.iter().filter(|one| one.standby_of.is_none()) {
        let mut standbys = config.tokens.iter();
        let standby = standbys.find(|one| one.standby_of.as_ref() == Some(&main.name));
        let Some(standby) = standby else {
            let token = open_one(main)?;
            tokens.insert(token.token().to_owned(), token);
            continue;
        };
        let known = label_of(store, main)?;
        // Without a label no server was ever started with it, and so with no standby.
        let active = match &known {
            Some(label) => store.active_token(label)?,
            None => None,
        };
        let is_standby = active.is_some_and(|active| active.section == standby.name);
        let token = open_one(if is_standby { standby } else { main })?;
        let label = known.unwrap_or_else(|| token.token().to_owned());
        tokens.insert(label, token);
    }
    Ok(tokens)
}

fn open_one(section: &TokenConfig) -> anyhow::Result<Arc<dyn Csp>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let token = Pkcs11Token::open_on_trial(section.clone(), entropy, clock);
    let token = token.with_context(|| {
        let name = &section.name;
        format!("the token {name} cannot be asked; --no-tokens leaves the tokens out")
    })?;
    Ok(Arc::new(token))
}

struct Seen<'a> {
    ledger: &'a str,
    testimonies: &'a [Testimony],
    standings: &'a BTreeMap<TssId, Standing>,
    totals: &'a BTreeMap<String, u64>,
    findings: &'a Findings,
}

const LOST: &str = "not in the ledger";

const fn word(fault: TssFault) -> &'static str {
    match fault {
        TssFault::Behind => "messages missing",
        TssFault::Hole => "message missing in between",
        TssFault::Forked => "another message in its place",
    }
}

fn missing(finding: &TssFinding) -> u64 {
    let (known, ledger) = (finding.signature_counter, finding.ledger_counter);
    known.value().saturating_sub(ledger.value())
}

impl Seen<'_> {
    fn held(&self) -> impl Iterator<Item = (&TssId, &Standing)> {
        self.standings
            .iter()
            .filter(|(_, standing)| standing.hold.is_some())
    }

    fn print(&self) {
        println!("ledger {}: {} TSSs", self.ledger, self.standings.len());
        for (token, spent) in self.totals {
            println!("  token {token}: {spent} numbers spent");
        }
        for testimony in self.testimonies {
            println!("{}: {} TSSs", testimony.name, testimony.marks.len());
            for (token, spent) in &testimony.totals {
                println!("  token {token}: {spent} numbers spent");
            }
        }
        for (tss, finding) in &self.findings.tss {
            println!(
                "TSS {tss}: {}, {} missing: ledger {}, {} {}",
                word(finding.fault),
                missing(finding),
                finding.ledger_counter,
                finding.witness,
                finding.signature_counter,
            );
        }
        for (device, LostFinding { witness, key }) in &self.findings.lost {
            let (tss, known) = (key.tss, key.signature_counter);
            println!(
                "TSS {tss}: {LOST}, {} missing: {witness} {known}, device {device}; siegel ledger retire writes it off",
                key.spent
            );
        }
        for (token, finding) in &self.findings.tokens {
            println!(
                "token {token}: {} numbers missing of TSSs unknown: ledger {}, {} {}",
                finding.missing, finding.ledger_total, finding.witness, finding.witness_total
            );
        }
        for (tss, standing) in self.held() {
            if let Some(hold) = &standing.hold {
                println!("TSS {tss} is stopped: {}", hold.reason);
            }
        }
        if self.findings.is_empty() && self.held().next().is_none() {
            println!("nothing is missing");
        } else {
            println!(
                "go on with one of: siegel ledger restore --from FILE, siegel ledger jump, siegel ledger retire"
            );
        }
    }

    fn json(&self) -> Value {
        let tss = |(tss, finding): (&TssId, &TssFinding)| {
            json!({
                "tss": tss.to_string(),
                "fault": word(finding.fault),
                "witness": finding.witness,
                "ledger_counter": finding.ledger_counter.value(),
                "witness_counter": finding.signature_counter.value(),
                "missing": missing(finding),
            })
        };
        let lost = |(device, finding): (&SerialNumber, &LostFinding)| {
            json!({
                "tss": finding.key.tss.to_string(),
                "device": device.to_string(),
                "fault": LOST,
                "witness": finding.witness,
                "ledger_counter": 0,
                "witness_counter": finding.key.signature_counter.value(),
                "missing": finding.key.spent,
            })
        };
        let missing_of_tss = self.findings.tss.iter().map(tss);
        let missing = missing_of_tss.chain(self.findings.lost.iter().map(lost));
        let tokens = self.findings.tokens.iter().map(|(token, finding)| {
            json!({
                "token": token,
                "witness": finding.witness,
                "ledger_total": finding.ledger_total,
                "witness_total": finding.witness_total,
                "missing": finding.missing,
            })
        });
        let held = self.held().filter_map(|(tss, standing)| {
            let hold = standing.hold.as_ref()?;
            Some(json!({
                "tss": tss.to_string(),
                "reason": hold.reason,
                "scope": hold.scope.as_str(),
                "signature_counter_max": hold.signature_counter.value(),
                "transaction_max": hold.transaction.value(),
            }))
        });
        json!({
            "ledger": self.ledger,
            "tss": self.standings.len(),
            "totals": self.totals,
            "witnesses": self.testimonies.iter().map(|one| json!({
                "name": one.name,
                "tss": one.marks.len(),
                "totals": one.totals,
            })).collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
            "missing_of_tokens": tokens.collect::<Vec<_>>(),
            "stopped": held.collect::<Vec<_>>(),
        })
    }
}
