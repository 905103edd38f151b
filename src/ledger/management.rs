//! What the Management API keeps about organisations and API keys, beside what a login needs.

use super::accounts::ApiKeyRecord;
use super::connection::{Database, exists_or, unavailable};
use super::reading::sorted;
use super::store::Store;
use super::tables::{api_key, organization};
use super::values::{damaged, metadata, metadata_text, parse, signed, time};
use super::{ApiKey, ApiKeyStatus, LedgerError, ListOrder, OrganizationRow, Page};
use crate::sma::Metadata;
use crate::terms::{Environment, OrganizationId};
use diesel::prelude::*;
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, LedgerError>;

/// An organisation as the Management API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct OrganizationProfile {
    /// What everybody needs.
    pub row: OrganizationRow,
    /// The organisation that acts for this one.
    pub managed_by: Option<OrganizationId>,
    /// Id of the API key that made it; `None`: an operator.
    pub created_by: Option<String>,
    /// Address, tax numbers and the like, by their names in the API.
    pub details: Map<String, Value>,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

/// An API key as the Management API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyProfile {
    /// What a login needs.
    pub row: ApiKey,
    /// The organisation that alone may change it, where that is not its own.
    pub managed_by: Option<OrganizationId>,
    /// Id of the API key that made it; `None`: an operator.
    pub created_by: Option<String>,
    /// Texts kept for the owner.
    pub metadata: Metadata,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = organization)]
struct ProfileRecord {
    id: String,
    name: String,
    time_creation: i64,
    managed_by: Option<String>,
    created_by: Option<String>,
    details: String,
    metadata: String,
}

impl From<&OrganizationProfile> for ProfileRecord {
    fn from(profile: &OrganizationProfile) -> Self {
        Self {
            id: profile.row.id.to_string(),
            name: profile.row.name.clone(),
            time_creation: profile.row.time_creation.unix_seconds(),
            managed_by: profile.managed_by.map(|id| id.to_string()),
            created_by: profile.created_by.clone(),
            details: details_text(&profile.details),
            metadata: metadata_text(&profile.metadata),
        }
    }
}

impl ProfileRecord {
    fn into_profile(self) -> Result<OrganizationProfile> {
        let manager = self.managed_by.as_deref();
        Ok(OrganizationProfile {
            row: OrganizationRow {
                id: parse("organization.id", &self.id)?,
                name: self.name,
                time_creation: time("organization.time_creation", self.time_creation)?,
            },
            managed_by: manager
                .map(|id| parse("organization.managed_by", id))
                .transpose()?,
            created_by: self.created_by,
            details: serde_json::from_str(&self.details)
                .map_err(|_| damaged("organization.details"))?,
            metadata: metadata("organization.metadata", &self.metadata)?,
        })
    }
}

fn details_text(details: &Map<String, Value>) -> String {
    Value::Object(details.clone()).to_string()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_key)]
struct KeyRecord {
    #[diesel(embed)]
    row: ApiKeyRecord,
    managed_by: Option<String>,
    created_by: Option<String>,
    metadata: String,
}

impl KeyRecord {
    fn into_profile(self) -> Result<ApiKeyProfile> {
        let manager = self.managed_by.as_deref();
        Ok(ApiKeyProfile {
            managed_by: manager
                .map(|id| parse("api_key.managed_by", id))
                .transpose()?,
            row: self.row.into_row()?,
            created_by: self.created_by,
            metadata: metadata("api_key.metadata", &self.metadata)?,
        })
    }
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// Adds an organisation; [`LedgerError::Exists`] when the id is in use.
    pub fn add_organization_profile(&self, profile: &OrganizationProfile) -> Result<()> {
        diesel::insert_into(organization::table)
            .values(ProfileRecord::from(profile))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the organisation", "add an organisation"))
    }

