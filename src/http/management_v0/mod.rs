//! The Management API v0 (`/api/v0`): organisations and their API keys (HTTP dialect §13).
//!
//! An API key acts for its own organisation and for those that this one manages; nothing else exists for
//! it. What belongs to LIVE, only a LIVE key sees and changes (`src/decisions/0017-management.md`).

mod api_keys;
mod fields;
mod making;
mod organizations;

pub use making::{NewApiKey, NewOrganization, is_key_name, is_organization_name, random_uuid};

use super::auth::AuthorizedKey;
use super::door::Desk;
use super::endpoint::Endpoint;
use super::problem::Problem;
use super::problem_codes::ErrorCode;
use super::tokens::TokenBearer;
use crate::ledger::OrganizationProfile;
use crate::terms::{Environment, OrganizationId};
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use std::future::Future;
use std::pin::Pin;

/// Every endpoint but `/auth`, by resource.
pub(super) const ENDPOINTS: [&[Endpoint]; 2] = [organizations::ENDPOINTS, api_keys::ENDPOINTS];

type Answer = Result<HttpResponse, Problem>;

/// Whoever may manage something: the holder of a token, where this API is switched on.
struct Manager(TokenBearer);

impl FromRequest for Manager {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let desk = request.app_data::<web::Data<Desk>>();
        let is_on = desk.is_some_and(|desk| desk.door.settings.management);
        let holder = AuthorizedKey::from_request(request, payload);
        Box::pin(async move {
            if !is_on {
                return Err(no_route());
            }
            Ok(Self(holder.await?.0))
        })
    }
}

/// 404 without a code, as this API answers it.
pub(super) fn no_route() -> Problem {
    Problem::new(ErrorCode::NoManagementRoute, "Not Found")
}

/// For whatever no route of this API fits.
pub(super) async fn unknown() -> Answer {
    Err(no_route())
}

fn no_organization() -> Problem {
    Problem::new(ErrorCode::OrganizationNotFound, "Organization not found.")
}

fn denied(message: &'static str) -> Problem {
    Problem::new(ErrorCode::AccessDenied, message)
}

impl Manager {
    fn own(&self) -> OrganizationId {
        self.0.caller.organization
    }

    fn environment(&self) -> Environment {
        self.0.caller.environment
    }

    /// Whether keys of this environment are there for the caller.
    fn sees(&self, environment: Environment) -> bool {
        self.environment() == Environment::Live || environment == Environment::Test
    }

    /// The organisation of the path, if the caller acts for it.
    async fn organization(
        &self,
        desk: &Desk,
        request: &HttpRequest,
    ) -> Result<OrganizationProfile, Problem> {
        let text = request.match_info().get("organization_id");
        let id: OrganizationId = text.unwrap_or_default().parse().map_err(|_| {
            let message = "params.organization_id should match format \"uuid\"";
            Problem::invalid(message)
        })?;
        let found = desk
            .ask(move |store| store.organization_profile(id))
            .await?;
        found
            .filter(|profile| id == self.own() || profile.managed_by == Some(self.own()))
            .ok_or_else(no_organization)
    }
}
