//! From columns to words and back. What does not fit is damage, never a guess.

use super::LedgerError;
use crate::csp::{KeyId, KeyPair, PublicKey};
use crate::sma::Metadata;
use crate::terms::{Curve, SeTime, SerialNumber};
use std::str::FromStr;

type Result<T> = std::result::Result<T, LedgerError>;

pub(super) fn damaged(column: &'static str) -> LedgerError {
    LedgerError::Damaged(format!("{column} holds a value that cannot be"))
}

pub(super) fn parse<T: FromStr>(column: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| damaged(column))
}

/// One of the values of a closed list, by its name.
pub(super) fn named<T: Copy>(
    column: &'static str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| damaged(column))
}

pub(super) fn time(column: &'static str, seconds: i64) -> Result<SeTime> {
    SeTime::try_from(seconds).map_err(|_| damaged(column))
}

pub(super) fn optional_time(column: &'static str, seconds: Option<i64>) -> Result<Option<SeTime>> {
    seconds.map(|seconds| time(column, seconds)).transpose()
}

pub(super) fn unsigned<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T> {
    T::try_from(value).map_err(|_| damaged(column))
}

/// Counters end far below the limit of the database's integers.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn fixed<const LEN: usize>(column: &'static str, bytes: &[u8]) -> Result<[u8; LEN]> {
    bytes.try_into().map_err(|_| damaged(column))
}

pub(super) fn serial(column: &'static str, text: &str) -> Result<SerialNumber> {
    parse(column, text)
}

pub(super) fn metadata_text(metadata: &Metadata) -> String {
    serde_json::to_value(metadata.pairs())
        .unwrap_or_default()
        .to_string()
}

pub(super) fn metadata(column: &'static str, text: &str) -> Result<Metadata> {
    serde_json::from_str(text)
        .map(Metadata::from_pairs)
        .map_err(|_| damaged(column))
}

pub(super) fn key_id(column: &'static str, text: &str) -> Result<KeyId> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| damaged(column))?;
    Ok(KeyId::new(id))
}

pub(super) fn key_pair(id: &str, curve: &str, point: &[u8]) -> Result<KeyPair> {
    let curve = Curve::from_name(curve).ok_or_else(|| damaged("key_curve"))?;
    Ok(KeyPair {
        id: key_id("key_id", id)?,
        public_key: PublicKey {
            curve,
            point: point.to_vec(),
        },
    })
}
