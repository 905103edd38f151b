//! What several tests need.

pub mod cluster;
pub mod elsewhere;
pub mod foreign_ca;
pub mod installation;
pub mod ledger;
pub mod places;
pub mod process;
pub mod proxy;
pub mod remote;
pub mod server;
pub mod site;
pub mod token;
