//! The rules of one TSS: life cycle, users and PINs, clients, transactions, limits.
//!
//! Invariant: nothing here waits, reads, writes, signs or asks for the time. [`decide`] looks and
//! changes nothing; [`Slice::record`] records what was decided and cannot refuse. What is deliberately
//! absent: counters of the CSP beyond "the next one", HTTP codes, keys.

mod clients;
mod command;
mod decide;
mod lifecycle;
mod metadata;
mod plan;
mod settings;
mod state;
mod step;
mod transactions;
mod users;

pub use command::{
    Caller, Command, MetadataTarget, Needs, NewTss, TransactionInput, TransactionOutcome,
    TransactionRef,
};
pub use decide::decide;
pub use metadata::{
    METADATA_KEY_LEN_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_LEN_MAX, Metadata, MetadataPatch,
};
pub use plan::{Answer, Outcome, Plan, Rejection, SeError};
pub use settings::{PUK_FREE_TRIES, Settings, puk_delay_s};
pub use state::{
    AdminUser, Changed, Client, ClientState, CredentialDigest, Device, Slice, Transaction,
    TransactionState, TransactionStep, Tss, TssChange, TssState,
};
pub use step::{Change, StampedMessage, Step, time_update};

#[cfg(test)]
mod tests;
