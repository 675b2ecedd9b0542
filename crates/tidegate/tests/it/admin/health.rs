//! Health on every listener: paths, gRPC, readiness, and the drain that somebody asks for.

use serde_json::json;
use tidegate_testkit::client::Http2;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::{Gateway, Peer, Program, Request, Script, ask_admin, eventually, get, shop};

use super::{ADMIN, config};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

#[tokio::test]
async fn detail_can_be_kept_for_operators() {
    let peer = Peer::start().await;
    for (detail, public) in [("full", true), ("admin", false)] {
        let gateway = Gateway::start(&config(peer.address(), &format!("health: {{ detail: {detail} }}")));
        let shown = gateway.get("/health").await.json();
        assert_eq!(
            (&shown["status"], shown["checks"]["service:shop"].is_object()),
            (&json!("pass"), public),
            "{shown}"
        );
        assert_eq!(shown["config"].is_object(), public);
        let whole = gateway.ask_admin(&get("/health")).await.json();
        assert_eq!(whole["checks"]["service:shop"]["endpoints"], 1, "{whole}");
        assert_eq!(whole["config"]["hash"], gateway.hash());
        for (path, body) in [("liveness", "{\"status\":\"alive\"}"), ("readiness", "{\"status\":\"ready\"}")] {
            assert_eq!(gateway.ask_admin(&get(&format!("/health/{path}"))).await.text(), body);
        }
        assert_eq!(gateway.ask_admin(&get("/version")).await.text(), gateway.get("/version").await.text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn readiness_waits_for_the_services_that_it_requires() {
    let down = closed_port();
    let gateway = Gateway::start(&config(down, "readiness: { require: [\"service:shop\"] }"));
    let other = Gateway::start(&config(down, ""));
    eventually("the endpoint is out", async || {
        gateway.get("/v1/orders/7").await;
        gateway.get("/health/readiness").await.status == 503
    })
    .await;
    let body = json!({"status": "not_ready", "pending": ["service:shop"]});
    assert_eq!(gateway.get("/health/readiness").await.json(), body);
    assert_eq!(gateway.ask_admin(&get("/health/readiness")).await.json(), body);
    assert_eq!(gateway.get("/health").await.status, 503);
    let peer = Peer::start_at(down).await;
    peer.on("GetOrder", Script::ok(shop::order()));
    eventually("the endpoint is back", async || {
        gateway.get("/v1/orders/7").await;
        gateway.get("/health/readiness").await.status == 200
    })
    .await;
    other.get("/v1/orders/7").await;
    assert_eq!(other.get("/health/readiness").await.status, 200, "backends do not count by default");
    gateway.stop().await;
    other.stop().await;
}

/// A call of `grpc.health.v1.Health` about `service`.
fn call(method: &str, service: &str) -> Request {
    let length = u8::try_from(service.len()).unwrap();
    let message = if service.is_empty() { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
    let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat();
    let request = Request::new("POST", &format!("/grpc.health.v1.Health/{method}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(frame)
}

const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];
const SERVICE_UNKNOWN: &[u8] = &[0, 0, 0, 0, 2, 8, 3];

#[tokio::test]
async fn the_health_service_of_grpc_knows_the_process_and_its_services() {
    let (up, down) = (Peer::with("GetOrder", Script::ok(shop::order())).await, closed_port());
    let yaml = format!(
        "services:
  up: {{ address: \"{}\", descriptors: shop.pb }}
  down: {{ address: \"{down}\", descriptors: shop.pb }}
routes:
  - {{ name: down, path: \"/down/{{id}}\", service: down, grpc: OrderService/GetOrder }}
",
        up.address()
    );
    let gateway = Gateway::start(&yaml);
    let check = async |service: &str| gateway.http2().await.send(&call("Check", service)).await;
    eventually("the endpoint is out", async || {
        gateway.get("/down/7").await;
        check("down").await.body == NOT_SERVING
    })
    .await;
    for service in ["", "up"] {
        let answer = check(service).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc"));
        assert_eq!((answer.body.as_slice(), answer.trailer("grpc-status")), (SERVING, "0"), "{service}");
    }
    let unknown = check("nobody").await;
    assert_eq!((unknown.status, unknown.header("grpc-status")), (200, "5"));
    let mut http2 = gateway.http2().await;
    let mut watch = http2.start(&call("Watch", "nobody"), true).await;
    assert_eq!(watch.head().await.unwrap().0, 200);
    assert_eq!(watch.piece().await.unwrap().unwrap(), SERVICE_UNKNOWN);
    watch.cancel();
    gateway.stop().await;
}

#[tokio::test]
async fn a_watch_tells_of_the_configuration_in_force() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut http2 = Http2::connect(gateway.address()).await;
    let mut watch = http2.start(&call("Watch", "shop"), true).await;
    assert_eq!(watch.head().await.unwrap().0, 200);
    assert_eq!(watch.piece().await.unwrap().unwrap(), SERVING);
    gateway.apply(&format!("{ADMIN}\nroutes: [{{ name: ping, path: /ping, respond: {{ text: pong }} }}]\n")).await;
    assert_eq!(watch.piece().await.unwrap().unwrap(), SERVICE_UNKNOWN, "the service was removed");
    watch.cancel();
    gateway.stop().await;
}

#[tokio::test]
async fn a_watch_sees_the_drain_and_then_its_end() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "drain: { readiness_delay: 2s, timeout: 5s }"));
    let mut http2 = Http2::connect(gateway.address()).await;
    let mut watch = http2.start(&call("Watch", ""), true).await;
    assert_eq!(watch.head().await.unwrap().0, 200);
    assert_eq!(watch.piece().await.unwrap().unwrap(), SERVING);
    gateway.ask_to_stop().await;
    assert_eq!(watch.piece().await.unwrap().unwrap(), NOT_SERVING);
    assert_eq!(watch.piece().await.unwrap(), None);
    drop(http2);
    gateway.ended().await;
}

#[tokio::test]
async fn a_watch_ends_with_its_listener() {
    let peer = Peer::start().await;
    let both = "listeners: [{ name: main, address: \"127.0.0.1:0\" }, { name: other, address: \"127.0.0.1:0\" }]";
    let gateway = Gateway::start(&config(peer.address(), both));
    let mut http2 = Http2::connect(gateway.listener("other")).await;
    let mut watch = http2.start(&call("Watch", ""), true).await;
    assert_eq!(watch.head().await.unwrap().0, 200);
    assert_eq!(watch.piece().await.unwrap().unwrap(), SERVING);
    gateway.apply(&config(peer.address(), "listeners: [{ name: main, address: \"127.0.0.1:0\" }]")).await;
    assert_eq!(watch.piece().await.unwrap(), None, "the gateway serves on, this listener does not");
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_can_be_asked_for_and_readiness_fails_first() {
    let peer = Peer::start().await;
    let drain = "drain: { readiness_delay: 1s, timeout: 5s }";
    let mut program = Program::run(BINARY, &config(peer.address(), drain));
    let (main, admin) = (program.listener("main").await, program.admin().await);
    assert_eq!(ask_admin(main, &get("/health/readiness")).await.status, 200);
    for _ in 0..2 {
        let answer = ask_admin(admin, &Request::new("POST", "/api/drain")).await;
        assert_eq!((answer.status, answer.json()), (202, json!({"status": "draining"})));
    }
    eventually("readiness fails", async || {
        let answer = ask_admin(main, &get("/health/readiness")).await;
        answer.status == 503 && answer.json()["pending"] == json!(["draining"])
    })
    .await;
    assert_eq!(ask_admin(admin, &get("/api/overview")).await.json()["draining"], true);
    assert_eq!(program.code().await, 0, "{}", program.log());
}
