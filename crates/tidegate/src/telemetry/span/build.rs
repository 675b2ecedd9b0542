//! From what is known of an exchange to its spans.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use http::uri::Authority;
use tidegate_transcode::Code;

use super::{Kind, Moment, Span};
use crate::exchange::Exchange;
use crate::reject::Reason;
use crate::telemetry::finished::Finished;
use crate::time;
use crate::trace::{Attempt, Attribute, Failed, Record, TraceContext, Value};

/// Methods that spans name; others are `_OTHER`, or clients could make names at will.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// One moment by both clocks. Spans are measured by the one that never jumps and told by the other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Instant,
    unix_ns: u64,
}

impl Clock {
    /// This moment.
    #[must_use]
    pub fn read() -> Self {
        Self { now: time::now(), unix_ns: time::unix_ns() }
    }

    /// `at`, which has passed, in nanoseconds since 1970.
    fn unix_ns(self, at: Instant) -> u64 {
        let ago = self.now.saturating_duration_since(at).as_nanos();
        self.unix_ns.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }
}

/// The spans of an exchange that was recorded under `context`. `clock` was read at its end.
#[must_use]
pub fn spans(finished: &Finished<'_>, context: &TraceContext, record: &Record, clock: Clock) -> Vec<Span> {
    let log = record.log();
    let mut spans = Vec::with_capacity(1 + log.attempts.len());
    let events = log.events.into_iter().map(|event| Moment {
        unix_ns: clock.unix_ns(event.at),
        name: event.name,
        attributes: event.attributes,
    });
    spans.push(Span {
        trace_id: context.trace_id,
        span_id: record.server,
        parent: context.parent.map(|parent| parent.span_id),
        remote: context.parent.is_some(),
        state: record.state.clone(),
        kind: Kind::Server,
        name: server_name(finished),
        start_ns: clock.unix_ns(finished.exchange.started),
        end_ns: clock.unix_ns,
        attributes: server_attributes(finished),
        events: events.collect(),
        error: server_error(finished).is_some(),
    });
    for attempt in &log.attempts {
        let outcome = Outcome::of(attempt, finished, clock);
        spans.push(Span {
            trace_id: context.trace_id,
            span_id: attempt.span,
            parent: Some(record.server),
            remote: false,
            state: record.state.clone(),
            kind: Kind::Client,
            name: finished.rpc_method().unwrap_or("_OTHER").into(),
            start_ns: clock.unix_ns(attempt.begun),
            end_ns: outcome.end_ns,
            attributes: client_attributes(attempt, finished, &outcome),
            events: Vec::new(),
            error: outcome.error.is_some(),
        });
    }
    spans
}

/// `{method} {route}`, or the method alone if no route matched.
fn server_name(finished: &Finished<'_>) -> Box<str> {
    let method = known(&finished.exchange.method).map_or("HTTP", Method::as_str);
    match &*finished.route.labels.template {
        "" => method.into(),
        template => format!("{method} {template}").into(),
    }
}

fn known(method: &Method) -> Option<&Method> {
    METHODS.contains(method).then_some(method)
}

fn server_attributes(finished: &Finished<'_>) -> Vec<Attribute> {
    let Finished { exchange, route, .. } = *finished;
    let mut list = Attributes(Vec::with_capacity(16));
    list.add("http.request.method", method(exchange));
    list.name("http.route", &route.labels.template);
    list.add("url.path", Value::text(exchange.uri.path().as_bytes()));
    list.add("url.scheme", if exchange.conn.tls { "https" } else { "http" });
    if let Some(status) = finished.status {
        list.add("http.response.status_code", i64::from(status));
    }
    list.add("client.address", Value::text(exchange.client.ip.to_string().as_bytes()));
    if let Some(host) = host(exchange) {
        list.add("server.address", host);
    }
    list.add("network.protocol.version", exchange.version_word());
    if let Some(agent) = &exchange.user_agent {
        list.add("user_agent.original", Value::text(agent.as_bytes()));
    }
    if let Some(error) = server_error(finished) {
        list.add("error.type", error);
    }
    list.name("tidegate.route", &route.labels.route);
    list.name("tidegate.service", &route.labels.service);
    if let Some(reason) = finished.reason {
        list.add("tidegate.reason", reason.word());
    }
    if let Some(overhead) = finished.overhead() {
        list.add("tidegate.overhead_ms", overhead.as_secs_f64() * 1_000.0);
    }
    list.0
}

