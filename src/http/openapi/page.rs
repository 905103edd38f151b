//! The document over HTTP: as JSON, and as a page whose parts come from this server alone.

use crate::http::problem::Problem;
use actix_web::{HttpResponse, web};
use std::sync::Arc;
use utoipa_swagger_ui::Config;

/// The page of the document.
pub(super) struct Page;

impl Page {
    /// Of its parts.
    pub(super) const CONTENT_TYPES: &[&str] = &[
        "text/css",
        "text/javascript",
        "text/html",
        "image/png",
        "application/javascript",
    ];
}

/// Without the badge of an outside validator, which the viewer would load otherwise.
const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Siegel, SIGN DE v2</title>
<link rel="icon" href="/api/v2/_docs/favicon-32x32.png">
<link rel="stylesheet" href="/api/v2/_docs/swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript. The document itself is <a href="/api/v2/_spec.json">here</a>.</noscript>
<div id="page"></div>
<script src="/api/v2/_docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "/api/v2/_spec.json", dom_id: "#page", deepLinking: true, validatorUrl: null});
</script>
</body>
</html>
"##;

/// `GET /api/v2/_spec.json`
pub(super) async fn specification() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(super::json())
}

/// `GET /api/v2/_docs`
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(PAGE)
}

/// `GET /api/v2/_docs/{file}`
pub(super) async fn file(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(&name, Arc::new(Config::from("/api/v2/_spec.json")));
    let found = found.ok().flatten().ok_or_else(Problem::no_route)?;
    Ok(HttpResponse::Ok()
        .content_type(found.content_type)
        .body(found.bytes.into_owned()))
}
