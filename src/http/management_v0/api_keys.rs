//! `/organizations/{organization_id}/api-keys`

use super::fields::{metadata_patch, missing, text};
use super::{Answer, Manager, NewApiKey, denied, is_key_name, no_organization};
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::Endpoint;
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::http::sign_de_v2::lists;
use crate::http::sign_de_v2::query::{Malformed, Query};
use crate::ledger::{ApiKeyProfile, ApiKeyStatus, ListOrder, OrganizationProfile};
use crate::sma::Metadata;
use crate::terms::{Environment, OrganizationId};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// Keys that one organisation may have at a time.
const KEYS_MAX: usize = 1000;

const ALL: &str = "/organizations/{organization_id}/api-keys";
const ONE: &str = "/organizations/{organization_id}/api-keys/{key_id}";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::POST, ALL, |route| route.to(create)),
    Endpoint::new(Method::GET, ALL, |route| route.to(list)),
    Endpoint::new(Method::GET, ONE, |route| route.to(retrieve)),
    Endpoint::new(Method::PATCH, ONE, |route| route.to(change)),
    Endpoint::new(Method::DELETE, ONE, |route| route.to(revoke)),
];

const fn kind(profile: &ApiKeyProfile) -> &'static str {
    match profile.managed_by {
        Some(_) => "MANAGED_API_KEY",
        None => "API_KEY",
    }
}

/// Clients know two.
const fn status_told(status: ApiKeyStatus) -> &'static str {
    match status {
        ApiKeyStatus::Enabled => "enabled",
        ApiKeyStatus::Disabled | ApiKeyStatus::Revoked => "disabled",
    }
}

/// A key as it is answered; its secret is known only when it is made.
fn answer(profile: &ApiKeyProfile, secret: Option<&str>) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("_id", profile.row.id().to_string().into());
    put("_type", kind(profile).into());
    put("_envs", json!([profile.row.environment.as_str()]));
    put("name", profile.row.name.as_str().into());
    put("status", status_told(profile.row.status).into());
    put("key", profile.row.key.as_str().into());
    if let Some(secret) = secret {
        put("secret", secret.into());
    }
    let owner = profile.row.organization.to_string();
    put("organization_id", owner.into());
    if let Some(manager) = profile.managed_by {
        put("managed_by_organization_id", manager.to_string().into());
    }
    put("metadata", json!(profile.metadata.pairs()));
    let created = profile.row.time_creation.unix_seconds();
    put("created_at", created.into());
    if let Some(maker) = &profile.created_by {
        put("created_by_user", maker.as_str().into());
    }
    Value::Object(body)
}

fn status(body: &Value) -> Result<Option<ApiKeyStatus>, Problem> {
    match text(body, "status")?.as_deref() {
        None => Ok(None),
        Some("enabled") => Ok(Some(ApiKeyStatus::Enabled)),
        Some("disabled") => Ok(Some(ApiKeyStatus::Disabled)),
        Some(_) => {
            let message = "body.status should be equal to one of the allowed values";
            Err(Problem::invalid(message))
        }
    }
}

/// TEST or LIVE: that of the caller, unless it says otherwise.
fn environment(body: &Value, caller: &Manager) -> Result<Environment, Problem> {
    let Some(given) = text(body, "env")? else {
        return Ok(caller.environment());
    };
    let given = given.parse().map_err(|_| {
        let message = "body.env should be equal to one of the allowed values";
        Problem::invalid(message)
    })?;
    match caller.sees(given) {
        true => Ok(given),
        false => Err(denied("only a LIVE key may make a LIVE key")),
    }
}

/// Who alone shall change the new key, where that is not its own organisation: its manager.
fn manager(
    body: &Value,
    owner: &OrganizationProfile,
    own: OrganizationId,
) -> Result<Option<OrganizationId>, Problem> {
    let Some(given) = text(body, "managed_by_organization_id")? else {
        return Ok(None);
    };
    let given: OrganizationId = given.parse().map_err(|_| {
        let message = "body.managed_by_organization_id should match format \"uuid\"";
        Problem::invalid(message)
    })?;
    match given == own && owner.managed_by == Some(own) {
        true => Ok(Some(own)),
        false => Err(no_organization()),
    }
}

