//! Which nodes share a ledger, and which of them does what only one does at a time.
//!
//! On SQLite there is one process, so all of this answers "only you".

use super::LedgerError;
use super::connection::{EitherConnection, unavailable};
use super::postgres;
use super::store::Store;
use super::survey::Survey;

type Result<T> = std::result::Result<T, LedgerError>;

impl Store {
    /// Takes this lease, or keeps it, for so many seconds from now; `false` when another node has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn take_lease(&self, name: &str, holder: &str, seconds: u32) -> Result<bool> {
        match &mut *self.connection()? {
            EitherConnection::Sqlite(_) => Ok(true),
            EitherConnection::Postgres(connection) => {
                postgres::take_lease(connection, name, holder, seconds)
                    .map_err(unavailable("give a lease"))
            }
        }
    }

    /// Says that this node is gone: nobody has to wait for it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn leave(&self, node: &str) -> Result<()> {
        match &mut *self.connection()? {
            EitherConnection::Sqlite(_) => Ok(()),
            EitherConnection::Postgres(connection) => {
                postgres::leave(connection, node).map_err(unavailable("forget a node"))
            }
        }
    }

    /// Says that this node is there, and for which server it has compared the ledger.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn announce(&self, node: &str, server: &str) -> Result<()> {
        match &mut *self.connection()? {
            EitherConnection::Sqlite(_) => Ok(()),
            EitherConnection::Postgres(connection) => {
                postgres::announce(connection, node, server).map_err(unavailable("greet a node"))
            }
        }
    }
}

impl Survey<'_> {
    /// Says that this node has compared the ledger that stands here, and returns the other nodes that
    /// have not said so yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn announce(&mut self, node: &str) -> Result<Vec<String>> {
        let server = self.server().to_owned();
        match &mut self.connection {
            EitherConnection::Sqlite(_) => Ok(Vec::new()),
            EitherConnection::Postgres(connection) => {
                let told = postgres::announce(connection, node, &server);
                let others = told.and_then(|()| postgres::not_compared(connection, &server));
                others.map_err(unavailable("ask for the other nodes"))
            }
        }
    }
}
