//! How long a request may take, and who hears of it.

use std::time::{Duration, Instant};

use h2::Reason;
use tidegate_testkit::{Gateway, Peer, Request, Script, get, shop};

/// A `grpc-timeout` in milliseconds.
fn milliseconds(timeout: &str) -> u64 {
    timeout.strip_suffix('m').unwrap_or_else(|| panic!("no milliseconds: {timeout:?}")).parse().unwrap()
}

#[tokio::test]
async fn what_is_left_of_the_deadline_goes_along() {
    type Case = (&'static str, Option<(&'static str, &'static str)>, u64);
    let cases: [Case; 10] = [
        ("", None, 15_000),
        ("defaults: { timeout: 3s }", None, 3_000),
        ("", Some(("grpc-timeout", "2S")), 2_000),
        ("", Some(("grpc-timeout", "1H")), 15_000),
        ("", Some(("grpc-timeout", "1n")), 15_000),
        ("", Some(("x-server-timeout", "0.0009")), 15_000),
        ("", Some(("x-server-timeout", "1.5")), 1_500),
        ("", Some(("request-timeout", "2")), 2_000),
        ("defaults: { timeout: null }", Some(("grpc-timeout", "30S")), 30_000),
        ("defaults: { timeout: null }", None, 0),
    ];
    for (more, header, expected) in cases {
        let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
        let gateway = Gateway::start(&shop::config(peer.address(), more));
        let request =
            header.map_or_else(|| get("/v1/orders/7"), |(name, value)| get("/v1/orders/7").header(name, value));
        for answer in gateway.send_both(&request).await {
            assert_eq!(answer.status, 200);
            let call = peer.call().await;
            let sent = call.text("grpc-timeout");
            if expected == 0 {
                assert_eq!(sent, "");
            } else {
                // Rounded down, less what has passed already.
                let left = milliseconds(sent);
                assert!(left <= expected && left + 1_000 > expected, "{left} of {expected} ms");
            }
        }
        gateway.stop().await;
    }
}

/// The deadline has passed, not much more, and the backend knows.
async fn check(more: &str, request: &Request, after_ms: u64, status: u16) {
    let mut peer = Peer::with("GetOrder", Script::new()).await;
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let started = Instant::now();
    let answer = gateway.send(request).await;
    let took = started.elapsed();
    assert_eq!((answer.status, answer.reason().as_str()), (status, "upstream_timeout"));
    assert_eq!(answer.json()["code"], "DEADLINE_EXCEEDED");
    let deadline = Duration::from_millis(after_ms);
    assert!(took >= deadline && took < deadline + Duration::from_secs(1), "{took:?} instead of {deadline:?}");
    assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    gateway.stop().await;
}

#[tokio::test]
async fn at_the_deadline_the_call_is_cancelled() {
    check("defaults: { timeout: 200ms }", &get("/v1/orders/7"), 200, 504).await;
    check("", &get("/v1/orders/7").header("grpc-timeout", "150m"), 150, 504).await;
    check("defaults: { timeout: 5s }", &get("/v1/orders/7").header("x-server-timeout", "0.15"), 150, 504).await;
    check("defaults: { timeout: 100ms, status_map: { DEADLINE_EXCEEDED: 408 } }", &get("/v1/orders/7"), 100, 408).await;
}

#[tokio::test]
async fn the_nearest_timeout_counts() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let yaml = format!(
        "defaults: {{ timeout: 9s }}
services:
  shop: {{ address: \"{}\", descriptors: shop.pb, timeout: 8s }}
routes:
  - {{ name: a, path: \"/a/{{id}}\", service: shop, grpc: OrderService/GetOrder, timeout: 7s }}
  - {{ name: b, path: \"/b/{{id}}\", service: shop, grpc: OrderService/GetOrder }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    for (target, seconds) in [("/a/1", 7), ("/b/1", 8)] {
        assert_eq!(gateway.get(target).await.status, 200);
        let left = milliseconds(peer.call().await.text("grpc-timeout"));
        assert!(left <= seconds * 1000 && left + 1000 > seconds * 1000, "{target}: {left}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for (name, value) in [
        ("grpc-timeout", "soon"),
        ("grpc-timeout", "100000000m"),
        ("x-server-timeout", "-1"),
        ("request-timeout", "1s"),
    ] {
        for answer in gateway.send_both(&get("/v1/orders/7").header(name, value)).await {
            assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{name}: {value}");
        }
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

/// The deadline begins with the head, so a body that does not come counts against it.
#[tokio::test]
async fn a_body_that_does_not_come_meets_the_deadline() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 200ms }"));
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{").await;
    assert_eq!(http1.answer().await.status, 504);
    let mut http2 = gateway.http2().await;
    let request = Request::new("POST", "/v1/orders").body("{");
    assert_eq!(http2.start(&request, false).await.answer().await.status, 504);
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_backend_within_the_deadline_is_fine() {
    let slow = Script::new().pause(Duration::from_millis(100)).message(shop::order()).pause(Duration::from_millis(50));
    let peer = Peer::with("GetOrder", slow.status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 5s }"));
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}

/// A connection that cannot be made in time.
#[tokio::test]
async fn connecting_counts_against_the_deadline() {
    // The backlog takes the connection, and nobody ever speaks.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let yaml = shop::config(address, "defaults: { timeout: 10s }")
        .replace("descriptors:", "connect_timeout: 100ms, descriptors:");
    let gateway = Gateway::start(&yaml);
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
    gateway.stop().await;
    let gateway = Gateway::start(&shop::config(address, "defaults: { timeout: 100ms }"));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream_timeout"));
    gateway.stop().await;
}
