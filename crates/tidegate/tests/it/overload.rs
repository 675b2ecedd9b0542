//! What the gateway does while it has too much to do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_testkit::client::Http1;
use tidegate_testkit::websocket::futures_util::{SinkExt as _, StreamExt as _};
use tidegate_testkit::websocket::{self, Echo, Message};
use tidegate_testkit::{Answer, Gateway, Peer, Request, Script, Web, eventually, get, shop, soon, web};

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

/// A request for a WebSocket, as HTTP/1.1 has it.
fn handshake(path: &str) -> Request {
    get(path)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn check_no_memory_for_it(answer: &Answer) {
    assert_eq!((answer.status, answer.reason().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
}

/// Between 90 and 95 % of the limit, which follows what the process has.
#[tokio::test]
async fn with_little_memory_no_websocket_is_opened_and_what_is_open_goes_on() {
    let echo = Echo::start().await;
    let web = Web::start(|_| web::ok("hello")).await;
    let yaml = |memory: u64| {
        format!(
            "services: {{ echo: {{ address: \"http://{}\" }}, web: {{ address: \"http://{}\" }} }}\nroutes:\n  \
             - {{ name: plain, path: /plain, service: web }}\n  - {{ name: passed, path: /passed, service: echo, websocket: true }}\n\
             realtime: {{ endpoints: [{{ path: /ours, protocol: plain }}] }}\n{REST}memory_limit: {memory}B\n",
            echo.address(),
            web.address(),
        )
    };
    // A few percent of this are more than a test needs.
    let ballast = vec![1_u8; 256 << 20];
    let gateway = Gateway::start(&yaml(64 << 30));
    let mut http2 = gateway.http2().await;
    let mut open =
        (websocket::http1(gateway.address(), "/passed").await, websocket::http2(&mut http2, "/passed").await);
    eventually("memory is tight", || async {
        gateway.apply(&yaml(resident() * 100 / 92)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        metric(&gateway, "tidegate_overload", "memory").await == 2
    })
    .await;
    for path in ["/passed", "/ours"] {
        check_no_memory_for_it(&gateway.send(&handshake(path)).await);
        check_no_memory_for_it(&http2.start_socket("websocket", &get(path)).await.answer().await);
    }
    assert_eq!(echo.open(), 2, "no backend was asked");
    assert_eq!(metric(&gateway, "tidegate_overload_refusals_total", "memory").await, 4);
    // Where none is spoken, nobody asks for one.
    assert_eq!(gateway.send(&handshake("/plain")).await.text(), "hello");
    let hello = Message::text("hello");
    soon(open.0.send(hello.clone())).await.unwrap();
    soon(open.1.send(hello.clone())).await.unwrap();
    assert!(
        soon(open.0.next()).await.unwrap().unwrap() == hello && soon(open.1.next()).await.unwrap().unwrap() == hello
    );
    gateway.apply(&yaml(64 << 30)).await;
    eventually("there is memory again", || async { metric(&gateway, "tidegate_overload", "memory").await == 0 }).await;
    let again = websocket::http1(gateway.address(), "/passed").await;
    drop((open, again, ballast));
    gateway.stop().await;
}

/// Bytes that this process, in which the gateway runs, has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The workers are really kept busy: each request of the load costs one of them much more time than it has.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_round_late_refuse_some_requests_and_recover() {
    let large = serde_json::json!({ "items": vec!["x".repeat(100); 40_000] }).to_string();
    let peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let more = format!(
        "{REST}overload: {{ lag: 5ms, lag_max: 10ms }}\nruntime: {{ workers: 1 }}\ndefaults: {{ max_body: 32MiB }}\n"
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
    let refused = parking_lot::Mutex::new(None);
    eventually("a request is refused", || async {
        let answer = gateway.get("/v1/orders/7").await;
        let is_refused = answer.status == 503;
        *refused.lock() = is_refused.then_some(answer);
        is_refused
    })
    .await;
    let refused = refused.into_inner().unwrap();
    assert_eq!((refused.reason().as_str(), refused.header("retry-after")), ("overloaded", "1"));
    assert!(metric(&gateway, "tidegate_overload_refusals_total", "lag").await > 0);
    // Without a credential, and while others are refused: each of these would be, if it could.
    let asked_late = AtomicUsize::new(0);
    eventually("health was asked often enough while the worker was late", async || {
        for path in ["/health/liveness", "/health/readiness", "/health"] {
            assert_eq!(gateway.get(path).await.status, 200, "{path}");
        }
        let is_late = metric(&gateway, "tidegate_overload", "lag").await == 1;
        asked_late.fetch_add(usize::from(is_late), Ordering::SeqCst) >= 10
    })
    .await;
    load.iter().for_each(|client| client.abort());
    eventually("the worker is in time again, and refuses nobody", async || {
        let in_time = metric(&gateway, "tidegate_overload", "lag").await == 0;
        let before = metric(&gateway, "tidegate_overload_refusals_total", "lag").await;
        for _ in 0..20 {
            gateway.get("/v1/orders/7").await;
        }
        in_time && metric(&gateway, "tidegate_overload_refusals_total", "lag").await == before
    })
    .await;
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
