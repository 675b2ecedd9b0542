//! Metrics of conversions: where they fail, and how long those take that are measured.

use serde_json::json;
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, post, shop};

async fn start(peer: &Peer) -> Gateway {
    Gateway::start(&shop::config(
        peer.address(),
        "observability: { logs: { access: null }, metrics: { public_path: /metrics } }",
    ))
}

/// The value of a series; 0 if it is not on the page.
async fn value(gateway: &Gateway, series: &str) -> u64 {
    let page = gateway.get("/metrics").await;
    let mut lines = page.text().lines().filter_map(|line| line.strip_prefix(series));
    lines.next().map_or(0, |value| value.trim().parse().expect("a number"))
}

#[tokio::test]
async fn a_conversion_that_fails_is_counted_by_its_stage() {
    let peer = Peer::start().await;
    peer.on("GetOrder", Script::ok(b"\xff\xff"));
    peer.on("WatchOrders", Script::new().message(shop::event(1)).message(b"\xff\xff").status(0, ""));
    let gateway = start(&peer).await;
    let cases = [
        (get("/v1/orders/seven"), 400, "get-order", "path"),
        (get("/v1/orders/7?nobody=1"), 400, "get-order", "query"),
        (post("/v1/orders", "{"), 400, "create-order", "body"),
        (post("/v1/batches/a", "[{},{\"mode\":1}]"), 400, "import", "body"),
        (get("/v1/orders/7"), 502, "get-order", "decode"),
        (get("/v1/topics/a").header("accept", "application/x-ndjson"), 200, "watch", "decode"),
    ];
    for (request, status, route, stage) in cases {
        assert_eq!(gateway.send(&request).await.status, status, "{request:?}");
        let series = format!("tidegate_transcode_errors_total{{route=\"{route}\",stage=\"{stage}\"}}");
        assert_eq!(value(&gateway, &series).await, 1, "{series}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn of_some_requests_both_conversions_are_measured() {
    const REQUESTS: u64 = 500;
    let peer = Peer::start().await;
    peer.on("GetOrder", Script::ok(shop::order()));
    peer.on("Chat", Script::new().await_messages(1).message(shop::event(1)).status(0, ""));
    let gateway = start(&peer).await;
    let request = post("/v1/chat", json!([{ "mode": "a" }]).to_string());
    let (mut http1, mut http2) = (gateway.http1().await, gateway.http2().await);
    for _ in 0..REQUESTS {
        assert_eq!(http1.send(&get("/v1/orders/7")).await.status, 200);
        assert_eq!(http2.send(&request).await.status, 200);
    }
    for route in ["get-order", "chat"] {
        let count = async |direction| {
            let labels = format!("{{route=\"{route}\",direction=\"{direction}\"}}");
            value(&gateway, &format!("tidegate_transcode_duration_seconds_count{labels}")).await
        };
        eventually("both are counted", || async { count("request").await == count("response").await }).await;
        let measured = count("request").await;
        // One in 16; that it is none of all these is as good as impossible.
        assert!(measured > 0 && measured < REQUESTS, "{route}: {measured}");
    }
    gateway.stop().await;
}
