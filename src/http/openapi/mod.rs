//! What the HTTP door does, as an OpenAPI 3.1 document and as a page to browse.
//!
//! Everything here only describes: no handler uses it, and a test holds it against the table of routes.

pub mod answers;
pub mod lists;
pub mod requests;
pub mod taximeter;

mod exporting;
mod operation;
mod page;
mod set_up;
mod tills;

use super::endpoint::Endpoint;
use super::problem_codes::ErrorCode;
use super::sign_de_v2::VERSION;
use actix_web::http::Method;
use page::Page;
use std::fmt::Write as _;
use std::sync::OnceLock;
use utoipa::ToSchema;
use utoipa::openapi::path::{PathItem, PathsBuilder};
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, OpenApi, RefOr, Server};

/// Deliberate differences from the service that the dialect comes from.
const DIFFERENCES: &str = include_str!("../../../schema/openapi/differences.md");

const INTRODUCTION: &str = "\
Siegel is an open, self-hosted technical security system (TSS; German: TSE). It speaks the SIGN DE v2 dialect, so \
that an existing client works with another base URL. **It is not certified by the BSI.**

Log in with `POST /api/v2/auth`, make a TSS and set its PIN, initialise it, register a client; then sign transactions \
and export what was signed. The order of the examples is the order of these calls.";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::open(Method::GET, "/_spec.json", |route| {
        route.to(page::specification)
    }),
    Endpoint::open(Method::GET, "/_docs", |route| route.to(page::page)),
    Endpoint::open(Method::GET, "/_docs/{file}", |route| route.to(page::file)),
];

/// An OpenAPI document.
#[derive(ToSchema)]
pub struct Specification {
    /// `3.1.0`
    pub openapi: String,
}

/// The document.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let all = [
        set_up::operations(),
        tills::operations(),
        exporting::operations(),
    ];
    let mut schemas = operation::Schemas::new();
    for described in all.into_iter().flatten() {
        let (path, method, builder, used) = described.finish();
        paths = paths.path(path, PathItem::new(method, builder.build()));
        schemas.extend(used);
    }
    schemas.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, schema) in &mut schemas {
        if let (true, RefOr::T(Schema::Object(update))) = (name == "TssUpdate", schema) {
            // The one closed body of the dialect.
            let closed = AdditionalProperties::FreeForm(false);
            update.additional_properties = Some(Box::new(closed));
        }
    }
    let components = ComponentsBuilder::new().schemas_from_iter(schemas);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The `access_token` of `POST /api/v2/auth`."));
    let components = components.security_scheme("token", SecurityScheme::Http(bearer.build()));
    let mut info = Info::new("Siegel, SIGN DE v2", VERSION);
    info.description = Some(format!(
        "{INTRODUCTION}\n\n{DIFFERENCES}\n{}",
        errors_page()
    ));
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components.build());
    document.servers = Some(vec![Server::new("/")]);
    document
}

/// The document as it is served and checked in. Made once.
///
/// # Panics
/// Never: what is described consists of text, numbers and lists of them.
pub fn json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| match serde_json::to_string_pretty(&document()) {
        Ok(text) => text + "\n",
        Err(error) => panic!("the document cannot be written: {error}"),
    })
}

/// The table of errors as a page.
pub fn errors_page() -> String {
    let mut page = "\
## Errors

The body of an error is `{\"status_code\", \"error\", \"code\", \"message\"}`; where the table has no code, `code` is \
missing. React to status and code, never to the message. `Retry-After` is there in exactly the cases that say so. \
Whatever happens, the till sells on: it marks the receipt and keeps the German text in its fault record.

| Status | Code | Cause | Same call again? | For the fault record |
|---|---|---|---|---|
"
    .to_owned();
    for code in ErrorCode::ALL {
        let row = code.row();
        let name = row
            .code
            .map_or_else(String::new, |name| format!("`{name}`"));
        let (status, cause) = (row.status.as_u16(), row.cause);
        // Writing to a text cannot fail.
        let _ = writeln!(
            page,
            "| {status} | {name} | {cause} | {} | {} |",
            row.repeat.text(),
            row.german
        );
    }
    page
}
