//! The web server.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde::{Deserialize, Serialize};
use smache::Smache;

use crate::{Page, Release};

/// The answer to a request for a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    /// The page.
    pub page: Page,
    /// Whether the system says that it is fresh.
    pub fresh: bool,
    /// The same in words.
    pub freshness: String,
}

/// The routes: `GET /products/{id}`.
pub fn router(smache: Smache, release: Release) -> Router {
    Router::new().route("/products/{id}", get(product)).with_state((smache, release))
}

async fn product(
    State((smache, release)): State<(Smache, Release)>,
    Path(id): Path<i64>,
) -> Result<Json<Served>, (StatusCode, String)> {
    match release.page(&smache, id).await {
        Ok(page) => {
            let freshness = format!("{:?}", page.freshness());
            Ok(Json(Served { page: (*page).clone(), fresh: page.is_fresh(), freshness }))
        }
        Err(error) if error.kind() == smache::ErrorKind::Gone => Err((StatusCode::NOT_FOUND, error.report())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.report())),
    }
}
