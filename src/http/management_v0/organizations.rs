//! `/organizations`

use super::fields::{REQUIRED, merge_details, metadata_patch, missing, text};
use super::{Answer, Manager, NewOrganization, denied, is_organization_name, no_organization};
use crate::http::body::JsonBody;
use crate::http::door::Desk;
use crate::http::endpoint::Endpoint;
use crate::http::problem::Problem;
use crate::http::sign_de_v2::lists;
use crate::http::sign_de_v2::query::Query;
use crate::ledger::{LedgerError, OrganizationProfile, Store};
use crate::sma::Metadata;
use crate::terms::{Environment, OrganizationId};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// Organisations that one may manage; far more than anybody has.
const MANAGED_MAX: u64 = 10_000;

const ALL: &str = "/organizations";
const ONE: &str = "/organizations/{organization_id}";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::POST, ALL, |route| route.to(create)),
    Endpoint::new(Method::GET, ALL, |route| route.to(list)),
    Endpoint::new(Method::GET, ONE, |route| route.to(retrieve)),
    Endpoint::new(Method::PATCH, ONE, |route| route.to(change)),
];

/// An organisation as it is answered.
fn answer(profile: &OrganizationProfile, has_live: bool) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("_id", profile.row.id.to_string().into());
    put(
        "_type",
        match profile.managed_by {
            Some(_) => "MANAGED_ORGANIZATION".into(),
            None => "ORGANIZATION".into(),
        },
    );
    put(
        "_envs",
        match has_live {
            true => json!(["TEST", "LIVE"]),
            false => json!(["TEST"]),
        },
    );
    put("name", profile.row.name.as_str().into());
    for (name, value) in &profile.details {
        put(name, value.clone());
    }
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

/// Blocks.
fn answered(store: &Store, profile: &OrganizationProfile) -> Result<Value, LedgerError> {
    let has_live = store.has_key_of(profile.row.id, Environment::Live)?;
    Ok(answer(profile, has_live))
}

fn name(body: &Value) -> Result<String, Problem> {
    let name = text(body, "name")?.ok_or_else(|| missing("name"))?;
    if !is_organization_name(&name) {
        let message = "body.name should have 3 to 200 printable characters";
        return Err(Problem::invalid(message));
    }
    Ok(name)
}

/// The organisation that shall act for a new one: always that of the caller.
fn manager(body: &Value, own: OrganizationId) -> Result<OrganizationId, Problem> {
    let Some(given) = text(body, "managed_by_organization_id")? else {
        return Ok(own);
    };
    let given: OrganizationId = given.parse().map_err(|_| {
        let message = "body.managed_by_organization_id should match format \"uuid\"";
        Problem::invalid(message)
    })?;
    match given == own {
        true => Ok(own),
        false => Err(no_organization()),
    }
}

async fn create(desk: web::Data<Desk>, caller: Manager, body: JsonBody) -> Answer {
    let name = name(&body)?;
    let manager = manager(&body, caller.own())?;
    let mut details = Map::new();
    merge_details(&mut details, &body)?;
    if let Some(name) = REQUIRED.iter().find(|name| !details.contains_key(**name)) {
        return Err(missing(name));
    }
    let metadata = Metadata::default().merged(&metadata_patch(&body)?)?;
    let now = desk.door.clock.now();
    let made = NewOrganization::make(desk.door.entropy.as_ref(), now, &name);
    let profile = OrganizationProfile {
        row: made.0,
        managed_by: Some(manager),
        created_by: Some(caller.0.key_id()),
        details,
        metadata,
    };
    let added = desk
        .ask(move |store| {
            if store.managed_organizations(manager)? >= MANAGED_MAX {
                return Ok(None);
            }
            store.add_organization_profile(&profile)?;
            answered(store, &profile).map(Some)
        })
        .await?;
    let added = added.ok_or_else(|| denied("the organization manages too many others already"))?;
    Ok(HttpResponse::Ok().json(added))
}

async fn list(desk: web::Data<Desk>, caller: Manager, request: HttpRequest) -> Answer {
    let query = Query::parse(request.query_string())?;
    let page = lists::page(&query, &["created_at", "name"])?;
    let own = caller.own();
    let data = desk
        .ask(move |store| {
            let profiles = store.organization_profiles(own, &page)?;
            let answers = profiles.iter().map(|profile| answered(store, profile));
            answers.collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let count = data.len();
    Ok(HttpResponse::Ok().json(json!({
        "data": data,
        "count": count,
        "_type": "ORGANIZATION_LIST",
    })))
}

async fn retrieve(desk: web::Data<Desk>, caller: Manager, request: HttpRequest) -> Answer {
    let profile = caller.organization(&desk, &request).await?;
    let answer = desk.ask(move |store| answered(store, &profile)).await?;
    Ok(HttpResponse::Ok().json(answer))
}

async fn change(
    desk: web::Data<Desk>,
    caller: Manager,
    request: HttpRequest,
    body: JsonBody,
) -> Answer {
    loop {
        let before = caller.organization(&desk, &request).await?;
        let after = changed(&before, &body)?;
        let is_test = caller.environment() == Environment::Test;
        let answer = desk
            .ask(move |store| {
                let has_live = store.has_key_of(before.row.id, Environment::Live)?;
                if has_live && is_test {
                    return Ok(Err(denied("only a LIVE key may change this organization")));
                }
                let is_changed = store.change_organization(&before, &after)?;
                Ok(Ok(is_changed.then(|| answer(&after, has_live))))
            })
            .await??;
        // `None`: somebody else changed it at the same time, so look again.
        if let Some(answer) = answer {
            return Ok(HttpResponse::Ok().json(answer));
        }
    }
}

fn changed(before: &OrganizationProfile, body: &Value) -> Result<OrganizationProfile, Problem> {
    let mut after = before.clone();
    if body.get("name").is_some() {
        name(body)?.trim().clone_into(&mut after.row.name);
    }
    if let Some(manager) = text(body, "managed_by_organization_id")?
        && before.managed_by.map(|id| id.to_string()) != Some(manager.to_lowercase())
    {
        let message = "body.managed_by_organization_id cannot be changed";
        return Err(Problem::invalid(message));
    }
    merge_details(&mut after.details, body)?;
    after.metadata = before.metadata.merged(&metadata_patch(body)?)?;
    Ok(after)
}
