//! Keys that have signed for TSSs which the ledger does not know any more. None of them ever signs for
//! another TSS, and what they have spent is not missed of their tokens again.

use super::LedgerError;
use super::connection::{is_unique_violation, unavailable};
use super::survey::Survey;
use super::tables::{device, device_request, lost_key};
use super::values::{parse, serial, signed, unsigned};
use crate::terms::{SeTime, SerialNumber, SignatureCounter, TssId};
use diesel::prelude::*;
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, LedgerError>;

/// Devices asked for in one query.
const SERIALS_MAX: usize = 250;

const READ: &str = "read which keys were lost";
const WRITE: &str = "write which keys were lost";

/// What is known of a key whose TSS was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKey {
    /// For which TSS it has signed.
    pub tss: TssId,
    /// Label of the token that holds it, where that is known.
    pub token: Option<String>,
    /// No higher signature counter was issued, as far as is known.
    pub signature_counter: SignatureCounter,
    /// How many numbers it has spent on messages.
    pub spent: u64,
    /// Whether a person has written the TSS off.
    pub is_decided: bool,
}

/// Where the ledger knows the key of a device to be, whether a TSS has it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Label of its token.
    pub token: String,
    /// Signatures of the key before it signs for a TSS.
    pub device_counter: SignatureCounter,
}

type Row = (String, String, Option<String>, i64, i64, Option<i64>);

fn lost(row: Row) -> Result<(SerialNumber, LostKey)> {
    let (device, tss, token, counter, spent, decided) = row;
    let counter = unsigned("lost_key.signature_counter", counter)?;
    let lost = LostKey {
        tss: parse("lost_key.tss_id", &tss)?,
        token,
        signature_counter: SignatureCounter::new(counter),
        spent: unsigned("lost_key.spent", spent)?,
        is_decided: decided.is_some(),
    };
    Ok((serial("lost_key.serial_number", &device)?, lost))
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Survey<'_> {
    /// All keys that were found to be lost.
    pub fn lost_keys(&mut self) -> Result<BTreeMap<SerialNumber, LostKey>> {
        let rows: Vec<Row> = lost_key::table
            .select((
                lost_key::serial_number,
                lost_key::tss_id,
                lost_key::token,
                lost_key::signature_counter,
                lost_key::spent,
                lost_key::time_decided,
            ))
            .load(&mut self.connection)
            .map_err(unavailable(READ))?;
        rows.into_iter().map(lost).collect()
    }

    /// Where the keys of these devices are; those that the ledger does not know are left out.
    pub fn key_places(
        &mut self,
        devices: &[SerialNumber],
    ) -> Result<BTreeMap<SerialNumber, KeyPlace>> {
        let mut found = BTreeMap::new();
        for devices in devices.chunks(SERIALS_MAX) {
            let serials = || devices.iter().map(ToString::to_string);
            let mut rows: Vec<(String, String, i64)> = device_request::table
                .filter(device_request::serial_number.eq_any(serials()))
                .select((
                    device_request::serial_number,
                    device_request::token,
                    device_request::signature_counter,
                ))
                .load(&mut self.connection)
                .map_err(unavailable(READ))?;
            let certified: Vec<(String, String, i64)> = device::table
                .filter(device::serial_number.eq_any(serials()))
                .select((
                    device::serial_number,
                    device::token,
                    device::signature_counter,
                ))
                .load(&mut self.connection)
                .map_err(unavailable(READ))?;
            rows.extend(certified);
            for (device, token, counter) in rows {
                let counter = unsigned("device.signature_counter", counter)?;
                let place = KeyPlace {
                    token,
                    device_counter: SignatureCounter::new(counter),
                };
                found.insert(serial("device.serial_number", &device)?, place);
            }
        }
        Ok(found)
    }

    /// Makes no TSS of this device any more: its key has signed for one that the ledger does not know. What
    /// is known already is only raised. `true` when it was not known at all.
    pub fn lose_key(
        &mut self,
        serial: SerialNumber,
        key: &LostKey,
        reason: &str,
        now: SeTime,
    ) -> Result<bool> {
        let _writer = self.store.turn_to_write();
        let id = serial.to_string();
        let (counter, spent) = (signed(key.signature_counter.value()), signed(key.spent));
        // The device first: whoever falls between does it again.
        let free = device::table
            .filter(device::serial_number.eq(&id))
            .filter(device::tss_id.is_null());
        diesel::update(free)
            .set(device::unusable_reason.eq(Some(reason)))
            .execute(&mut self.connection)
            .map_err(unavailable(WRITE))?;
        diesel::update(device_request::table.find(&id))
            .set(device_request::unusable_reason.eq(Some(reason)))
            .execute(&mut self.connection)
            .map_err(unavailable(WRITE))?;
        let inserted = diesel::insert_into(lost_key::table)
            .values((
                lost_key::serial_number.eq(&id),
                lost_key::tss_id.eq(key.tss.to_string()),
                lost_key::token.eq(&key.token),
                lost_key::signature_counter.eq(counter),
                lost_key::spent.eq(spent),
                lost_key::time_found.eq(now.unix_seconds()),
            ))
            .execute(&mut self.connection);
        match inserted {
            Ok(_) => return Ok(true),
            Err(error) if is_unique_violation(&error) => {}
            Err(error) => return Err(unavailable(WRITE)(error)),
        }
        let known = lost_key::table
            .find(&id)
            .filter(lost_key::signature_counter.lt(counter));
        diesel::update(known)
            .set((
                lost_key::signature_counter.eq(counter),
                lost_key::spent.eq(spent),
            ))
            .execute(&mut self.connection)
            .map_err(unavailable(WRITE))?;
        Ok(false)
    }

    /// A person writes a lost TSS off. `false` when there is none of this id to decide on.
    pub fn write_off(&mut self, tss: TssId, now: SeTime) -> Result<bool> {
        let _writer = self.store.turn_to_write();
        let undecided = lost_key::table
            .filter(lost_key::tss_id.eq(tss.to_string()))
            .filter(lost_key::time_decided.is_null());
        diesel::update(undecided)
            .set(lost_key::time_decided.eq(Some(now.unix_seconds())))
            .execute(&mut self.connection)
            .map(|changed| changed > 0)
            .map_err(unavailable(WRITE))
    }
}
