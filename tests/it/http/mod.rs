//! The HTTP door, through HTTP: one file per resource.

mod admin;
mod auth;
pub mod client;
mod clients;
mod early;
mod errors;
pub mod exports;
mod golden;
mod health;
mod hostile;
mod limits;
mod lists;
mod live;
mod management;
mod metadata;
mod openapi;
mod overload;
mod races;
mod receipts;
mod restart;
mod routes;
mod sessions;
mod tills;
mod transactions;
mod transport;
mod tss;
pub mod wire;
