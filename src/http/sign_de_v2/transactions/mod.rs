//! Transactions: from requests to commands, from signed steps to answers (HTTP dialect §6).

mod answer;
mod body;
mod routes;

pub use answer::{TransactionAnswerError, row_of, transaction};
pub use body::{command, reference, revision};
pub(super) use routes::ENDPOINTS;

#[cfg(test)]
mod tests;
