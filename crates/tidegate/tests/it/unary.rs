//! One message in, one message out, over every transport.

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{Answer, Gateway, Peer, Script, get, post, shop, tls};

/// What every answer to the order looks like.
fn check_order(answer: &Answer) {
    assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("server"), "tidegate");
    assert_eq!(answer.header("x-request-id").len(), 26, "a generated id");
}

#[tokio::test]
async fn a_get_becomes_a_call_and_its_answer_json() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for answer in gateway.send_both(&get("/v1/orders/7?verbose=true&tags=a&tags=b%2Cc&status=OPEN")).await {
        check_order(&answer);
        let mut call = peer.call().await;
        assert_eq!(call.path, "/shop.v1.OrderService/GetOrder");
        assert_eq!(call.text("content-type"), "application/grpc");
        assert_eq!(call.text("te"), "trailers");
        let sent = json!({"id": 7, "verbose": true, "tags": ["a", "b,c"], "status": "OPEN"});
        assert_eq!(shop::json("GetOrderRequest", &call.message().await), sent);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn path_and_body_make_one_message() {
    let mut peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let body = r#"{"customerName":"Ada","status":2,"total":1e-7,"labels":{"a":"1"},"items":[{"sku":"x","count":3}],
        "card":"4111","createdAt":"2026-01-02T03:04:05Z","token":"AQID","note":"hi"}"#;
    let put = tidegate_testkit::Request::new("PUT", "/v1/customers/ada%2Flovelace/orders/9223372036854775807");
    let put = put.header("content-type", "application/json; charset=utf-8").body(body);
    for answer in gateway.send_both(&put).await {
        check_order(&answer);
        let sent = shop::json("CreateOrderRequest", &peer.call().await.message().await);
        assert_eq!(sent["customer"], "ada/lovelace");
        assert_eq!(sent["order"]["id"], 9_223_372_036_854_775_807_i64);
        assert_eq!(sent["order"]["status"], "SHIPPED");
        assert_eq!(sent["order"]["note"], "hi");
        assert_eq!(sent["order"]["labels"], json!({"a": "1"}));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn every_kind_of_field_comes_back() {
    let order = json!({
        "id": "-9223372036854775808", "customerName": "Zoë \u{1F600}\u{0}", "status": "SHIPPED", "total": 0.1,
        "labels": {"k": "v"}, "items": [{"sku": "x", "count": 4_294_967_295_u32}], "invoice": "I-1",
        "createdAt": "2026-01-02T03:04:05.250Z", "token": "AQID+/8=", "note": "", "parent": {"id": "1"}
    });
    let peer = Peer::with("GetOrder", Script::ok(shop::message("Order", order.clone()))).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    assert_eq!(gateway.get("/v1/orders/7").await.json(), order);
    gateway.stop().await;
}

#[tokio::test]
async fn the_json_options_of_a_route_count() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let more = "defaults: { json: { field_names: proto, enums: number, emit_defaults: true, int64: number } }";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let expected = r#"{"id":7,"customer_name":"Ada","status":1,"total":0,"labels":{},"items":[],"token":""}"#;
    assert_eq!(gateway.get("/v1/orders/7").await.text(), expected);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_of_a_connection_are_answered_in_turn() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let mut http1 = gateway.http1().await;
    http1.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3)).await;
    for _ in 0..3 {
        check_order(&http1.answer().await);
    }
    let mut http2 = gateway.http2().await;
    let mut first = http2.start(&get("/v1/orders/7"), true).await;
    let mut second = http2.start(&get("/v1/orders/7"), true).await;
    check_order(&second.answer().await);
    check_order(&first.answer().await);
    gateway.stop().await;
}

#[tokio::test]
async fn head_is_answered_by_get_without_the_body() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let head = tidegate_testkit::Request::new("HEAD", "/v1/orders/7");
    let mut http1 = gateway.http1().await;
    let answer = http1.send(&head).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, shop::ORDER_JSON.len().to_string().as_str()));
    // Nothing stands between this answer and the next one.
    check_order(&http1.send(&get("/v1/orders/7")).await);
    let answer = gateway.http2().await.send(&head).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    gateway.stop().await;
}

/// `tls: auto` and certificate files, and what is agreed on by ALPN.
#[tokio::test]
async fn tls_serves_both_protocols() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let folder = TempDir::new().unwrap();
    let (given, _) = tls::write_certificate(folder.path());
    let more = "listeners:
  - { name: auto, address: \"127.0.0.1:0\", tls: auto }
  - { name: files, address: \"127.0.0.1:0\", tls: { cert: tls.crt, key: tls.key } }";
    let gateway = Gateway::start_in(folder, &shop::config(peer.address(), more));
    let made = gateway.certificates().join("development.crt");
    for (listener, certificate) in [("auto", &made), ("files", &given)] {
        let address = gateway.listener(listener);
        let stream = tls::connect(address, certificate, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(tls::agreed(&stream), "h2");
        check_order(&Http2::over(stream, "https").await.send(&get("/v1/orders/7")).await);
        for alpn in [&["http/1.1"][..], &[]] {
            let stream = tls::connect(address, certificate, alpn).await.unwrap();
            check_order(&Http1::over(stream).send(&get("/v1/orders/7")).await);
        }
        assert!(tls::connect(address, certificate, &["spdy/1"]).await.is_err(), "nothing in common is an alert");
    }
    assert!(tls::connect(gateway.listener("auto"), &given, &[]).await.is_err(), "each its own certificate");
    gateway.stop().await;
}

#[tokio::test]
async fn a_listener_for_http2_alone_tells_others_so() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let more = "listeners: [{ name: strict, address: \"127.0.0.1:0\", protocols: [http2] }]";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    check_order(&gateway.http2().await.send(&get("/v1/orders/7")).await);
    let mut http1 = gateway.http1().await;
    let answer = http1.send(&get("/v1/orders/7")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (505, "bad_request"));
    assert!(http1.is_closed().await);
    assert_eq!(peer.calls(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn one_shared_runtime_serves_as_well() {
    let mut peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let more = "runtime: { workers: 2, model: shared }";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    for answer in gateway.send_both(&post("/v1/orders?customer=Ada", r#"{"card":"1"}"#)).await {
        check_order(&answer);
        let sent = json!({"customer": "Ada", "order": {"card": "1"}});
        assert_eq!(shop::json("CreateOrderRequest", &peer.call().await.message().await), sent);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_of_http_passes_without_json() {
    let file = json!({"contentType": "text/csv", "data": "YSxiCg=="});
    let mut peer = Peer::with("Download", Script::ok(shop::message("google.api.HttpBody", file))).await;
    peer.on("Upload", Script::ok(shop::message("ImportSummary", json!({"accepted": 1}))));
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let answer = gateway.get("/v1/orders/7/file").await;
    assert_eq!((answer.header("content-type"), answer.text()), ("text/csv", "a,b\n"));
    peer.call().await;
    let upload = tidegate_testkit::Request::new("POST", "/v1/files/a.bin").header("content-type", "image/png");
    let answer = gateway.send(&upload.body(b"\x89\xff\x00")).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"accepted":1}"#));
    let sent = json!({"name": "a.bin", "file": {"content_type": "image/png", "data": "if8A"}});
    assert_eq!(shop::json("UploadRequest", &peer.call().await.message().await), sent);
    gateway.stop().await;
}
