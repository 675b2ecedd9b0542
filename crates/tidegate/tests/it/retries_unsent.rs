//! Attempts after a failed connect, which any request may have, and the time of an attempt.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_testkit::peer::closed_port;
use tidegate_testkit::web::ok;
use tidegate_testkit::{Answer, Gateway, Part, Peer, Request, Script, Web, eventually, get, post, shop};
use tokio::task::JoinHandle;

/// Goes on longer than a backend needs to come up.
const PATIENT: &str = "retry: { max_retries: 10, retry_on: [connect_failure], backoff: { base: 500ms, max: 500ms } }";

fn http(address: SocketAddr, retry: &str) -> String {
    format!(
        "admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  back: {{ address: \"http://{address}\", timeout: 60s, {retry} }}\nroutes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: back }}\n"
    )
}

fn grpc(address: SocketAddr, retry: &str) -> String {
    format!(
        "admin: {{ address: \"127.0.0.1:0\" }}
services:
  back: {{ address: \"{address}\", descriptors: shop.pb, timeout: 60s, {retry} }}
routes:
  - {{ name: json, path: /v1/orders, method: POST, service: back, grpc: OrderService/CreateOrder, body: order }}
  - {{ name: stream, path: /v1/watch, method: POST, service: back, grpc: OrderService/WatchOrders }}
  - {{ name: native, path: \"/shop.v1.OrderService/{{method}}\", service: back, protocol: grpc }}
"
    )
}

/// Sends a request to a backend that is down, and goes on once somebody has found out.
async fn send_to_nobody(gateway: &Arc<Gateway>, request: Request) -> JoinHandle<Answer> {
    let asking = Arc::clone(gateway);
    let asked = tokio::spawn(async move { asking.http2().await.send(&request).await });
    eventually("the backend is known to be down", async || {
        let health = gateway.ask_admin(&get("/api/services")).await;
        health.text().contains("transient_failure")
    })
    .await;
    asked
}

async fn stop(gateway: Arc<Gateway>) {
    let Ok(gateway) = Arc::try_unwrap(gateway) else { panic!("somebody still asks") };
    gateway.stop().await;
}

#[tokio::test]
async fn a_post_that_could_not_connect_is_tried_again() {
    let address = closed_port();
    let gateway = Arc::new(Gateway::start(&http(address, PATIENT)));
    let asked = send_to_nobody(&gateway, post("/orders", "{\"a\":1}")).await;
    let web = Web::start_at(address, |heard| ok(&String::from_utf8_lossy(&heard.body))).await;
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.text(), web.heard().len()), (200, "{\"a\":1}", 1));
    stop(gateway).await;
}

#[tokio::test]
async fn a_call_that_could_not_connect_is_made_again() {
    let native = Request::new("POST", "/shop.v1.OrderService/CreateOrder")
        .header("content-type", "application/grpc")
        .body([0; 5]);
    for request in [post("/v1/orders", "{}"), post("/v1/watch", ""), native] {
        let address = closed_port();
        let gateway = Arc::new(Gateway::start(&grpc(address, PATIENT)));
        let asked = send_to_nobody(&gateway, request.clone()).await;
        let peer = Peer::start_at(address).await;
        peer.on("CreateOrder", Script::ok(shop::order()));
        peer.on("WatchOrders", Script::ok(shop::event(1)));
        let answer = asked.await.unwrap();
        assert_eq!((answer.status, peer.calls()), (200, 1), "{}: {}", request.target, answer.text());
        assert!(["", "0"].contains(&answer.trailer("grpc-status")));
        stop(gateway).await;
    }
}

#[tokio::test]
async fn without_the_word_a_failed_connect_is_told() {
    for retry in ["retry: null", "retry: { max_retries: 10, retry_on: [unavailable, 503] }"] {
        for (yaml, request) in
            [(http(closed_port(), retry), post("/", "{}")), (grpc(closed_port(), retry), post("/v1/orders", "{}"))]
        {
            let gateway = Gateway::start(&yaml);
            for answer in gateway.send_both(&request).await {
                assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"), "{retry}");
            }
            let page = gateway.ask_admin(&get("/metrics")).await;
            let retried =
                page.text().lines().find(|line| line.starts_with("tidegate_retries_total{") && !line.ends_with(" 0"));
            assert_eq!(retried, None, "{retry}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn attempts_to_connect_stay_within_the_budget_and_the_deadline() {
    let dry = "retry: { max_retries: 10, budget: { ratio: 0, min_per_second: 0 } }";
    let late = "retry: { max_retries: 10, backoff: { base: 1h, max: 1h } }";
    for (retry, exhausted) in [(dry, true), (late, false)] {
        let gateway = Gateway::start(&http(closed_port(), retry));
        let answer = gateway.send(&post("/", "{}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"), "{retry}");
        let page = gateway.ask_admin(&get("/metrics")).await;
        let line = "tidegate_retry_budget_exhausted_total{service=\"back\"} 1\n";
        assert_eq!(page.text().contains(line), exhausted, "{retry}");
        gateway.stop().await;
    }
}

/// What was sent may have been acted on: that a connect failed in between changes nothing.
#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again() {
    let web = Web::start(|_| vec![Part::Close]).await;
    let gateway = Gateway::start(&http(web.address(), "retry: { max_retries: 3, retry_on: [connect_failure, reset] }"));
    for answer in gateway.send_both(&post("/", "{}")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_reset"));
    }
    assert_eq!(web.heard().len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_single_attempt_has_its_time_too() {
    let retry = "retry: { max_retries: 0, per_try_timeout: 200ms }";
    let web = Web::start(|_| vec![Part::Wait]).await;
    let peer = Peer::with("CreateOrder", Script::new().hold()).await;
    for (yaml, request) in
        [(http(web.address(), retry), get("/")), (grpc(peer.address(), retry), post("/v1/orders", "{}"))]
    {
        let gateway = Gateway::start(&yaml);
        // The route would wait for a minute, longer than the test does.
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream_timeout"));
        }
        let explained = gateway.explain(&request);
        assert!(
            explained.policies.iter().any(|policy| policy.value == serde_json::json!({"per_try_timeout": "200ms"}))
        );
        gateway.stop().await;
    }
    assert_eq!((web.heard().len(), peer.calls()), (2, 2));
}
