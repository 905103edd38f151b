//! All rows of a batch in one statement, on PostgreSQL: each statement is a round trip, and one whose text grows
//! with the rows is parsed and planned for each batch anew. This one has an array per column, and is planned once for each
//! choice of its parts.

use super::committing::Rows;
use super::fixed::{Fixed, FixedStatement as _, Several};
use super::records::{CountersRecord, MessageRecord, StepRecord, TransactionRecord, TssRecord};
use super::row_versions::{RowVersions, named, row_version};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

/// One column of all rows.
fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The text before the columns, the text behind them, and the columns.
macro_rules! bulk {
    ($before:expr, $after:expr, $rows:expr, $first:ty: $of_first:expr, $($type:ty: $of:expr),+ $(,)?) => {{
        let rows = $rows;
        Fixed($before)
            .with::<Array<$first>, _>(column(rows, $of_first))
            $(.then(", ").with::<Array<$type>, _>(column(rows, $of)))+
            .then($after)
    }};
}

/// A part of the statement.
type Piece<'r> = Box<dyn QueryFragment<Pg> + 'r>;

/// What was updated.
pub(super) struct Updated {
    /// The TSSs that were stored with these counters.
    pub tss: RowVersions,
    /// How many transactions were.
    pub transactions: usize,
}

/// A TSS and its version, or no id and how many transactions.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    id: Option<String>,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// What a part tells.
const VERSIONS: &str = "SELECT id, version FROM ";
const HOW_MANY: &str = "SELECT NULL AS id, count(*) AS version FROM ";
const NOTHING: &str = "";

/// Writes all of them. Its parts have no order, and need none: no row asks for one of another table. Those without rows
/// are left out, because each costs the database as much as ten rows.
pub(super) fn write(connection: &mut PgConnection, rows: &Rows) -> QueryResult<Updated> {
    let mut parts = Parts::default();
    parts.add("changed_tss", &rows.tss, update_tss, VERSIONS);
    parts.add(
        "changed_counters",
        &rows.counters,
        update_counters,
        VERSIONS,
    );
    parts.add(
        "changed_transaction",
        &rows.transactions_changed,
        update_transactions,
        HOW_MANY,
    );
    parts.add(
        "new_transaction",
        &rows.transactions,
        insert_transactions,
        NOTHING,
    );
    parts.add("new_step", &rows.steps, insert_steps, NOTHING);
    parts.add("new_message", &rows.messages, insert_messages, NOTHING);
    let mut updated = Updated {
        tss: RowVersions::new(),
        transactions: 0,
    };
    let Some(statement) = parts.into_statement() else {
        return Ok(updated);
    };
    for Row { id, version } in statement.load(connection)? {
        match id {
            Some(id) => updated.tss.extend(named(&id, version)),
            None => updated.transactions = usize::try_from(version).unwrap_or_default(),
        }
    }
    Ok(updated)
}

/// Parts of the statement, and what they tell.
#[derive(Default)]
struct Parts<'r> {
    parts: Vec<Piece<'r>>,
    told: Vec<Piece<'r>>,
}

impl<'r> Parts<'r> {
    /// Adds a part, if it has rows.
    fn add<R>(
        &mut self,
        name: &'static str,
        rows: &'r [R],
        part: impl FnOnce(&'r [R]) -> Piece<'r>,
        told: &'static str,
    ) {
        if rows.is_empty() {
            return;
        }
        let text = |text| -> Piece<'r> { Box::new(Fixed(text)) };
        let before = if self.parts.is_empty() { "WITH " } else { ", " };
        let all = [
            text(before),
            text(name),
            text(" AS ("),
            part(rows),
            text(")"),
        ];
        self.parts.extend(all);
        if told != NOTHING {
            let before = if self.told.is_empty() {
                " "
            } else {
                " UNION ALL "
            };
            self.told.extend([text(before), text(told), text(name)]);
        }
    }

    /// `None` if there is nothing to write.
    fn into_statement(self) -> Option<Several<'r, Pg>> {
        let (mut parts, mut told) = (self.parts, self.told);
        if parts.is_empty() {
            return None;
        }
        if told.is_empty() {
            told.push(Box::new(Fixed(
                " SELECT NULL::text AS id, 0::bigint AS version WHERE false",
            )));
        }
        parts.append(&mut told);
        Some(Several(parts))
    }
}

