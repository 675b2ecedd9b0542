//! Services that go on while their backends do not: ejection, health, breaker, retries, limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Gateway, Heard, Part, Peer, Script, Web, eventually, get, post, shop};

fn config(addresses: &[SocketAddr], settings: &str) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!(
        "admin: {{ address: \"127.0.0.1:0\" }}
services:
  web: {{ endpoints: [{}], {settings} }}
routes:
  - {{ name: all, path: \"/{{rest=**}}\", service: web }}
  - {{ name: once, path: \"/once/{{rest=**}}\", service: web, retry: null }}
  - {{ name: short, path: \"/short/{{rest=**}}\", service: web, timeout: 100ms, retry: null }}
",
        endpoints.join(", ")
    )
}

fn status(code: u16) -> Vec<Part> {
    vec![bytes(&format!("HTTP/1.1 {code} x\r\ncontent-length: 3\r\n\r\nbad"))]
}

/// A backend that fails while the switch is on.
async fn switched(name: &'static str) -> (Web, Arc<AtomicBool>) {
    let bad = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&bad);
    let web = Web::start(move |_| if switch.load(Ordering::SeqCst) { status(500) } else { ok(name) }).await;
    (web, bad)
}

async fn metric(gateway: &Gateway, line: &str) -> Option<u64> {
    let page = gateway.ask_admin(&get("/metrics")).await;
    page.text().lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_and_comes_back() {
    let ((one, bad), (two, _), (three, _)) = (switched("1").await, switched("2").await, switched("3").await);
    let settings =
        "outlier_detection: { consecutive_errors: 3, base_ejection_time: 5s }, load_balancing: { policy: round_robin }";
    let gateway = Gateway::start(&config(&[one.address(), two.address(), three.address()], settings));
    bad.store(true, Ordering::SeqCst);
    let mut failed = 0;
    for _ in 0..30 {
        failed += usize::from(gateway.get("/once/a").await.status == 500);
    }
    assert_eq!(failed, 3, "after three errors nobody is sent there");
    assert_eq!(
        metric(&gateway, "tidegate_upstream_ejections_total{service=\"web\",cause=\"consecutive_errors\"}").await,
        Some(1)
    );
    let services = gateway.ask_admin(&get("/api/services")).await.json();
    assert!(services.to_string().contains("\"condition\":\"ejected\""), "{services}");
    assert_eq!(gateway.get("/health").await.json()["checks"]["service:web"]["healthy"], 2);
    bad.store(false, Ordering::SeqCst);
    let before = one.heard().len();
    eventually("it gets requests again", async || {
        assert_eq!(gateway.get("/once/a").await.status, 200);
        one.heard().len() > before
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_opens_tries_and_closes() {
    let (web, bad) = switched("good").await;
    let settings = "circuit_breaker: { failure_ratio: 0.5, min_requests: 4, open_for: 3s, half_open_requests: 1 }, outlier_detection: null";
    let gateway = Gateway::start(&config(&[web.address()], settings));
    assert_eq!(metric(&gateway, "tidegate_circuit_breaker_state{service=\"web\"}").await, Some(0));
    bad.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(gateway.get("/once/a").await.status, 500);
    }
    let heard = web.heard().len();
    for answer in gateway.send_both(&get("/once/a")).await {
        assert_eq!((answer.status, answer.reason()), (503, "breaker_open".to_owned()));
        // Three seconds, spread by a fifth.
        assert!((1..=4).contains(&answer.header("retry-after").parse().unwrap()), "{}", answer.header("retry-after"));
    }
    assert_eq!(web.heard().len(), heard, "nothing is sent");
    assert_eq!(metric(&gateway, "tidegate_circuit_breaker_state{service=\"web\"}").await, Some(2));
    assert_eq!(gateway.get("/health").await.json()["checks"]["service:web"]["breaker"], "open");
    bad.store(false, Ordering::SeqCst);
    eventually("it is closed", async || gateway.get("/once/a").await.status == 200).await;
    let turns = "tidegate_circuit_breaker_transitions_total{service=\"web\",to=";
    for to in ["open", "half_open", "closed"] {
        assert!(metric(&gateway, &format!("{turns}\"{to}\"}}")).await >= Some(1), "{to}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_may_go_by_failures_in_a_row_alone() {
    let (web, bad) = switched("good").await;
    let settings =
        "circuit_breaker: { failure_ratio: null, consecutive_failures: 30, open_for: 1m }, outlier_detection: null";
    let gateway = Gateway::start(&config(&[web.address()], settings));
    let mut http1 = gateway.http1().await;
    // Nine of ten fail, of more than enough.
    for number in 0..100 {
        bad.store(number % 10 > 0, Ordering::SeqCst);
        assert_ne!(http1.send(&get("/once/a")).await.status, 503, "{number}");
    }
    bad.store(true, Ordering::SeqCst);
    for _ in 0..30 {
        http1.send(&get("/once/a")).await;
    }
    assert_eq!(http1.send(&get("/once/a")).await.reason(), "breaker_open");
    let ratio = gateway
        .explain(&get("/once/a"))
        .policies
        .into_iter()
        .find_map(|row| Some(row.value.get("failure_ratio")?.clone()));
    assert_eq!(ratio, Some(serde_json::Value::Null));
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_opens_no_breaker() {
    let peer = Peer::with("GetOrder", Script::new().hold()).await;
    let yaml = format!(
        "services:
  shop: {{ address: \"{}\", descriptors: shop.pb, circuit_breaker: {{ consecutive_failures: 2, min_requests: 2 }} }}
routes:
  - {{ name: get-order, path: \"/v1/orders/{{id}}\", method: GET, service: shop, grpc: OrderService/GetOrder, timeout: 2s }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    for _ in 0..5 {
        let answer = gateway.send(&get("/v1/orders/7").header("x-server-timeout", "0.01")).await;
        assert_eq!(answer.reason(), "upstream_timeout");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_to_another_endpoint() {
    let bad = Web::start(|_| status(503)).await;
    let good = Web::start(|heard| ok(&heard.body.len().to_string())).await;
    let settings =
        "load_balancing: { policy: round_robin }, outlier_detection: null, retry: { budget: { min_per_second: 100 } }";
    let gateway = Gateway::start(&config(&[bad.address(), good.address()], settings));
    for _ in 0..10 {
        let answer = gateway.get("/a").await;
        assert_eq!(answer.status, 200);
        let put = tidegate_testkit::Request::new("PUT", "/a").body(vec![b'x'; 5_000]);
        let answer = gateway.send(&put).await;
        assert_eq!((answer.status, answer.text()), (200, "5000"), "the body was sent again");
    }
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(gateway.send(&post("/a", "{}")).await.status);
        statuses.push(gateway.get("/once/a").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 4, "{statuses:?}");
    assert!(metric(&gateway, "tidegate_retries_total{service=\"web\",outcome=\"recovered\"}").await >= Some(5));
    gateway.stop().await;
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let web = Web::start(|_| status(503)).await;
    let settings = "outlier_detection: null, retry: { max_retries: 3, backoff: { base: 1ms, max: 1ms }, budget: { ratio: 0.2, min_per_second: 0 } }";
    let gateway = Gateway::start(&config(&[web.address()], settings));
    for _ in 0..200 {
        assert_eq!(gateway.get("/a").await.status, 503);
    }
    let seen = web.heard().len();
    assert!((220..=240).contains(&seen), "{seen} attempts for 200 requests");
    assert!(metric(&gateway, "tidegate_retry_budget_exhausted_total{service=\"web\"}").await >= Some(100));
    assert!(metric(&gateway, "tidegate_retries_total{service=\"web\",outcome=\"failed\"}").await >= Some(10));
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_wants_time_gets_it_or_no_retry() {
    let web = Web::start(|_| vec![bytes("HTTP/1.1 503 x\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n")]).await;
    let gateway = Gateway::start(&config(&[web.address()], "retry: { max_retries: 3 }"));
    let answer = gateway.get("/a").await;
    assert_eq!((answer.status, answer.header("retry-after"), web.heard().len()), (503, "60", 1));
    gateway.stop().await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    let slow = Web::start(|_| vec![Part::Wait]).await;
    let good = Web::start(|_| ok("good")).await;
    let settings = "load_balancing: { policy: round_robin }, retry: { retry_on: [timeout], per_try_timeout: 500ms }";
    let gateway = Gateway::start(&config(&[slow.address(), good.address()], settings));
    for _ in 0..6 {
        assert_eq!(gateway.get("/a").await.text(), "good");
    }
    assert!(slow.heard().len() >= 2);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_repeated_as_their_methods_allow() {
    let peer = Peer::with("GetOrder", Script::new().status(14, "busy")).await;
    peer.on("CreateOrder", Script::new().status(14, "busy"));
    let yaml = format!(
        "services:
  shop: {{ address: \"{}\", descriptors: shop.pb, outlier_detection: null, retry: {{ max_retries: 2, backoff: {{ base: 1ms, max: 1ms }} }} }}
routes:
  - {{ name: get-order, path: \"/v1/orders/{{id}}\", method: GET, service: shop, grpc: OrderService/GetOrder }}
  - {{ name: create-order, path: /v1/orders, method: POST, body: order, service: shop, grpc: OrderService/CreateOrder }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get("/v1/orders/7").await.status, 503);
    assert_eq!(peer.calls(), 3);
    assert_eq!(gateway.send(&post("/v1/orders", "{}")).await.status, 503);
    assert_eq!(peer.calls(), 4);
    peer.on("GetOrder", Script::ok(shop::order()));
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}

#[tokio::test]
async fn endpoints_are_asked_whether_they_are_well() {
    let ill = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&ill);
    let checked = move |heard: &Heard| match heard.line() {
        "GET /up HTTP/1.1" if switch.load(Ordering::SeqCst) => status(503),
        _ => ok("one"),
    };
    let (one, two) = (Web::start(checked).await, Web::start(|_| ok("two")).await);
    let settings = "health_check: { type: http, path: /up, interval: 20ms, unhealthy_threshold: 2, healthy_threshold: 1 }, load_balancing: { policy: round_robin }";
    let gateway = Gateway::start(&config(&[one.address(), two.address()], settings));
    let asks_one = async || (0..4).map(|_| gateway.get("/a"));
    let answers = async || {
        let mut texts = Vec::new();
        for ask in asks_one().await {
            texts.push(ask.await.text().to_owned());
        }
        texts
    };
    assert!(answers().await.contains(&"one".to_owned()));
    ill.store(true, Ordering::SeqCst);
    eventually("it is left out", async || !answers().await.contains(&"one".to_owned())).await;
    assert!(
        metric(&gateway, "tidegate_upstream_ejections_total{service=\"web\",cause=\"health_check\"}").await >= Some(1)
    );
    ill.store(false, Ordering::SeqCst);
    eventually("it is back", async || answers().await.contains(&"one".to_owned())).await;
    gateway.stop().await;

    // The one that is ill is used all the same if it is the only one.
    ill.store(true, Ordering::SeqCst);
    let gateway = Gateway::start(&config(&[one.address()], settings));
    eventually("its state is known", async || {
        gateway.get("/health").await.json()["checks"]["service:web"]["healthy"] == 0
    })
    .await;
    assert_eq!(gateway.get("/a").await.text(), "one");
    gateway.stop().await;
}

#[tokio::test]
async fn health_over_grpc_and_tcp_is_heard() {
    let peer = Peer::with("Check", Script::ok(vec![8, 2])).await;
    let down = tidegate_testkit::peer::closed_port();
    let yaml = format!(
        "services:
  ill: {{ address: \"{}\", descriptors: shop.pb, health_check: {{ type: grpc, interval: 20ms, unhealthy_threshold: 1 }} }}
  gone: {{ address: \"http://{down}\", health_check: {{ type: tcp, interval: 20ms, unhealthy_threshold: 1 }} }}
routes:
  - {{ name: ill, path: \"/ill/{{id}}\", service: ill, grpc: OrderService/GetOrder }}
  - {{ name: gone, path: /gone, service: gone }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    let healthy =
        async |name: &str| gateway.get("/health").await.json()["checks"][format!("service:{name}")]["healthy"].clone();
    eventually("both are out", async || healthy("ill").await == 0 && healthy("gone").await == 0).await;
    peer.on("Check", Script::ok(vec![8, 1]));
    let _back = Web::start_at(down, |_| ok("x")).await;
    eventually("both are back", async || healthy("ill").await == 1 && healthy("gone").await == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_has_only_so_many_requests_at_once() {
    let web = Web::start(|_| vec![Part::Wait, ok("x").remove(0)]).await;
    let gateway = Gateway::start(&config(&[web.address()], "circuit_breaker: { max_concurrent: 2, max_pending: 0 }"));
    let (mut one, mut two) = (gateway.http1().await, gateway.http1().await);
    for http1 in [&mut one, &mut two] {
        http1.write("GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    eventually("both are there", async || web.heard().len() == 2).await;
    let answer = gateway.get("/a").await;
    assert_eq!((answer.status, answer.reason()), (503, "overloaded".to_owned()));
    web.release();
    web.release();
    assert_eq!((one.answer().await.status, two.answer().await.status), (200, 200));
    web.release();
    assert_eq!(gateway.get("/a").await.status, 200, "there is room again");
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_of_http1_has_only_so_many_connections() {
    let web = Web::start(|_| vec![Part::Wait, ok("x").remove(0)]).await;
    let settings = "connections: { min: 1, max: 2 }";
    let gateway = Gateway::start(&(config(&[web.address()], settings) + "runtime: { workers: 1 }\n"));
    let request = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut clients = [gateway.http1().await, gateway.http1().await];
    for client in &mut clients {
        client.write(request).await;
    }
    eventually("both are there", async || web.heard().len() == 2).await;
    let refused = gateway.get("/once/a").await;
    assert_eq!((refused.status, refused.reason()), (503, "overloaded".to_owned()));
    assert!(!refused.header("retry-after").is_empty());
    for client in &mut clients {
        web.release();
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!((web.heard().len(), web.connections()), (2, 2));
    eventually("the one that need not stay is closed", async || web.open() == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn requests_wait_for_a_connection_of_others() {
    let web = Web::start(
        |heard| if heard.line().contains("/last") { [ok("x"), vec![Part::Close]].concat() } else { ok("x") },
    )
    .await;
    let settings = "connections: { min: 1, max: 1 }, outlier_detection: null";
    let gateway = Gateway::start(&(config(&[web.address()], settings) + "runtime: { workers: 1 }\n"));
    for path in ["/once/a", "/once/last"] {
        // On a machine that stands still for a quarter of a second, some are refused.
        eventually("none is refused", async || {
            let asked = (0..8).map(|_| async { gateway.get(path).await.status });
            futures_util::future::join_all(asked).await == [200; 8]
        })
        .await;
        if path == "/once/a" {
            assert_eq!(web.connections(), 1);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_ring_sends_the_same_key_to_the_same_endpoint() {
    let mut webs = Vec::new();
    for name in ["0", "1", "2"] {
        webs.push(Web::start(move |_| ok(name)).await);
    }
    let addresses: Vec<_> = webs.iter().map(Web::address).collect();
    let settings = "load_balancing: { policy: ring_hash, hash_on: \"header:x-tenant\" }";
    let gateway = Gateway::start(&config(&addresses, settings));
    // The addresses are new each time, and twenty tenants leave one of three without any once in a thousand runs.
    let mut used = 0;
    for tenant in 0..200 {
        if tenant >= 20 && used == 0b111 {
            break;
        }
        let request = get("/a").header("x-tenant", &format!("tenant-{tenant}"));
        let first = gateway.send(&request).await.text().to_owned();
        for answer in gateway.send_both(&request).await {
            assert_eq!(answer.text(), first);
        }
        used |= 1 << first.parse::<usize>().unwrap();
    }
    assert_eq!(used, 0b111, "all three have tenants");
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_forgets_nothing_of_a_service_that_stays() {
    let (web, bad) = switched("good").await;
    let settings = "circuit_breaker: { consecutive_failures: 2, open_for: 1m }, outlier_detection: null";
    let yaml = config(&[web.address()], settings);
    let gateway = Gateway::start(&yaml);
    bad.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        gateway.get("/once/a").await;
    }
    assert_eq!(gateway.get("/once/a").await.reason(), "breaker_open");
    let generation = gateway.generation();
    gateway.apply(&format!("{yaml}  - {{ name: more, path: /more, respond: {{ text: more }} }}\n")).await;
    assert!(gateway.generation() > generation);
    assert_eq!(gateway.get("/once/a").await.reason(), "breaker_open");
    gateway.stop().await;
}

/// Three backends with these weights, each of whose requests is answered with its number.
fn weighed(webs: &[&Web; 3], weights: [u32; 3], settings: &str) -> String {
    let endpoint =
        |(web, weight): (&&Web, u32)| format!("{{ address: \"http://{}\", weight: {weight} }}", web.address());
    let endpoints: Vec<String> = webs.iter().zip(weights).map(endpoint).collect();
    config(&[], settings).replace("endpoints: []", &format!("endpoints: [{}]", endpoints.join(", ")))
}

#[tokio::test]
async fn a_change_of_weights_keeps_connections_and_ejections_and_holds_for_new_requests() {
    let ((one, bad), (two, _), (three, _)) = (switched("1").await, switched("2").await, switched("3").await);
    let webs = [&one, &two, &three];
    let settings = "outlier_detection: { consecutive_errors: 3, base_ejection_time: 5m }, load_balancing: { policy: round_robin }, circuit_breaker: null";
    let gateway = Gateway::start(&weighed(&webs, [1, 1, 1], settings));
    let mut http1 = gateway.http1().await;
    bad.store(true, Ordering::SeqCst);
    let mut ask = async |count: usize| {
        let mut answers = [0; 4];
        for _ in 0..count {
            let answer = http1.send(&get("/once/a")).await;
            answers[answer.text().parse().unwrap_or(0)] += 1;
        }
        answers
    };
    assert_eq!(ask(30).await[0], 3, "after three errors nobody is sent there");
    let connections = webs.map(Web::connections);
    let ejected = async || {
        let services = gateway.ask_admin(&get("/api/services")).await.json();
        services.to_string().matches("\"condition\":\"ejected\"").count()
    };
    assert_eq!(ejected().await, 1);
    gateway.apply(&weighed(&webs, [5, 3, 1], settings)).await;
    assert_eq!(ejected().await, 1, "it is the same endpoint, whatever its weight");
    // Some policies choose anew among those that are not left out, so parts are not exact.
    let answers = ask(80).await;
    assert!(answers[0] == 0 && answers[2] > 2 * answers[3] && answers[3] > 0, "{answers:?}");
    gateway.apply(&weighed(&webs, [1, 0, 1], settings)).await;
    assert_eq!(ask(20).await, [0, 0, 0, 20], "one without weight is for nobody");
    gateway.apply(&weighed(&webs, [1, 1, 0], settings)).await;
    assert_eq!(ask(20).await, [0, 0, 20, 0]);
    assert_eq!(webs.map(Web::connections), connections, "no connection was made anew");
    gateway.stop().await;
}

#[tokio::test]
async fn a_change_of_weights_closes_no_breaker() {
    let ((one, bad), (two, worse), (three, worst)) = (switched("1").await, switched("2").await, switched("3").await);
    let webs = [&one, &two, &three];
    let settings = "circuit_breaker: { consecutive_failures: 2, open_for: 5m }, outlier_detection: null";
    let gateway = Gateway::start(&weighed(&webs, [1, 1, 1], settings));
    for switch in [bad, worse, worst] {
        switch.store(true, Ordering::SeqCst);
    }
    for _ in 0..2 {
        assert_eq!(gateway.get("/once/a").await.status, 500);
    }
    assert_eq!(gateway.get("/once/a").await.reason(), "breaker_open");
    gateway.apply(&weighed(&webs, [1, 2, 3], settings)).await;
    assert_eq!(gateway.get("/once/a").await.reason(), "breaker_open");
    // What shapes connections makes another service of it.
    gateway.apply(&weighed(&webs, [1, 2, 3], &format!("{settings}, connect_timeout: 7s"))).await;
    assert_eq!(gateway.get("/once/a").await.status, 500);
    gateway.stop().await;
}

#[tokio::test]
async fn a_probe_does_not_wait_for_the_end_of_its_answer() {
    let bad = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&bad);
    let web = Web::start(move |_| match switch.load(Ordering::SeqCst) {
        true => status(500),
        false => vec![bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"), Part::Wait],
    })
    .await;
    let settings =
        "circuit_breaker: { consecutive_failures: 1, open_for: 50ms, half_open_requests: 1 }, outlier_detection: null";
    let gateway = Gateway::start(&config(&[web.address()], settings));
    assert_eq!(gateway.get("/once/a").await.status, 500);
    bad.store(false, Ordering::SeqCst);
    let streams = parking_lot::Mutex::new(Vec::new());
    eventually("two streams run", || async {
        let mut http1 = gateway.http1().await;
        http1.write("GET /once/a HTTP/1.1\r\nhost: a\r\n\r\n").await;
        if http1.head().await.0 == 200 {
            streams.lock().push(http1);
        }
        streams.lock().len() == 2
    })
    .await;
    drop(streams);
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_of_grpc_has_only_so_many_calls_at_once() {
    let peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let yaml = format!(
        "services:
  shop: {{ address: \"{}\", descriptors: shop.pb, circuit_breaker: {{ max_concurrent: 1, max_pending: 0 }} }}
routes:
  - {{ name: get-order, path: \"/v1/orders/{{id}}\", method: GET, service: shop, grpc: OrderService/GetOrder }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    let mut first = gateway.http1().await;
    first.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is there", async || peer.calls() == 1).await;
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason()), (503, "overloaded".to_owned()));
    drop(first);
    gateway.stop().await;
}
