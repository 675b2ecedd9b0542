//! The dashboard: one page, its script and its style, embedded. Static and without secrets, so they need no token: the page
//! asks for it, and sends it with each request of its own.

use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::{self, HeaderValue};

/// The page uses what this API serves and nothing else: no script, style or image from elsewhere, none inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, content type and content.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("dashboard/index.html")),
    ("/dashboard.css", "text/css; charset=utf-8", include_str!("dashboard/dashboard.css")),
    ("/dashboard.js", "text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js")),
    ("/dashboard.svg", "image/svg+xml", include_str!("dashboard/dashboard.svg")),
];

/// All paths of the dashboard.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _, _)| *path)
}

/// Whether anybody may have it.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && paths().any(|open| open == path)
}

/// The file of a path; `None` if the dashboard has none there.
pub(super) fn file(path: &str) -> Option<Response> {
    let (_, kind, content) = FILES.iter().find(|(known, _, _)| *known == path)?;
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Some(response)
}
