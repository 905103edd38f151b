//! Private keys that only their token can open.

use super::connection::unavailable;
use super::store::Store;
use super::tables::wrapped_key;
use super::values::{damaged, key_id, named};
use crate::csp::{KeyId, KeyVault, VaultError, WrapMechanism, WrappedKey};
use diesel::prelude::*;

fn failed(error: super::LedgerError) -> VaultError {
    VaultError(Box::new(error))
}

impl KeyVault for Store {
    fn keep(&self, token: &str, key: KeyId, wrapped: &WrappedKey) -> Result<(), VaultError> {
        let row = (
            wrapped_key::key_id.eq(key.to_string()),
            wrapped_key::token.eq(token),
            wrapped_key::kek_id.eq(wrapped.kek.to_string()),
            wrapped_key::mechanism.eq(wrapped.mechanism.as_str()),
            wrapped_key::blob.eq(&wrapped.blob),
        );
        diesel::insert_into(wrapped_key::table)
            .values(row)
            .execute(&mut *self.writing().map_err(failed)?)
            .map(drop)
            .map_err(|error| failed(unavailable("keep a wrapped key")(error)))
    }

    fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, VaultError> {
        let found: Option<(String, String, Vec<u8>)> = wrapped_key::table
            .find(key.to_string())
            .select((
                wrapped_key::kek_id,
                wrapped_key::mechanism,
                wrapped_key::blob,
            ))
            .first(&mut self.connection().map_err(failed)?)
            .optional()
            .map_err(|error| failed(unavailable("read a wrapped key")(error)))?;
        let Some((kek, mechanism, blob)) = found else {
            return Ok(None);
        };
        if blob.is_empty() {
            return Err(failed(damaged("wrapped_key.blob")));
        }
        let column = "wrapped_key.mechanism";
        let all = &WrapMechanism::ALL;
        let wrapped = WrappedKey {
            kek: key_id("wrapped_key.kek_id", &kek).map_err(failed)?,
            mechanism: named(column, all, WrapMechanism::as_str, &mechanism).map_err(failed)?,
            blob,
        };
        Ok(Some(wrapped))
    }
}
