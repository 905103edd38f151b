//! What is told of a ledger that does not do its work: once when it begins, and once when it is over, however
//! many commands it meets.

use crate::ledger::LedgerError;
use crate::terms::chain;
use std::error::Error;

/// What one thread has told so far.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    is_told: bool,
}

impl Trouble {
    /// The ledger did not do something.
    pub fn tell(&mut self, error: &(dyn Error + 'static)) {
        let is_damage = matches!(
            error.downcast_ref::<LedgerError>(),
            Some(LedgerError::Damaged(_) | LedgerError::Exists(_))
        );
        // Damage is about one TSS, and a person has to look at each.
        if is_damage || !self.is_told {
            tracing::error!(error = %chain(error), "the ledger did not let a lane work");
        } else {
            tracing::debug!(error = %chain(error), "the ledger still does not let a lane work");
        }
        self.is_told |= !is_damage;
    }

    /// The ledger has done what it is there for.
    pub fn is_over(&mut self) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!("the ledger lets a lane work again");
        }
    }
}