async fn create(
    desk: web::Data<Desk>,
    caller: Manager,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let owner = caller.organization(&desk, &request).await?;
    let name = text(&body, "name")?.ok_or_else(|| missing("name"))?;
    if !is_key_name(&name) {
        let message = "body.name should match pattern \"^[a-z0-9\\-]{3,30}$\"";
        return Err(Problem::invalid(message));
    }
    let status = status(&body)?.unwrap_or(ApiKeyStatus::Enabled);
    let environment = environment(&body, &caller)?;
    let managed_by = manager(&body, &owner, caller.own())?;
    let metadata = Metadata::default().merged(&metadata_patch(&body)?)?;
    let (entropy, now) = (desk.door.entropy.as_ref(), desk.door.clock.now());
    let mut made = NewApiKey::make(entropy, now, owner.row.id, environment, &name);
    made.row.status = status;
    let profile = ApiKeyProfile {
        row: made.row,
        managed_by,
        created_by: Some(caller.0.key_id()),
        metadata,
    };
    let answer = answer(&profile, Some(&made.secret));
    let added = desk
        .ask(move |store| {
            if store.api_key_profiles(owner.row.id)?.len() >= KEYS_MAX {
                return Ok(false);
            }
            store.add_api_key_profile(&profile)?;
            Ok(true)
        })
        .await?;
    match added {
        true => Ok(HttpResponse::Ok().json(answer)),
        false => Err(denied("the organization has too many API keys already")),
    }
}

async fn list(desk: web::Data<Desk>, caller: Manager, request: HttpRequest) -> Answer {
    let owner = caller.organization(&desk, &request).await?.row.id;
    let query = Query::parse(request.query_string())?;
    let page = lists::page(&query, &["created_at", "name", "kind", "status"])?;
    let status = match query.one("status")? {
        None => None,
        Some("enabled") => Some(ApiKeyStatus::Enabled),
        Some("disabled") => Some(ApiKeyStatus::Disabled),
        Some(_) => {
            let problem = "should be equal to one of the allowed values";
            return Err(Malformed::field("querystring", "status", problem).into());
        }
    };
    let mut keys = desk.ask(move |store| store.api_key_profiles(owner)).await?;
    keys.retain(|key| caller.sees(key.row.environment));
    keys.retain(|key| status.is_none_or(|status| key.row.status == status));
    // They come by age, which stays the order among equals.
    match page.order_by {
        "name" => keys.sort_by(|one, other| one.row.name.cmp(&other.row.name)),
        "kind" => keys.sort_by_key(kind),
        "status" => keys.sort_by_key(|key| key.row.status.as_str()),
        _ => {}
    }
    if page.order == ListOrder::Descending {
        keys.reverse();
    }
    let data: Vec<_> = keys
        .iter()
        .skip(usize::try_from(page.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(page.limit).unwrap_or(usize::MAX))
        .map(|key| answer(key, None))
        .collect();
    let count = data.len();
    Ok(HttpResponse::Ok().json(json!({"data": data, "count": count, "_type": "API_KEY_LIST"})))
}

impl Manager {
    /// The key of the path, if it is there for the caller.
    async fn key(&self, desk: &Desk, request: &HttpRequest) -> Result<ApiKeyProfile, Problem> {
        let owner = self.organization(desk, request).await?.row.id;
        let id = request.match_info().get("key_id").unwrap_or_default();
        let id: uuid::Uuid = id.parse().map_err(|_| {
            let message = "params.key_id should match format \"uuid\"";
            Problem::invalid(message)
        })?;
        let keys = desk.ask(move |store| store.api_key_profiles(owner)).await?;
        let mut keys = keys.into_iter();
        keys.find(|key| key.row.id() == id && self.sees(key.row.environment))
            .ok_or_else(|| Problem::new(ErrorCode::ApiKeyNotFound, "API key not found."))
    }

    /// The key as `change` makes it of what there is.
    async fn change_key(
        &self,
        desk: &Desk,
        request: &HttpRequest,
        change: impl Fn(&mut ApiKeyProfile) -> Result<(), Problem>,
    ) -> Answer {
        loop {
            let before = self.key(desk, request).await?;
            if before
                .managed_by
                .is_some_and(|manager| manager != self.own())
            {
                return Err(denied("another organization manages this API key"));
            }
            let mut after = before.clone();
            change(&mut after)?;
            let body = answer(&after, None);
            let is_changed = desk
                .ask(move |store| store.change_api_key(&before, &after))
                .await?;
            // Otherwise somebody else changed it at the same time, so look again.
            if is_changed {
                return Ok(HttpResponse::Ok().json(body));
            }
        }
    }
}

async fn retrieve(desk: web::Data<Desk>, caller: Manager, request: HttpRequest) -> Answer {
    let key = caller.key(&desk, &request).await?;
    Ok(HttpResponse::Ok().json(answer(&key, None)))
}

async fn change(
    desk: web::Data<Desk>,
    caller: Manager,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    let status = status(&body)?;
    let patch = metadata_patch(&body)?;
    caller
        .change_key(&desk, &request, |key| {
            key.row.status = status.unwrap_or(key.row.status);
            key.metadata = key.metadata.merged(&patch)?;
            Ok(())
        })
        .await
}

async fn revoke(desk: web::Data<Desk>, caller: Manager, request: HttpRequest) -> Answer {
    caller
        .change_key(&desk, &request, |key| {
            key.row.status = ApiKeyStatus::Revoked;
            Ok(())
        })
        .await
}
