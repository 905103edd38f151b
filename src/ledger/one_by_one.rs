//! Rows that a batch changes, one in each statement, on SQLite. Their keys stay as they are: to write them, even
//! with the values they have, makes a database look into its indexes.

use super::fixed::{Fixed, FixedStatement as _};
use super::records::{CountersRecord, TransactionRecord, TssRecord};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

/// Updates a TSS that is stored with this counter; returns whether it was (0 or 1).
pub(super) fn update_tss(
    connection: &mut SqliteConnection,
    row: &TssRecord,
    expected: i64,
) -> QueryResult<usize> {
    Fixed("UPDATE tss SET signature_counter = ")
        .with::<BigInt, _>(row.signature_counter)
        .then(", state = ")
        .with::<Text, _>(&row.state)
        .then(", description = ")
        .with::<Text, _>(&row.description)
        .then(", transaction_counter = ")
        .with::<BigInt, _>(row.transaction_counter)
        .then(", last_se_time = ")
        .with::<BigInt, _>(row.last_se_time)
        .then(", clients_registered = ")
        .with::<BigInt, _>(row.clients_registered)
        .then(", transactions_open = ")
        .with::<BigInt, _>(row.transactions_open)
        .then(", admin_pin = ")
        .with::<Nullable<Binary>, _>(row.admin_pin.as_deref())
        .then(", admin_pin_retries = ")
        .with::<BigInt, _>(row.admin_pin_retries)
        .then(", admin_puk_failures = ")
        .with::<BigInt, _>(row.admin_puk_failures)
        .then(", admin_puk_blocked_until = ")
        .with::<BigInt, _>(row.admin_puk_blocked_until)
        .then(", admin_sealed_puk = ")
        .with::<Nullable<Binary>, _>(row.admin_sealed_puk.as_deref())
        .then(", admin_session = ")
        .with::<Nullable<Text>, _>(row.admin_session.as_deref())
        .then(", metadata = ")
        .with::<Text, _>(&row.metadata)
        .then(", time_creation = ")
        .with::<BigInt, _>(row.time_creation)
        .then(", time_uninit = ")
        .with::<Nullable<BigInt>, _>(row.time_uninit)
        .then(", time_init = ")
        .with::<Nullable<BigInt>, _>(row.time_init)
        .then(", time_disable = ")
        .with::<Nullable<BigInt>, _>(row.time_disable)
        .then(", time_defective = ")
        .with::<Nullable<BigInt>, _>(row.time_defective)
        .then(" WHERE id = ")
        .with::<Text, _>(&row.id)
        .then(" AND signature_counter = ")
        .with::<BigInt, _>(expected)
        .execute(connection)
}

/// Updates only the counters of a TSS that is stored with this signature counter; returns whether it was (0 or 1).
pub(super) fn update_counters(
    connection: &mut SqliteConnection,
    row: &CountersRecord,
    expected: i64,
) -> QueryResult<usize> {
    Fixed("UPDATE tss SET signature_counter = ")
        .with::<BigInt, _>(row.signature_counter)
        .then(", transaction_counter = ")
        .with::<BigInt, _>(row.transaction_counter)
        .then(", last_se_time = ")
        .with::<BigInt, _>(row.last_se_time)
        .then(", transactions_open = ")
        .with::<BigInt, _>(row.transactions_open)
        .then(" WHERE id = ")
        .with::<Text, _>(&row.id)
        .then(" AND signature_counter = ")
        .with::<BigInt, _>(expected)
        .execute(connection)
}

/// Updates a transaction that is stored; returns whether it was (0 or 1).
pub(super) fn update_transaction(
    connection: &mut SqliteConnection,
    row: &TransactionRecord,
) -> QueryResult<usize> {
    Fixed("UPDATE tss_transaction SET state = ")
        .with::<Text, _>(&row.state)
        .then(", latest_revision = ")
        .with::<BigInt, _>(row.latest_revision)
        .then(", client_id = ")
        .with::<Text, _>(&row.client_id)
        .then(", time_end = ")
        .with::<Nullable<BigInt>, _>(row.time_end)
        .then(", metadata = ")
        .with::<Text, _>(&row.metadata)
        .then(" WHERE tss_id = ")
        .with::<Text, _>(&row.tss_id)
        .then(" AND number = ")
        .with::<BigInt, _>(row.number)
        .execute(connection)
}
