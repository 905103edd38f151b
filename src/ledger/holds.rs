//! Stopping TSSs that the ledger has forgotten something of, and what a person decides about them.

use super::LedgerError;
use super::connection::{EitherConnection, unavailable};
use super::survey::{Hold, HoldScope, Standing, Survey};
use super::tables::{device, device_request, tss};
use super::values::signed;
use crate::sma::TssState;
use crate::terms::{SeTime, TssId};
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

const HOLD: &str = "stop a TSS";

/// Why a device or a request is set aside while nobody knows whether its key has signed.
const MAY_HAVE_SIGNED: &str = "its token has issued more numbers than the ledger knows";

/// Why it stays so: of other TSSs of its token a person has decided, and no sum tells any more.
const NOBODY_KNOWS: &str = "its key may have signed for a TSS that was lost";

/// Serial numbers of the devices of a token.
macro_rules! devices_of {
    ($token:expr) => {
        device::table
            .filter(device::token.eq($token))
            .select(device::serial_number)
    };
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Survey<'_> {
    /// Stops a TSS until a person decides. Where it is stopped already, limits are only raised, and the
    /// scope changes only to [`HoldScope::Unmendable`]: a limit that came from a sum is not one of this TSS.
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
        let unmendable = HoldScope::Unmendable.as_str();
        let mendable = one().filter(tss::hold_scope.ne(unmendable));
        diesel::update(mendable)
            .set(tss::hold_reason.eq(Some(&hold.reason)))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        if hold.scope == HoldScope::Unmendable {
            diesel::update(one())
                .set(tss::hold_scope.eq(Some(unmendable)))
                .execute(&mut self.connection)
                .map_err(unavailable(HOLD))?;
        }
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
        let ended = [TssState::Disabled.as_str(), TssState::Defective.as_str()];
        let signing = tss::table
            .filter(tss::device_serial.eq_any(devices_of!(token)))
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
            .set(device::unusable_reason.eq(Some(MAY_HAVE_SIGNED)))
            .execute(&mut self.connection)
            .map_err(unavailable(HOLD))?;
        let waiting = device_request::table
            .filter(device_request::token.eq(token))
            .filter(device_request::unusable_reason.is_null());
        diesel::update(waiting)
            .set(device_request::unusable_reason.eq(Some(MAY_HAVE_SIGNED)))
            .execute(&mut self.connection)
            .map(drop)
            .map_err(unavailable(HOLD))
    }

    /// Devices and requests of these tokens that were set aside with them are free again: the numbers that
    /// were missing are known.
    pub fn free_devices(&mut self, tokens: &[&str]) -> Result<()> {
        const FREE: &str = "free the devices of a token";
        let _writer = self.store.turn_to_write();
        let aside = device::table
            .filter(device::unusable_reason.eq(MAY_HAVE_SIGNED))
            .filter(device::token.eq_any(tokens));
        diesel::update(aside)
            .set(device::unusable_reason.eq(None::<String>))
            .execute(&mut self.connection)
            .map_err(unavailable(FREE))?;
        let aside = device_request::table
            .filter(device_request::unusable_reason.eq(MAY_HAVE_SIGNED))
            .filter(device_request::token.eq_any(tokens));
        diesel::update(aside)
            .set(device_request::unusable_reason.eq(None::<String>))
            .execute(&mut self.connection)
            .map(drop)
            .map_err(unavailable(FREE))
    }

    /// Raises both counters of a held TSS, for good. `false` when it is not held, or its counters are
    /// not what they were. From then on the sum of its token tells nothing of the others any more, so that
    /// neither restoring lets those go on of which only the sum was known, nor is a device free again.
    pub fn raise(&mut self, id: TssId, from: &Standing, to: &Hold) -> Result<bool> {
        let _writer = self.store.turn_to_write();
        let raised = self.connection.transaction(|connection| {
            let is_raised = raise(connection, id, from, to)?;
            if is_raised {
                end_sum(connection, &from.token)?;
            }
            QueryResult::Ok(is_raised)
        });
        raised.map_err(unavailable("raise the counters of a TSS"))
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

fn raise(
    connection: &mut EitherConnection,
    id: TssId,
    from: &Standing,
    to: &Hold,
) -> QueryResult<bool> {
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
    let changed = diesel::update(held)
        .set((
            tss::signature_counter.eq(counter),
            tss::transaction_counter.eq(transaction),
            tss::settled_counter.eq(counter),
        ))
        .execute(connection)?;
    Ok(changed > 0)
}

fn end_sum(connection: &mut EitherConnection, token: &str) -> QueryResult<()> {
    let held = tss::table
        .filter(tss::device_serial.eq_any(devices_of!(token)))
        .filter(tss::hold_scope.eq(HoldScope::Token.as_str()));
    diesel::update(held)
        .set(tss::hold_scope.eq(Some(HoldScope::Unmendable.as_str())))
        .execute(connection)?;
    let aside = device::table
        .filter(device::token.eq(token))
        .filter(device::unusable_reason.eq(MAY_HAVE_SIGNED));
    diesel::update(aside)
        .set(device::unusable_reason.eq(NOBODY_KNOWS))
        .execute(connection)?;
    let waiting = device_request::table
        .filter(device_request::token.eq(token))
        .filter(device_request::unusable_reason.eq(MAY_HAVE_SIGNED));
    diesel::update(waiting)
        .set(device_request::unusable_reason.eq(NOBODY_KNOWS))
        .execute(connection)
        .map(drop)
}
