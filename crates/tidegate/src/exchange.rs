//! One request and its answer: what is known of it from the first moment on, and what is learnt on the way.

mod client;
mod facts;
mod standing;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};

pub use client::{Client, TrustedProxies, write_address};
pub use facts::{Facts, SocketEnd};
pub use standing::{LimitLabel, Standing, Standings};
pub use wire::Wire;

use crate::ids::{ConnInfo, RequestId, WorkerId};
use crate::lines;
use crate::time;
use crate::trace::{Record, Sampler, TraceContext};

/// Name of the header that carries the request id, both ways.
pub const REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

/// Fields of a backend's early hints that clients get: what browsers act on before there is an answer.
pub const HINTS: [http::HeaderName; 2] = [header::LINK, header::CONTENT_SECURITY_POLICY];

/// One request, from its head to its answer. Shared with the body of the answer, which may outlive the request's future.
#[derive(Debug)]
pub struct Exchange {
    /// The connection that it came on.
    pub conn: Arc<ConnInfo>,
    /// Who sent it.
    pub client: Client,
    /// Taken over from the client or made here.
    pub request_id: RequestId,
    /// When the head had been read.
    pub started: Instant,
    /// There was a head that could be parsed. Otherwise what follows is known of no request, and tells nothing.
    pub is_parsed: bool,
    /// A `HEAD` request: the answer has no body.
    pub head: bool,
    /// The client takes trailers: HTTP/2, or HTTP/1.1 with `TE: trailers`.
    pub takes_trailers: bool,
    /// As sent.
    pub method: Method,
    /// As sent: origin form, with the query.
    pub uri: Uri,
    /// Of the client's side.
    pub version: Version,
    /// What the client speaks.
    pub wire: Wire,
    /// The one authority of the request.
    pub host: Option<HeaderValue>,
    /// What the client calls itself.
    pub user_agent: Option<HeaderValue>,
    /// The trace that it belongs to, and what is recorded of it.
    pub trace: Option<TraceContext>,
    /// What is learnt on the way.
    pub facts: Facts,
}

/// What is settled of each request before its route is sought.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    /// Decides what is traced; `None` if nothing is.
    pub sampler: Option<Sampler>,
    /// Proxies that may say who the client is.
    pub trusted_proxies: TrustedProxies,
}

impl Exchange {
    /// Starts the clock, settles the request id and the client's address, and decides whether it is traced.
    #[must_use]
    pub fn begin(conn: &Arc<ConnInfo>, head: &Parts, intake: &Intake) -> Arc<Self> {
        let headers = &head.headers;
        Arc::new(Self {
            conn: Arc::clone(conn),
            client: intake.trusted_proxies.client(conn.peer.ip(), headers),
            request_id: request_id(headers),
            started: time::now(),
            is_parsed: true,
            head: head.method == Method::HEAD,
            takes_trailers: head.version == Version::HTTP_2 || asks_for_trailers(headers),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            wire: Wire::of(&head.method, head.version, headers),
            host: headers.get(header::HOST).cloned().or_else(|| authority(&head.uri)),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            trace: TraceContext::begin(headers, intake.sampler, || fastrand::u128(..)),
            facts: Facts::default(),
        })
    }

    /// What came on `conn` is no request.
    #[must_use]
    pub fn unparsed(conn: &Arc<ConnInfo>) -> Arc<Self> {
        Arc::new(Self {
            conn: Arc::clone(conn),
            client: TrustedProxies::default().client(conn.peer.ip(), &HeaderMap::new()),
            request_id: request_id(&HeaderMap::new()),
            started: time::now(),
            is_parsed: false,
            head: false,
            takes_trailers: false,
            method: Method::default(),
            uri: Uri::default(),
            version: Version::default(),
            wire: Wire::Http,
            host: None,
            user_agent: None,
            trace: None,
            facts: Facts::default(),
        })
    }

    /// The same request for somebody who is asked beside the backend: of what that comes to nobody is told.
    #[must_use]
    pub fn aside(&self) -> Arc<Self> {
        Arc::new(Self {
            conn: Arc::clone(&self.conn),
            client: self.client.clone(),
            request_id: self.request_id.clone(),
            started: time::now(),
            is_parsed: self.is_parsed,
            head: self.head,
            takes_trailers: self.takes_trailers,
            method: self.method.clone(),
            uri: self.uri.clone(),
            version: self.version,
            wire: self.wire,
            host: self.host.clone(),
            user_agent: self.user_agent.clone(),
            trace: None,
            facts: Facts::default(),
        })
    }

    /// The worker that runs it.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.conn.worker
    }

    /// Time since the head had been read.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        time::now().saturating_duration_since(self.started)
    }

    /// Where spans and events of a traced exchange are noted; `None` if it is not.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.trace.as_ref()?.record()
    }

    /// `endpoint` (as written in the configuration) is about to be asked with `metadata`: counts an attempt, and if the
    /// exchange is recorded begins its span and tells the backend of it.
    pub fn attempt<'m>(&self, endpoint: &Arc<str>, now: Instant, metadata: impl FnOnce() -> &'m mut HeaderMap) {
        self.facts.asked(now.saturating_duration_since(self.started));
        let Some(trace) = &self.trace else { return };
        let Some(record) = trace.record() else { return };
        trace.attempt(record, now, || fastrand::u64(..), metadata());
        record.reached(endpoint, None);
    }

    /// A backend's early hint: the client gets what is of use to it, if it speaks a version that has interim answers.
    pub fn hint(&self, mut fields: HeaderMap) {
        if !matches!(self.version, Version::HTTP_11 | Version::HTTP_2) {
            return;
        }
        let mut hint = HeaderMap::new();
        for name in HINTS {
            if let header::Entry::Occupied(values) = fields.entry(&name) {
                hint.extend(values.remove_entry_mult().1.map(|value| (name.clone(), value)));
            }
        }
        let bytes: usize = hint.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > 0 && self.facts.hints(bytes) {
            self.conn.hints.leave(hint);
        }
    }

    /// The version of the client's side, as logs and spans write it.
    #[must_use]
    pub fn version_word(&self) -> &'static str {
        match self.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        }
    }

    /// The request id as a header value.
    #[must_use]
    pub fn request_id_value(&self) -> HeaderValue {
        // The alphabet of request ids is a part of that of header values.
        HeaderValue::from_str(self.request_id.as_str()).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A client's id counts only if there is exactly one and it has the permitted form.
fn request_id(headers: &HeaderMap) -> RequestId {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let from_client = values.next().and_then(|value| RequestId::from_client(value.as_bytes()));
    match (from_client, values.next()) {
        (Some(id), None) => id,
        _ => RequestId::generate(time::unix_ms(), fastrand::u128(..)),
    }
}

/// Of a request that was refused before its authority was put where all others have it.
fn authority(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(uri.authority()?.as_str()).ok()
}

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| lines::names(value.as_bytes(), b"trailers"))
}
