//! Rows by their keys, many at once.
//!
//! On SQLite a query is a call, and what costs is its text: one key at a time, with a query that is
//! prepared once, and has no LIMIT, because a bound limit makes SQLite prepare it anew each time. On
//! PostgreSQL it is a round trip: all keys in one query, as arrays, so that it is planned once.

use super::connection::EitherConnection;
use super::fixed::{Fixed, FixedStatement as _};
use super::records::{ClientRecord, DeviceRecord, StepRecord, TransactionRecord, TssRecord};
use super::tables::{client, device, token_pair, transaction_step, tss, tss_transaction};
use super::token_pairs::PairRecord;
use super::values::signed;
use crate::sma::TransactionRef;
use crate::terms::{ClientSerial, Revision, TransactionNumber, TssId};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

/// A TSS with its key, why it is stopped, and which token signs.
pub(super) type TssWithKey = (TssRecord, DeviceRecord, Option<String>, Option<PairRecord>);

macro_rules! tss_with_key {
    () => {
        tss::table
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .left_join(token_pair::table.on(token_pair::label.eq(device::token)))
            .select((
                TssRecord::as_select(),
                DeviceRecord::as_select(),
                tss::hold_reason,
                Option::<PairRecord>::as_select(),
            ))
    };
}

pub(super) fn tss(
    connection: &mut EitherConnection,
    ids: Vec<String>,
) -> QueryResult<Vec<TssWithKey>> {
    match connection {
        EitherConnection::Sqlite(connection) => {
            let mut found = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = tss_with_key!().filter(tss::id.eq(id));
                found.extend(row.get_result(connection).optional()?);
            }
            Ok(found)
        }
        EitherConnection::Postgres(connection) => {
            let rows = tss_with_key!().filter(tss::id.eq_any(ids));
            rows.load(connection)
        }
    }
}

pub(super) fn clients(
    connection: &mut EitherConnection,
    ids: Vec<String>,
) -> QueryResult<Vec<ClientRecord>> {
    match connection {
        EitherConnection::Sqlite(connection) => {
            let mut found = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = client::table
                    .filter(client::id.eq(id))
                    .select(ClientRecord::as_select())
                    .get_result(connection);
                found.extend(row.optional()?);
            }
            Ok(found)
        }
        EitherConnection::Postgres(connection) => client::table
            .filter(client::id.eq_any(ids))
            .select(ClientRecord::as_select())
            .load(connection),
    }
}

/// The clients of these TSSs with these serial numbers.
pub(super) fn serials(
    connection: &mut EitherConnection,
    keys: &[(TssId, &ClientSerial)],
) -> QueryResult<Vec<ClientRecord>> {
    match connection {
        EitherConnection::Sqlite(connection) => {
            let mut found = Vec::with_capacity(keys.len());
            for (tss, serial) in keys {
                let row = client::table
                    .filter(client::tss_id.eq(tss.to_string()))
                    .filter(client::serial.eq(serial.as_str()))
                    .select(ClientRecord::as_select())
                    .get_result(connection);
                found.extend(row.optional()?);
            }
            Ok(found)
        }
        EitherConnection::Postgres(connection) => {
            const JOIN: &str = ") AS wanted (tss_id, serial) INNER JOIN client \
                ON client.tss_id = wanted.tss_id AND client.serial = wanted.serial";
            Fixed("SELECT client.* FROM unnest(")
                .with::<Array<Text>, _>(texts(keys, |(tss, _)| tss.to_string()))
                .then(", ")
                .with::<Array<Text>, _>(texts(keys, |(_, serial)| serial.as_str().to_owned()))
                .then(JOIN)
                .load(connection)
        }
    }
}

