//! The SIGN DE v2 dialect (`/api/v2`), field by field.

pub mod exports;
pub mod lists;
pub mod metadata;
pub mod query;
pub mod transactions;

mod admin;
mod clients;
mod params;
mod tss;

use super::problem::Problem;
use actix_web::web;
use query::Malformed;

/// Version of the dialect that we speak; `_version` of every resource.
pub const VERSION: &str = "2.2.2";

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::bad(malformed.code, malformed.message)
    }
}

/// Every route of the dialect but `/auth`.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .configure(tss::routes)
        .configure(admin::routes)
        .configure(clients::routes)
        .configure(transactions::routes);
}
