//! `siegel pki list`.

use super::Told;
use crate::ledger::{DeviceRow, DeviceState, Store};
use crate::terms::{Environment, SeTime};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;

const DAY_S: i64 = 86_400;

/// How many devices of a token stand where.
#[derive(Default)]
struct Counts {
    states: BTreeMap<DeviceState, u64>,
    /// Of ready devices, the first to end.
    ready_until: Option<SeTime>,
}

impl Counts {
    fn add(&mut self, row: &DeviceRow) {
        let count = self.states.entry(row.state).or_default();
        *count = count.saturating_add(1);
        if row.state == DeviceState::Ready {
            let ends = self
                .ready_until
                .into_iter()
                .chain(row.certificate_not_after);
            self.ready_until = ends.min();
        }
    }

    fn of(&self, state: DeviceState) -> u64 {
        self.states.get(&state).copied().unwrap_or_default()
    }
}

/// All devices in the token of this label, or in all.
pub(super) fn list(store: &Store, label: Option<&str>, now: SeTime) -> anyhow::Result<Told> {
    let mut rows = store.devices()?;
    rows.retain(|row| label.is_none_or(|label| row.token == label));
    let mut tokens = BTreeMap::<(String, Environment), Counts>::new();
    for row in &rows {
        let token = (row.token.clone(), row.environment);
        tokens.entry(token).or_default().add(row);
    }
    let summaries = tokens.iter().map(|((label, environment), counts)| {
        let states =
            DeviceState::ALL.map(|state| format!("{} {}", counts.of(state), state.as_str()));
        let ends = counts.ready_until.map_or_else(String::new, |end| {
            format!("; the first ready one ends in {} days", days_left(end, now))
        });
        format!(
            "token {label:?}  {environment}  {}{ends}",
            states.join(", ")
        )
    });
    let lines = rows.iter().map(|row| line(row, now));
    let tokens_json = tokens.iter().map(|((label, environment), counts)| {
        let mut value = Map::new();
        value.insert("token".to_owned(), json!(label));
        value.insert("environment".to_owned(), json!(environment.as_str()));
        for state in DeviceState::ALL {
            value.insert(state.as_str().to_owned(), json!(counts.of(state)));
        }
        let days = counts.ready_until.map(|end| days_left(end, now));
        value.insert("ready_days_left_min".to_owned(), json!(days));
        Value::Object(value)
    });
    Ok(Told {
        text: summaries.chain(lines).collect::<Vec<_>>().join("\n"),
        json: json!({
            "tokens": tokens_json.collect::<Vec<_>>(),
            "devices": rows.iter().map(|row| value(row, now)).collect::<Vec<_>>(),
        }),
    })
}

fn line(row: &DeviceRow, now: SeTime) -> String {
    let mut text = format!(
        "{}  {:8}  {}  {}",
        row.serial_number,
        row.state.as_str(),
        row.environment,
        row.curve.name()
    );
    if let Some(end) = row.certificate_not_after {
        text += &format!("  until {}, {} days", date(end), days_left(end, now));
    }
    if let Some(tss) = row.tss {
        text += &format!("  TSS {tss}");
    }
    if let Some(reason) = &row.unusable_reason {
        text += &format!("  {reason}");
    }
    text
}

fn value(row: &DeviceRow, now: SeTime) -> Value {
    json!({
        "serial_number": row.serial_number.to_string(),
        "token": row.token,
        "environment": row.environment.as_str(),
        "curve": row.curve.name(),
        "state": row.state.as_str(),
        "time_creation": row.time_creation.unix_seconds(),
        "certificate_not_after": row.certificate_not_after.map(SeTime::unix_seconds),
        "days_left": row.certificate_not_after.map(|end| days_left(end, now)),
        "tss_id": row.tss.map(|id| id.to_string()),
        "unusable_reason": row.unusable_reason,
    })
}

/// Whole days, fewer than none when it is over.
fn days_left(end: SeTime, now: SeTime) -> i64 {
    let left_s = end.unix_seconds().saturating_sub(now.unix_seconds());
    left_s.div_euclid(DAY_S)
}

/// The day in UTC, such as 2034-12-31.
pub(super) fn date(time: SeTime) -> String {
    let day = OffsetDateTime::from_unix_timestamp(time.unix_seconds());
    day.map_or_else(|_| time.to_string(), |day| day.date().to_string())
}
