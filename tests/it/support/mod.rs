//! What several tests need.

pub mod elsewhere;
pub mod token;
