//! Devices whose certificates a foreign CA makes: from the request to the certificate.

use super::connection::{EitherConnection, exists_or, is_unique_violation, unavailable};
use super::records::{CaRecord, DeviceRecord, RequestRecord};
use super::store::Store;
use super::tables::{ca, device, device_request};
use super::values::{damaged, parse, serial, time};
use super::{CaCertificate, LedgerError, PreparedDevice, WaitingDevice};
use crate::terms::{Curve, Environment, SeTime, SerialNumber, TssId};
use diesel::Connection as _;
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, LedgerError>;

/// Values bound in one query; far below the limits of both databases.
const SERIALS_MAX: usize = 250;

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceState {
    /// It has a request and no certificate yet.
    Waiting,
    /// A TSS can be made of it.
    Ready,
    /// A TSS has it.
    Used,
    /// No TSS will ever be made of it.
    Unusable,
}

impl DeviceState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Ready, Self::Used, Self::Unusable];

    /// For people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Used => "used",
            Self::Unusable => "unusable",
        }
    }
}

/// A device as an operator looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Hash of its public key.
    pub serial_number: SerialNumber,
    /// Label of the token that holds its key.
    pub token: String,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Curve of its key.
    pub curve: Curve,
    /// Where it stands.
    pub state: DeviceState,
    /// From when on it must not sign; `None` without certificate.
    pub certificate_not_after: Option<SeTime>,
    /// The TSS that was made of it.
    pub tss: Option<TssId>,
    /// Why no TSS is made of it.
    pub unusable_reason: Option<String>,
    /// When its key was made.
    pub time_creation: SeTime,
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Keeps a key with its request; [`LedgerError::Exists`] when the key is known.
    pub fn add_request(&self, waiting: &WaitingDevice) -> Result<()> {
        diesel::insert_into(device_request::table)
            .values(RequestRecord::from(waiting))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the request", "add a request"))
    }

    /// Requests of this token that have no certificate yet and may get one, oldest first.
    pub fn waiting_devices(&self, token: &str) -> Result<Vec<WaitingDevice>> {
        let rows: Vec<RequestRecord> = device_request::table
            .left_join(device::table.on(device::serial_number.eq(device_request::serial_number)))
            .filter(device_request::token.eq(token))
            .filter(device::serial_number.is_null())
            .filter(device_request::unusable_reason.is_null())
            .order((device_request::time_creation, device_request::serial_number))
            .select(RequestRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read requests"))?;
        rows.iter().map(RequestRecord::to_waiting).collect()
    }

    /// Those of these devices that have a request, with a certificate or without.
    pub fn requested_devices(&self, serials: &[SerialNumber]) -> Result<Vec<WaitingDevice>> {
        let mut connection = self.connection()?;
        let mut found = Vec::new();
        for chunk in serials.chunks(SERIALS_MAX) {
            let rows: Vec<RequestRecord> = device_request::table
                .filter(device_request::serial_number.eq_any(chunk.iter().map(ToString::to_string)))
                .select(RequestRecord::as_select())
                .load(&mut connection)
                .map_err(unavailable("read requests"))?;
            for row in rows {
                found.push(row.to_waiting()?);
            }
        }
        Ok(found)
    }

    /// Those of these devices that get no certificate, and why.
    pub fn unusable_requests(
        &self,
        serials: &[SerialNumber],
    ) -> Result<BTreeMap<SerialNumber, String>> {
        let mut connection = self.connection()?;
        let mut found = BTreeMap::new();
        for chunk in serials.chunks(SERIALS_MAX) {
            let rows: Vec<(String, Option<String>)> = device_request::table
                .filter(device_request::serial_number.eq_any(chunk.iter().map(ToString::to_string)))
                .filter(device_request::unusable_reason.is_not_null())
                .select((
                    device_request::serial_number,
                    device_request::unusable_reason,
                ))
                .load(&mut connection)
                .map_err(unavailable("read requests"))?;
            for (device, reason) in rows {
                let device = serial("device_request.serial_number", &device)?;
                found.insert(device, reason.unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// Those of these devices that have a certificate.
    pub fn certified_devices(&self, serials: &[SerialNumber]) -> Result<Vec<PreparedDevice>> {
        let mut connection = self.connection()?;
        let mut found = Vec::new();
        for chunk in serials.chunks(SERIALS_MAX) {
            let rows: Vec<DeviceRecord> = device::table
                .filter(device::serial_number.eq_any(chunk.iter().map(ToString::to_string)))
                .select(DeviceRecord::as_select())
                .load(&mut connection)
                .map_err(unavailable("read devices"))?;
            for row in rows {
                found.push(row.to_prepared()?);
            }
        }
        Ok(found)
    }

    /// Makes devices ready, with the CAs above them: all or nothing. A CA that is kept with the same
    /// certificate is passed over; [`LedgerError::Exists`] for one with another certificate, and for a
    /// device that has one. What is said of a request is said of its device, too.
    pub fn add_certified(&self, devices: &[PreparedDevice], cas: &[CaCertificate]) -> Result<()> {
        let mut writing = self.writing()?;
        let connection: &mut EitherConnection = &mut writing;
        let written = connection.transaction(|connection| {
            for authority in cas {
                keep_ca(connection, &CaRecord::from(authority))?;
            }
            for prepared in devices {
                let row = DeviceRecord::from(prepared);
                let reason = request_reason(connection, &row.serial_number)?;
                insert("the device", || {
                    diesel::insert_into(device::table)
                        .values((&row, device::unusable_reason.eq(reason)))
                        .execute(connection)
                })?;
            }
            Ok(())
        });
        written.map_err(|failed| match failed {
            Failed::Exists(what) => LedgerError::Exists(what),
            Failed::Query(error) => unavailable("keep certificates")(error),
        })
    }

    /// All devices of all tokens, those that wait for their certificate too.
    pub fn devices(&self) -> Result<Vec<DeviceRow>> {
        let mut connection = self.connection()?;
        let waiting: Vec<(Listed, Option<String>)> = device_request::table
            .left_join(device::table.on(device::serial_number.eq(device_request::serial_number)))
            .filter(device::serial_number.is_null())
            .select((
                (
                    device_request::serial_number,
                    device_request::token,
                    device_request::environment,
                    device_request::key_curve,
                    device_request::time_creation,
                ),
                device_request::unusable_reason,
            ))
            .load(&mut connection)
            .map_err(unavailable("read requests"))?;
        let certified: Vec<(Listed, i64, Option<String>, Option<String>)> = device::table
            .select((
                (
                    device::serial_number,
                    device::token,
                    device::environment,
                    device::key_curve,
                    device::time_creation,
                ),
                device::certificate_not_after,
                device::tss_id,
                device::unusable_reason,
            ))
            .load(&mut connection)
            .map_err(unavailable("read devices"))?;
        let waiting = waiting
            .iter()
            .map(|(listed, reason)| waiting_row(listed, reason));
        let certified = certified
            .iter()
            .map(|(listed, end, tss, reason)| certified_row(listed, *end, tss, reason));
        let mut rows = waiting.chain(certified).collect::<Result<Vec<_>>>()?;
        rows.sort_by(|a, b| {
            let key = |row: &DeviceRow| (row.time_creation, row.serial_number);
            a.token.cmp(&b.token).then_with(|| key(a).cmp(&key(b)))
        });
        Ok(rows)
    }
}

/// Serial number, token, environment, curve, time of creation.
type Listed = (String, String, String, String, i64);

fn waiting_row(listed: &Listed, reason: &Option<String>) -> Result<DeviceRow> {
    let (device, token, environment, curve, made) = listed;
    Ok(DeviceRow {
        serial_number: serial("device.serial_number", device)?,
        token: token.clone(),
        environment: parse("device.environment", environment)?,
        curve: Curve::from_name(curve).ok_or_else(|| damaged("device.key_curve"))?,
        state: match reason {
            Some(_) => DeviceState::Unusable,
            None => DeviceState::Waiting,
        },
        certificate_not_after: None,
        tss: None,
        unusable_reason: reason.clone(),
        time_creation: time("device.time_creation", *made)?,
    })
}

fn certified_row(
    listed: &Listed,
    end: i64,
    tss: &Option<String>,
    reason: &Option<String>,
) -> Result<DeviceRow> {
    let tss = tss.as_deref().map(|id| parse("device.tss_id", id));
    // Set aside while a TSS was made of it: then it has signed, and the TSS counts.
    let reason = reason.clone().filter(|_| tss.is_none());
    let state = match (&tss, &reason) {
        (Some(_), _) => DeviceState::Used,
        (None, Some(_)) => DeviceState::Unusable,
        (None, None) => DeviceState::Ready,
    };
    Ok(DeviceRow {
        state,
        certificate_not_after: Some(time("device.certificate_not_after", end)?),
        tss: tss.transpose()?,
        unusable_reason: reason,
        ..waiting_row(listed, &None)?
    })
}

/// Why nothing of it was written.
enum Failed {
    Exists(&'static str),
    Query(QueryError),
}

impl From<QueryError> for Failed {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

fn insert(
    what: &'static str,
    statement: impl FnOnce() -> QueryResult<usize>,
) -> std::result::Result<(), Failed> {
    match statement() {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => Err(Failed::Exists(what)),
        Err(error) => Err(Failed::Query(error)),
    }
}

/// Why this key gets no certificate, if somebody has found that out while its certificate was looked at.
fn request_reason(connection: &mut EitherConnection, serial: &str) -> QueryResult<Option<String>> {
    let reason: Option<Option<String>> = device_request::table
        .find(serial)
        .select(device_request::unusable_reason)
        .first(connection)
        .optional()?;
    Ok(reason.flatten())
}

fn keep_ca(
    connection: &mut EitherConnection,
    authority: &CaRecord,
) -> std::result::Result<(), Failed> {
    let kept: Option<(String, Vec<u8>)> = ca::table
        .find(&authority.serial_number)
        .select((ca::environment, ca::certificate))
        .first(connection)
        .optional()?;
    match kept {
        Some((environment, certificate))
            if environment == authority.environment && certificate == authority.certificate =>
        {
            Ok(())
        }
        Some(_) => Err(Failed::Exists("the CA with another certificate")),
        None => insert("the CA", || {
            diesel::insert_into(ca::table)
                .values(authority)
                .execute(connection)
        }),
    }
}
