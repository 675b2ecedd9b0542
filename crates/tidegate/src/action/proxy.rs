//! Passes a request on to an HTTP service and its answer back, both as they are but for headers and, if the route says
//! so, the path.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use tidegate_config::valid::{EscapedSlashes, Level, ProxyAction, RewritePart, Route};
use tidegate_route::{Captures, check_query};
use tidegate_transcode::StreamFormat;

use super::mirror::Mirror;
use super::tunnel::Passage;
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::ending::leave::Leave;
use crate::exchange::{Exchange, HINTS};
use crate::policy::headers::{HeaderRules, clean_answer, write_request};
use crate::policy::websocket;
use crate::reject::{Reason, Reject};
use crate::time;
use crate::upstream::{Cluster, ForwardError, Hedge, Outgoing, RetryPlan, Upgraded};

/// Room for the head of most requests.
const HEAD: usize = 1024;

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// A compiled route to an HTTP service.
#[derive(Debug)]
pub struct Proxy {
    cluster: Arc<Cluster>,
    rewrite: Option<Vec<RewritePart>>,
    keeps_escaped_slashes: bool,
    request: HeaderRules,
    answer: Arc<HeaderRules>,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_body: u64,
    retry: RetryPlan,
    mirror: Option<Arc<Mirror>>,
    hedge: Option<Box<Hedge>>,
    /// The backend's early hints are passed on, and the route has nothing to say about their fields.
    hints: bool,
    /// Clients may open a WebSocket, which may be silent for this long.
    websocket: Option<Option<Duration>>,
}

/// How long both sides of a WebSocket may be silent, unless the configuration says something else about streams: most
/// clients and servers ask each other for a sign of life more often.
const SOCKET_IDLE: Duration = Duration::from_secs(300);

impl Proxy {
    /// Compiles a route.
    #[must_use]
    pub fn compile(route: &Route, action: &ProxyAction, cluster: Arc<Cluster>, mirror: Option<Arc<Mirror>>) -> Self {
        let policy = &route.policy;
        let answer = Arc::new(HeaderRules::compile(&policy.response_headers));
        Self {
            cluster,
            hints: action.early_hints && !HINTS.iter().any(|name| answer.removes(name)),
            rewrite: action.rewrite.as_ref().map(|rewrite| rewrite.path.clone()),
            keeps_escaped_slashes: policy.escaped_slashes.value == EscapedSlashes::Keep,
            request: HeaderRules::compile(&policy.request_headers),
            answer,
            timeout: policy.timeout.value,
            idle_timeout: policy.stream_idle_timeout.value,
            max_body: policy.max_body.value,
            retry: RetryPlan::compile(&policy.retry),
            mirror,
            hedge: route.hedge.as_ref().map(|hedge| Box::new(Hedge::compile(hedge))),
            websocket: action.websocket.then_some(match policy.stream_idle_timeout.origin.level {
                Level::BuiltIn => Some(SOCKET_IDLE),
                Level::Defaults | Level::Service | Level::Route => policy.stream_idle_timeout.value,
            }),
        }
    }

