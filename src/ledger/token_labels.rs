//! Labels of tokens by the names of their sections: how a token that is not there is known.

use super::LedgerError;
use super::connection::{is_unique_violation, unavailable};
use super::store::Store;
use super::tables::ledger_meta;
use diesel::prelude::*;

fn row(section: &str) -> String {
    format!("token_label:{section}")
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Label of the token that this `[[token]]` section led to the last time it was there.
    pub fn token_label(&self, section: &str) -> Result<Option<String>, LedgerError> {
        ledger_meta::table
            .find(row(section))
            .select(ledger_meta::value)
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read the label of a token"))
    }

    /// Remembers it.
    pub fn remember_token_label(&self, section: &str, label: &str) -> Result<(), LedgerError> {
        if self.token_label(section)?.as_deref() == Some(label) {
            return Ok(());
        }
        let failed = unavailable("remember the label of a token");
        let mut connection = self.writing()?;
        let changed = diesel::update(ledger_meta::table.find(row(section)))
            .set(ledger_meta::value.eq(label))
            .execute(&mut *connection);
        match changed {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        let inserted = diesel::insert_into(ledger_meta::table)
            .values((
                ledger_meta::name.eq(row(section)),
                ledger_meta::value.eq(label),
            ))
            .execute(&mut *connection);
        match inserted {
            Ok(_) => Ok(()),
            // Another node with the same section was faster.
            Err(error) if is_unique_violation(&error) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}
