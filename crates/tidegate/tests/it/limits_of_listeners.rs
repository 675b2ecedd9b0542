//! What a listener takes from its clients, as the configuration says.

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, eventually, get};

const ROUTES: &str = "routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n\
    observability: { logs: { access: null }, metrics: { public_path: /metrics } }\n";

/// A configuration with one listener that has `keys`.
fn config(keys: &str) -> String {
    format!("listeners:\n  - {{ name: main, address: \"127.0.0.1:0\", {keys} }}\n{ROUTES}")
}

async fn status(gateway: &Gateway, bytes: &str) -> u16 {
    let mut http1 = gateway.http1().await;
    http1.write(bytes).await;
    http1.answer().await.status
}

#[tokio::test]
async fn heads_are_bounded_as_the_listener_says() {
    let gateway = Gateway::start(&config("limits: { head: 2KiB, fields: 12, uri: 100B }"));
    let head = |uri: &str, fields: &str| format!("GET {uri} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: a\r\n")).collect::<String>();
    let long = |bytes: usize| format!("/ping?{}", "a".repeat(bytes - 6));
    for (bytes, expected) in [
        (head("/ping", ""), 200),
        (head(&long(100), ""), 200),
        (head(&long(101), ""), 414),
        (head("/ping", &many(11)), 200),
        (head("/ping", &many(12)), 431),
        (head("/ping", &format!("x: {}\r\n", "a".repeat(1_900))), 200),
        (head("/ping", &format!("x: {}\r\n", "a".repeat(2_048))), 431),
    ] {
        assert_eq!(status(&gateway, &bytes).await, expected, "{}", bytes.len());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn more_fields_than_usual_pass_if_the_listener_says_so() {
    let gateway = Gateway::start(&config("limits: { fields: 300 }"));
    let fields: String = (0..299).map(|number| format!("x-{number}: a\r\n")).collect();
    assert_eq!(status(&gateway, &format!("GET /ping HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await, 200);
    let over = format!("GET /ping HTTP/1.1\r\nhost: a\r\n{fields}x: a\r\n\r\n");
    assert_eq!(status(&gateway, &over).await, 431);
    gateway.stop().await;
}

#[tokio::test]
async fn slow_heads_bodies_and_idle_connections_end_as_the_listener_says() {
    let gateway = Gateway::start(&config("timeouts: { head: 1s, idle: 1s }"));
    let mut slow = gateway.http1().await;
    slow.write("GET /ping HTTP/1.1\r\nhost").await;
    assert_eq!(slow.answer().await.status, 408);
    let mut idle = gateway.http1().await;
    assert_eq!(idle.send(&get("/ping")).await.status, 200);
    assert!(idle.is_closed().await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_holds_for_new_connections() {
    let gateway = Gateway::start(&config("limits: { uri: 100B }"));
    let target = format!("/ping?{}", "a".repeat(200));
    let mut before = gateway.http1().await;
    assert_eq!(before.send(&get("/ping")).await.status, 200);
    gateway.apply(&config("limits: { uri: 300B }")).await;
    assert_eq!(gateway.get(&target).await.status, 200, "a new connection");
    assert_eq!(before.send(&get(&target)).await.status, 414, "one from before");
    gateway.stop().await;
}

#[tokio::test]
async fn one_client_has_no_more_connections_than_it_may() {
    let gateway = Gateway::start(&config("max_connections_per_ip: 2"));
    let mut first = gateway.http1().await;
    let mut second = gateway.http1().await;
    for held in [&mut first, &mut second] {
        assert_eq!(held.send(&get("/ping")).await.status, 200);
    }
    let mut third = gateway.http1().await;
    let refused = third.answer().await;
    assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("connection"), "close");
    let page = first.send(&get("/metrics")).await;
    let line = "tidegate_connections_rejected_total{listener=\"main\",reason=\"limit_per_ip\"} 1\n";
    assert!(page.text().contains(line), "{}", page.text());
    drop(second);
    eventually("there is room for one more", || async {
        let mut next = Http1::connect(gateway.address()).await;
        // A connection too many is answered without having been asked.
        next.try_write("GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await && next.answer().await.status == 200
    })
    .await;
    gateway.stop().await;
}

/// A full listener refuses probes with all others; those that ask elsewhere are answered.
#[tokio::test]
async fn probes_are_answered_elsewhere_while_a_listener_is_full() {
    let full = config("max_connections: 2");
    let probes = "  - { name: probes, address: \"127.0.0.1:0\" }\nadmin: { address: \"127.0.0.1:0\" }\nroutes:";
    let gateway = Gateway::start(&full.replace("routes:", probes));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut next = gateway.http1().await;
        assert_eq!(next.send(&get("/ping")).await.status, 200);
        held.push(next);
    }
    for path in ["/health/liveness", "/health/readiness", "/health"] {
        let refused = gateway.http1().await.answer().await;
        assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"), "{path}");
        assert_eq!(refused.header("retry-after"), "1", "{path}");
        let elsewhere = Http1::connect(gateway.listener("probes")).await.send(&get(path)).await;
        assert_eq!((elsewhere.status, gateway.ask_admin(&get(path)).await.status), (200, 200), "{path}");
    }
    let page = gateway.ask_admin(&get("/metrics")).await;
    let line = "tidegate_connections_rejected_total{listener=\"main\",reason=\"limit\"} 3\n";
    assert!(page.text().contains(line), "{}", page.text());
    gateway.stop().await;
}

/// A proxy in front stands for many clients.
#[tokio::test]
async fn connections_of_trusted_proxies_are_not_counted() {
    let yaml = format!("client_ip: {{ trusted_proxies: [127.0.0.1] }}\n{}", config("max_connections_per_ip: 1"));
    let gateway = Gateway::start(&yaml);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut next = gateway.http1().await;
        assert_eq!(next.send(&get("/ping")).await.status, 200);
        held.push(next);
    }
    gateway.stop().await;
}
