//! When a request is sent once more, and how long after: as the backend says, as far as its body is kept, and what a backend
//! that leaves has not seen.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_testkit::peer::Leaving;
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Gateway, Heard, Part, Peer, Request, Script, Web, get, post, shop};

/// Kept of a body for another attempt.
const KEPT: usize = 64 * 1024;

const PLAN: &str = "outlier_detection: null, retry: { max_retries: 2, backoff: { base: 1ms, max: 1ms } }";

fn web_config(web: &Web) -> String {
    format!(
        "services:\n  web: {{ address: \"http://{}\", {PLAN} }}\nroutes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n",
        web.address()
    )
}

fn shop_config(address: SocketAddr, settings: &str) -> String {
    let service = format!("{{ address: \"{address}\", ");
    shop::config(address, "runtime: { workers: 1 }")
        .replace(&format!("{{ address: \"{address}\", "), &format!("{service}{settings}, "))
}

/// A backend that is busy when it sees a line for the first time.
async fn busy_at_first(busy: &'static str) -> Web {
    let seen = Mutex::new(HashSet::new());
    Web::start(move |heard: &Heard| -> Vec<Part> {
        if seen.lock().insert(heard.line().to_owned()) {
            return vec![bytes(busy)];
        }
        ok(&heard.body.len().to_string())
    })
    .await
}

#[tokio::test]
async fn a_retry_waits_as_long_as_retry_after_says() {
    let web = busy_at_first("HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Gateway::start(&web_config(&web));
    let begun = Instant::now();
    let answer = gateway.get("/a").await;
    let took = begun.elapsed();
    assert_eq!((answer.status, web.heard().len()), (200, 2));
    assert!(took >= Duration::from_secs(1), "{took:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_pushback_of_grpc_says() {
    const PUSHBACK: &str = "grpc-retry-pushback-ms";
    let in_trailers = |value: &str| Script::new().head().status_with(14, "busy", PUSHBACK, value);
    let in_the_head = |value: &str| Script::new().metadata(PUSHBACK, value).trailers_only(14, "busy");
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop_config(peer.address(), PLAN));
    // The longest that is waited for is a second; what is no number means that there is to be no retry (gRFC A6).
    for (value, calls) in [("300", 3), ("0", 3), ("-1", 1), ("soon", 1), ("1001", 1)] {
        for script in [in_trailers(value), in_the_head(value)] {
            peer.on("GetOrder", script);
            let (before, begun) = (peer.calls(), Instant::now());
            assert_eq!(gateway.get("/v1/orders/7").await.status, 503);
            assert_eq!(peer.calls() - before, calls, "{value}");
            assert!(value != "300" || begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_is_sent_again_if_all_of_it_was_kept() {
    let web = busy_at_first("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Gateway::start(&web_config(&web));
    for (number, (length, status, times)) in [(KEPT, 200, 2), (KEPT + 1, 503, 1)].into_iter().enumerate() {
        for version in ["http1", "http2"] {
            let put = Request::new("PUT", &format!("/{version}/{number}")).body(vec![b'x'; length]);
            let before = web.heard().len();
            let answer =
                if version == "http1" { gateway.send(&put).await } else { gateway.http2().await.send(&put).await };
            assert_eq!((answer.status, web.heard().len() - before), (status, times), "{length} {version}");
            assert!(web.heard()[before..].iter().all(|heard| heard.body.len() == length));
        }
    }
    gateway.stop().await;
}

/// Whatever the call, and without a plan: no backend has seen it.
#[tokio::test]
async fn a_call_that_a_goodbye_excludes_is_made_again_once() {
    for request in [get("/v1/orders/7"), post("/v1/orders", "{}")] {
        let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
        peer.on("CreateOrder", Script::ok(shop::order()));
        let leaving = Leaving::start(peer.address(), 0).await;
        let gateway = Gateway::start(&shop_config(leaving.address(), "retry: null"));
        let answer = gateway.send(&request).await;
        assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON), "{}", request.method);
        assert_eq!((peer.calls(), peer.connections()), (1, 1));
        assert_eq!(leaving.newest(), 1, "it was sent to who left");
        peer.call().await.message().await;
        gateway.stop().await;
    }
}