    /// The organisation with this id.
    pub fn organization_profile(&self, id: OrganizationId) -> Result<Option<OrganizationProfile>> {
        organization::table
            .find(id.to_string())
            .select(ProfileRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read an organisation"))?
            .map(ProfileRecord::into_profile)
            .transpose()
    }

    /// An organisation and those it manages. Sorts by `name` or, otherwise, by time of creation.
    pub fn organization_profiles(
        &self,
        own: OrganizationId,
        page: &Page,
    ) -> Result<Vec<OrganizationProfile>> {
        let own = own.to_string();
        let query = organization::table
            .filter(
                organization::id
                    .eq(own.clone())
                    .or(organization::managed_by.eq(own)),
            )
            .select(ProfileRecord::as_select())
            .limit(page.limit.into())
            .offset(signed(page.offset))
            .into_boxed::<Database>();
        let query = match page.order_by {
            "name" => sorted!(query, page.order, organization::name, organization::id),
            _ => sorted!(
                query,
                page.order,
                organization::time_creation,
                organization::id
            ),
        };
        let rows = query.load(&mut self.connection()?);
        let rows: Vec<ProfileRecord> = rows.map_err(unavailable("list organisations"))?;
        rows.into_iter().map(ProfileRecord::into_profile).collect()
    }

    /// How many organisations this one manages.
    pub fn managed_organizations(&self, manager: OrganizationId) -> Result<u64> {
        let count: i64 = organization::table
            .filter(organization::managed_by.eq(manager.to_string()))
            .count()
            .get_result(&mut self.connection()?)
            .map_err(unavailable("count organisations"))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Replaces name, details and metadata; `false` when they are no longer as in `before`.
    pub fn change_organization(
        &self,
        before: &OrganizationProfile,
        after: &OrganizationProfile,
    ) -> Result<bool> {
        let stored = organization::table
            .filter(organization::id.eq(before.row.id.to_string()))
            .filter(organization::name.eq(&before.row.name))
            .filter(organization::details.eq(details_text(&before.details)))
            .filter(organization::metadata.eq(metadata_text(&before.metadata)));
        diesel::update(stored)
            .set((
                organization::name.eq(&after.row.name),
                organization::details.eq(details_text(&after.details)),
                organization::metadata.eq(metadata_text(&after.metadata)),
            ))
            .execute(&mut *self.writing()?)
            .map(|changed| changed == 1)
            .map_err(unavailable("change an organisation"))
    }

    /// Whether an organisation has a key of this environment that was not revoked.
    pub fn has_key_of(&self, owner: OrganizationId, environment: Environment) -> Result<bool> {
        let keys = api_key::table
            .filter(api_key::organization_id.eq(owner.to_string()))
            .filter(api_key::environment.eq(environment.as_str()))
            .filter(api_key::status.ne(ApiKeyStatus::Revoked.as_str()));
        diesel::select(diesel::dsl::exists(keys))
            .get_result(&mut self.connection()?)
            .map_err(unavailable("read API keys"))
    }

    /// Adds an API key; [`LedgerError::Exists`] when its text is in use.
    pub fn add_api_key_profile(&self, profile: &ApiKeyProfile) -> Result<()> {
        diesel::insert_into(api_key::table)
            .values((
                ApiKeyRecord::from(&profile.row),
                api_key::managed_by.eq(profile.managed_by.map(|id| id.to_string())),
                api_key::created_by.eq(profile.created_by.clone()),
                api_key::metadata.eq(metadata_text(&profile.metadata)),
            ))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(exists_or("the API key", "add an API key"))
    }

    /// The API keys of an organisation that were not revoked, oldest first.
    pub fn api_key_profiles(&self, owner: OrganizationId) -> Result<Vec<ApiKeyProfile>> {
        let rows: Vec<KeyRecord> = api_key::table
            .filter(api_key::organization_id.eq(owner.to_string()))
            .filter(api_key::status.ne(ApiKeyStatus::Revoked.as_str()))
            .order((api_key::time_creation, api_key::key))
            .select(KeyRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read API keys"))?;
        rows.into_iter().map(KeyRecord::into_profile).collect()
    }

    /// The API keys, of whatever organisation, that were made with this one and not revoked.
    pub fn api_keys_made_by(&self, id: &str) -> Result<Vec<ApiKey>> {
        let rows: Vec<ApiKeyRecord> = api_key::table
            .filter(api_key::created_by.eq(id))
            .filter(api_key::status.ne(ApiKeyStatus::Revoked.as_str()))
            .order((api_key::time_creation, api_key::key))
            .select(ApiKeyRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read API keys"))?;
        rows.into_iter().map(ApiKeyRecord::into_row).collect()
    }

    /// Replaces status and metadata; `false` when they are no longer as in `before`. A key that was
    /// revoked stays so.
    pub fn change_api_key(&self, before: &ApiKeyProfile, after: &ApiKeyProfile) -> Result<bool> {
        let stored = api_key::table
            .filter(api_key::key.eq(&before.row.key))
            .filter(api_key::status.eq(before.row.status.as_str()))
            .filter(api_key::status.ne(ApiKeyStatus::Revoked.as_str()))
            .filter(api_key::metadata.eq(metadata_text(&before.metadata)));
        diesel::update(stored)
            .set((
                api_key::status.eq(after.row.status.as_str()),
                api_key::metadata.eq(metadata_text(&after.metadata)),
            ))
            .execute(&mut *self.writing()?)
            .map(|changed| changed == 1)
            .map_err(unavailable("change an API key"))
    }
}
