//! The description of all routes by which clients are generated: OpenAPI 3.1, written by hand. The tests hold the routes and their
//! answers to it.

use axum::http::header;
use axum::response::IntoResponse;

/// `GET /openapi.json`
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}
