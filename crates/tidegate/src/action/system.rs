//! The paths that the gateway answers itself: health, liveness, readiness, version.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::body::ResponseBody;
use crate::lifecycle::Lifecycle;
use crate::upstream::{Cluster, EndpointState};
use crate::version;

/// A system route and what it reads.
#[derive(Debug)]
pub struct System {
    kind: Kind,
    lifecycle: Arc<Lifecycle>,
    /// By name of the service, in the order of the configuration.
    services: Vec<(Box<str>, Arc<Cluster>)>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Detail for people.
    Health,
    /// Do the workers turn? Nothing else matters to it.
    Liveness,
    /// May traffic be sent here? Backends do not count.
    Readiness,
    /// What was built from what.
    Version,
}

impl System {
    /// A system route over the services of one snapshot.
    #[must_use]
    pub fn new(kind: Kind, lifecycle: Arc<Lifecycle>, services: Vec<(Box<str>, Arc<Cluster>)>) -> Self {
        Self { kind, lifecycle, services }
    }

    /// The answer of this moment.
    #[must_use]
    pub fn run(&self) -> Response<ResponseBody> {
        match self.kind {
            Kind::Health => self.health(),
            // That this runs at all is the proof: it runs on a worker.
            Kind::Liveness => answer(StatusCode::OK, &json!({"status": "alive"})),
            Kind::Readiness => self.readiness(),
            Kind::Version => {
                let (version, revision, rustc) = (version::VERSION, version::REVISION, version::RUSTC);
                answer(StatusCode::OK, &json!({"version": version, "revision": revision, "rustc": rustc}))
            }
        }
    }

    fn readiness(&self) -> Response<ResponseBody> {
        let pending = self.lifecycle.pending();
        if pending.is_empty() {
            return answer(StatusCode::OK, &json!({"status": "ready"}));
        }
        answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "pending": pending}))
    }

    /// Worst check wins: `fail` while it drains, `warn` while a service is out or readiness waits for something.
    fn health(&self) -> Response<ResponseBody> {
        let pending = self.lifecycle.pending();
        let mut checks = Map::new();
        let mut all_pass = pending.is_empty();
        for (name, cluster) in &self.services {
            let views = cluster.endpoints();
            let out = views.iter().filter(|view| view.state == EndpointState::TransientFailure).count();
            let waits = pending.iter().any(|what| what.strip_prefix("descriptors:") == Some(name));
            let pass = out == 0 && !waits;
            all_pass &= pass;
            let status = if pass { "pass" } else { "warn" };
            let check = json!({"status": status, "endpoints": views.len(), "healthy": views.len() - out});
            checks.insert(format!("service:{name}"), check);
        }
        let draining = self.lifecycle.is_draining();
        let status = if draining {
            "fail"
        } else if all_pass {
            "pass"
        } else {
            "warn"
        };
        let body = json!({
            "status": status,
            "version": version::VERSION,
            "uptime_s": self.lifecycle.uptime_s(),
            "config": {"loaded_at": self.lifecycle.loaded_at()},
            "checks": Value::Object(checks),
        });
        answer(if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, &body)
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
