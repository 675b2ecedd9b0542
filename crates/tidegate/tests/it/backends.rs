//! Backends that come, go and change between requests.

use h2::Reason;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};

/// Asks until the order comes, and panics if anything but 502 or 503 comes before it.
async fn recovers(gateway: &Gateway) {
    eventually("the backend is reached again", || async {
        let answer = gateway.get("/v1/orders/7").await;
        assert!(matches!(answer.status, 200 | 502 | 503), "{}", answer.text());
        answer.status == 200
    })
    .await;
}

#[tokio::test]
async fn connections_are_made_when_needed_and_kept() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let more = "runtime: { workers: 1 }";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    assert_eq!(peer.connections(), 0, "nobody has asked yet");
    let mut http2 = gateway.http2().await;
    for _ in 0..20 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    assert_eq!((peer.calls(), peer.connections()), (20, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn goaway_moves_calls_to_a_new_connection_and_loses_none() {
    let mut peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "runtime: { workers: 1 }"));
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&get("/v1/orders/7"), true).await;
    peer.call().await;
    peer.go_away();
    peer.release(20);
    assert_eq!(running.answer().await.status, 200, "a stream that runs may end");
    for _ in 0..10 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    assert_eq!((peer.calls(), peer.connections()), (11, 2));
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_comes_back_is_used_again() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let address = peer.address();
    let gateway = Gateway::start(&shop::config(address, ""));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    drop(peer);
    eventually("it is gone", || async { gateway.get("/v1/orders/7").await.status == 503 }).await;
    let peer = Peer::start_at(address).await;
    peer.on("GetOrder", Script::ok(shop::order()));
    recovers(&gateway).await;
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_spread_and_a_dead_endpoint_is_left_out() {
    let first = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let second = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let endpoints = format!("endpoints: [\"{}\", \"{}\", \"{}\"]", first.address(), second.address(), closed_port());
    let yaml = shop::config(first.address(), "").replace(&format!("address: \"{}\"", first.address()), &endpoints);
    let gateway = Gateway::start(&yaml);
    let mut http2 = gateway.http2().await;
    let mut answered = 0;
    for _ in 0..60 {
        answered += usize::from(http2.send(&get("/v1/orders/7")).await.status == 200);
    }
    assert_eq!(first.calls() + second.calls(), answered);
    assert!(first.calls() > 0 && second.calls() > 0, "{} and {}", first.calls(), second.calls());
    assert!(answered >= 50, "a dead endpoint is tried now and then at most: {answered} of 60");
    let health = gateway.get("/health").await.json();
    assert_eq!(health["checks"]["service:shop"]["endpoints"], 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_stream_is_a_failure_of_that_call_alone() {
    let peer = Peer::with("GetOrder", Script::new().reset(Reason::REFUSED_STREAM)).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "runtime: { workers: 1 }"));
    let answer = gateway.get("/v1/orders/7").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
    peer.on("GetOrder", Script::ok(shop::order()));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    assert_eq!(peer.connections(), 1, "the connection is as good as before");
    gateway.stop().await;
}

#[tokio::test]
async fn compressed_answers_are_inflated() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&shop::order()).unwrap();
    let packed = encoder.finish().unwrap();
    let mut frame = vec![1];
    frame.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&packed);
    let script = |coding: &str| Script::new().metadata("grpc-encoding", coding).bytes(frame.clone()).status(0, "");
    let mut peer = Peer::with("GetOrder", script("gzip")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    assert_eq!(peer.call().await.text("grpc-accept-encoding"), "identity,gzip,zstd");
    peer.on("GetOrder", script("snappy"));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "transcode_failed"));
    gateway.stop().await;
}

/// A thousand requests at once over ten connections, each answered by its own call.
#[tokio::test]
async fn a_thousand_requests_at_once() {
    let peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 60s }"));
    let mut clients = Vec::new();
    let mut running = Vec::new();
    for _ in 0..10 {
        let mut http2 = gateway.http2().await;
        for _ in 0..100 {
            running.push(http2.start(&get("/v1/orders/7"), true).await);
        }
        clients.push(http2);
    }
    eventually("all have arrived", || async { peer.calls() == 1000 }).await;
    peer.release(1000);
    for one in &mut running {
        let answer = one.answer().await;
        assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
    }
    gateway.stop().await;
}
