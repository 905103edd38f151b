//! The append-only log and everything else that is stored.
//!
//! Invariant: what was acknowledged is never lost, changed or doubled. No PKCS#11, no HTTP, no rules.
//! One schema and one set of queries on SQLite and PostgreSQL; what differs stands in one file per
//! backend. Deliberately absent: any way to change or delete a log message.
//!
//! Two sides: [`lane`] is what signing uses (lock, load, commit), [`Store`] is everything else.

mod accounts;
mod bulk;
mod checkpoints;
mod clearance;
mod commits;
mod committing;
mod connection;
mod devices;
mod exports;
mod fixed;
mod held_rows;
mod holds;
mod joint;
mod known;
pub mod lane;
mod lane_connection;
mod line;
mod loading;
mod locking;
mod logins;
mod lost_keys;
mod management;
mod memory;
mod nodes;
mod one_by_one;
mod points;
mod postgres;
mod postgres_url;
mod reading;
mod records;
mod released;
mod requests;
mod rereading;
mod row_versions;
mod rows;
mod sealing;
mod sqlite;
mod store;
mod survey;
mod tables;
mod throw_away;
mod token_labels;
mod token_pairs;
mod turns;
mod values;
mod vitals;
mod wrapped_keys;

pub use crate::pki::{CaCertificate, CaRole, PreparedDevice, WaitingDevice};
pub use clearance::Clearance;
pub use lane::{
    ActiveToken, Batch, CommitError, Held, LaneLedger, LoadedTss, SignedKind, SignedMessage,
    TssBatch, WithheldDevices,
};
pub use logins::LoginFailures;
pub use lost_keys::{KeyPlace, LostKey};
pub use management::{ApiKeyProfile, OrganizationProfile};
pub use reading::{Owner, TransactionLookup};
pub use released::{Fresh, Mark, Released, ReleasedMessage};
pub use requests::{DeviceRow, DeviceState};
pub use rereading::StoredMessage;
pub use rows::{
    ApiKey, ApiKeyStatus, ClientFilter, ClientRow, CounterBounds, ExportFilter, ExportRow,
    ExportState, ListOrder, MessageKind, MessageRow, OrganizationRow, Page, QueuedExport,
    Selection, Session, TokenSecret, TransactionFilter, TransactionRow, TssFilter, TssRow,
};
pub use sealing::SealingKey;
pub use store::{Store, StoreConfig};
pub use survey::{Hold, HoldScope, Standing, Survey};
pub use throw_away::ThrowAway;
pub use token_pairs::Switched;
pub use vitals::{ConnectionUse, FirstExpiry, FreeDevices, LedgerVitals, TssCount};

/// Why the ledger did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database is not reachable or too busy now; try again.
    #[error("the ledger could not {action}")]
    Unavailable {
        /// What was to be done.
        action: &'static str,
        /// The database's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored does not make sense; a person has to look.
    #[error("the ledger holds damaged data: {0}")]
    Damaged(String),
    /// Refused at start: settings under which "durable" would not be true.
    #[error("{0}")]
    Unsafe(String),
    /// A row with this identity exists already.
    #[error("{0} exists already")]
    Exists(&'static str),
}
