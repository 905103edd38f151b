//! TSSs and clients.

use super::device::DeviceRecord;
use crate::ledger::LedgerError;
use crate::ledger::tables::{client, tss};
use crate::ledger::values::{
    damaged, fixed, metadata, metadata_text, named, optional_time, parse, signed, time, unsigned,
};
use crate::sma::{AdminUser, Client, ClientState, CredentialDigest, Tss, TssState};
use crate::terms::{ClientSerial, SeTime, SignatureCounter, TransactionNumber, TssId};
use diesel::prelude::*;

#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = tss, treat_none_as_default_value = false)]
pub(in crate::ledger) struct TssRecord {
    pub id: String,
    pub organization_id: String,
    pub environment: String,
    pub format: String,
    pub device_serial: String,
    pub signature_counter: i64,
    pub state: String,
    pub description: String,
    pub transaction_counter: i64,
    pub last_se_time: i64,
    pub clients_registered: i64,
    pub transactions_open: i64,
    pub admin_salt: Vec<u8>,
    pub admin_pin: Option<Vec<u8>>,
    pub admin_pin_retries: i64,
    pub admin_puk: Vec<u8>,
    pub admin_puk_failures: i64,
    pub admin_puk_blocked_until: i64,
    pub admin_sealed_puk: Option<Vec<u8>>,
    pub admin_session: Option<String>,
    pub metadata: String,
    pub time_creation: i64,
    pub time_uninit: Option<i64>,
    pub time_init: Option<i64>,
    pub time_disable: Option<i64>,
    pub time_defective: Option<i64>,
}

/// What each message and each transaction changes in the row of its TSS (`sma::TssChange::Counters`).
#[derive(Clone, Debug)]
pub(in crate::ledger) struct CountersRecord {
    pub id: String,
    pub signature_counter: i64,
    pub transaction_counter: i64,
    pub last_se_time: i64,
    pub transactions_open: i64,
}

impl From<&Tss> for CountersRecord {
    fn from(tss: &Tss) -> Self {
        Self {
            id: tss.id.to_string(),
            signature_counter: signed(tss.device.signature_counter.value()),
            transaction_counter: signed(tss.transaction_counter.value()),
            last_se_time: tss.last_se_time.unix_seconds(),
            transactions_open: tss.transactions_open.into(),
        }
    }
}

impl From<&Tss> for TssRecord {
    fn from(tss: &Tss) -> Self {
        let admin = &tss.admin;
        Self {
            id: tss.id.to_string(),
            organization_id: tss.organization.to_string(),
            environment: tss.environment.as_str().to_owned(),
            format: tss.format.as_str().to_owned(),
            device_serial: tss.device.serial_number.to_string(),
            signature_counter: signed(tss.device.signature_counter.value()),
            state: tss.state.as_str().to_owned(),
            description: tss.description.clone(),
            transaction_counter: signed(tss.transaction_counter.value()),
            last_se_time: tss.last_se_time.unix_seconds(),
            clients_registered: tss.clients_registered.into(),
            transactions_open: tss.transactions_open.into(),
            admin_salt: admin.salt.to_vec(),
            admin_pin: admin.pin.map(|pin| pin.as_bytes().to_vec()),
            admin_pin_retries: admin.pin_retries.into(),
            admin_puk: admin.puk.as_bytes().to_vec(),
            admin_puk_failures: admin.puk_failures.into(),
            admin_puk_blocked_until: admin.puk_blocked_until.unix_seconds(),
            admin_sealed_puk: admin.sealed_puk.clone(),
            admin_session: admin.session.map(|session| session.to_string()),
            metadata: metadata_text(&tss.metadata),
            time_creation: tss.time_creation.unix_seconds(),
            time_uninit: tss.time_uninit.map(SeTime::unix_seconds),
            time_init: tss.time_init.map(SeTime::unix_seconds),
            time_disable: tss.time_disable.map(SeTime::unix_seconds),
            time_defective: tss.time_defective.map(SeTime::unix_seconds),
        }
    }
}

