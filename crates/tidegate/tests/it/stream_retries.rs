//! Streams that are asked for again, as long as nothing of their answer has come.

use serde_json::json;
use tidegate_testkit::{Gateway, Peer, Request, Script, shop};

/// Two backends in turn, of which one fails before its first message.
async fn start(bad: Script, route: &str) -> ([Peer; 2], Gateway) {
    let good = Script::new().messages((0..2).map(shop::event)).status(0, "");
    let peers = [Peer::with("WatchOrders", bad).await, Peer::with("WatchOrders", good).await];
    let yaml = format!(
        "runtime: {{ workers: 1 }}\nservices:\n  shop: {{ endpoints: [\"{}\", \"{}\"], descriptors: shop.pb, load_balancing: {{ policy: round_robin }}, outlier_detection: null }}\nroutes:\n\
         \x20 - {{ name: watch, path: /watch, service: shop, grpc: shop.v1.OrderService/WatchOrders{route} }}\n",
        peers[0].address(),
        peers[1].address()
    );
    let gateway = Gateway::start(&yaml);
    (peers, gateway)
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_message_begins_anew() {
    for bad in [Script::fails(14, "later"), Script::new().head().status(14, "later"), Script::new().cut_connection()] {
        let retry = ", method: GET, retry: { max_retries: 1, retry_on: [unavailable, reset], backoff: { base: 1ms, max: 1ms } }";
        let (peers, gateway) = start(bad, retry).await;
        for _ in 0..2 {
            let answer = gateway.get("/watch").await;
            assert_eq!((answer.status, answer.json()), (200, json!([{}, {"sequence": "1"}])));
        }
        assert!(peers[0].calls() > 0, "somebody has failed");
        assert_eq!(peers[1].calls(), 2);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_or_must_not_be_asked_for_twice_is_not() {
    let retry = "retry: { max_retries: 1, backoff: { base: 1ms, max: 1ms } }";
    let broken = Script::new().message(shop::event(1)).status(14, "later");
    let (peers, gateway) = start(broken, &format!(", method: GET, {retry}")).await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/watch").await.status, 200);
    }
    assert_eq!([peers[0].calls(), peers[1].calls()], [1, 1]);
    gateway.stop().await;

    let (peers, gateway) = start(Script::fails(14, "later"), &format!(", method: POST, {retry}")).await;
    let mut failed = 0;
    for _ in 0..2 {
        failed += usize::from(gateway.send(&Request::new("POST", "/watch")).await.status == 503);
    }
    assert_eq!((failed, peers[0].calls(), peers[1].calls()), (1, 1, 1));
    gateway.stop().await;
}
