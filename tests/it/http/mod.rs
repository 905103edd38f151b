//! The HTTP door, through HTTP: one file per resource.

mod admin;
mod auth;
pub mod client;
mod clients;
mod errors;
mod exports;
mod golden;
mod hostile;
mod limits;
mod lists;
mod management;
mod metadata;
mod openapi;
mod receipts;
mod restart;
mod routes;
mod sessions;
mod transactions;
mod transport;
mod tss;
