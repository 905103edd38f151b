//! The dashboard and the alerting rules name only what is told.

use super::row_of_value;
use serde_json::Value;
use std::collections::BTreeSet;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Labels that Prometheus adds, and the bound of a histogram.
const FOREIGN: &[&str] = &["instance", "job", "le"];

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/deploy/{name}")).unwrap()
}

/// Every query of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value
                    .as_str()
                    .filter(|_| ["expr", "query"].contains(&name.as_str()))
                {
                    Some(query) => found.push(query.to_owned()),
                    None => queries(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Metrics that a query names, each with the labels that it selects by.
fn named(query: &str) -> Vec<(String, Vec<String>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find(word) {
        rest = &rest[at..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        if name.starts_with("siegel_") || name.starts_with("process_") {
            found.push((name.to_owned(), selected(rest)));
        } else if rest.starts_with("=\"") || rest.starts_with("=~\"") {
            // A value may look like anything.
            let value = rest.split_once('"').unwrap().1;
            rest = value.split_once('"').unwrap().1;
        }
    }
    found
}

/// The labels in the braces that follow.
fn selected(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix('{') else {
        return Vec::new();
    };
    // Outside of quotes there are only names, operators and the end.
    let outside: String = rest.split('"').step_by(2).collect();
    let (labels, _) = outside.split_once('}').unwrap();
    let labels = labels
        .split(',')
        .map(|label| label.trim_end_matches(['=', '~', '!']));
    labels.map(|label| label.trim().to_owned()).collect()
}

fn complaints(query: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, labels) in named(query) {
        let Some(row) = row_of_value(&name) else {
            complaints.push(format!("{name} is not told: {query}"));
            continue;
        };
        let known = |label: &String| {
            row.labels.contains(&label.as_str()) || FOREIGN.contains(&label.as_str())
        };
        let unknown = labels.iter().filter(|label| !known(label));
        complaints.extend(unknown.map(|label| format!("{name} has no {label}: {query}")));
    }
    complaints
}

fn no_complaints(queries: &[String]) -> BTreeSet<String> {
    let complaints: Vec<_> = queries.iter().flat_map(|query| complaints(query)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let names = queries.iter().flat_map(|query| named(query));
    names.map(|(name, _)| name).collect()
}

#[test]
fn the_dashboard_names_only_metrics_and_labels_that_are_told() {
    let dashboard: Value = serde_json::from_str(&file("grafana/siegel.json")).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    let names = no_complaints(&found);
    assert!(names.len() > 35, "only {} metrics are shown", names.len());
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[test]
fn the_colours_of_a_panel_change_at_numbers_of_their_own() {
    let dashboard: Value = serde_json::from_str(&file("grafana/siegel.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
        let steps = steps.as_array().into_iter().flatten();
        let values: Vec<_> = steps.filter_map(|step| step["value"].as_f64()).collect();
        assert!(
            values.is_sorted_by(|one, next| one < next),
            "{}: {values:?}",
            panel["title"]
        );
    }
}

#[test]
fn the_alerts_name_only_metrics_and_labels_that_are_told() {
    let text = file("prometheus/alerts.yml");
    let prose = ["summary:", "description:", "#"];
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !prose.iter().any(|start| line.starts_with(start)));
    let rules: Vec<String> = lines.map(str::to_owned).collect();
    let names = no_complaints(&[rules.join("\n")]);
    assert!(names.len() > 12, "only {} metrics are watched", names.len());
    let count = |start: &str| {
        text.lines()
            .filter(|line| line.trim().starts_with(start))
            .count()
    };
    let alerts = count("- alert: ");
    assert!(alerts > 12);
    for each in ["expr: ", "summary: ", "description: "] {
        assert_eq!(count(each), alerts, "each alert has one {each}");
    }
}

#[test]
fn a_metric_or_label_that_is_not_told_is_noticed() {
    assert!(complaints("rate(siegel_lane_refused_total{lane=\"0\"}[5m])").is_empty());
    assert_eq!(complaints("siegel_lane_refused").len(), 1);
    assert_eq!(
        complaints("siegel_lane_refused_total{tss=\"x\",lane!~\"{y}\"}").len(),
        1
    );
    assert_eq!(
        complaints("sum(siegel_lane_sign_seconds) + process_cpu_seconds_total").len(),
        1
    );
}
