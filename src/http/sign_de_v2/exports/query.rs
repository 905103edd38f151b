//! The filters of an export request, which stand in its query (HTTP dialect §9). What a client puts
//! into the body is not looked at, as in the live service.

use super::super::query::{Malformed, Query};
use crate::http::ErrorCode;
use crate::terms::{ExportRequest, ExportRequestError};

/// Reads the filters; other parameters are ignored.
///
/// # Errors
/// [`Malformed`] with `E_PARAMETER_MISMATCH` for filters that do not go together, with
/// `E_FAILED_SCHEMA_VALIDATION` for values that do not fit.
pub fn export_request(query: &Query) -> Result<ExportRequest, Malformed> {
    let mut filters = Vec::new();
    for name in ExportRequest::FIELDS {
        if let Some(value) = query.one(name)? {
            filters.push((name, value));
        }
    }
    ExportRequest::from_pairs(filters).map_err(|error| match error {
        ExportRequestError::Malformed { field, problem } => {
            Malformed::field("querystring", field, problem)
        }
        ExportRequestError::Mismatch(_) => Malformed {
            code: ErrorCode::ParameterMismatch,
            message: error.to_string(),
        },
        // Only known names, each at most once, get here.
        ExportRequestError::Text => Malformed::field("querystring", "filters", "are not known"),
    })
}
