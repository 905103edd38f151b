//! Reading the whole log again, message by message.

use super::LedgerError;
use super::connection::unavailable;
use super::store::Store;
use super::tables::{device, log_message, tss};
use super::values::{damaged, key_pair, parse, signed, unsigned};
use crate::csp::PublicKey;
use crate::terms::{SeTime, SignatureAlgorithm, SignatureCounter, TssId};
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

const ACTION: &str = "read its log messages again";

/// A log message with the columns beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number.
    pub signature_counter: SignatureCounter,
    /// `tra`, `sys` or `aud`.
    pub kind: String,
    /// Its time.
    pub log_time: Option<SeTime>,
    /// Number of its transaction, as the column says it.
    pub transaction: Option<i64>,
    /// Serial number of its client.
    pub client_serial: Option<String>,
    /// Its name in exports.
    pub file_name: String,
    /// Its bytes.
    pub der: Vec<u8>,
}

#[derive(Queryable)]
struct Row {
    signature_counter: i64,
    kind: String,
    log_time: i64,
    transaction_number: Option<i64>,
    client_serial: Option<String>,
    file_name: String,
    der: Vec<u8>,
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer,
/// [`LedgerError::Damaged`] for rows that make no sense.
impl Store {
    /// Ids of all TSSs, each by itself: one that is damaged does not hide the others.
    pub fn tss_ids(&self) -> Result<Vec<Result<TssId>>> {
        let ids: Vec<String> = tss::table
            .order(tss::id)
            .select(tss::id)
            .load(&mut self.connection()?)
            .map_err(unavailable(ACTION))?;
        Ok(ids.iter().map(|id| parse("tss.id", id)).collect())
    }

    /// The next messages of a TSS after this counter, in order.
    pub fn messages_after(
        &self,
        id: TssId,
        counter: SignatureCounter,
        limit: u32,
    ) -> Result<Vec<StoredMessage>> {
        let rows: Vec<Row> = log_message::table
            .filter(log_message::tss_id.eq(id.to_string()))
            .filter(log_message::signature_counter.gt(signed(counter.value())))
            .order(log_message::signature_counter)
            .limit(limit.into())
            .select((
                log_message::signature_counter,
                log_message::kind,
                log_message::log_time,
                log_message::transaction_number,
                log_message::client_serial,
                log_message::file_name,
                log_message::der,
            ))
            .load(&mut self.connection()?)
            .map_err(unavailable(ACTION))?;
        let message = |row: Row| {
            let counter = unsigned("log_message.signature_counter", row.signature_counter)?;
            Ok(StoredMessage {
                signature_counter: SignatureCounter::new(counter),
                kind: row.kind,
                log_time: SeTime::try_from(row.log_time).ok(),
                transaction: row.transaction_number,
                client_serial: row.client_serial,
                file_name: row.file_name,
                der: row.der,
            })
        };
        rows.into_iter().map(message).collect()
    }

    /// The key of a TSS and how it signs.
    pub fn signing_key(&self, id: TssId) -> Result<(PublicKey, SignatureAlgorithm)> {
        let (key_id, curve, point, algorithm): (String, String, Vec<u8>, String) = tss::table
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .filter(tss::id.eq(id.to_string()))
            .select((
                device::key_id,
                device::key_curve,
                device::key_point,
                device::algorithm,
            ))
            .first(&mut self.connection()?)
            .map_err(unavailable(ACTION))?;
        let algorithm = SignatureAlgorithm::from_name(&algorithm);
        Ok((
            key_pair(&key_id, &curve, &point)?.public_key,
            algorithm.ok_or_else(|| damaged("device.algorithm"))?,
        ))
    }
}