    /// The service that requests are passed on to.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Who gets copies of requests.
    #[must_use]
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_deref()
    }

    /// Whether a client may open a WebSocket.
    #[must_use]
    pub fn takes_sockets(&self) -> bool {
        self.websocket.is_some()
    }

    /// Whether the backend's early hints reach clients.
    #[must_use]
    pub fn passes_hints(&self) -> bool {
        self.hints
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The refusal; nothing was sent to the client, and nothing to the backend if the head of the request is at fault.
    pub fn run(
        &self,
        exchange: &Arc<Exchange>,
        parts: Box<Parts>,
        body: RequestBody,
        path: &str,
        captures: &Captures,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Reject>> + Send {
        async move {
            if let Some(idle) = self.websocket
                && (tidegate_ws::asks(&parts.headers) || matches!(body, RequestBody::Socket(_)))
            {
                return Box::pin(self.open(exchange, (parts, body, idle), path, captures)).await;
            }
            let outgoing = self.outgoing(exchange, parts, &body, path, captures)?;
            let body = match &self.mirror {
                Some(mirror) => mirror.request(exchange, &outgoing, body),
                None => body,
            };
            let answered = self.cluster.forward(exchange, &outgoing, body).await;
            let mut response = answered.map_err(|error| failed(exchange, error))?;
            clean_answer(response.headers_mut(), exchange.takes_trailers, &self.answer);
            Ok(self.endless(exchange, response))
        }
    }

    /// Joins a client that asks for a WebSocket with the backend, if that agrees.
    async fn open(
        &self,
        exchange: &Arc<Exchange>,
        (mut parts, mut body, idle): (Box<Parts>, RequestBody, Option<Duration>),
        path: &str,
        captures: &Captures,
    ) -> Result<Response<ResponseBody>, Reject> {
        let handshake = websocket::take(&mut parts, || fastrand::u128(..).to_be_bytes())?;
        // A tunnel has no trailers, and one `Connection` field is what every backend reads.
        parts.headers.remove(TE);
        let client = body.take_socket();
        let client = client.ok_or_else(|| Reject::new(Reason::BadRequest).detail("no WebSocket can be opened here"))?;
        let mut outgoing = self.outgoing(exchange, parts, &body, path, captures)?;
        handshake.write(&mut outgoing.head);
        outgoing.accept = Some(handshake.accept.clone());
        outgoing.idle_timeout = idle;
        let upgraded = self.cluster.upgrade(exchange, &outgoing, client).await;
        match upgraded.map_err(|error| failed(exchange, error))? {
            // The client would take any success for an open WebSocket.
            Upgraded::Answer(response) if exchange.version == Version::HTTP_2 && response.status().is_success() => {
                let reject = Reject::new(Reason::UpstreamError).status(StatusCode::BAD_GATEWAY);
                Err(reject.detail("the service opens no WebSocket"))
            }
            Upgraded::Answer(mut response) => {
                clean_answer(response.headers_mut(), exchange.takes_trailers, &self.answer);
                Ok(self.endless(exchange, response))
            }
            Upgraded::Tunnel(mut headers, tunnel) => {
                clean_answer(&mut headers, false, &self.answer);
                handshake.granted(&mut headers);
                let leave = Leave::of_socket(&exchange.conn.ending, self.cluster.wheel(exchange.worker()));
                let mut response = Response::new(ResponseBody::stream(Passage::new(tunnel, leave, exchange)));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                *response.headers_mut() = headers;
                Ok(response)
            }
        }
    }

    /// An answer that may go on for ever takes its leave when the gateway stops.
    fn endless(&self, exchange: &Arc<Exchange>, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if is_endless(response.headers()) && matches!(response.body(), ResponseBody::Stream(_)) {
            let wheel = self.cluster.wheel(exchange.worker());
            let leave = Leave::new(&exchange.conn.ending, wheel, StreamFormat::Sse);
            response = response.map(|body| {
                ResponseBody::stream(EventStream { body: Some(body), leave, exchange: Arc::clone(exchange) })
            });
        }
        if self.answer.takes_away() && exchange.takes_trailers && matches!(response.body(), ResponseBody::Stream(_)) {
            let rules = Arc::clone(&self.answer);
            response = response.map(|body| ResponseBody::stream(CleanTrailers { body, rules }));
        }
        response
    }

    fn outgoing(
        &self,
        exchange: &Exchange,
        parts: Box<Parts>,
        body: &RequestBody,
        path: &str,
        captures: &Captures,
    ) -> Result<Outgoing<'_>, Reject> {
        if !self.keeps_escaped_slashes && has_escaped_slash(path) {
            return Err(Reject::new(Reason::BadRequest).detail("an escaped slash in the path"));
        }
        let length = length(&parts, body);
        if length.is_some_and(|length| length > self.max_body) {
            return Err(Reject::new(Reason::PayloadTooLarge).close());
        }
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(parts.method.as_str().as_bytes());
        head.push(b' ');
        self.write_path(path, captures, &mut head);
        if let Some(query) = parts.uri.query() {
            let query = check_query(query.as_bytes()).map_err(|error| Reject::bad_path(&error))?;
            head.push(b'?');
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let trace = write_request(exchange, &parts, &self.request, &mut head);
        let ring_key = self.cluster.ring_key(exchange, &parts.headers);
        Ok(Outgoing {
            ring_key,
            retry: &self.retry,
            hedge: self.hedge.as_deref(),
            hints: self.hints,
            accept: None,
            method: parts.method,
            head,
            trace,
            length,
            max_body: self.max_body,
            deadline: self.timeout.map(|timeout| exchange.started + timeout),
            idle_timeout: self.idle_timeout,
        })
    }

    fn write_path(&self, path: &str, captures: &Captures, head: &mut Vec<u8>) {
        let Some(rewrite) = &self.rewrite else {
            head.extend_from_slice(path.as_bytes());
            return;
        };
        for part in rewrite {
            let text = match part {
                RewritePart::Literal(text) => text.as_str(),
                RewritePart::Variable(index) => captures.raw(*index, path),
            };
            head.extend_from_slice(text.as_bytes());
        }
    }
}

/// Events that may end anywhere: neither their length nor a coding would tell the client that something is missing.
fn is_endless(headers: &HeaderMap) -> bool {
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(CONTENT_ENCODING) {
        return false;
    }
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.get(..EVENT_STREAM.len())).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

/// Events of a backend, which would go on for ever. When the gateway stops they end early, each at another moment: their
/// clients connect again by themselves, and to whoever comes after this process.
struct EventStream {
    /// `None` once it has ended.
    body: Option<ResponseBody>,
    leave: Leave,
    exchange: Arc<Exchange>,
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        // What has come is passed on, and a fault above all.
        if frame.is_ready() || self.leave.poll(cx).is_pending() {
            return frame;
        }
        self.exchange.facts.failed(Reason::Draining);
        self.body = None;
        Poll::Ready(None)
    }
}

/// A body whose trailers are under the rules of the route, as its head was.
struct CleanTrailers {
    body: ResponseBody,
    rules: Arc<HeaderRules>,
}

impl Body for CleanTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            self.rules.take_away(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `%2F` or `%5C`, in either case.
fn has_escaped_slash(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes).any(|at| {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        digits.eq_ignore_ascii_case(b"2f") || digits.eq_ignore_ascii_case(b"5c")
    })
}

/// The length of the body that the backend is told; `None` if it is not known, or there is none to tell of.
fn length(parts: &Parts, body: &RequestBody) -> Option<u64> {
    let told = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match body.size_hint().exact() {
        // Some servers want to know that there is none (RFC 9110, section 8.6).
        Some(0) if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => Some(0),
        Some(0) => told,
        Some(length) => Some(length),
        None => told,
    }
}

/// What became of a request, noted for telemetry.
fn failed(exchange: &Exchange, error: ForwardError) -> Reject {
    exchange.facts.answered(exchange.elapsed());
    let reject = error.into_reject();
    if let Some(record) = exchange.record() {
        record.failed(time::now(), reject.code(), reject.reason.word());
    }
    reject
}
