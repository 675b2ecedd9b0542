//! Exchanges and the spans that they become.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Version};
use tidegate_transcode::Code;

use super::*;
use crate::exchange::{Exchange, Intake};
use crate::ids::{ConnInfo, WorkerId};
use crate::reject::Reason;
use crate::telemetry::Telemetry;
use crate::telemetry::finished::Finished;
use crate::telemetry::labels::RouteLabels;
use crate::telemetry::route::{Observe, RouteTelemetry};
use crate::time;
use crate::trace::{Sampler, Value};

/// Any span.
pub(crate) fn span() -> Span {
    Span {
        trace_id: TraceId::random(1),
        span_id: SpanId::random(2),
        parent: None,
        remote: false,
        state: None,
        kind: Kind::Server,
        name: "GET".into(),
        start_ns: 1,
        end_ns: 2,
        attributes: Vec::new(),
        events: Vec::new(),
        error: false,
    }
}

const PARENT: &str = "00-12345678901234567890123456789012-1234567890123456-01";

fn request(method: &str, target: &str) -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = target.parse().unwrap();
    let fields = [
        ("traceparent", PARENT),
        ("tracestate", "a=1"),
        ("host", "api.example.com:8443"),
        ("user-agent", "curl/8"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
    ];
    let headers: HeaderMap =
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    *request.headers_mut() = headers;
    request.into_parts().0
}

fn begin(request: &Parts) -> Arc<Exchange> {
    let peer = "[::ffff:203.0.113.9]:5000".parse().unwrap();
    let local = "127.0.0.1:443".parse().unwrap();
    let conn = ConnInfo { local, tls: true, ..ConnInfo::new(WorkerId::new(0), "public".into(), peer) };
    Exchange::begin(&Arc::new(conn), request, &Intake { sampler: Some(Sampler::new(1.0)), ..Intake::default() })
}

fn telemetry(labels: RouteLabels) -> RouteTelemetry {
    let series = Arc::clone(Telemetry::default().metrics.unrouted());
    RouteTelemetry { labels, series, observe: Arc::new(Observe::default()) }
}

fn route() -> RouteTelemetry {
    let labels = RouteLabels {
        route: "get-order".into(),
        service: "orders".into(),
        rpc_method: Some("shop.v1.OrderService/GetOrder".into()),
        template: "/v1/orders/{id}".into(),
    };
    telemetry(labels)
}

/// A good answer.
fn finished<'a>(exchange: &'a Exchange, route: &'a RouteTelemetry) -> Finished<'a> {
    Finished {
        exchange,
        route,
        status: Some(200),
        grpc_status: Some(Code::Ok),
        reason: None,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::from_millis(3),
        client_wait: Duration::ZERO,
        upstream: Some(Duration::from_millis(2)),
        overhead_request: Some(Duration::from_micros(250)),
        overhead_response: Some(Duration::from_micros(500)),
        attempts: 1,
        endpoint: None,
    }
}

fn build(finished: &Finished<'_>) -> Vec<Span> {
    let context = finished.exchange.trace.as_ref().unwrap();
    spans(finished, context, context.record().unwrap(), Clock::read())
}

fn attempt(exchange: &Exchange) {
    let trace = exchange.trace.as_ref().unwrap();
    trace.attempt(trace.record().unwrap(), time::now(), || 9, &mut HeaderMap::new());
    exchange.record().unwrap().reached(&"grpcs://orders:50051".into(), Some("10.0.0.7:50051".parse().unwrap()));
}

fn text(value: &Value) -> String {
    match value {
        Value::Word(text) => (*text).to_owned(),
        Value::Name(text) => text.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
    }
}

fn lines(span: &Span) -> Vec<String> {
    span.attributes.iter().map(|attribute| format!("{}: {}", attribute.key, text(&attribute.value))).collect()
}

fn value(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| text(&attribute.value))
}

