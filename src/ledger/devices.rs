//! Prepared devices, and the certificates above them.

use super::connection::{exists_or, unavailable};
use super::records::{CaRecord, DeviceRecord};
use super::store::Store;
use super::tables::{ca, device, device_request};
use super::values::{damaged, key_id, parse, serial, unsigned};
use super::{CaCertificate, LedgerError, PreparedDevice};
use crate::csp::KeyId;
use crate::terms::{Environment, SeTime, SerialNumber, TssId};
use diesel::prelude::*;
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, LedgerError>;

/// Certificates in a chain at most; a longer one must be a circle.
const CHAIN_LEN_MAX: usize = 8;

/// Why a device is unusable whose certificate has ended before a TSS was made of it.
const ENDED: &str = "its certificate has ended";

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Puts a device into the pool; [`LedgerError::Exists`] when its key is known.
    pub fn add_device(&self, prepared: &PreparedDevice) -> Result<()> {
        diesel::insert_into(device::table)
            .values(DeviceRecord::from(prepared))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the device", "add a device"))
    }

    /// Usable devices of an environment that no TSS has, in all tokens together.
    pub fn free_devices(&self, environment: Environment) -> Result<u64> {
        let count: i64 = device::table
            .filter(device::tss_id.is_null())
            .filter(device::unusable_reason.is_null())
            .filter(device::environment.eq(environment.as_str()))
            .count()
            .get_result(&mut self.connection()?)
            .map_err(unavailable("count devices"))?;
        unsigned("device", count)
    }

    /// The same in one token, without those that this process withholds: what a new TSS can get here.
    pub fn free_devices_in(&self, token: &str, environment: Environment) -> Result<u64> {
        let withheld = self.withheld().all();
        let count: i64 = device::table
            .filter(device::tss_id.is_null())
            .filter(device::unusable_reason.is_null())
            .filter(device::environment.eq(environment.as_str()))
            .filter(device::token.eq(token))
            .filter(device::serial_number.ne_all(withheld.iter().map(ToString::to_string)))
            .count()
            .get_result(&mut self.connection()?)
            .map_err(unavailable("count devices"))?;
        unsigned("device", count)
    }

    /// From now on no TSS is made of devices whose certificate has ended by `now`; those that were found so
    /// at a wrong time are free again. Returns how many were set aside.
    pub fn set_ended_devices_aside(&self, now: SeTime) -> Result<usize> {
        let mut writing = self.writing()?;
        let free = device::table.filter(device::tss_id.is_null());
        let not_ended = free
            .filter(device::unusable_reason.eq(ENDED))
            .filter(device::certificate_not_after.gt(now.unix_seconds()));
        diesel::update(not_ended)
            .set(device::unusable_reason.eq(None::<String>))
            .execute(&mut *writing)
            .map_err(unavailable("take devices back"))?;
        let ended = free
            .filter(device::unusable_reason.is_null())
            .filter(device::certificate_not_after.le(now.unix_seconds()));
        diesel::update(ended)
            .set(device::unusable_reason.eq(ENDED))
            .execute(&mut *writing)
            .map_err(unavailable("set devices aside"))
    }

    /// Makes TSSs of this device again, if it was set aside for one of these reasons. `false` when it was not.
    pub fn take_device_back(&self, serial: SerialNumber, reasons: &[&str]) -> Result<bool> {
        let set_aside = device::table
            .filter(device::serial_number.eq(serial.to_string()))
            .filter(device::tss_id.is_null())
            .filter(device::unusable_reason.eq_any(reasons.iter().copied()));
        diesel::update(set_aside)
            .set(device::unusable_reason.eq(None::<String>))
            .execute(&mut *self.writing()?)
            .map(|changed| changed > 0)
            .map_err(unavailable("take a device back"))
    }

    /// What the keys of this token that the ledger knows are for; one environment at most, or the two
    /// have been mixed.
    pub fn environments_in(&self, token: &str) -> Result<BTreeSet<Environment>> {
        let mut connection = self.connection()?;
        let mut found: Vec<String> = device::table
            .filter(device::token.eq(token))
            .select(device::environment)
            .distinct()
            .load(&mut connection)
            .map_err(unavailable("read devices"))?;
        let requested: Vec<String> = device_request::table
            .filter(device_request::token.eq(token))
            .select(device_request::environment)
            .distinct()
            .load(&mut connection)
            .map_err(unavailable("read requests"))?;
        let of_cas: Vec<String> = ca::table
            .filter(ca::token.eq(token))
            .select(ca::environment)
            .distinct()
            .load(&mut connection)
            .map_err(unavailable("read CAs"))?;
        found.extend(requested.into_iter().chain(of_cas));
        let environment = |text: &String| parse("device.environment", text);
        found.iter().map(environment).collect()
    }

    /// `CKA_ID`s of all keys of this token that the ledger knows, of devices with and without certificate
    /// and of CAs; any other key is left over from a crash.
    pub fn known_keys(&self, token: &str) -> Result<Vec<KeyId>> {
        let mut connection = self.connection()?;
        let mut ids: Vec<String> = device::table
            .filter(device::token.eq(token))
            .select(device::key_id)
            .load(&mut connection)
            .map_err(unavailable("read devices"))?;
        let requested: Vec<String> = device_request::table
            .filter(device_request::token.eq(token))
            .select(device_request::key_id)
            .load(&mut connection)
            .map_err(unavailable("read requests"))?;
        ids.extend(requested);
        ids.sort();
        ids.dedup();
        let of_cas: Vec<Option<String>> = ca::table
            .filter(ca::token.eq(token))
            .select(ca::key_id)
            .load(&mut connection)
            .map_err(unavailable("read CAs"))?;
        ids.extend(of_cas.into_iter().flatten());
        ids.iter().map(|id| key_id("key_id", id)).collect()
    }

    /// Adds the certificate of a CA; [`LedgerError::Exists`] when its key is known.
    pub fn add_ca(&self, certificate: &CaCertificate) -> Result<()> {
        diesel::insert_into(ca::table)
            .values(CaRecord::from(certificate))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the CA", "add a CA"))
    }

    /// All CAs of an environment.
    pub fn cas(&self, environment: Environment) -> Result<Vec<CaCertificate>> {
        let rows: Vec<CaRecord> = ca::table
            .filter(ca::environment.eq(environment.as_str()))
            .order(ca::serial_number)
            .select(CaRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read CAs"))?;
        rows.iter().map(CaRecord::to_ca).collect()
    }

    /// The certificates of a TSS, leaf first, root last: hash of the public key and DER. Empty when
    /// there is no such TSS.
    pub fn chain(&self, tss: TssId) -> Result<Vec<(SerialNumber, Vec<u8>)>> {
        let mut connection = self.connection()?;
        let leaf: Option<DeviceRecord> = device::table
            .filter(device::tss_id.eq(tss.to_string()))
            .select(DeviceRecord::as_select())
            .first(&mut connection)
            .optional()
            .map_err(unavailable("read a certificate"))?;
        let Some(leaf) = leaf else {
            return Ok(Vec::new());
        };
        let leaf_serial = serial("device.serial_number", &leaf.serial_number)?;
        let mut chain = vec![(leaf_serial, leaf.certificate)];
        let mut issuer = leaf.issuer;
        while chain.len() < CHAIN_LEN_MAX {
            let found: Option<CaRecord> = ca::table
                .find(&issuer)
                .select(CaRecord::as_select())
                .first(&mut connection)
                .optional()
                .map_err(unavailable("read a certificate"))?;
            let found = found.ok_or_else(|| damaged("device.issuer"))?.to_ca()?;
            let is_root = found.issuer == found.serial_number;
            issuer = found.issuer.to_string();
            chain.push((found.serial_number, found.certificate));
            if is_root {
                return Ok(chain);
            }
        }
        Err(damaged("ca.issuer"))
    }

    /// Label of the token that holds the key of this TSS.
    pub fn token_of(&self, tss: TssId) -> Result<Option<String>> {
        device::table
            .filter(device::tss_id.eq(tss.to_string()))
            .select(device::token)
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a device"))
    }
}
