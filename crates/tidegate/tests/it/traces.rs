//! Trace context through the gateway, and the spans that a real collector gets.
//!
//! Batches leave when they are full or old; a gateway that stops sends what is left, which is what most tests wait for.

use tidegate_testkit::collector::{Collector, Refusal, Span, SpanKind, StatusCode, attribute, texts};
use tidegate_testkit::peer::{Call, closed_port};
use tidegate_testkit::{Gateway, Peer, Request, Script, eventually, get, shop};

const TRACE: &str = "12345678901234567890123456789012";
const SAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-01";
const UNSAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-00";

async fn start(tracing: &str) -> (Peer, Gateway) {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), tracing));
    (peer, gateway)
}

fn tracing(url: &str, ratio: f64) -> String {
    let logs = "logs: { access: { output: /dev/null } }";
    format!("observability: {{ {logs}, tracing: {{ otlp: \"{url}\", sample_ratio: {ratio} }} }}")
}

/// Fields of a call that are about its trace, joined by blanks.
fn context(call: &Call) -> Vec<String> {
    let names = ["traceparent", "tracestate", "baggage"];
    let values = names.iter().flat_map(|name| call.metadata.get_all(*name).iter().map(move |value| (name, value)));
    values.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

fn with(fields: &[(&str, &str)]) -> Request {
    fields.iter().fold(get("/v1/orders/7"), |request, (name, value)| request.header(name, value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kind(span: &Span) -> SpanKind {
    span.kind.try_into().unwrap()
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

/// Sends `fields` over both protocols without a collector that matters; `expected` is what the backend gets of the
/// trace.
async fn check(observability: &str, fields: &[(&str, &str)], expected: &[&str]) {
    let (mut peer, gateway) = start(observability).await;
    for answer in gateway.send_both(&with(fields)).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(context(&peer.call().await), expected, "{observability} {fields:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_tracing_a_valid_context_passes() {
    let parent = ("traceparent", SAMPLED);
    check(
        "",
        &[parent, ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "k=v")],
        &[&format!("traceparent: {SAMPLED}"), "tracestate: a=1,b=2", "baggage: k=v"],
    )
    .await;
    check("", &[], &[]).await;
    check("", &[("traceparent", &SAMPLED.to_uppercase().replace("00-", "0A-")), ("tracestate", "a=1")], &[]).await;
    check("", &[parent, parent, ("tracestate", "a=1")], &[]).await;
    check("", &[("tracestate", "a=1")], &[]).await;
    // Under a prefix of gRPC metadata they cannot be forged.
    let prefix = "defaults: { metadata: { prefix: grpc-metadata- } }";
    check(prefix, &[("grpc-metadata-traceparent", SAMPLED), ("grpc-metadata-tracestate", "a=1")], &[]).await;
    check("defaults: { metadata: { deny: [baggage] } }", &[("baggage", "k=v")], &[]).await;
}

#[tokio::test]
async fn nothing_oversize_passes() {
    let parent = ("traceparent", SAMPLED);
    let passed = format!("traceparent: {SAMPLED}");
    let list = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    check("", &[parent, ("tracestate", &list(33))], &[&passed]).await;
    check("", &[parent, ("tracestate", "a=1,a=2")], &[&passed]).await;
    let members = ["a", "b", "c"].map(|key| format!("{key}={}", "v".repeat(196)));
    let kept = format!("tracestate: {},{}", members[0], members[1]);
    check("", &[parent, ("tracestate", &members.join(","))], &[&passed, &kept]).await;
    // 20 KB are more than a backend may get, and less than the limit of a head.
    check("", &[("baggage", &format!("k={}", "v".repeat(20_000)))], &[]).await;
    let first = format!("k=v,l={}", "v".repeat(8_000));
    check("", &[("baggage", &format!("{first},m={}", "v".repeat(8_000)))], &[&format!("baggage: {first}")]).await;
}

#[tokio::test]
async fn an_unsampled_request_says_so_and_is_told_to_nobody() {
    let mut collector = Collector::grpc().await;
    let (mut peer, gateway) = start(&tracing(collector.url(), 0.0)).await;
    for (sent, passed) in [(Some(SAMPLED), Some(UNSAMPLED)), (Some(UNSAMPLED), Some(UNSAMPLED)), (None, None)] {
        let fields: Vec<_> = sent.map(|sent| ("traceparent", sent)).into_iter().collect();
        for answer in gateway.send_both(&with(&fields)).await {
            assert_eq!(answer.status, 200);
            let passed: Vec<_> = passed.map(|passed| format!("traceparent: {passed}")).into_iter().collect();
            assert_eq!(context(&peer.call().await), passed);
        }
    }
    gateway.stop().await;
    assert_eq!(collector.waiting(), 0);
}

/// One recorded request through `collector`: its spans, and the call that the backend got.
async fn record(mut collector: Collector) {
    let (mut peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    let fields = [("traceparent", SAMPLED), ("tracestate", "a=1"), ("user-agent", "curl/8"), ("cookie", "c=secret")];
    let mut request = with(&fields);
    request.target.push_str("?access_token=secret");
    let answer = gateway.http2().await.send(&request).await;
    // The query is no field of the message.
    assert_eq!(answer.status, 400);
    let answer = gateway.http2().await.send(&with(&fields)).await;
    assert_eq!(answer.status, 200);
    let call = peer.call().await;
    gateway.stop().await;
    let export = collector.export().await;
    let [resource] = export.resource_spans.as_slice() else { panic!("{export:?}") };
    let about = texts(&resource.resource.as_ref().unwrap().attributes);
    let [instance, name, version] = about.as_slice() else { panic!("{about:?}") };
    assert!(instance.starts_with("service.instance.id=") && instance.len() == 20 + 36, "{instance}");
    assert_eq!(name, "service.name=tidegate");
    assert_eq!(version, concat!("service.version=", env!("CARGO_PKG_VERSION")));
    let [scope] = resource.scope_spans.as_slice() else { panic!("{export:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "tidegate");
    let [refused, server, client] = scope.spans.as_slice() else { panic!("{export:?}") };

    assert_eq!(
        (kind(refused), attribute(&refused.attributes, "tidegate.reason").as_str()),
        (SpanKind::Server, "bad_request")
    );
    assert!(!failed(refused), "a client's fault is no failure of the server");
    assert!(!format!("{export:?}").contains("secret"));

    assert_eq!((server.name.as_str(), kind(server)), ("GET /v1/orders/{id}", SpanKind::Server));
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), "1234567890123456".to_owned()));
    assert_eq!((server.trace_state.as_str(), server.flags), ("a=1", 0x301));
    let mut expected = vec![
        "client.address=127.0.0.1".to_owned(),
        "http.request.method=GET".to_owned(),
        "http.response.status_code=200".to_owned(),
        "http.route=/v1/orders/{id}".to_owned(),
        "network.protocol.version=2".to_owned(),
        "server.address=shop.test".to_owned(),
        "tidegate.route=get-order".to_owned(),
        "tidegate.service=shop".to_owned(),
        "url.path=/v1/orders/7".to_owned(),
        "url.scheme=http".to_owned(),
        "user_agent.original=curl/8".to_owned(),
    ];
    let mut got = texts(&server.attributes);
    got.retain(|text| !text.starts_with("tidegate.overhead_ms="));
    assert_eq!(got, expected);
    assert_eq!(server.attributes.len(), expected.len() + 1);

    assert_eq!((client.name.as_str(), kind(client)), ("shop.v1.OrderService/GetOrder", SpanKind::Client));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    assert_eq!(client.flags, 0x101);
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    let (ip, port) = (peer.address().ip(), peer.address().port());
    expected = vec![
        format!("network.peer.address={ip}"),
        format!("network.peer.port={port}"),
        "rpc.method=shop.v1.OrderService/GetOrder".to_owned(),
        "rpc.response.status_code=OK".to_owned(),
        "rpc.status_code=OK".to_owned(),
        "rpc.system.name=grpc".to_owned(),
        format!("server.address={ip}"),
        format!("server.port={port}"),
    ];
    assert_eq!(texts(&client.attributes), expected);

    // The backend was told the name of the client span.
    assert_eq!(
        context(&call),
        [format!("traceparent: 00-{TRACE}-{}-01", hex(&client.span_id)), "tracestate: a=1".to_owned()]
    );
}

#[tokio::test]
async fn a_recorded_request_is_told_over_grpc() {
    record(Collector::grpc().await).await;
}

#[tokio::test]
async fn a_recorded_request_is_told_over_http() {
    record(Collector::http().await).await;
}

#[tokio::test]
async fn a_trace_begins_here_if_the_client_names_none() {
    let mut collector = Collector::grpc().await;
    let (mut peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    assert_eq!(gateway.send(&with(&[("traceparent", "bad"), ("tracestate", "a=1")])).await.status, 200);
    let call = peer.call().await;
    gateway.stop().await;
    let spans = collector.spans(2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert!(server.parent_span_id.is_empty() && server.trace_state.is_empty());
    assert_eq!(server.trace_id.len(), 16);
    let told = format!("traceparent: 00-{}-{}-01", hex(&server.trace_id), hex(&client.span_id));
    assert_eq!(context(&call), [told]);
}

#[tokio::test]
async fn what_a_policy_decided_is_an_event() {
    let mut collector = Collector::http().await;
    let (_peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    assert_eq!(gateway.send(&with(&[("request-timeout", "1.5")])).await.status, 200);
    gateway.stop().await;
    let spans = collector.spans(2).await;
    let [event] = spans[0].events.as_slice() else { panic!("{spans:?}") };
    assert_eq!(
        (event.name.as_str(), texts(&event.attributes)),
        ("timeout", vec!["tidegate.timeout_ms=1500".to_owned()])
    );
    assert!((spans[0].start_time_unix_nano..=spans[0].end_time_unix_nano).contains(&event.time_unix_nano));
}

/// What the client span and the server span say of a backend that runs `script`: code, both `error.type`s.
async fn check_failure(script: Script, expected: (&str, &str, &str)) {
    let mut collector = Collector::grpc().await;
    let (peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    peer.on("GetOrder", script);
    gateway.send(&get("/v1/orders/7")).await;
    gateway.stop().await;
    let spans = collector.spans(2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    let code = attribute(&client.attributes, "rpc.response.status_code");
    let [of_client, of_server] = [client, server].map(|span| attribute(&span.attributes, "error.type"));
    assert_eq!((code.as_str(), of_client.as_str(), of_server.as_str()), expected);
    assert!(failed(client));
    assert_eq!(failed(server), !of_server.is_empty());
}

#[tokio::test]
async fn failures_are_told_by_the_side_that_they_belong_to() {
    // Of a client's fault only the client span makes an error.
    check_failure(Script::fails(5, "gone"), ("NOT_FOUND", "NOT_FOUND", "")).await;
    check_failure(Script::fails(13, "broken"), ("INTERNAL", "INTERNAL", "upstream_error")).await;
    check_failure(Script::new().cut_connection(), ("UNAVAILABLE", "upstream_reset", "upstream_reset")).await;
}

#[tokio::test]
async fn a_stream_is_one_span_to_its_end() {
    let mut collector = Collector::grpc().await;
    let (peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    peer.on("WatchOrders", Script::new().messages((0..3).map(shop::event)).status(0, ""));
    assert_eq!(gateway.get("/v1/topics/a").await.status, 200);
    peer.on("WatchOrders", Script::new().message(shop::event(1)).status(14, "gone"));
    assert_eq!(gateway.get("/v1/topics/a").await.status, 200);
    gateway.stop().await;
    let spans = collector.spans(4).await;
    let [_, good, server, bad] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(attribute(&good.attributes, "rpc.response.status_code"), "OK");
    assert!(!failed(good));
    assert_eq!(attribute(&bad.attributes, "rpc.response.status_code"), "UNAVAILABLE");
    assert!(failed(bad) && failed(server), "the answer broke off");
    assert_eq!(attribute(&server.attributes, "http.response.status_code"), "200");
}

#[tokio::test]
async fn a_full_batch_leaves_at_once() {
    let mut collector = Collector::grpc().await;
    let (_peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    let mut http2 = gateway.http2().await;
    for _ in 0..256 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    assert_eq!(collector.spans(512).await.len(), 512);
    gateway.stop().await;
}

/// A collector that refuses a batch once with `refusal`: whether it gets it again.
async fn check_refusal(mut collector: Collector, refusal: Refusal, again: bool) {
    let (_peer, gateway) = start(&tracing(collector.url(), 1.0)).await;
    collector.refuse(refusal);
    let mut http2 = gateway.http2().await;
    for _ in 0..256 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    eventually("the batch was refused", || async { collector.refusals() == 0 }).await;
    if again {
        assert_eq!(collector.spans(512).await.len(), 512);
    }
    // The end breaks off no attempt, so a batch whose answer is on its way is not sent a second time.
    gateway.stop().await;
    assert_eq!(collector.waiting(), 0);
}

#[tokio::test]
async fn a_refused_batch_is_sent_again_if_it_may_be() {
    // google.rpc.Status with a RetryInfo of no time.
    let details = b"\x1a\x2e\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x02\x0a\x00".to_vec();
    let grpc = |status, details| Refusal { status, details, retry_after: None };
    check_refusal(Collector::grpc().await, grpc(14, details.clone()), true).await;
    check_refusal(Collector::grpc().await, grpc(8, details.clone()), true).await;
    check_refusal(Collector::grpc().await, grpc(8, Vec::new()), false).await;
    check_refusal(Collector::grpc().await, grpc(3, details), false).await;
    let http = |status| Refusal { status, details: Vec::new(), retry_after: Some("0") };
    check_refusal(Collector::http().await, http(503), true).await;
    check_refusal(Collector::http().await, http(429), true).await;
    check_refusal(Collector::http().await, http(400), false).await;
}

#[tokio::test]
async fn a_collector_that_is_down_costs_no_request_and_what_is_lost_is_counted() {
    // A batch that waits to be sent again, and a full queue: 2,560 spans, two for each request.
    for (scheme, requests, lost) in [("http", 100, 0), ("grpc", 1_300, 40)] {
        let observability = tracing(&format!("{scheme}://{}", closed_port()), 1.0);
        let observability = observability.replace("{ logs", "{ metrics: { public_path: /metrics }, logs");
        let (peer, gateway) = start(&observability).await;
        let mut http2 = gateway.http2().await;
        for _ in 0..requests {
            assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
        }
        assert_eq!(peer.calls(), requests);
        let answer = gateway.get("/metrics").await;
        let page = answer.text();
        let dropped = page.lines().find_map(|line| line.strip_prefix("tidegate_spans_dropped_total "));
        let dropped: usize = dropped.unwrap().parse().unwrap();
        assert!((lost..=2 * requests).contains(&dropped) && (lost > 0 || dropped == 0), "{scheme}: {dropped}");
        gateway.stop().await;
    }
}
