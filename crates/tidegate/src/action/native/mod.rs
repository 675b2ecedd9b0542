//! gRPC in, gRPC out: calls pass through with their frames as they are. gRPC-Web differs at the client's edge alone.
//!
//! ```text
//!   head ── sort ──► metadata, deadline              text mode: base64
//!   body ── sizes of messages ──► backend            HTTP/2 trailers ◄─► a last frame of the body
//!   body ◄── sizes of messages ◄── backend
//! ```
//! The service's descriptors are not needed, so nothing here knows whether a method streams.

mod answer;
mod text;

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Response, Version};
use tidegate_config::valid::{MultiSegmentEscape, Route};
use tidegate_route::{Captures, MultiEscape, Template};
use tidegate_transcode::{Code, FrameError, Status};

use self::answer::{Passing, is_too_large};
use self::text::TextBody;
use super::failure::wire;
use super::mirror::Mirror;
use crate::body::{RequestBody, ResponseBody};
use crate::exchange::{Exchange, Wire};
use crate::policy::headers::{HeaderRules, clean_answer};
use crate::policy::metadata::MetadataRules;
use crate::reject::{Reason, Reject};
use crate::upstream::{BadBody, CallDeadline, CallError, CallHead, Cluster, OWN_METADATA, PassError, RetryPlan};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const X_GRPC_WEB: HeaderName = HeaderName::from_static("x-grpc-web");

/// What belongs to the call, of the names that general rules keep back.
const OF_THE_CALL: [HeaderName; 3] = [
    HeaderName::from_static("grpc-encoding"),
    GRPC_ACCEPT_ENCODING,
    HeaderName::from_static("grpc-previous-rpc-attempts"),
];

/// A compiled route that passes gRPC through.
#[derive(Debug)]
pub struct Native {
    cluster: Arc<Cluster>,
    metadata: MetadataRules,
    /// What the route does to the headers of answers, if it does.
    answer: Option<Arc<HeaderRules>>,
    escape: MultiEscape,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    retry: RetryPlan,
    mirror: Option<Arc<Mirror>>,
}

impl Native {
    /// Compiles a route with the path `template`.
    #[must_use]
    pub fn compile(route: &Route, template: &Template, cluster: Arc<Cluster>, mirror: Option<Arc<Mirror>>) -> Self {
        let policy = &route.policy;
        let variables: Vec<String> = template.variables().iter().map(|v| v.field_path.clone()).collect();
        let answer = HeaderRules::compile(&policy.response_headers);
        Self {
            cluster,
            answer: (!answer.is_empty()).then(|| Arc::new(answer)),
            metadata: MetadataRules::compile(&policy.metadata, &variables)
                .with_headers(HeaderRules::compile(&policy.request_headers))
                .with_binary(),
            escape: match policy.multi_segment_escape.value {
                MultiSegmentEscape::KeepSlash => MultiEscape::KeepSlash,
                MultiSegmentEscape::Reserved => MultiEscape::Reserved,
                MultiSegmentEscape::All => MultiEscape::All,
            },
            timeout: policy.timeout.value,
            idle_timeout: policy.stream_idle_timeout.value,
            retry: RetryPlan::compile(&policy.retry),
            mirror,
        }
    }

