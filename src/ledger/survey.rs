//! One look at the whole ledger, for comparing it with what stands outside of it.
//!
//! A survey has a connection of its own: a pool may still hold one to another server, and what was
//! compared must be what lanes then sign with.

use super::connection::{EitherConnection, unavailable};
use super::line::connect_error;
use super::store::Store;
use super::tables::{device, ledger_meta, log_message, tss};
use super::values::{damaged, named, parse, serial, signed, time, unsigned};
use super::{LedgerError, postgres};
use crate::sma::TssState;
use crate::terms::{SeTime, SerialNumber, SignatureCounter, TransactionNumber, TssId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, LedgerError>;

/// TSSs asked for in one query.
const IDS_MAX: usize = 250;

const READ: &str = "be compared with its witnesses";

/// What the ledger knows of one TSS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its device.
    pub device: SerialNumber,
    /// Label of the token that holds its key.
    pub token: String,
    /// Where it stands in its life.
    pub state: TssState,
    /// Signatures of its device before it became a TSS.
    pub device_counter: SignatureCounter,
    /// Of its latest message.
    pub signature_counter: SignatureCounter,
    /// Of its latest transaction.
    pub transaction: TransactionNumber,
    /// Witnesses of numbers up to this one were answered by a person.
    pub settled: SignatureCounter,
    /// Why it does not sign.
    pub hold: Option<Hold>,
}

/// A TSS waits for a person's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For people.
    pub reason: String,
    /// No higher signature counter was issued, as far as is known.
    pub signature_counter: SignatureCounter,
    /// No higher transaction number was issued, as far as is known.
    pub transaction: TransactionNumber,
    /// When the loss was found.
    pub since: SeTime,
    /// Whose loss it is.
    pub scope: HoldScope,
}

/// Whose numbers are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldScope {
    /// Those of this TSS.
    Tss,
    /// Those of some TSS of its token; only their sum is known.
    Token,
    /// Those of this TSS, and restoring cannot mend it: only a jump or its end leads on.
    Unmendable,
}

impl HoldScope {
    const ALL: [Self; 3] = [Self::Tss, Self::Token, Self::Unmendable];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tss => "tss",
            Self::Token => "token",
            Self::Unmendable => "unmendable",
        }
    }
}

/// See the module comment.
pub struct Survey<'a> {
    pub(super) store: &'a Store,
    pub(super) connection: EitherConnection,
    server: String,
}

#[derive(QueryableByName)]
struct TokenTotal {
    #[diesel(sql_type = Text)]
    token: String,
    #[diesel(sql_type = BigInt)]
    total: i64,
}

/// Numbers that the keys of each token have spent on messages. A sum of counters, so that nothing has to
/// be counted: the first number of a key is its certificate request, which is no message. Keys of lost TSSs
/// have spent theirs, too.
const TOTALS: &str = "SELECT token, CAST(SUM(spent) AS bigint) AS total FROM (\
    SELECT device.token AS token, tss.signature_counter - device.signature_counter AS spent \
    FROM tss INNER JOIN device ON device.serial_number = tss.device_serial \
    UNION ALL SELECT token, spent FROM lost_key WHERE token IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM tss WHERE tss.device_serial = lost_key.serial_number)) AS keys \
    GROUP BY token";

/// What [`standing`] reads.
macro_rules! standings {
    () => {
        tss::table
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .select((
                (
                    tss::id,
                    tss::state,
                    tss::signature_counter,
                    tss::transaction_counter,
                    tss::settled_counter,
                ),
                (
                    tss::hold_reason,
                    tss::hold_counter,
                    tss::hold_transaction,
                    tss::hold_since,
                    tss::hold_scope,
                ),
                (
                    device::serial_number,
                    device::token,
                    device::signature_counter,
                ),
            ))
    };
}

impl Store {
    /// Begins a look at the ledger as it is now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn survey(&self) -> Result<Survey<'_>> {
        let mut connection = self.manager().open().map_err(connect_error)?;
        Ok(Survey {
            store: self,
            server: server(&mut connection)?,
            connection,
        })
    }

    /// Numbers that the keys of each token have spent on messages, by label.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn token_totals(&self) -> Result<BTreeMap<String, u64>> {
        totals(&mut *self.connection()?)
    }

    /// Which server this is now, in the sense of [`super::Clearance`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn server(&self) -> Result<String> {
        server(&mut *self.connection()?)
    }

    /// Whether a commit waits until another machine has it. On SQLite it does not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn has_synchronous_standby(&self) -> Result<bool> {
        match &mut *self.connection()? {
            EitherConnection::Sqlite(_) => Ok(false),
            EitherConnection::Postgres(connection) => {
                postgres::has_synchronous_standby(connection).map_err(unavailable(READ))
            }
        }
    }

    /// What is known of one TSS now.
    ///
    /// # Errors
    /// When the database does not answer, or the row makes no sense.
    pub fn standing(&self, id: TssId) -> Result<Option<Standing>> {
        let row: Option<StandingRow> = standings!()
            .filter(tss::id.eq(id.to_string()))
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable(READ))?;
        Ok(row.map(standing).transpose()?.map(|(_, standing)| standing))
    }

    /// TSSs that wait for a person's decision.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn held_count(&self) -> Result<u64> {
        let count: i64 = tss::table
            .filter(tss::hold_reason.is_not_null())
            .count()
            .get_result(&mut self.connection()?)
            .map_err(unavailable(READ))?;
        unsigned("tss", count)
    }
}

