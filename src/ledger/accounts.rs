//! Organisations, API keys, logins, and the secrets that sign tokens.

use super::connection::{exists_or, is_unique_violation, unavailable};
use super::store::Store;
use super::tables::{api_key, login_session, organization, token_secret};
use super::values::{fixed, named, parse, time};
use super::{ApiKey, ApiKeyStatus, LedgerError, OrganizationRow, Session, TokenSecret};
use crate::terms::{OrganizationId, SeTime, SessionId};
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = organization)]
struct OrganizationRecord {
    id: String,
    name: String,
    time_creation: i64,
}

impl OrganizationRecord {
    fn into_row(self) -> Result<OrganizationRow> {
        Ok(OrganizationRow {
            id: parse("organization.id", &self.id)?,
            name: self.name,
            time_creation: time("organization.time_creation", self.time_creation)?,
        })
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = api_key)]
pub(super) struct ApiKeyRecord {
    key: String,
    organization_id: String,
    environment: String,
    name: String,
    secret_sha256: Vec<u8>,
    status: String,
    time_creation: i64,
}

impl From<&ApiKey> for ApiKeyRecord {
    fn from(key: &ApiKey) -> Self {
        Self {
            key: key.key.clone(),
            organization_id: key.organization.to_string(),
            environment: key.environment.as_str().to_owned(),
            name: key.name.clone(),
            secret_sha256: key.secret_sha256.to_vec(),
            status: key.status.as_str().to_owned(),
            time_creation: key.time_creation.unix_seconds(),
        }
    }
}

impl ApiKeyRecord {
    pub(super) fn into_row(self) -> Result<ApiKey> {
        let status = named(
            "api_key.status",
            &ApiKeyStatus::ALL,
            ApiKeyStatus::as_str,
            &self.status,
        )?;
        Ok(ApiKey {
            organization: parse("api_key.organization_id", &self.organization_id)?,
            environment: parse("api_key.environment", &self.environment)?,
            name: self.name,
            secret_sha256: fixed("api_key.secret_sha256", &self.secret_sha256)?,
            status,
            time_creation: time("api_key.time_creation", self.time_creation)?,
            key: self.key,
        })
    }
}

#[derive(AsChangeset, Insertable, Queryable, Selectable)]
#[diesel(table_name = login_session)]
struct SessionRecord {
    id: String,
    api_key: String,
    time_issued: i64,
    access_expires: i64,
    refresh_expires: i64,
    secret_id: String,
}

impl From<&Session> for SessionRecord {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            api_key: session.api_key.clone(),
            time_issued: session.time_issued.unix_seconds(),
            access_expires: session.access_expires.unix_seconds(),
            refresh_expires: session.refresh_expires.unix_seconds(),
            secret_id: session.secret_id.clone(),
        }
    }
}

impl SessionRecord {
    fn into_row(self) -> Result<Session> {
        Ok(Session {
            id: parse("login_session.id", &self.id)?,
            api_key: self.api_key,
            time_issued: time("login_session.time_issued", self.time_issued)?,
            access_expires: time("login_session.access_expires", self.access_expires)?,
            refresh_expires: time("login_session.refresh_expires", self.refresh_expires)?,
            secret_id: self.secret_id,
        })
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = token_secret)]
struct TokenSecretRecord {
    id: String,
    sealed: Vec<u8>,
    time_creation: i64,
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Adds an organisation; [`LedgerError::Exists`] when the id is in use.
    pub fn add_organization(&self, organization: &OrganizationRow) -> Result<()> {
        let record = OrganizationRecord {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            time_creation: organization.time_creation.unix_seconds(),
        };
        diesel::insert_into(organization::table)
            .values(record)
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the organisation", "add an organisation"))
    }

