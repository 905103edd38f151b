//! Transactions: from requests to commands, from signed steps to answers (HTTP dialect §6).

mod answer;
mod body;
mod routes;

pub(super) use answer::{TIME_FORMAT, qr_code};
pub use answer::{TransactionAnswerError, row_of, transaction};
pub use body::{command, reference, revision};
pub(super) use routes::{ENDPOINTS, find};

#[cfg(test)]
mod tests;
