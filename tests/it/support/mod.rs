//! What several tests need.

pub mod elsewhere;
pub mod foreign_ca;
pub mod installation;
pub mod ledger;
pub mod server;
pub mod token;