    /// The service that calls are passed on to.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Who gets copies of calls.
    #[must_use]
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_deref()
    }

    /// Passes one call on.
    ///
    /// # Errors
    /// The refusal; nothing was sent to the client.
    pub async fn run(
        &self,
        exchange: &Arc<Exchange>,
        mut parts: Box<Parts>,
        body: RequestBody,
        path: &str,
        captures: &Captures,
    ) -> Result<Response<ResponseBody>, Reject> {
        let content_type = content_type(exchange, &parts.headers)?;
        let values = captures.decode_all(path, self.escape).map_err(|error| Reject::bad_path(&error))?;
        let (head, deadline) = self.head(exchange, &mut parts, content_type, path, &values)?;
        let body = match exchange.wire {
            Wire::GrpcWebText => RequestBody::stream(TextBody::new(body)),
            Wire::Http | Wire::Grpc | Wire::GrpcWeb => body,
        };
        let body = match &self.mirror {
            Some(mirror) => mirror.stream(exchange, &head, body),
            None => body,
        };
        let mut passed = match self.cluster.pass(exchange, head, body, deadline, &self.retry).await {
            Ok(passed) => passed,
            Err(error) => return self.refused(exchange, error),
        };
        let mut headers = passed.call.take_head();
        clean(&mut headers);
        headers.remove(&GRPC_STATUS);
        if let Some(rules) = &self.answer {
            rules.apply(&mut headers);
        }
        if exchange.wire.is_web() {
            web_content_type(exchange.wire, &mut headers);
        }
        let ends = match deadline {
            CallDeadline::Total(at) => Some(at),
            CallDeadline::None | CallDeadline::FirstMessage(_) => None,
        };
        let wheel = self.cluster.wheel(exchange.worker());
        let times = (self.idle_timeout, ends);
        let rules = self.answer.clone();
        let passing = Passing::new(passed, exchange, wheel, self.cluster.max_message(), times, rules);
        let mut response = Response::new(ResponseBody::stream(passing));
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// An answer without messages: the backend's own status passes as it is.
    fn refused(&self, exchange: &Exchange, error: PassError) -> Result<Response<ResponseBody>, Reject> {
        exchange.facts.answered(exchange.elapsed());
        noted(exchange, &error);
        let (reject, said) = failed(error);
        let Some(mut trailers) = said else { return Err(reject) };
        exchange.facts.failed(reject.reason);
        let Some(rules) = &self.answer else { return Ok(wire::without_messages(exchange.wire, trailers)) };
        // Of gRPC-Web they are no part of the head.
        rules.take_away(&mut trailers);
        let mut response = wire::without_messages(exchange.wire, trailers);
        rules.apply(response.headers_mut());
        Ok(response)
    }

    /// What the call begins with. A client that gives a deadline has it for the whole call, within that of the route;
    /// otherwise the route's holds for the first byte of the answer, as it does for every stream.
    fn head(
        &self,
        exchange: &Exchange,
        parts: &mut Parts,
        content_type: HeaderValue,
        path: &str,
        values: &[std::borrow::Cow<'_, str>],
    ) -> Result<(CallHead, CallDeadline), Reject> {
        let ring_key = self.cluster.ring_key(exchange, &parts.headers);
        let of_the_call = OF_THE_CALL.map(|name| parts.headers.get(&name).cloned());
        parts.headers.remove(&X_GRPC_WEB);
        let room = OWN_METADATA + OF_THE_CALL.len();
        let sorted = self.metadata.sort(exchange, parts, values, room)?;
        let mut metadata = sorted.metadata;
        metadata.insert(header::CONTENT_TYPE, content_type);
        // What this gateway could read is of no use to the client.
        metadata.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in OF_THE_CALL.into_iter().zip(of_the_call) {
            if let Some(value) = value {
                metadata.insert(name, value);
            }
        }
        let deadline = match (self.timeout, sorted.timeout) {
            (None, None) => CallDeadline::None,
            (Some(ours), None) => CallDeadline::FirstMessage(exchange.started + ours),
            (None, Some(theirs)) => CallDeadline::Total(exchange.started + theirs),
            (Some(ours), Some(theirs)) => CallDeadline::Total(exchange.started + ours.min(theirs)),
        };
        let waits_less = sorted.timeout.is_some_and(|theirs| self.timeout.is_none_or(|ours| theirs < ours));
        let path = PathAndQuery::try_from(path);
        let path = path.map_err(|_| Reject::new(Reason::BadRequest).detail("malformed path"))?;
        Ok((CallHead { ring_key, waits_less, ..CallHead::new(path, metadata) }, deadline))
    }
}

/// The content type for the backend: that of the client, as gRPC over HTTP/2 has it.
fn content_type(exchange: &Exchange, headers: &HeaderMap) -> Result<HeaderValue, Reject> {
    let refused = |detail: &'static str| Err(Reject::new(Reason::UnsupportedMediaType).detail(detail));
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next().map_or(&b""[..], HeaderValue::as_bytes);
    if values.next().is_some() {
        return Err(Reject::new(Reason::BadRequest).detail("more than one content-type"));
    }
    match Wire::parse(first) {
        Some((Wire::Grpc, _)) if exchange.version != Version::HTTP_2 => {
            refused("gRPC needs HTTP/2; over HTTP/1.1 this path speaks gRPC-Web")
        }
        Some((_, rest)) => {
            let bytes = [b"application/grpc", rest].concat();
            let value = HeaderValue::from_bytes(&bytes);
            value.or_else(|_| Ok(HeaderValue::from_static("application/grpc")))
        }
        None => refused("this path speaks gRPC and gRPC-Web"),
    }
}

/// `application/grpc+proto` as the client's protocol calls it.
fn web_content_type(wire: Wire, headers: &mut HeaderMap) {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = Wire::parse(value).map_or(&b""[..], |(_, rest)| rest);
    let value = HeaderValue::from_bytes(&[wire.content_type().as_bytes(), rest].concat());
    let value = value.unwrap_or(HeaderValue::from_static(wire.content_type()));
    headers.insert(header::CONTENT_TYPE, value);
}

/// Takes out of a backend's metadata what is of its connection, or the gateway's to say.
fn clean(metadata: &mut HeaderMap) {
    clean_answer(metadata, false, &HeaderRules::default());
    metadata.remove(header::CONTENT_LENGTH);
    let ours = |name: &&HeaderName| name.as_str().starts_with("x-tidegate-");
    while let Some(name) = metadata.keys().find(ours).cloned() {
        metadata.remove(name);
    }
}

/// Tells telemetry who was asked, and what came of it.
fn noted(exchange: &Exchange, error: &PassError) {
    let PassError::Call(error) = error else { return };
    let mut said = None;
    match error {
        CallError::ConnectFailed { endpoint, .. } | CallError::Reset { endpoint, .. } => {
            exchange.facts.endpoint_is(endpoint);
            if let Some(record) = exchange.record() {
                record.reached(endpoint, None);
            }
        }
        CallError::Status(failure) => {
            exchange.facts.code_is(failure.status.code);
            said = Some(failure.status.code);
        }
        CallError::NoEndpoint
        | CallError::BreakerOpen { .. }
        | CallError::Overloaded
        | CallError::DeadlineExceeded
        | CallError::Malformed(_)
        | CallError::Head(_) => {}
    }
    if let Some(record) = exchange.record() {
        let word = said.map_or(error.reason().word(), Code::name);
        record.failed(crate::time::now(), said.unwrap_or(error.reason().code()), word);
    }
}

/// The refusal for a call that failed, and the trailers that the backend itself ended it with.
fn failed(error: PassError) -> (Reject, Option<HeaderMap>) {
    match error {
        PassError::Call(error) if is_too_large(&error) => {
            let status = Status::new(Code::ResourceExhausted, "a message of the service is too large");
            (Reject::from(error).backend(status), None)
        }
        PassError::Call(mut error) => {
            let mut said = None;
            if let CallError::Status(failure) = &mut error
                && failure.metadata.contains_key(&GRPC_STATUS)
            {
                let mut trailers = std::mem::take(&mut failure.metadata);
                clean(&mut trailers);
                trailers.remove(header::CONTENT_TYPE);
                said = Some(trailers);
            }
            (error.into_reject(), said)
        }
        PassError::Body(BadBody::Broken(error)) => (Reject::broken_body(error), None),
        PassError::Body(BadBody::TooLarge) => (Reject::new(Reason::PayloadTooLarge), None),
        PassError::Frame(FrameError::TooLarge { .. }) => {
            (Reject::new(Reason::PayloadTooLarge).detail("a message is too large"), None)
        }
        PassError::Frame(FrameError::BadFlag | FrameError::Truncated) => {
            (Reject::new(Reason::BadRequest).detail("malformed gRPC frames"), None)
        }
    }
}
