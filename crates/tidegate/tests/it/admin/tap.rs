//! The live view.

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};

use super::{config, refusal};

/// A view whose head was read.
async fn view(gateway: &Gateway, query: &str) -> Http1 {
    let mut tap = Http1::connect(gateway.admin()).await;
    tap.write(format!("GET /api/tap{query} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    let (status, headers) = tap.head().await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    tap
}

#[tokio::test]
async fn requests_are_seen_as_they_end_and_filtered() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut all = view(&gateway, "").await;
    let mut orders = view(&gateway, "?route=get-order").await;
    let mut failures = view(&gateway, "?status=4xx&route=").await;
    let mut exact = view(&gateway, "?status=404").await;
    for (target, status) in [("/v1/orders/7", 200), ("/v1/orders/x", 400), ("/nowhere", 404)] {
        assert_eq!(gateway.get(target).await.status, status);
    }
    let seen = all.until("\"status\":404").await;
    for part in ["\"status\":200", "\"status\":400", "\"path\":\"/nowhere\""] {
        assert!(seen.contains(part), "{part}\n{seen}");
    }
    assert_eq!(seen.matches("event: request\ndata: {").count(), 3, "{seen}");
    let seen = orders.until("\"status\":400").await;
    assert!(seen.contains("\"status\":200") && seen.matches("\"route\":\"get-order\"").count() == 2, "{seen}");
    let seen = failures.until("\"status\":404").await;
    assert!(seen.contains("\"status\":400") && !seen.contains("\"status\":200"), "{seen}");
    let seen = exact.until("\"status\":404").await;
    assert!(!seen.contains("\"status\":400") && !seen.contains("\"status\":200"), "{seen}");
    drop((all, orders, failures, exact));
    gateway.stop().await;
}

#[tokio::test]
async fn eight_may_look_and_the_next_when_one_has_left() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut views = Vec::new();
    for _ in 0..8 {
        views.push(view(&gateway, "").await);
    }
    let refused = gateway.ask_admin(&get("/api/tap")).await;
    assert_eq!(refusal(&refused), (503, "overloaded".to_owned()));
    views.pop();
    eventually("there is room again", async || {
        let mut tap = Http1::connect(gateway.admin()).await;
        tap.write("GET /api/tap HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        tap.head().await.0 == 200
    })
    .await;
    drop(views);
    gateway.stop().await;
}
