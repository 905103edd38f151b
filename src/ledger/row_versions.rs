//! Rows of TSSs on PostgreSQL, and the transactions that have written them.
//!
//! The numbers of transactions begin anew after four thousand million of them. One would have to come back to the
//! same row, in a process that has not used the TSS since, to be taken for the one before.

use super::fixed::{Fixed, FixedStatement as _};
use crate::terms::TssId;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use std::collections::BTreeMap;

/// A row of `tss` and the transaction that has written it.
#[derive(QueryableByName)]
struct RowVersion {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// By their ids.
pub(super) type RowVersions = BTreeMap<TssId, i64>;

/// The id of a row of `tss`, and the transaction that has written it.
macro_rules! row_version {
    () => {
        "tss.id AS id, tss.xmin::text::bigint AS version"
    };
}
pub(super) use row_version;

/// Locks those of these TSSs that exist, in id order, so that two lanes cannot wait for each other.
pub(super) fn lock_tss(connection: &mut PgConnection, ids: &[String]) -> QueryResult<RowVersions> {
    let rows: Vec<RowVersion> = Fixed(concat!(
        "SELECT ",
        row_version!(),
        " FROM tss WHERE id = ANY("
    ))
    .with::<Array<Text>, _>(ids)
    .then(") ORDER BY id FOR UPDATE")
    .load(connection)?;
    let named = rows.iter().map(|row| named(&row.id, row.version));
    Ok(named.flatten().collect())
}

/// `None`, which makes it unknown, where the id is none.
pub(super) fn named(id: &str, version: i64) -> Option<(TssId, i64)> {
    Some((id.parse().ok()?, version))
}
