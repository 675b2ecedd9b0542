//! Answers in JSON, and entity tags.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::input::Conditions;

/// What a handler gives.
pub(crate) type Answer = Result<Response, super::failure::Failure>;

/// A document.
pub(crate) fn json_answer(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(bytes) => encoded(status, bytes),
        // Impossible for our types.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A document with a version: its entity tag, and 304 without a body if the client has it.
///
/// Source: RFC 9110, sections 8.8.3 and 13.1.2.
pub(crate) fn versioned(status: StatusCode, version: u64, document: &impl Serialize, seen: &Conditions) -> Response {
    tagged(seen, &format!("\"v{version}\""), || json_answer(status, document))
}

/// A document without a version; the entity tag comes from its bytes.
pub(crate) fn digested(document: &impl Serialize, seen: &Conditions) -> Response {
    let Ok(bytes) = serde_json::to_vec(document) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes)));
    tagged(seen, &tag, || encoded(StatusCode::OK, bytes))
}

/// 204.
pub(crate) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 201 with the place of what is new.
pub(crate) fn created(place: &str, version: u64, document: &impl Serialize) -> Response {
    let mut response = versioned(StatusCode::CREATED, version, document, &Conditions::default());
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

fn tagged(seen: &Conditions, tag: &str, answer: impl FnOnce() -> Response) -> Response {
    let mut response = match seen.has(tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => answer(),
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn encoded(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
