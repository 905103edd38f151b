//! Devices, with and without certificate, and certificates of CAs.

use crate::csp::KeyPair;
use crate::ledger::tables::{ca, device, device_request};
use crate::ledger::values::{damaged, key_pair, parse, serial, signed, time, unsigned};
use crate::ledger::{CaCertificate, CaRole, LedgerError, PreparedDevice, WaitingDevice};
use crate::sma::Device;
use crate::terms::{SignatureAlgorithm, SignatureCounter};
use diesel::prelude::*;

#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = device, treat_none_as_default_value = false)]
pub(in crate::ledger) struct DeviceRecord {
    pub serial_number: String,
    pub environment: String,
    pub token: String,
    pub key_id: String,
    pub key_curve: String,
    pub key_point: Vec<u8>,
    pub algorithm: String,
    pub signature_counter: i64,
    pub certificate: Vec<u8>,
    pub issuer: String,
    pub certificate_not_after: i64,
    pub time_creation: i64,
    pub tss_id: Option<String>,
}

impl From<&PreparedDevice> for DeviceRecord {
    fn from(device: &PreparedDevice) -> Self {
        Self {
            serial_number: device.serial_number.to_string(),
            environment: device.environment.as_str().to_owned(),
            token: device.token.clone(),
            key_id: device.key.id.to_string(),
            key_curve: device.key.public_key.curve.name().to_owned(),
            key_point: device.key.public_key.point.clone(),
            algorithm: device.algorithm.name().to_owned(),
            signature_counter: signed(device.signature_counter.value()),
            certificate: device.certificate.clone(),
            issuer: device.issuer.to_string(),
            certificate_not_after: device.certificate_not_after.unix_seconds(),
            time_creation: device.time_creation.unix_seconds(),
            tss_id: None,
        }
    }
}

impl DeviceRecord {
    pub fn to_device(&self) -> Result<Device, LedgerError> {
        Ok(Device {
            serial_number: serial("device.serial_number", &self.serial_number)?,
            algorithm: algorithm(&self.algorithm)?,
            public_point: self.key_point.clone(),
            signature_counter: SignatureCounter::new(unsigned(
                "device.signature_counter",
                self.signature_counter,
            )?),
            certificate_not_after: time(
                "device.certificate_not_after",
                self.certificate_not_after,
            )?,
        })
    }

    pub fn to_key(&self) -> Result<KeyPair, LedgerError> {
        key_pair(&self.key_id, &self.key_curve, &self.key_point)
    }

    pub fn to_prepared(&self) -> Result<PreparedDevice, LedgerError> {
        let device = self.to_device()?;
        Ok(PreparedDevice {
            serial_number: device.serial_number,
            environment: parse("device.environment", &self.environment)?,
            token: self.token.clone(),
            key: self.to_key()?,
            algorithm: device.algorithm,
            signature_counter: device.signature_counter,
            certificate: self.certificate.clone(),
            issuer: serial("device.issuer", &self.issuer)?,
            certificate_not_after: device.certificate_not_after,
            time_creation: time("device.time_creation", self.time_creation)?,
        })
    }
}

#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = device_request)]
pub(in crate::ledger) struct RequestRecord {
    pub serial_number: String,
    pub environment: String,
    pub token: String,
    pub key_id: String,
    pub key_curve: String,
    pub key_point: Vec<u8>,
    pub algorithm: String,
    pub signature_counter: i64,
    pub request: Vec<u8>,
    pub time_creation: i64,
}

impl From<&WaitingDevice> for RequestRecord {
    fn from(device: &WaitingDevice) -> Self {
        Self {
            serial_number: device.serial_number.to_string(),
            environment: device.environment.as_str().to_owned(),
            token: device.token.clone(),
            key_id: device.key.id.to_string(),
            key_curve: device.key.public_key.curve.name().to_owned(),
            key_point: device.key.public_key.point.clone(),
            algorithm: device.algorithm.name().to_owned(),
            signature_counter: signed(device.signature_counter.value()),
            request: device.request.clone(),
            time_creation: device.time_creation.unix_seconds(),
        }
    }
}

impl RequestRecord {
    pub fn to_waiting(&self) -> Result<WaitingDevice, LedgerError> {
        let counter = unsigned("device_request.signature_counter", self.signature_counter)?;
        Ok(WaitingDevice {
            serial_number: serial("device_request.serial_number", &self.serial_number)?,
            environment: parse("device_request.environment", &self.environment)?,
            token: self.token.clone(),
            key: key_pair(&self.key_id, &self.key_curve, &self.key_point)?,
            algorithm: algorithm(&self.algorithm)?,
            signature_counter: SignatureCounter::new(counter),
            request: self.request.clone(),
            time_creation: time("device_request.time_creation", self.time_creation)?,
        })
    }
}

pub(super) fn algorithm(name: &str) -> Result<SignatureAlgorithm, LedgerError> {
    SignatureAlgorithm::from_name(name).ok_or_else(|| damaged("device.algorithm"))
}

#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = ca, treat_none_as_default_value = false)]
pub(in crate::ledger) struct CaRecord {
    pub serial_number: String,
    pub environment: String,
    pub role: String,
    pub issuer: String,
    pub token: Option<String>,
    pub key_id: Option<String>,
    pub key_curve: Option<String>,
    pub key_point: Option<Vec<u8>>,
    pub certificate: Vec<u8>,
}

const ROOT: &str = "root";
const ISSUING: &str = "issuing";

impl From<&CaCertificate> for CaRecord {
    fn from(ca: &CaCertificate) -> Self {
        let key = ca.key.as_ref();
        let public_key = key.map(|(_, key)| &key.public_key);
        let role = match ca.role {
            CaRole::Root => ROOT,
            CaRole::Issuing => ISSUING,
        };
        Self {
            serial_number: ca.serial_number.to_string(),
            environment: ca.environment.as_str().to_owned(),
            role: role.to_owned(),
            issuer: ca.issuer.to_string(),
            token: key.map(|(token, _)| token.clone()),
            key_id: key.map(|(_, key)| key.id.to_string()),
            key_curve: public_key.map(|key| key.curve.name().to_owned()),
            key_point: public_key.map(|key| key.point.clone()),
            certificate: ca.certificate.clone(),
        }
    }
}

impl CaRecord {
    pub fn to_ca(&self) -> Result<CaCertificate, LedgerError> {
        let key = match (&self.token, &self.key_id, &self.key_curve, &self.key_point) {
            (Some(token), Some(id), Some(curve), Some(point)) => {
                Some((token.clone(), key_pair(id, curve, point)?))
            }
            (None, None, None, None) => None,
            (_, _, _, _) => return Err(damaged("ca.key_id")),
        };
        Ok(CaCertificate {
            serial_number: serial("ca.serial_number", &self.serial_number)?,
            environment: parse("ca.environment", &self.environment)?,
            role: match self.role.as_str() {
                ROOT => CaRole::Root,
                ISSUING => CaRole::Issuing,
                _ => return Err(damaged("ca.role")),
            },
            issuer: serial("ca.issuer", &self.issuer)?,
            key,
            certificate: self.certificate.clone(),
        })
    }
}