    /// The organisation with this id.
    pub fn organization(&self, id: OrganizationId) -> Result<Option<OrganizationRow>> {
        organization::table
            .find(id.to_string())
            .select(OrganizationRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read an organisation"))?
            .map(OrganizationRecord::into_row)
            .transpose()
    }

    /// All organisations, oldest first.
    pub fn organizations(&self) -> Result<Vec<OrganizationRow>> {
        let rows: Vec<OrganizationRecord> = organization::table
            .order((organization::time_creation, organization::id))
            .select(OrganizationRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read organisations"))?;
        rows.into_iter().map(OrganizationRecord::into_row).collect()
    }

    /// Adds an API key; [`LedgerError::Exists`] when its text is in use.
    pub fn add_api_key(&self, key: &ApiKey) -> Result<()> {
        diesel::insert_into(api_key::table)
            .values(ApiKeyRecord::from(key))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the API key", "add an API key"))
    }

    /// The API key with this text.
    pub fn api_key(&self, key: &str) -> Result<Option<ApiKey>> {
        api_key::table
            .find(key)
            .select(ApiKeyRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read an API key"))?
            .map(ApiKeyRecord::into_row)
            .transpose()
    }

    /// All API keys of an organisation, oldest first.
    pub fn api_keys(&self, organization: OrganizationId) -> Result<Vec<ApiKey>> {
        let rows: Vec<ApiKeyRecord> = api_key::table
            .filter(api_key::organization_id.eq(organization.to_string()))
            .order((api_key::time_creation, api_key::key))
            .select(ApiKeyRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read API keys"))?;
        rows.into_iter().map(ApiKeyRecord::into_row).collect()
    }

    /// Changes the status of an API key; `false` when there is none.
    pub fn set_api_key_status(&self, key: &str, status: ApiKeyStatus) -> Result<bool> {
        diesel::update(api_key::table.find(key))
            .set(api_key::status.eq(status.as_str()))
            .execute(&mut *self.writing()?)
            .map(|changed| changed == 1)
            .map_err(unavailable("change an API key"))
    }

    /// The session of this key whose access token lives longest, if any lives at `now`.
    pub fn live_session(&self, api_key: &str, now: SeTime) -> Result<Option<Session>> {
        login_session::table
            .filter(login_session::api_key.eq(api_key))
            .filter(login_session::access_expires.gt(now.unix_seconds()))
            .order((
                login_session::access_expires.desc(),
                login_session::id.asc(),
            ))
            .select(SessionRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a session"))?
            .map(SessionRecord::into_row)
            .transpose()
    }

    /// The session with this id, alive or not.
    pub fn session(&self, id: SessionId) -> Result<Option<Session>> {
        login_session::table
            .find(id.to_string())
            .select(SessionRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a session"))?
            .map(SessionRecord::into_row)
            .transpose()
    }

    /// Inserts or replaces by id.
    pub fn put_session(&self, session: &Session) -> Result<()> {
        let record = SessionRecord::from(session);
        let mut connection = self.writing()?;
        let changed = diesel::update(login_session::table.find(&record.id))
            .set(&record)
            .execute(&mut *connection)
            .map_err(unavailable("change a session"))?;
        if changed == 1 {
            return Ok(());
        }
        diesel::insert_into(login_session::table)
            .values(record)
            .execute(&mut *connection)
            .map(drop)
            .map_err(exists_or("the session", "add a session"))
    }

    /// Removes sessions whose refresh token expired before `now`; says how many.
    pub fn forget_expired_sessions(&self, now: SeTime) -> Result<u64> {
        let expired = login_session::refresh_expires.lt(now.unix_seconds());
        diesel::delete(login_session::table.filter(expired))
            .execute(&mut *self.writing()?)
            .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
            .map_err(unavailable("forget old sessions"))
    }

    /// Inserts unless one with this id exists.
    pub fn add_token_secret(&self, secret: &TokenSecret) -> Result<()> {
        let record = TokenSecretRecord {
            id: secret.id.clone(),
            sealed: secret.sealed.clone(),
            time_creation: secret.time_creation.unix_seconds(),
        };
        let added = diesel::insert_into(token_secret::table)
            .values(record)
            .execute(&mut *self.writing()?);
        match added {
            Ok(_) => Ok(()),
            Err(error) if is_unique_violation(&error) => Ok(()),
            Err(error) => Err(unavailable("add a token secret")(error)),
        }
    }

    /// All token secrets, newest first.
    pub fn token_secrets(&self) -> Result<Vec<TokenSecret>> {
        let rows: Vec<TokenSecretRecord> = token_secret::table
            .order((token_secret::time_creation.desc(), token_secret::id.asc()))
            .select(TokenSecretRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read token secrets"))?;
        let into_row = |record: TokenSecretRecord| {
            Ok(TokenSecret {
                id: record.id,
                sealed: record.sealed,
                time_creation: time("token_secret.time_creation", record.time_creation)?,
            })
        };
        rows.into_iter().map(into_row).collect()
    }
}
