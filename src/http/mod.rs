//! The doors: HTTP in, commands out; rows in, JSON out.
//!
//! Invariant: a door parses once, decides nothing and keeps nothing. Nothing that blocks runs on an
//! async worker: the ledger is asked through [`Desk`], signing goes through its lanes. Bad input gets
//! a [`Problem`] in the documented shape and changes nothing.

mod auth;
mod body;
mod connection;
mod door;
mod endpoint;
mod health;
mod known_tokens;
mod limits;
pub mod management_v0;
pub mod meter;
pub mod openapi;
mod problem;
mod problem_codes;
mod scrape;
mod server;
pub mod sign_de_v2;
mod throttle;
mod tokens;

pub use door::{BODY_IN_MEMORY_MAX, BODY_LEN_MAX, CallTrace, Desk, Door, DoorSettings, Transport};
pub use endpoint::{Endpoint, Layer, endpoints};
pub use limits::Rates;
pub use problem::Problem;
pub use problem_codes::{ErrorCode, ErrorRow, Repeat};
pub use scrape::{Scrape, serve_metrics};
pub use server::{ServeError, serve};
pub use throttle::WrongLogins;
pub use tokens::{add_token_secret, check_token_secret};
