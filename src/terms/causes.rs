//! Errors with all their causes.

use std::error::Error;

/// An error and all its causes in one line, for the log; printed once, where the error is handled.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
