//! The HTTP door, through HTTP: one file per resource.

mod admin;
mod auth;
mod client;
mod clients;
mod errors;
mod exports;
mod golden;
mod hostile;
mod lists;
mod metadata;
mod openapi;
mod receipts;
mod restart;
mod routes;
mod transactions;
mod transport;
mod tss;
