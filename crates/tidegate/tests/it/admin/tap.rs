//! The live view.

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};
use tokio::net::TcpSocket;

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

#[tokio::test]
async fn who_does_not_keep_up_is_told_how_much_was_lost() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    // A window so small that the gateway's own buffers are what fills.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = Http1::over(socket.connect(gateway.admin()).await.unwrap());
    slow.write("GET /api/tap HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(slow.head().await.0, 200);
    // 12 MB of lines: more than the queue of the view and the largest buffer that Linux gives a socket.
    let target = format!("/{}", "x".repeat(6000));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (address, target) = (gateway.address(), target.clone());
        clients.push(tokio::spawn(async move {
            let mut client = Http1::connect(address).await;
            for _ in 0..500 {
                assert_eq!(client.send(&get(&target)).await.status, 404);
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    // The queue is full again at once when a line is taken, so the next event tells what was lost.
    let mut tail = Vec::new();
    while !tail.windows(15).any(|part| part == b"event: dropped\n") {
        tail.drain(..tail.len().saturating_sub(15));
        tail.extend(slow.piece().await.unwrap().unwrap());
    }
    drop(slow);
    gateway.stop().await;
}
