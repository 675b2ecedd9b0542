//! Clients and backends that mean no good: what they send, and that nothing but the refusal comes of it.

use tidegate_testkit::{Gateway, Peer, Script, get, shop};

/// A target that is neither a path nor a URL would read as the name of a host, and its path as `/`.
#[tokio::test]
async fn a_target_without_a_slash_is_no_path() {
    let peer = Peer::start().await;
    let root = "routes:\n  - { name: root, path: /, respond: { text: root } }";
    let yaml = shop::config(peer.address(), "").replace("routes:", root);
    let gateway = Gateway::start(&yaml);
    for target in ["admin", "a.example", "admin:80"] {
        let mut http1 = gateway.http1().await;
        http1.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{target}");
        assert_eq!(answer.header("connection"), "close", "{target}");
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn an_expectation_that_nobody_meets_is_refused() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for answer in gateway.send_both(&get("/v1/orders/7").header("expect", "a-miracle")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (417, "bad_request"));
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

/// A header that ends in a space is malformed in HTTP/2, so a path must not be able to make one.
#[tokio::test]
async fn a_path_cannot_make_metadata_malformed() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for (path, value) in [("%20a%20", "%20a%20"), ("a%20b", "a b"), ("%C3%A4", "%C3%A4")] {
        assert_eq!(gateway.get(&format!("/v1/topics/{path}")).await.status, 200);
        assert_eq!(peer.call().await.text("x-path-topic"), value, "{path}");
    }
    gateway.stop().await;
}
