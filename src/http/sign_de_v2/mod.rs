//! The SIGN DE v2 dialect (`/api/v2`), field by field.

pub mod exports;
pub mod lists;
pub mod metadata;
pub mod query;
pub mod transactions;

/// Version of the dialect that we speak; `_version` of every resource.
pub const VERSION: &str = "2.2.2";
