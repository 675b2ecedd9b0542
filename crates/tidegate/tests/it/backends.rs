//! Backends that come, go and change between requests.

use std::net::{Ipv4Addr, SocketAddr};

use h2::Reason;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::web::ok;
use tidegate_testkit::{Dns, Gateway, Part, Peer, Script, Web, eventually, get, shop, soon};
use tokio::net::TcpListener;

/// Asks until the order comes, and panics if anything but 502 or 503 comes before it.
async fn recovers(gateway: &Gateway) {
    eventually("the backend is reached again", || async {
        let answer = gateway.get("/v1/orders/7").await;
        assert!(matches!(answer.status, 200 | 502 | 503), "{}", answer.text());
        answer.status == 200
    })
    .await;
}

#[tokio::test]
async fn connections_are_made_when_needed_and_kept() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let more = "runtime: { workers: 1 }";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    assert_eq!(peer.connections(), 0, "nobody has asked yet");
    let mut http2 = gateway.http2().await;
    for _ in 0..20 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    assert_eq!((peer.calls(), peer.connections()), (20, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn goaway_moves_calls_to_a_new_connection_and_loses_none() {
    let mut peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "runtime: { workers: 1 }"));
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&get("/v1/orders/7"), true).await;
    peer.call().await;
    peer.go_away();
    peer.release(20);
    assert_eq!(running.answer().await.status, 200, "a stream that runs may end");
    for _ in 0..10 {
        assert_eq!(http2.send(&get("/v1/orders/7")).await.status, 200);
    }
    assert_eq!((peer.calls(), peer.connections()), (11, 2));
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_comes_back_is_used_again() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let address = peer.address();
    let gateway = Gateway::start(&shop::config(address, ""));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    drop(peer);
    eventually("it is gone", || async { gateway.get("/v1/orders/7").await.status == 503 }).await;
    let peer = Peer::start_at(address).await;
    peer.on("GetOrder", Script::ok(shop::order()));
    recovers(&gateway).await;
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_spread_and_a_dead_endpoint_is_left_out() {
    let first = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let second = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let endpoints = format!("endpoints: [\"{}\", \"{}\", \"{}\"]", first.address(), second.address(), closed_port());
    let yaml = shop::config(first.address(), "").replace(&format!("address: \"{}\"", first.address()), &endpoints);
    let gateway = Gateway::start(&yaml);
    let mut http2 = gateway.http2().await;
    let mut answered = 0;
    for _ in 0..60 {
        answered += usize::from(http2.send(&get("/v1/orders/7")).await.status == 200);
    }
    assert_eq!(first.calls() + second.calls(), answered);
    assert!(first.calls() > 0 && second.calls() > 0, "{} and {}", first.calls(), second.calls());
    assert!(answered >= 50, "a dead endpoint is tried now and then at most: {answered} of 60");
    let health = gateway.get("/health").await.json();
    assert_eq!(health["checks"]["service:shop"]["endpoints"], 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_stream_is_a_failure_of_that_call_alone() {
    let peer = Peer::with("GetOrder", Script::new().reset(Reason::REFUSED_STREAM)).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "runtime: { workers: 1 }"));
    let answer = gateway.get("/v1/orders/7").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
    peer.on("GetOrder", Script::ok(shop::order()));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    assert_eq!(peer.connections(), 1, "the connection is as good as before");
    gateway.stop().await;
}

#[tokio::test]
async fn compressed_answers_are_inflated() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&shop::order()).unwrap();
    let packed = encoder.finish().unwrap();
    let mut frame = vec![1];
    frame.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&packed);
    let script = |coding: &str| Script::new().metadata("grpc-encoding", coding).bytes(frame.clone()).status(0, "");
    let mut peer = Peer::with("GetOrder", script("gzip")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    assert_eq!(peer.call().await.text("grpc-accept-encoding"), "identity,gzip,zstd");
    peer.on("GetOrder", script("snappy"));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "transcode_failed"));
    gateway.stop().await;
}

/// A thousand requests at once over ten connections, each answered by its own call.
#[tokio::test]
async fn a_thousand_requests_at_once() {
    let peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 60s }"));
    let mut clients = Vec::new();
    let mut running = Vec::new();
    for _ in 0..10 {
        let mut http2 = gateway.http2().await;
        for _ in 0..100 {
            running.push(http2.start(&get("/v1/orders/7"), true).await);
        }
        clients.push(http2);
    }
    eventually("all have arrived", || async { peer.calls() == 1000 }).await;
    peer.release(1000);
    for one in &mut running {
        let answer = one.answer().await;
        assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
    }
    gateway.stop().await;
}

