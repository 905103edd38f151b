//! Rows of TSSs on PostgreSQL, and the transactions that have written them.
//!
//! The numbers of transactions begin anew after four thousand million of them. One would have to come back to the
//! same row, in a process that has not used the TSS since, to be taken for the one before.

use super::ActiveToken;
use super::fixed::{Fixed, FixedStatement as _};
use crate::terms::{TransactionId, TssId};
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use std::collections::{BTreeMap, BTreeSet};

/// One of three: a row of `tss` that is locked, and the transaction that has written it; a transaction of a till that
/// was asked for, with its TSS; or a token that has a standby, without a TSS, with its epoch.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    tss: Option<String>,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    active: Option<String>,
}

/// What one question tells of TSSs that it locks.
#[derive(Default)]
pub(super) struct Locked {
    /// The transactions that have written their rows; none for a TSS that does not exist.
    pub versions: RowVersions,
    /// Those of the transactions asked for that were not there when it was asked: before it had waited for a lock. For
    /// a TSS that nobody has written since it was known that is as good as after it.
    pub absent: BTreeSet<(TssId, TransactionId)>,
    /// Which token signs, by label. As it was then, too; a commit checks that it is so still.
    pub pairs: BTreeMap<String, ActiveToken>,
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

/// Locks those of these TSSs that exist, in id order, so that two lanes cannot wait for each other. Looks for these
/// transactions in the same round trip.
pub(super) fn lock_tss(
    connection: &mut PgConnection,
    ids: &[String],
    asked: &[(TssId, TransactionId)],
) -> QueryResult<Locked> {
    const LOCK: &str = concat!(
        "WITH locked AS MATERIALIZED (SELECT ",
        row_version!(),
        " FROM tss WHERE id = ANY("
    );
    const FIND: &str = ") ORDER BY id FOR UPDATE) \
        SELECT id AS tss, version AS number, NULL AS name, NULL AS active FROM locked \
        UNION ALL SELECT t.tss_id, 0, t.id, NULL FROM unnest(";
    const REST: &str = ") AS asked (tss_id, id) \
        INNER JOIN tss_transaction t ON t.tss_id = asked.tss_id AND t.id = asked.id \
        UNION ALL SELECT NULL, epoch, label, active FROM token_pair";
    let tss: Vec<_> = asked.iter().map(|(tss, _)| tss.to_string()).collect();
    let transactions: Vec<_> = asked.iter().map(|(_, id)| id.to_string()).collect();
    let rows: Vec<Row> = Fixed(LOCK)
        .with::<Array<Text>, _>(ids)
        .then(FIND)
        .with::<Array<Text>, _>(tss)
        .then(", ")
        .with::<Array<Text>, _>(transactions)
        .then(REST)
        .load(connection)?;
    let mut locked = Locked {
        absent: asked.iter().copied().collect(),
        ..Locked::default()
    };
    for row in rows {
        locked.add(row)?;
    }
    Ok(locked)
}

impl Locked {
    fn add(&mut self, row: Row) -> QueryResult<()> {
        match (row.tss, row.name, row.active) {
            (Some(tss), Some(id), _) => {
                if let Some(found) = tss.parse().ok().zip(id.parse().ok()) {
                    self.absent.remove(&found);
                }
            }
            (Some(tss), None, _) => self.versions.extend(named(&tss, row.number)),
            (None, Some(label), Some(section)) => {
                // Without it nothing would fence the batch.
                let epoch = u64::try_from(row.number);
                let epoch =
                    epoch.map_err(|error| QueryError::DeserializationError(Box::new(error)))?;
                let active = ActiveToken {
                    label: label.clone(),
                    section,
                    epoch,
                };
                self.pairs.insert(label, active);
            }
            (None, _, _) => {}
        }
        Ok(())
    }
}

/// `None`, which makes it unknown, where the id is none.
pub(super) fn named(id: &str, version: i64) -> Option<(TssId, i64)> {
    Some((id.parse().ok()?, version))
}
