//! How the admin API refuses: RFC 9457, with the words of the public listeners.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Value, json};

use crate::reject::Reason;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    reason: Reason,
    detail: String,
    /// Further members of the document.
    more: Option<(&'static str, Value)>,
}

impl Problem {
    /// The usual status of `reason`; `detail` may be shown to operators.
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { status: reason.status(), reason, detail: detail.into(), more: None }
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn with(mut self, member: &'static str, value: Value) -> Self {
        self.more = Some((member, value));
        self
    }

    #[cfg(test)]
    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// There is no `what` of this name.
    pub(super) fn unknown(what: &str, name: &str) -> Self {
        Self::new(Reason::RouteNotFound, format!("there is no {what} \"{name}\""))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let word = self.reason.word();
        let mut body = json!({
            "type": format!("urn:tidegate:reason:{word}"),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "reason": word,
        });
        if let (Some((member, value)), Some(members)) = (self.more, body.as_object_mut()) {
            members.insert(member.to_owned(), value);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate admin\""));
        }
        response
    }
}

/// The answer as it is, or a problem instead of an error that the framework has made: those are plain text.
pub(super) fn told(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_told = kind.is_some_and(|kind| kind.starts_with(b"application/"));
    if is_told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Reason::PayloadTooLarge, "the body is larger than this operation takes")
        }
        _ if status.is_client_error() => {
            Problem::new(Reason::BadRequest, "the path, the query or the body cannot be read").status(status)
        }
        _ => Problem::new(Reason::Internal, "internal error").status(status),
    };
    problem.into_response()
}