/// The states of a service's connections that are not zero, as the page of metrics has them.
async fn states(gateway: &Gateway, service: &str) -> Vec<(String, u64)> {
    let page = gateway.ask_admin(&get("/metrics")).await;
    let start = format!("tidegate_upstream_connections{{service=\"{service}\",state=\"");
    let lines = page.text().lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    let states = lines.map(|(state, count)| (state.to_owned(), count.parse().unwrap()));
    states.filter(|(_, count)| *count > 0).collect()
}

/// What operators are shown of the only endpoint of a service.
async fn state_for_operators(gateway: &Gateway, service: &str) -> String {
    let view = gateway.ask_admin(&get(&format!("/api/services/{service}"))).await.json();
    view["endpoints"][0]["state"].as_str().unwrap().to_owned()
}

/// Each service has one endpoint, and nothing else than what its name says.
#[tokio::test]
async fn each_state_of_a_connection_is_seen_as_it_is() {
    let ready = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let of = |name: &str, address: SocketAddr| {
        let service = format!(
            "  {name}: {{ address: \"{address}\", descriptors: shop.pb, connect_timeout: 30s, retry: null }}\n"
        );
        let route = format!(
            "  - {{ name: {name}, path: \"/{name}/{{id}}\", method: GET, service: {name}, grpc: OrderService/GetOrder }}\n"
        );
        (service, route)
    };
    let services = [
        of("idle", ready.address()),
        of("connecting", silent.local_addr().unwrap()),
        of("ready", ready.address()),
        of("transient_failure", closed_port()),
    ];
    let (services, routes): (Vec<_>, Vec<_>) = services.into_iter().unzip();
    let gateway = Gateway::start(&format!(
        "admin: {{ address: \"127.0.0.1:0\" }}\nruntime: {{ workers: 1 }}\nservices:\n{}routes:\n{}",
        services.concat(),
        routes.concat()
    ));
    let mut waiting = gateway.http1().await;
    waiting.write("GET /connecting/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let _handshake_without_an_answer = soon(silent.accept()).await.unwrap();
    assert_eq!(gateway.get("/ready/7").await.status, 200);
    assert_eq!(gateway.get("/transient_failure/7").await.status, 503);
    for name in ["idle", "connecting", "ready", "transient_failure"] {
        assert_eq!(states(&gateway, name).await, [(name.to_owned(), 1)]);
        assert_eq!(state_for_operators(&gateway, name).await, name);
    }
    drop(waiting);
    gateway.stop().await;
}

/// A backend that gets no more requests is seen until those that it has have ended.
#[tokio::test]
async fn an_endpoint_that_leaves_is_shut_down_until_its_last_request_has_ended() {
    const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
    let one = Web::start_at((ONE, 0).into(), |_| [vec![Part::Wait], ok("one")].concat()).await;
    let port = one.address().port();
    let two = Web::start_at((TWO, port).into(), |_| [vec![Part::Wait], ok("two")].concat()).await;
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE], 0);
    let yaml = |more: &str| {
        format!(
            "admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  web: {{ protocol: http, endpoints: [\"dns://{}/web.test.:{port}\"]{more} }}\n\
             routes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n",
            dns.address()
        )
    };
    let shut_down = |count: u64| ("shutdown".to_owned(), count);
    let gateway = Gateway::start(&yaml(""));
    let mut first = gateway.http1().await;
    first.write("GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is asked", async || one.heard().len() == 1).await;
    assert_eq!(states(&gateway, "web").await, [("ready".to_owned(), 1)]);
    // Its name loses it.
    dns.set("web.test", &[TWO], 0);
    eventually("it is shut down", async || states(&gateway, "web").await.contains(&shut_down(1))).await;
    let mut second = gateway.http1().await;
    second.write("GET /b HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the other one is asked", async || two.heard().len() == 1).await;
    // A reload makes another service of it.
    gateway.apply(&yaml(", connect_timeout: 7s")).await;
    assert!(states(&gateway, "web").await.contains(&shut_down(2)));
    let view = gateway.ask_admin(&get("/api/services/web")).await.text().to_owned();
    assert_eq!(view.matches("\"state\":\"shutdown\"").count(), 2, "{view}");
    one.release();
    assert_eq!(first.answer().await.text(), "one");
    eventually("one has ended", async || states(&gateway, "web").await.contains(&shut_down(1))).await;
    two.release();
    assert_eq!(second.answer().await.text(), "two");
    eventually("both have", async || states(&gateway, "web").await.iter().all(|(state, _)| state != "shutdown")).await;
    gateway.stop().await;
}
