//! What the gateway does while it has too much to do.

use std::time::Duration;

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, Peer, Script, Web, eventually, get, shop, web};

const REST: &str = "admin: { address: \"127.0.0.1:0\" }\n\
    observability: { logs: { access: null }, metrics: { public_path: /metrics } }\n";

/// Less than any process of these tests has.
const TOO_LITTLE: &str = "memory_limit: 16MiB\n";

async fn is_refused(gateway: &Gateway, target: &str) -> bool {
    gateway.get(target).await.status == 503
}

/// The value of `tidegate_overload…{cause="…"}`.
async fn metric(gateway: &Gateway, name: &str, cause: &str) -> u64 {
    let page = gateway.get("/metrics").await;
    let start = format!("{name}{{cause=\"{cause}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&start)).expect(name).parse().unwrap()
}

#[tokio::test]
async fn without_memory_new_requests_are_refused_and_operators_are_answered() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let config = |memory: &str| shop::config(peer.address(), &format!("{REST}{memory}"));
    let gateway = Gateway::start(&config(TOO_LITTLE));
    eventually("memory was looked at", || is_refused(&gateway, "/v1/orders/7")).await;
    let before = peer.calls();
    for request in [get("/v1/orders/7"), get("/nothing/here"), get("/v1/orders/7").header("authorization", "Bearer x")]
    {
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, answer.reason().as_str()), (503, "overloaded"));
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    assert_eq!(peer.calls(), before, "nothing of it reaches a backend");
    for (path, status) in [("/health", 200), ("/health/liveness", 200), ("/health/readiness", 200), ("/metrics", 200)] {
        assert_eq!(gateway.get(path).await.status, status, "{path}");
    }
    let health = gateway.get("/health").await.json();
    assert_eq!(health["status"], "warn");
    assert_eq!(health["checks"]["overload"]["memory"], "full");
    assert!(metric(&gateway, "tidegate_overload_refusals_total", "memory").await >= 6);
    assert_eq!(metric(&gateway, "tidegate_overload", "memory").await, 3);
    // More is given to it, and the next look ends it.
    gateway.apply(&config("memory_limit: 64GiB\n")).await;
    eventually("requests are answered again", || async { !is_refused(&gateway, "/v1/orders/7").await }).await;
    let health = gateway.get("/health").await.json();
    assert_eq!(health["checks"].get("overload"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn without_memory_idle_connections_are_closed_and_none_is_kept() {
    let yaml =
        |memory: &str| format!("routes: [{{ name: ping, path: /ping, respond: {{ text: pong }} }}]\n{REST}{memory}");
    let gateway = Gateway::start(&yaml(""));
    let (mut http1, mut http2) = (gateway.http1().await, gateway.http2().await);
    assert_eq!(http1.send(&get("/ping")).await.status, 200);
    assert_eq!(http2.send(&get("/ping")).await.status, 200);
    gateway.apply(&yaml(TOO_LITTLE)).await;
    assert!(http1.is_closed().await);
    eventually("the connection of HTTP/2 has gone", || async {
        let page = gateway.get("/metrics").await;
        page.text().contains("tidegate_connections{listener=\"main\",protocol=\"http2\"} 0\n")
    })
    .await;
    let mut fresh = gateway.http1().await;
    let answer = fresh.send(&get("/health/liveness")).await;
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    gateway.stop().await;
}

/// The workers are really kept busy: each request of the load costs one of them much more time than it has.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_round_late_refuse_some_requests_and_recover() {
    let large = serde_json::json!({ "items": vec!["x".repeat(100); 40_000] }).to_string();
    let peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let more = format!(
        "{REST}overload: {{ lag: 1ms, lag_max: 2ms }}\nruntime: {{ workers: 1 }}\ndefaults: {{ max_body: 32MiB }}\n"
    );
    let gateway = Gateway::start(&shop::config(peer.address(), &more));
    let address = gateway.address();
    let load: Vec<_> = (0..8)
        .map(|_| {
            let large = large.clone();
            tokio::spawn(async move {
                loop {
                    let mut http1 = Http1::connect(address).await;
                    let head = format!("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", large.len());
                    if http1.try_write(head).await && http1.try_write(&large).await {
                        let _answer = tokio::time::timeout(Duration::from_secs(10), http1.is_closed()).await;
                    }
                }
            })
        })
        .collect();
    eventually("requests are refused", || async {
        metric(&gateway, "tidegate_overload_refusals_total", "lag").await > 0
    })
    .await;
    load.iter().for_each(|client| client.abort());
    gateway.stop().await;
}

/// A place among the requests of a service is for those that the service can work on.
#[tokio::test]
async fn a_slow_upload_takes_no_place_from_others() {
    let web = Web::start(|_| web::ok("hello")).await;
    let yaml = format!(
        "services:\n  web: {{ endpoints: [\"http://{}\"], circuit_breaker: {{ max_concurrent: 1, max_pending: 0 }} }}\n\
         routes: [{{ name: all, path: \"/{{rest=**}}\", service: web }}]\n",
        web.address()
    );
    let gateway = Gateway::start(&yaml);
    let mut slow = gateway.http1().await;
    slow.write("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345").await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/quick").await.status, 200);
    }
    slow.write("67890").await;
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(web.last().body, b"1234567890");
    // One that is too large for that flows.
    let large = vec![b'x'; 200_000];
    let mut http1 = gateway.http1().await;
    http1.write(format!("POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", large.len())).await;
    http1.write(&large).await;
    assert_eq!(http1.answer().await.status, 200);
    assert_eq!(web.last().body, large);
    gateway.stop().await;
}
