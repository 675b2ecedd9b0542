//! The paths that the gateway answers itself: health, liveness, readiness, version.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::health::{Audience, Health};
use crate::body::ResponseBody;
use crate::version;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Detail for people.
    Health,
    /// Do the workers turn? Nothing else matters to it.
    Liveness,
    /// May traffic be sent here?
    Readiness,
    /// What was built from what.
    Version,
}

impl Kind {
    /// The answer of this moment.
    #[must_use]
    pub fn answer(self, health: &Health, audience: Audience) -> Response<ResponseBody> {
        let (good, body) = match self {
            Self::Health => health.detail(audience),
            Self::Liveness if health.is_alive() => (true, json!({"status": "alive"})),
            Self::Liveness => (false, json!({"status": "stuck"})),
            Self::Readiness => {
                let pending = health.pending();
                let ready = pending.is_empty();
                let body =
                    if ready { json!({"status": "ready"}) } else { json!({"status": "not_ready", "pending": pending}) };
                (ready, body)
            }
            Self::Version => {
                let (version, revision, rustc) = (version::VERSION, version::REVISION, version::RUSTC);
                (true, json!({"version": version, "revision": revision, "rustc": rustc}))
            }
        };
        answer(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }
}

/// A system route and what it reads.
#[derive(Debug)]
pub struct System {
    kind: Kind,
    health: Arc<Health>,
}

impl System {
    /// A system route over the services of one snapshot.
    #[must_use]
    pub fn new(kind: Kind, health: Arc<Health>) -> Self {
        Self { kind, health }
    }

    /// The answer of this moment.
    #[must_use]
    pub fn run(&self) -> Response<ResponseBody> {
        self.kind.answer(&self.health, Audience::Public)
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
