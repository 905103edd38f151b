//! Stopping TSSs that the ledger has forgotten something of, and what a person decides about them.

use super::LedgerError;
use super::connection::unavailable;
use super::survey::{Hold, HoldScope, Standing, Survey};
use super::tables::{device, tss};
use super::values::signed;
use crate::sma::TssState;
use crate::terms::{SeTime, SerialNumber, TssId};
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

const HOLD: &str = "stop a TSS";

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Survey<'_> {
    /// Stops a TSS until a person decides. Limits that are known already are only raised.
    pub fn hold(&mut self, id: TssId, hold: &Hold) -> Result<()> {
        let _writer = self.store.turn_to_write();
        let (counter, transaction) = (
            signed(hold.signature_counter.value()),
            signed(hold.transaction.value()),
        );
        let one = || tss::table.filter(tss::id.eq(id.to_string()));
        let free = one().filter(tss::hold_reason.is_null());
        let held = diesel::update(free)
            .set((
                tss::hold_reason.eq(Some(&hold.reason)),
                tss::hold_counter.eq(Some(counter)),
                tss::hold_transaction.eq(Some(transaction)),
                tss::hold_since.eq(Some(hold.since.unix_seconds())),
                tss::hold_scope.eq(Some(hold.scope.as_str())),
            ))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        if held > 0 {
            return Ok(());
        }
        diesel::update(one())
            .set((
                tss::hold_reason.eq(Some(&hold.reason)),
                tss::hold_scope.eq(Some(hold.scope.as_str())),
            ))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        diesel::update(one().filter(tss::hold_counter.lt(counter)))
            .set(tss::hold_counter.eq(Some(counter)))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        diesel::update(one().filter(tss::hold_transaction.lt(transaction)))
            .set(tss::hold_transaction.eq(Some(transaction)))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        Ok(())
    }

    /// Stops every TSS of a token that can still sign, and gives no device of it away any more: some of
    /// them, nobody knows which, have issued `missing` more numbers than the ledger knows.
    pub fn hold_token(
        &mut self,
        token: &str,
        missing: u64,
        reason: &str,
        since: SeTime,
    ) -> Result<()> {
        let _writer = self.store.turn_to_write();
        let missing = signed(missing);
        let devices = device::table
            .filter(device::token.eq(token))
            .select(device::serial_number);
        let ended = [TssState::Disabled.as_str(), TssState::Defective.as_str()];
        let signing = tss::table
            .filter(tss::device_serial.eq_any(devices))
            .filter(tss::state.ne_all(ended))
            .filter(tss::hold_reason.is_null());
        diesel::update(signing)
            .set((
                tss::hold_reason.eq(Some(reason)),
                tss::hold_counter.eq((tss::signature_counter + missing).nullable()),
                tss::hold_transaction.eq((tss::transaction_counter + missing).nullable()),
                tss::hold_since.eq(Some(since.unix_seconds())),
                tss::hold_scope.eq(Some(HoldScope::Token.as_str())),
            ))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        let free = device::table
            .filter(device::token.eq(token))
            .filter(device::tss_id.is_null())
            .filter(device::unusable_reason.is_null());
        diesel::update(free)
            .set(device::unusable_reason.eq(Some(reason)))
            .execute(&mut self.connection)
            .map(drop)
            .map_err(unavailable(HOLD))
    }

    /// Makes no TSS of this device: its key has signed for one that the ledger does not know any more.
    /// `false` when there is no such free device.
    pub fn set_device_aside(&mut self, serial: SerialNumber, reason: &str) -> Result<bool> {
        let _writer = self.store.turn_to_write();
        let free = device::table
            .filter(device::serial_number.eq(serial.to_string()))
            .filter(device::tss_id.is_null());
        diesel::update(free)
            .set(device::unusable_reason.eq(Some(reason)))
            .execute(&mut self.connection)
            .map(|changed| changed > 0)
            .map_err(unavailable("set a device aside"))
    }

    /// Raises both counters of a held TSS, for good. `false` when it is not held, or its counters are
    /// not what they were.
    pub fn raise(&mut self, id: TssId, from: &Standing, to: &Hold) -> Result<bool> {
        let _writer = self.store.turn_to_write();
        let (counter, transaction) = (
            signed(to.signature_counter.value()),
            signed(to.transaction.value()),
        );
        let held = tss::table
            .filter(tss::id.eq(id.to_string()))
            .filter(tss::hold_reason.is_not_null())
            .filter(tss::signature_counter.eq(signed(from.signature_counter.value())))
            .filter(tss::signature_counter.le(counter))
            .filter(tss::transaction_counter.le(transaction));
        diesel::update(held)
            .set((
                tss::signature_counter.eq(counter),
                tss::transaction_counter.eq(transaction),
                tss::settled_counter.eq(counter),
            ))
            .execute(&mut self.connection)
            .map(|changed| changed > 0)
            .map_err(unavailable("raise the counters of a TSS"))
    }

    /// Lets a TSS sign again: a person has decided, and what was decided is done.
    pub fn release(&mut self, id: TssId) -> Result<()> {
        let _writer = self.store.turn_to_write();
        let one = tss::table.filter(tss::id.eq(id.to_string()));
        diesel::update(one)
            .set((
                tss::hold_reason.eq(None::<String>),
                tss::hold_counter.eq(None::<i64>),
                tss::hold_transaction.eq(None::<i64>),
                tss::hold_since.eq(None::<i64>),
                tss::hold_scope.eq(None::<String>),
            ))
            .execute(&mut self.connection)
            .map(drop)
            .map_err(unavailable("let a TSS sign again"))
    }
}
