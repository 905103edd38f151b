//! Rows by their keys, many at once.
//!
//! On SQLite a query is a call, and what costs is its text: one key at a time, with a query that is
//! prepared once, and has no LIMIT, because a bound limit makes SQLite prepare it anew each time. On
//! PostgreSQL it is a round trip: all keys in a few queries.

use super::connection::EitherConnection;
use super::records::{ClientRecord, StepRecord, TransactionRecord};
use super::tables::{client, transaction_step, tss_transaction};
use super::values::signed;
use crate::sma::TransactionRef;
use crate::terms::{Revision, TransactionNumber, TssId};
use diesel::pg::Pg;
use diesel::prelude::*;

/// Keys looked for in one query. A longer chain of ORs makes planners slow.
const KEYS_MAX: usize = 100;

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

pub(super) fn transactions(
    connection: &mut EitherConnection,
    keys: &[(TssId, TransactionRef)],
) -> QueryResult<Vec<TransactionRecord>> {
    let mut found = Vec::with_capacity(keys.len());
    match connection {
        EitherConnection::Sqlite(connection) => {
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
        }
        EitherConnection::Postgres(connection) => {
            for chunk in keys.chunks(KEYS_MAX) {
                let mut query = tss_transaction::table
                    .select(TransactionRecord::as_select())
                    .into_boxed::<Pg>();
                for (tss, transaction) in chunk {
                    let of_tss = tss_transaction::tss_id.eq(tss.to_string());
                    query = match transaction {
                        TransactionRef::Id(id) => {
                            query.or_filter(of_tss.and(tss_transaction::id.eq(id.to_string())))
                        }
                        TransactionRef::Number(number) => {
                            let number = signed(number.value());
                            query.or_filter(of_tss.and(tss_transaction::number.eq(number)))
                        }
                    };
                }
                found.extend(query.load(connection)?);
            }
        }
    }
    Ok(found)
}

pub(super) fn steps(
    connection: &mut EitherConnection,
    keys: &[(TssId, TransactionNumber, Revision)],
) -> QueryResult<Vec<StepRecord>> {
    let mut found = Vec::with_capacity(keys.len());
    match connection {
        EitherConnection::Sqlite(connection) => {
            for (tss, number, revision) in keys {
                let record = transaction_step::table
                    .filter(transaction_step::tss_id.eq(tss.to_string()))
                    .filter(transaction_step::transaction_number.eq(signed(number.value())))
                    .filter(transaction_step::revision.eq(signed(revision.value())))
                    .select(StepRecord::as_select())
                    .get_result(connection);
                found.extend(record.optional()?);
            }
        }
        EitherConnection::Postgres(connection) => {
            for chunk in keys.chunks(KEYS_MAX) {
                let mut query = transaction_step::table
                    .select(StepRecord::as_select())
                    .into_boxed::<Pg>();
                for (tss, number, revision) in chunk {
                    let of_tss = transaction_step::tss_id.eq(tss.to_string());
                    let number = transaction_step::transaction_number.eq(signed(number.value()));
                    let revision = transaction_step::revision.eq(signed(revision.value()));
                    query = query.or_filter(of_tss.and(number).and(revision));
                }
                found.extend(query.load(connection)?);
            }
        }
    }
    Ok(found)
}