/// Updates the TSSs that are stored with these counters.
fn update_tss(rows: &[(TssRecord, i64)]) -> Piece<'_> {
    const BEFORE: &str = "UPDATE tss SET signature_counter = n.signature_counter, state = n.state, \
        description = n.description, transaction_counter = n.transaction_counter, \
        last_se_time = n.last_se_time, clients_registered = n.clients_registered, \
        transactions_open = n.transactions_open, admin_pin = n.admin_pin, \
        admin_pin_retries = n.admin_pin_retries, admin_puk_failures = n.admin_puk_failures, \
        admin_puk_blocked_until = n.admin_puk_blocked_until, \
        admin_sealed_puk = n.admin_sealed_puk, admin_session = n.admin_session, \
        metadata = n.metadata, time_creation = n.time_creation, time_uninit = n.time_uninit, \
        time_init = n.time_init, time_disable = n.time_disable, time_defective = n.time_defective \
        FROM unnest(";
    const AFTER: &str = concat!(
        ") AS n (id, expected, signature_counter, state, description, \
        transaction_counter, last_se_time, clients_registered, transactions_open, admin_pin, \
        admin_pin_retries, admin_puk_failures, admin_puk_blocked_until, admin_sealed_puk, \
        admin_session, metadata, time_creation, time_uninit, time_init, time_disable, time_defective) \
        WHERE tss.id = n.id AND tss.signature_counter = n.expected RETURNING ",
        row_version!()
    );
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |(row, _)| &row.id,
        BigInt: |(_, expected)| expected,
        BigInt: |(row, _)| row.signature_counter,
        Text: |(row, _)| &row.state,
        Text: |(row, _)| &row.description,
        BigInt: |(row, _)| row.transaction_counter,
        BigInt: |(row, _)| row.last_se_time,
        BigInt: |(row, _)| row.clients_registered,
        BigInt: |(row, _)| row.transactions_open,
        Nullable<Binary>: |(row, _)| row.admin_pin.as_deref(),
        BigInt: |(row, _)| row.admin_pin_retries,
        BigInt: |(row, _)| row.admin_puk_failures,
        BigInt: |(row, _)| row.admin_puk_blocked_until,
        Nullable<Binary>: |(row, _)| row.admin_sealed_puk.as_deref(),
        Nullable<Text>: |(row, _)| row.admin_session.as_deref(),
        Text: |(row, _)| &row.metadata,
        BigInt: |(row, _)| row.time_creation,
        Nullable<BigInt>: |(row, _)| row.time_uninit,
        Nullable<BigInt>: |(row, _)| row.time_init,
        Nullable<BigInt>: |(row, _)| row.time_disable,
        Nullable<BigInt>: |(row, _)| row.time_defective,
    );
    Box::new(query)
}

/// The same, of the counters alone.
fn update_counters(rows: &[(CountersRecord, i64)]) -> Piece<'_> {
    const BEFORE: &str = "UPDATE tss SET signature_counter = n.signature_counter, \
        transaction_counter = n.transaction_counter, last_se_time = n.last_se_time, \
        transactions_open = n.transactions_open FROM unnest(";
    const AFTER: &str = concat!(
        ") AS n (id, expected, signature_counter, transaction_counter, last_se_time, transactions_open) \
        WHERE tss.id = n.id AND tss.signature_counter = n.expected RETURNING ",
        row_version!()
    );
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |(row, _)| &row.id,
        BigInt: |(_, expected)| expected,
        BigInt: |(row, _)| row.signature_counter,
        BigInt: |(row, _)| row.transaction_counter,
        BigInt: |(row, _)| row.last_se_time,
        BigInt: |(row, _)| row.transactions_open,
    );
    Box::new(query)
}

