//! The page to try a server with: one file without anything from elsewhere.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// What the page may load and run: itself. Documents are shown as text and never as HTML.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// `GET /`
pub(crate) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html")))
}
