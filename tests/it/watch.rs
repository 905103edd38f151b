//! What the node tells those who watch it: metrics, traces, and the papers about both.

mod deploy;
mod metrics;
mod spans;
mod traces;

use siegel::telemetry::{Kind, METRICS, MetricRow};
use std::collections::{BTreeMap, BTreeSet};

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct Point {
    /// Name of the metric in the table.
    pub row: &'static MetricRow,
    /// As it was written.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What was told, held against the table: every name is in it, with these labels and this kind.
pub struct Told(pub Vec<Point>);

impl Told {
    pub fn read(text: &str) -> Self {
        let (text, end) = text.split_once("# EOF").expect("the text has an end");
        assert_eq!(end, "\n");
        let mut points = Vec::new();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                let row = row(name).unwrap_or_else(|| panic!("{name} is not in the table"));
                assert_eq!(help.trim_end_matches('.'), row.help);
                assert!(helped.insert(name.to_owned()), "{name} is told twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(row(name).unwrap().kind.as_str(), kind, "{name}");
            } else {
                points.push(point(line));
            }
        }
        for point in &points {
            assert!(
                helped.contains(point.row.name),
                "{} has no HELP",
                point.name
            );
        }
        Self(points)
    }

    /// The only value with these labels, or the sum of all that have them.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |point: &&Point| {
            point.name == name
                && labels.iter().all(|(name, value)| {
                    point.labels.get(*name).is_some_and(|label| label == value)
                })
        };
        let found: Vec<_> = self.0.iter().filter(has).collect();
        assert!(!found.is_empty(), "there is no {name} {labels:?}");
        found.iter().map(|point| point.value).sum()
    }

    /// Rows of the table that have no value.
    pub fn missing(&self) -> Vec<&'static str> {
        let told: BTreeSet<_> = self.0.iter().map(|point| point.row.name).collect();
        let all = METRICS.iter().map(|row| row.name);
        all.filter(|name| !told.contains(name)).collect()
    }
}

fn row(name: &str) -> Option<&'static MetricRow> {
    METRICS.iter().find(|row| row.name == name)
}

/// The row of a value's name, which is longer where there are several values.
pub fn row_of_value(name: &str) -> Option<&'static MetricRow> {
    METRICS.iter().find(|row| match row.kind {
        Kind::Gauge => name == row.name,
        Kind::Counter => name.strip_suffix("_total") == Some(row.name),
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.strip_suffix(end) == Some(row.name)),
    })
}

fn point(line: &str) -> Point {
    let (name, rest) = match line.split_once('{') {
        Some((name, rest)) => (name, Some(rest)),
        None => (line.split(' ').next().unwrap(), None),
    };
    let row = row_of_value(name).unwrap_or_else(|| panic!("{name} is no value of the table"));
    let (labels, value) = match rest {
        Some(rest) => rest.rsplit_once("} ").unwrap(),
        None => ("", line.split_once(' ').unwrap().1),
    };
    let mut labels: BTreeMap<String, String> = labels
        .split("\",")
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect();
    let bound = labels.remove("le");
    assert_eq!(bound.is_some(), name.ends_with("_bucket"), "{line}");
    let names: BTreeSet<_> = labels.keys().map(String::as_str).collect();
    assert_eq!(names, row.labels.iter().copied().collect(), "{line}");
    if let Some(bound) = bound {
        labels.insert("le".to_owned(), bound);
    }
    Point {
        row,
        name: name.to_owned(),
        labels,
        value: value.parse().unwrap(),
    }
}
