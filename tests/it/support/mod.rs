//! What several tests need.

pub mod elsewhere;
pub mod installation;
pub mod ledger;
pub mod server;
pub mod token;