impl TssRecord {
    pub fn to_tss(&self, device: &DeviceRecord) -> Result<Tss, LedgerError> {
        let mut device = device.to_device()?;
        device.signature_counter =
            SignatureCounter::new(unsigned("tss.signature_counter", self.signature_counter)?);
        Ok(Tss {
            id: parse("tss.id", &self.id)?,
            organization: parse("tss.organization_id", &self.organization_id)?,
            environment: parse("tss.environment", &self.environment)?,
            format: parse("tss.format", &self.format)?,
            device,
            state: named("tss.state", &TssState::ALL, TssState::as_str, &self.state)?,
            description: self.description.clone(),
            transaction_counter: TransactionNumber::new(unsigned(
                "tss.transaction_counter",
                self.transaction_counter,
            )?),
            last_se_time: time("tss.last_se_time", self.last_se_time)?,
            clients_registered: unsigned("tss.clients_registered", self.clients_registered)?,
            transactions_open: unsigned("tss.transactions_open", self.transactions_open)?,
            admin: self.to_admin()?,
            metadata: metadata("tss.metadata", &self.metadata)?,
            time_creation: time("tss.time_creation", self.time_creation)?,
            time_uninit: optional_time("tss.time_uninit", self.time_uninit)?,
            time_init: optional_time("tss.time_init", self.time_init)?,
            time_disable: optional_time("tss.time_disable", self.time_disable)?,
            time_defective: optional_time("tss.time_defective", self.time_defective)?,
        })
    }

    fn to_admin(&self) -> Result<AdminUser, LedgerError> {
        let pin = self.admin_pin.as_deref();
        let session = self.admin_session.as_deref();
        Ok(AdminUser {
            salt: fixed("tss.admin_salt", &self.admin_salt)?,
            pin: pin
                .map(|pin| fixed("tss.admin_pin", pin).map(CredentialDigest::new))
                .transpose()?,
            pin_retries: unsigned("tss.admin_pin_retries", self.admin_pin_retries)?,
            puk: CredentialDigest::new(fixed("tss.admin_puk", &self.admin_puk)?),
            puk_failures: unsigned("tss.admin_puk_failures", self.admin_puk_failures)?,
            puk_blocked_until: time("tss.admin_puk_blocked_until", self.admin_puk_blocked_until)?,
            sealed_puk: self.admin_sealed_puk.clone(),
            session: session
                .map(|session| parse("tss.admin_session", session))
                .transpose()?,
        })
    }
}

#[derive(
    AsChangeset, Clone, Debug, Identifiable, Insertable, Queryable, QueryableByName, Selectable,
)]
#[diesel(table_name = client)]
pub(in crate::ledger) struct ClientRecord {
    pub id: String,
    pub tss_id: String,
    pub serial: String,
    pub state: String,
    pub time_creation: i64,
    pub time_update: i64,
    pub metadata: String,
}

impl ClientRecord {
    pub fn new(tss: TssId, client: &Client) -> Self {
        Self {
            id: client.id.to_string(),
            tss_id: tss.to_string(),
            serial: client.serial.as_str().to_owned(),
            state: client.state.as_str().to_owned(),
            time_creation: client.time_creation.unix_seconds(),
            time_update: client.time_update.unix_seconds(),
            metadata: metadata_text(&client.metadata),
        }
    }

    pub fn to_client(&self) -> Result<Client, LedgerError> {
        let states = [ClientState::Registered, ClientState::Deregistered];
        let serial = ClientSerial::try_from(self.serial.as_str());
        Ok(Client {
            id: parse("client.id", &self.id)?,
            serial: serial.map_err(|_| damaged("client.serial"))?,
            state: named("client.state", &states, ClientState::as_str, &self.state)?,
            time_creation: time("client.time_creation", self.time_creation)?,
            time_update: time("client.time_update", self.time_update)?,
            metadata: metadata("client.metadata", &self.metadata)?,
        })
    }
}
