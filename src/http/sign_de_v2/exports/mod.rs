//! Exports: from queries to filters, from stored exports to answers (HTTP dialect §9).

mod answer;
mod query;

pub use answer::export;
pub use query::export_request;

#[cfg(test)]
mod tests;
