//! The HTTP door, through HTTP: one file per resource.

mod admin;
mod auth;
mod client;
mod clients;
mod early;
mod exports;
mod golden;
mod hostile;
mod lists;
mod metadata;
mod races;
mod restart;
mod routes;
mod tills;
mod transactions;
mod transport;
mod tss;
mod wire;
