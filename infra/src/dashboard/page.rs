//! The page itself: three small files within the binary, and nothing from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

use super::Feed;

const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("/dashboard.css", "text/css; charset=utf-8", include_str!("assets/dashboard.css")),
    ("/dashboard.js", "text/javascript; charset=utf-8", include_str!("assets/dashboard.js")),
];

/// The page loads nothing but itself, and nobody may frame it.
const POLICY: &str = "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Routes of the page's files.
pub(super) fn router() -> Router<Arc<Feed>> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, content)| {
        let headers: [(HeaderName, &str); 4] = [
            (CONTENT_TYPE, kind),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-cache"),
        ];
        router.route(path, get(async move || (headers, content)))
    })
}