/// Stands for the server of SQLite, where no other process can put anything in the place of what was opened.
pub(super) const NO_SERVER: &str = "";

/// Identifies the database server behind a connection, and the time since it was last started or the
/// database was last put back; [`NO_SERVER`] on SQLite.
pub(super) fn server(connection: &mut EitherConnection) -> Result<String> {
    match connection {
        EitherConnection::Sqlite(_) => Ok(NO_SERVER.to_owned()),
        EitherConnection::Postgres(connection) => {
            postgres::server(connection).map_err(unavailable(READ))
        }
    }
}

fn totals(connection: &mut EitherConnection) -> Result<BTreeMap<String, u64>> {
    let rows: Vec<TokenTotal> = match connection {
        EitherConnection::Sqlite(connection) => diesel::sql_query(TOTALS).load(connection),
        EitherConnection::Postgres(connection) => diesel::sql_query(TOTALS).load(connection),
    }
    .map_err(unavailable(READ))?;
    let row = |row: TokenTotal| Ok((row.token, unsigned("tss.signature_counter", row.total)?));
    rows.into_iter().map(row).collect()
}

type HoldRow = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

type StandingRow = (
    (String, String, i64, i64, i64),
    HoldRow,
    (String, String, i64),
);

fn standing(row: StandingRow) -> Result<(TssId, Standing)> {
    let (of_tss, hold, (device, token, device_counter)) = row;
    let (id, state, signature_counter, transaction, settled) = of_tss;
    let counter = |column, value| unsigned(column, value).map(SignatureCounter::new);
    let number = |column, value| unsigned(column, value).map(TransactionNumber::new);
    let hold = match hold {
        (Some(reason), Some(counter_max), Some(transaction_max), Some(since), Some(scope)) => {
            Some(Hold {
                reason,
                signature_counter: counter("tss.hold_counter", counter_max)?,
                transaction: number("tss.hold_transaction", transaction_max)?,
                since: time("tss.hold_since", since)?,
                scope: named("tss.hold_scope", &HoldScope::ALL, HoldScope::as_str, &scope)?,
            })
        }
        (None, _, _, _, _) => None,
        (Some(_), _, _, _, _) => return Err(damaged("tss.hold_counter")),
    };
    let standing = Standing {
        device: serial("device.serial_number", &device)?,
        token,
        state: named("tss.state", &TssState::ALL, TssState::as_str, &state)?,
        device_counter: counter("device.signature_counter", device_counter)?,
        signature_counter: counter("tss.signature_counter", signature_counter)?,
        transaction: number("tss.transaction_counter", transaction)?,
        settled: counter("tss.settled_counter", settled)?,
        hold,
    };
    Ok((parse("tss.id", &id)?, standing))
}

impl Survey<'_> {
    /// Which server this is, in the sense of [`super::Clearance`].
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Identifier of the ledger as it stands there now.
    pub fn ledger_id(&mut self) -> Result<String> {
        ledger_meta::table
            .find(super::store::LEDGER_ID)
            .select(ledger_meta::value)
            .first(&mut self.connection)
            .map_err(unavailable(READ))
    }

    /// The same as [`Store::token_totals`].
    pub fn token_totals(&mut self) -> Result<BTreeMap<String, u64>> {
        totals(&mut self.connection)
    }

    /// What is known of all TSSs.
    pub fn all_standings(&mut self) -> Result<BTreeMap<TssId, Standing>> {
        let rows: Vec<StandingRow> = standings!()
            .load(&mut self.connection)
            .map_err(unavailable(READ))?;
        rows.into_iter().map(standing).collect()
    }

    /// SHA-256 of the messages with these counters, at most one per TSS; those that are not there are
    /// left out.
    pub fn digests(
        &mut self,
        wanted: &BTreeMap<TssId, SignatureCounter>,
    ) -> Result<BTreeMap<TssId, [u8; 32]>> {
        let wanted: Vec<_> = wanted.iter().collect();
        let mut found = BTreeMap::new();
        for pairs in wanted.chunks(IDS_MAX) {
            let mut query = log_message::table
                .select((log_message::tss_id, log_message::der))
                .into_boxed::<super::connection::Database>();
            for (tss, counter) in pairs {
                let of_tss = log_message::tss_id.eq(tss.to_string());
                let counter = log_message::signature_counter.eq(signed(counter.value()));
                query = query.or_filter(of_tss.and(counter));
            }
            let rows: Vec<(String, Vec<u8>)> = query
                .load(&mut self.connection)
                .map_err(unavailable(READ))?;
            for (tss, der) in rows {
                let digest = Sha256::digest(&der).into();
                found.insert(parse("log_message.tss_id", &tss)?, digest);
            }
        }
        Ok(found)
    }
}
