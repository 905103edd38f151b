//! TSSs (HTTP dialect §4).

mod answer;
mod routes;

pub(super) use routes::{ENDPOINTS, body_metadata};