fn method(exchange: &Exchange) -> Value {
    match known(&exchange.method) {
        Some(known) => Value::text(known.as_str().as_bytes()),
        None => Value::Word("_OTHER"),
    }
}

/// The host that the client asked, without the port.
fn host(exchange: &Exchange) -> Option<Value> {
    let text = |host: &str| Value::text(host.as_bytes());
    if let Some(host) = exchange.uri.host() {
        return Some(text(host));
    }
    let authority = Authority::try_from(exchange.host.as_ref()?.as_bytes()).ok()?;
    Some(text(authority.host()))
}

/// What makes the exchange a failure of the server's side: a status from 500 on, or an answer that broke off other than
/// by the client's will.
fn server_error(finished: &Finished<'_>) -> Option<Value> {
    let status = finished.status.unwrap_or(0);
    let broke_off = status < 400 && finished.reason.is_some_and(|reason| reason != Reason::ClientClosed);
    if status < 500 && !broke_off {
        return None;
    }
    Some(match finished.reason {
        Some(reason) => Value::Word(reason.word()),
        None => Value::text(status.to_string().as_bytes()),
    })
}

/// How an attempt ended.
struct Outcome {
    end_ns: u64,
    /// The backend's status, or the one that says the same.
    code: Option<Code>,
    error: Option<&'static str>,
}

impl Outcome {
    fn of(attempt: &Attempt, finished: &Finished<'_>, clock: Clock) -> Self {
        if let Some(Failed { at, code, error }) = attempt.failed {
            return Self { end_ns: clock.unix_ns(at), code: Some(code), error: Some(error) };
        }
        // The attempt ran when the exchange ended, or has ended well.
        let code = finished.grpc_status.or_else(|| finished.reason.map(Reason::code));
        let error = code.filter(|code| *code != Code::Ok).map(Code::name);
        let answered = finished.exchange.facts.answered_at().filter(|_| finished.overhead_response.is_some());
        let end_ns = answered.map_or(clock.unix_ns, |after| clock.unix_ns(finished.exchange.started + after));
        Self { end_ns, code, error }
    }
}

fn client_attributes(attempt: &Attempt, finished: &Finished<'_>, outcome: &Outcome) -> Vec<Attribute> {
    let mut list = Attributes(Vec::with_capacity(9));
    list.add("rpc.system.name", "grpc");
    if let Some(method) = &finished.route.labels.rpc_method {
        list.name("rpc.method", method);
    } else if let Some(method) = finished.rpc_method() {
        list.add("rpc.method", Value::text(method.as_bytes()));
    }
    if let Some(code) = outcome.code {
        // The convention's name since its version 1.39, and the one before, which ours is documented by.
        list.add("rpc.response.status_code", code.name());
        list.add("rpc.status_code", code.name());
    }
    if let Some(endpoint) = &attempt.endpoint {
        let (host, port) = host_and_port(endpoint);
        list.add("server.address", Value::text(host.as_bytes()));
        if let Some(port) = port {
            list.add("server.port", i64::from(port));
        }
    }
    if let Some(peer) = attempt.peer {
        list.add("network.peer.address", Value::text(peer.ip().to_canonical().to_string().as_bytes()));
        list.add("network.peer.port", i64::from(peer.port()));
    }
    if let Some(error) = outcome.error {
        list.add("error.type", error);
    }
    list.0
}

/// Of an endpoint as written in the configuration: `[grpc[s]://]host:port`.
fn host_and_port(endpoint: &str) -> (&str, Option<u16>) {
    let address = endpoint.split_once("://").map_or(endpoint, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return (address, None) };
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok())
}

/// A list in the making.
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(Attribute { key, value: value.into() });
    }

    /// A name of the configuration, unless it is empty.
    fn name(&mut self, key: &'static str, name: &Arc<str>) {
        if !name.is_empty() {
            self.add(key, name);
        }
    }
}
