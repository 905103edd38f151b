//! Exports: from queries to filters, from stored exports to answers (HTTP dialect §9).

mod answer;
mod query;
mod routes;

pub use answer::export;
pub use query::export_request;
pub(super) use routes::ENDPOINTS;

#[cfg(test)]
mod tests;
