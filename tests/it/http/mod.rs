//! The HTTP door, through HTTP: one file per resource.

mod admin;
mod auth;
pub mod client;
mod clients;
mod early;
mod errors;
mod exports;
mod golden;
mod head;
mod health;
mod hostile;
mod limits;
mod lists;
mod management;
mod metadata;
mod openapi;
mod races;
mod receipts;
mod restart;
mod routes;
mod sessions;
mod slow;
mod tills;
mod transactions;
mod transport;
mod tss;
mod wire;
