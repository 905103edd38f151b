//! TSSs (HTTP dialect §4).

mod answer;
mod routes;

pub(super) use routes::{body_metadata, routes};
