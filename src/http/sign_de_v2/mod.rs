//! The SIGN DE v2 dialect (`/api/v2`), field by field.

pub mod exports;
pub mod lists;
pub mod metadata;
pub mod query;
pub mod transactions;

mod admin;
mod clients;
mod params;
mod receipts;
mod tss;

use super::endpoint::Endpoint;
use super::problem::Problem;
use query::Malformed;

/// Version of the dialect that we speak; `_version` of every resource.
pub const VERSION: &str = "2.2.2";

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code, malformed.message)
    }
}

/// Every endpoint of the dialect but `/auth`, by resource.
pub(super) const ENDPOINTS: [&[Endpoint]; 6] = [
    tss::ENDPOINTS,
    admin::ENDPOINTS,
    clients::ENDPOINTS,
    transactions::ENDPOINTS,
    receipts::ENDPOINTS,
    exports::ENDPOINTS,
];
