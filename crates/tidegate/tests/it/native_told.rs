//! gRPC that passes through, as logs, traces and a drain see it, and what the route does to its headers.

use serde_json::Value;
use tidegate_testkit::client::Http2;
use tidegate_testkit::collector::attribute;
use tidegate_testkit::{Collector, Gateway, Peer, Program, Request, Script, eventually, get, shop};

use crate::native::{config, framed};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

fn call(method: &str) -> Request {
    Request::new("POST", &format!("/shop.v1.OrderService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(framed(b"x"))
}

#[tokio::test]
async fn headers_are_changed_as_the_route_says_and_the_gateways_own_come_last() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let rules = "request_headers: { remove: [x-debug], set: { x-edge: tidegate }, add: { x-more: b } }";
    let yaml = format!(
        "services:\n  shop: {{ address: \"{}\", descriptors: shop.pb, {rules} }}\nroutes:\n\
         \x20 - {{ name: native, path: \"/shop.v1.OrderService/{{method}}\", service: shop, protocol: grpc }}\n\
         \x20 - {{ name: json, path: \"/orders/{{id}}\", method: GET, service: shop, grpc: shop.v1.OrderService/GetOrder }}\n",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    let fields = [("x-debug", "1"), ("x-edge", "forged"), ("x-more", "a"), ("x-request-id", "told")];
    for request in [call("GetOrder"), get("/orders/7")] {
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        assert_eq!(gateway.http2().await.send(&request).await.status, 200);
        let heard = peer.call().await;
        assert_eq!((heard.text("x-debug"), heard.text("x-edge"), heard.text("x-request-id")), ("", "tidegate", "told"));
        let more: Vec<_> = heard.metadata.get_all("x-more").iter().collect();
        assert_eq!(more, ["a", "b"]);
    }
    let explained = serde_json::to_value(gateway.explain(&call("GetOrder"))).unwrap();
    let told = explained["policies"].as_array().unwrap().iter().filter(|policy| policy["name"] == "request_headers");
    assert_eq!(told.count(), 3, "{explained}");
    gateway.stop().await;
}

fn lines(program: &Program) -> Vec<Value> {
    let text = std::fs::read_to_string(program.folder().join("access.log")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn every_call_has_a_line_with_what_became_of_it() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("CreateOrder", Script::fails(5, "no such order"));
    peer.on("Import", Script::new().cut_connection());
    peer.on("WatchOrders", Script::new().head().message(shop::event(1)).hold());
    let logs = "observability: { logs: { access: { output: access.log } } }";
    let mut program = Program::run(BINARY, &config(peer.address(), "", logs));
    let mut http2 = Http2::connect(program.listener("main").await).await;
    for method in ["GetOrder", "CreateOrder", "Import"] {
        http2.send(&call(method)).await;
        peer.call().await;
    }
    let mut leaving = http2.start(&call("WatchOrders"), true).await;
    assert_eq!(leaving.head().await.unwrap().0, 200);
    assert!(leaving.piece().await.unwrap().is_some());
    leaving.cancel();
    eventually("all have their lines", async || lines(&program).len() == 4).await;
    let endpoint = peer.address().to_string();
    let expected = [
        ("GetOrder", "OK", Value::Null),
        ("CreateOrder", "NOT_FOUND", "upstream_error".into()),
        ("Import", "UNAVAILABLE", "upstream_reset".into()),
        ("WatchOrders", "", "client_closed".into()),
    ];
    for (line, (method, status, reason)) in lines(&program).iter().zip(expected) {
        assert_eq!(line["rpc_method"], format!("shop.v1.OrderService/{method}"), "{line}");
        let of_the_route = ["route", "service", "endpoint", "method"].map(|key| line[key].as_str().unwrap());
        assert_eq!(of_the_route, ["native", "shop", endpoint.as_str(), "POST"]);
        assert_eq!((&line["status"], &line["attempts"], &line["reason"]), (&200.into(), &1.into(), &reason), "{line}");
        if !status.is_empty() {
            assert_eq!(line["grpc_status"], status, "{line}");
        }
        assert!(line["bytes_in"].as_u64().unwrap() >= 6, "{line}");
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn a_call_has_a_span_on_each_side_and_the_backend_is_told() {
    let mut collector = Collector::grpc().await;
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("CreateOrder", Script::fails(13, "broken"));
    let more = format!(
        "observability: {{ logs: {{ access: {{ output: /dev/null }} }}, tracing: {{ otlp: \"{}\", sample_ratio: 1.0 }} }}",
        collector.url()
    );
    let gateway = Gateway::start(&config(peer.address(), "", &more));
    let mut http2 = gateway.http2().await;
    for method in ["GetOrder", "CreateOrder"] {
        let traced = call(method).header("traceparent", "00-12345678901234567890123456789012-1234567890123456-01");
        http2.send(&traced).await;
    }
    let told = peer.call().await.text("traceparent").to_owned();
    gateway.stop().await;
    let spans = collector.spans(4).await;
    let clients: Vec<_> = spans.iter().filter(|span| span.kind == 3).collect();
    let servers: Vec<_> = spans.iter().filter(|span| span.kind == 2).collect();
    assert_eq!((clients.len(), servers.len()), (2, 2), "{spans:?}");
    for (client, server) in clients.iter().zip(&servers) {
        assert_eq!(client.parent_span_id, server.span_id, "one is in the other");
        assert_eq!(attribute(&server.attributes, "http.route"), "/shop.v1.OrderService/{method}");
    }
    let statuses: Vec<_> = clients.iter().map(|span| attribute(&span.attributes, "rpc.response.status_code")).collect();
    assert_eq!(statuses, ["OK", "INTERNAL"]);
    let id: String = clients[0].span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told, format!("00-12345678901234567890123456789012-{id}-01"));
}

#[tokio::test]
async fn streams_end_with_a_status_before_a_drain_would_cut_them() {
    let endless = Script::new().head().message(shop::event(1)).hold();
    let mut peer = Peer::with("WatchOrders", endless).await;
    let quick = Script::new().head().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    peer.on("Chat", quick);
    let drain =
        "drain: { readiness_delay: 0s, timeout: 8s }\nobservability: { logs: { access: { output: access.log } } }";
    let mut program = Program::run(BINARY, &config(peer.address(), "", drain));
    let mut http2 = Http2::connect(program.listener("main").await).await;
    let mut endless = http2.start(&call("WatchOrders"), true).await;
    let mut quick = http2.start(&call("Chat"), true).await;
    for running in [&mut endless, &mut quick] {
        assert_eq!(running.head().await.unwrap().0, 200);
        assert!(running.piece().await.unwrap().is_some());
        peer.call().await;
    }
    program.terminate();
    eventually("it drains", async || program.log().contains("drain")).await;
    // One that ends by itself is left alone. Both scripts hold: each is released once, and one of them has nothing to say.
    peer.release(2);
    let rest = quick.piece().await.unwrap();
    assert!(rest.is_some(), "the second message");
    while let Ok(Some(_)) = endless.piece().await {}
    let code = program.code().await;
    assert_eq!(code, 0, "{}", program.log());
    let told = lines(&program);
    assert_eq!(told.len(), 2, "{told:?}");
    let reasons: Vec<_> = told.iter().map(|line| (&line["rpc_method"], &line["grpc_status"])).collect();
    assert!(
        reasons.iter().any(|(method, status)| **method == "shop.v1.OrderService/Chat" && **status == "OK"),
        "{told:?}"
    );
}

#[tokio::test]
async fn an_endless_stream_is_told_that_the_gateway_stops() {
    let mut peer = Peer::with("WatchOrders", Script::new().head().message(shop::event(1)).hold()).await;
    let drain =
        "drain: { readiness_delay: 0s, timeout: 4s }\nobservability: { logs: { access: { output: access.log } } }";
    let mut program = Program::run(BINARY, &config(peer.address(), "", drain));
    let mut http2 = Http2::connect(program.listener("main").await).await;
    let mut running = http2.start(&call("WatchOrders"), true).await;
    let mut first = running.head().await.unwrap();
    assert_eq!(first.0, 200);
    assert!(running.piece().await.unwrap().is_some());
    peer.call().await;
    program.terminate();
    while let Some(_more) = running.piece().await.unwrap() {}
    first.1 = running.trailers().await;
    assert_eq!(
        (&first.1["grpc-status"], &first.1["grpc-message"]),
        (&"14".parse().unwrap(), &"shutting down".parse().unwrap())
    );
    assert_eq!(program.code().await, 0, "{}", program.log());
    let told = lines(&program);
    assert_eq!((told[0]["reason"].as_str(), told[0]["grpc_status"].as_str()), (Some("draining"), Some("UNAVAILABLE")));
}