#[test]
fn an_exchange_is_a_server_span_and_a_client_span() {
    let exchange = begin(&request("GET", "/v1/orders/7?token=secret"));
    attempt(&exchange);
    let route = route();
    let spans = build(&finished(&exchange, &route));
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((&*server.name, server.kind, server.error), ("GET /v1/orders/{id}", Kind::Server, false));
    assert_eq!(server.trace_id.to_string(), "12345678901234567890123456789012");
    assert_eq!(server.parent.unwrap().to_string(), "1234567890123456");
    assert_eq!((server.remote, server.state.as_ref().unwrap().as_bytes()), (true, &b"a=1"[..]));
    assert_eq!(
        lines(server),
        [
            "http.request.method: GET",
            "http.route: /v1/orders/{id}",
            "url.path: /v1/orders/7",
            "url.scheme: https",
            "http.response.status_code: 200",
            "client.address: 203.0.113.9",
            "server.address: api.example.com",
            "network.protocol.version: 1.1",
            "user_agent.original: curl/8",
            "tidegate.route: get-order",
            "tidegate.service: orders",
            "tidegate.overhead_ms: 0.75",
        ]
    );
    assert_eq!((&*client.name, client.kind, client.error), ("shop.v1.OrderService/GetOrder", Kind::Client, false));
    assert_eq!((client.trace_id, client.parent, client.remote), (server.trace_id, Some(server.span_id), false));
    assert_eq!(client.span_id, SpanId::random(9));
    assert_eq!(
        lines(client),
        [
            "rpc.system.name: grpc",
            "rpc.method: shop.v1.OrderService/GetOrder",
            "rpc.response.status_code: OK",
            "rpc.status_code: OK",
            "server.address: orders",
            "server.port: 50051",
            "network.peer.address: 10.0.0.7",
            "network.peer.port: 50051",
        ]
    );
    assert!(server.start_ns <= client.start_ns && client.end_ns <= server.end_ns);
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn a_method_of_nobody_makes_no_names() {
    let exchange = begin(&request("BREW", "/"));
    let route = telemetry(RouteLabels::default());
    let spans =
        build(&Finished { status: Some(404), reason: Some(Reason::RouteNotFound), ..finished(&exchange, &route) });
    let [server] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(&*server.name, "HTTP");
    assert_eq!(value(server, "http.request.method").unwrap(), "_OTHER");
    assert_eq!(value(server, "tidegate.reason").unwrap(), "route_not_found");
    assert_eq!(value(server, "http.route"), None);
}

#[test]
fn server_spans_fail_with_the_server_only() {
    let exchange = begin(&request("GET", "/"));
    let route = route();
    let good = finished(&exchange, &route);
    for (status, reason, error, code) in [
        (Some(200), None, None, Some("200")),
        (Some(404), Some(Reason::UpstreamError), None, Some("404")),
        (Some(500), Some(Reason::UpstreamError), Some("upstream_error"), Some("500")),
        (Some(503), None, Some("503"), Some("503")),
        (Some(504), Some(Reason::UpstreamTimeout), Some("upstream_timeout"), Some("504")),
        // Broken off by the backend, and by the client.
        (Some(200), Some(Reason::UpstreamReset), Some("upstream_reset"), Some("200")),
        (Some(200), Some(Reason::ClientClosed), None, Some("200")),
        // No answer at all: left by the client, and cut by us; and one that says 499.
        (None, Some(Reason::ClientClosed), None, None),
        (None, Some(Reason::Draining), Some("draining"), None),
        (Some(499), Some(Reason::UpstreamError), None, Some("499")),
    ] {
        let spans = build(&Finished { status, reason, ..good });
        let server = spans.first().unwrap();
        assert_eq!(server.error, error.is_some(), "{status:?} {reason:?}");
        assert_eq!(value(server, "error.type").as_deref(), error, "{status:?} {reason:?}");
        assert_eq!(value(server, "http.response.status_code").as_deref(), code, "{status:?} {reason:?}");
    }
}

/// Ends an exchange whose first attempt failed and whose second did not.
fn check_attempts(grpc_status: Option<Code>, reason: Option<Reason>, code: &str, error: Option<&str>) {
    let exchange = begin(&request("GET", "/"));
    attempt(&exchange);
    exchange.record().unwrap().failed(time::now(), Code::Unavailable, "upstream_reset");
    attempt(&exchange);
    let route = route();
    let spans = build(&Finished { grpc_status, reason, ..finished(&exchange, &route) });
    let [_, first, second] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(value(first, "rpc.response.status_code").unwrap(), "UNAVAILABLE");
    assert_eq!(value(first, "error.type").unwrap(), "upstream_reset");
    assert!(first.error && first.end_ns <= second.start_ns);
    assert_eq!(value(second, "rpc.response.status_code").unwrap(), code);
    assert_eq!(value(second, "error.type").as_deref(), error);
    assert_eq!(second.error, error.is_some());
}

#[test]
fn each_attempt_has_a_span_that_says_how_it_ended() {
    check_attempts(Some(Code::Ok), None, "OK", None);
    check_attempts(None, Some(Reason::ClientClosed), "CANCELLED", Some("CANCELLED"));
}

#[test]
fn attempts_events_and_texts_are_bounded() {
    let long = format!("/{}", "p".repeat(5_000));
    let exchange = begin(&request("GET", &long));
    let record = exchange.record().unwrap();
    for _ in 0..100 {
        attempt(&exchange);
        record.event(time::now(), "timeout", Vec::new());
    }
    // Of an attempt that has no span; the last one that has is not touched.
    record.failed(time::now(), Code::Unavailable, "upstream_reset");
    let route = route();
    let spans = build(&finished(&exchange, &route));
    assert_eq!(spans.len(), 17);
    assert!(spans.iter().all(|span| !span.error));
    let server = spans.first().unwrap();
    assert_eq!(server.events.len(), 32);
    assert_eq!(value(server, "url.path").unwrap().len(), 1_024);
}

#[test]
fn http_2_says_so() {
    let mut request = request("GET", "https://api.example.com/v1");
    request.version = Version::HTTP_2;
    request.headers.remove("host");
    let exchange = begin(&request);
    let route = route();
    let spans = build(&finished(&exchange, &route));
    let server = spans.first().unwrap();
    assert_eq!(value(server, "network.protocol.version").unwrap(), "2");
    assert_eq!(value(server, "server.address").unwrap(), "api.example.com");
}