pub(super) fn transactions(
    connection: &mut EitherConnection,
    keys: &[(TssId, TransactionRef)],
) -> QueryResult<Vec<TransactionRecord>> {
    match connection {
        EitherConnection::Sqlite(connection) => {
            let mut found = Vec::with_capacity(keys.len());
            for (tss, transaction) in keys {
                let of_tss = tss_transaction::table
                    .filter(tss_transaction::tss_id.eq(tss.to_string()))
                    .select(TransactionRecord::as_select());
                let record = match transaction {
                    TransactionRef::Id(id) => of_tss
                        .filter(tss_transaction::id.eq(id.to_string()))
                        .get_result(connection),
                    TransactionRef::Number(number) => of_tss
                        .filter(tss_transaction::number.eq(signed(number.value())))
                        .get_result(connection),
                };
                found.extend(record.optional()?);
            }
            Ok(found)
        }
        EitherConnection::Postgres(connection) => transactions_by_arrays(connection, keys),
    }
}

fn transactions_by_arrays(
    connection: &mut PgConnection,
    keys: &[(TssId, TransactionRef)],
) -> QueryResult<Vec<TransactionRecord>> {
    const SELECT: &str = "SELECT t.* FROM unnest(";
    const BY_ID: &str = ") AS wanted (tss_id, id) \
        INNER JOIN tss_transaction AS t ON t.tss_id = wanted.tss_id AND t.id = wanted.id";
    const BY_NUMBER: &str = ") AS wanted (tss_id, number) \
        INNER JOIN tss_transaction AS t ON t.tss_id = wanted.tss_id AND t.number = wanted.number";
    let (mut ids, mut numbers) = (Vec::new(), Vec::new());
    for (tss, transaction) in keys {
        match transaction {
            TransactionRef::Id(id) => ids.push((tss.to_string(), id.to_string())),
            TransactionRef::Number(number) => {
                numbers.push((tss.to_string(), signed(number.value())));
            }
        }
    }
    let mut found = Vec::new();
    if !ids.is_empty() {
        let (tss, ids): (Vec<_>, Vec<_>) = ids.into_iter().unzip();
        let query = Fixed(SELECT).with::<Array<Text>, _>(tss).then(", ");
        let query = query.with::<Array<Text>, _>(ids).then(BY_ID);
        found.extend(query.load::<TransactionRecord>(connection)?);
    }
    if !numbers.is_empty() {
        let (tss, numbers): (Vec<_>, Vec<_>) = numbers.into_iter().unzip();
        let query = Fixed(SELECT).with::<Array<Text>, _>(tss).then(", ");
        let query = query.with::<Array<BigInt>, _>(numbers).then(BY_NUMBER);
        found.extend(query.load::<TransactionRecord>(connection)?);
    }
    Ok(found)
}

pub(super) fn steps(
    connection: &mut EitherConnection,
    keys: &[(TssId, TransactionNumber, Revision)],
) -> QueryResult<Vec<StepRecord>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    match connection {
        EitherConnection::Sqlite(connection) => {
            let mut found = Vec::with_capacity(keys.len());
            for (tss, number, revision) in keys {
                let record = transaction_step::table
                    .filter(transaction_step::tss_id.eq(tss.to_string()))
                    .filter(transaction_step::transaction_number.eq(signed(number.value())))
                    .filter(transaction_step::revision.eq(signed(revision.value())))
                    .select(StepRecord::as_select())
                    .get_result(connection);
                found.extend(record.optional()?);
            }
            Ok(found)
        }
        EitherConnection::Postgres(connection) => {
            const JOIN: &str = ") AS wanted (tss_id, number, revision) \
                INNER JOIN transaction_step AS step ON step.tss_id = wanted.tss_id \
                AND step.transaction_number = wanted.number AND step.revision = wanted.revision";
            let numbers = keys.iter().map(|(_, number, _)| signed(number.value()));
            let revisions = keys.iter().map(|(_, _, revision)| signed(revision.value()));
            Fixed("SELECT step.* FROM unnest(")
                .with::<Array<Text>, _>(texts(keys, |(tss, _, _)| tss.to_string()))
                .then(", ")
                .with::<Array<BigInt>, _>(numbers.collect::<Vec<_>>())
                .then(", ")
                .with::<Array<BigInt>, _>(revisions.collect::<Vec<_>>())
                .then(JOIN)
                .load(connection)
        }
    }
}

fn texts<T>(keys: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    keys.iter().map(text).collect()
}