/// Updates the transactions that are stored.
fn update_transactions(rows: &[TransactionRecord]) -> Piece<'_> {
    const BEFORE: &str = "UPDATE tss_transaction AS t SET state = n.state, \
        latest_revision = n.latest_revision, client_id = n.client_id, time_end = n.time_end, \
        metadata = n.metadata FROM unnest(";
    const AFTER: &str = ") \
        AS n (tss_id, number, state, latest_revision, client_id, time_end, metadata) \
        WHERE t.tss_id = n.tss_id AND t.number = n.number RETURNING t.number";
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |row| &row.tss_id,
        BigInt: |row| row.number,
        Text: |row| &row.state,
        BigInt: |row| row.latest_revision,
        Text: |row| &row.client_id,
        Nullable<BigInt>: |row| row.time_end,
        Text: |row| &row.metadata,
    );
    Box::new(query)
}

fn insert_transactions(rows: &[TransactionRecord]) -> Piece<'_> {
    const BEFORE: &str = "INSERT INTO tss_transaction (tss_id, number, id, state, latest_revision, \
        client_id, time_start, time_end, metadata) \
        SELECT * FROM unnest(";
    const AFTER: &str = ")";
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |row| &row.tss_id,
        BigInt: |row| row.number,
        Text: |row| &row.id,
        Text: |row| &row.state,
        BigInt: |row| row.latest_revision,
        Text: |row| &row.client_id,
        BigInt: |row| row.time_start,
        Nullable<BigInt>: |row| row.time_end,
        Text: |row| &row.metadata,
    );
    Box::new(query)
}

fn insert_steps(rows: &[StepRecord]) -> Piece<'_> {
    const BEFORE: &str = "INSERT INTO transaction_step (tss_id, transaction_number, revision, state, \
        phase, client_id, client_serial, schema_form, schema_process_type, schema_process_data, \
        schema_echo, process_type, process_data, request_digest, metadata_digest, \
        signature_counter, log_time, signature) SELECT * FROM unnest(";
    const AFTER: &str = ")";
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |row| &row.tss_id,
        BigInt: |row| row.transaction_number,
        BigInt: |row| row.revision,
        Text: |row| &row.state,
        Text: |row| &row.phase,
        Text: |row| &row.client_id,
        Text: |row| &row.client_serial,
        Nullable<Text>: |row| row.schema_form.as_deref(),
        Nullable<Text>: |row| row.schema_process_type.as_deref(),
        Nullable<Binary>: |row| row.schema_process_data.as_deref(),
        Nullable<Text>: |row| row.schema_echo.as_deref(),
        Text: |row| &row.process_type,
        Binary: |row| &row.process_data,
        Binary: |row| &row.request_digest,
        Nullable<Binary>: |row| row.metadata_digest.as_deref(),
        BigInt: |row| row.signature_counter,
        BigInt: |row| row.log_time,
        Binary: |row| &row.signature,
    );
    Box::new(query)
}

fn insert_messages(rows: &[MessageRecord]) -> Piece<'_> {
    const BEFORE: &str = "INSERT INTO log_message (tss_id, signature_counter, kind, log_time, \
        transaction_number, revision, client_id, client_serial, file_name, der) \
        SELECT * FROM unnest(";
    const AFTER: &str = ")";
    let query = bulk!(BEFORE, AFTER, rows,
        Text: |row| &row.tss_id,
        BigInt: |row| row.signature_counter,
        Text: |row| row.kind,
        BigInt: |row| row.log_time,
        Nullable<BigInt>: |row| row.transaction_number,
        Nullable<BigInt>: |row| row.revision,
        Nullable<Text>: |row| row.client_id.as_deref(),
        Nullable<Text>: |row| row.client_serial.as_deref(),
        Text: |row| &row.file_name,
        Binary: |row| &row.der,
    );
    Box::new(query)
}
