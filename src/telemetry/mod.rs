//! What the node tells of itself: traces and metrics.
//!
//! Invariant: never process data, tokens, PINs or bodies (style rule 15), and no ids in labels. Telling
//! costs the signing path nothing but a few counters: whoever asks for metrics gets what was counted or
//! sampled before. Deliberately absent: a state of the whole process beside the one subscriber of traces.

mod metrics;
mod otlp;
mod process;
mod table;
mod traces;

pub use metrics::{Metrics, MetricsParts, Sample, SampleBox};
pub use table::{Kind, METRICS, MetricRow, metrics_page};
pub use traces::{TelemetryError, Tracing, start, start_for_command};
