//! Where descriptors come from: a set, sources, a running backend, or the disk while that is down.

use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::{Engine, Gateway, Peer, Program, Script, eventually, get, post, shop};

#[tokio::test]
async fn sources_are_compiled_in_process() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "").replace("shop.pb", "[shop.proto]"));
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}

#[tokio::test]
async fn annotations_become_routes_and_a_path_of_the_configuration_wins() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("CreateOrder", Script::ok(shop::order()));
    let yaml = format!(
        "services:
  shop: {{ address: \"{}\", descriptors: [shop.proto] }}
routes:
  - {{ name: annotated, service: shop, grpc: \"shop.v1.*\" }}
  - {{ name: mine, path: \"/annotated/orders/{{id}}\", method: GET, service: shop, grpc: OrderService/GetOrder, json: {{ int64: number }} }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    // The additional binding, and the body that the annotation names.
    assert_eq!(gateway.get("/annotated/customers/ada/orders/7").await.text(), shop::ORDER_JSON);
    let sent = shop::json("GetOrderRequest", &peer.call().await.message().await);
    assert_eq!(sent, serde_json::json!({"id": 7, "customer": "ada"}));
    assert_eq!(gateway.post("/annotated/orders?customer=ada", r#"{"card":"1"}"#).await.status, 200);
    let sent = shop::json("CreateOrderRequest", &peer.call().await.message().await);
    assert_eq!(sent, serde_json::json!({"customer": "ada", "order": {"card": "1"}}));
    assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON.replace("\"7\"", "7"));
    // A method without an annotation has no path.
    assert_eq!(gateway.send(&post("/shop.v1.OrderService/Upload", "{}")).await.status, 404);
    gateway.stop().await;
}

fn reflected(address: std::net::SocketAddr) -> String {
    format!(
        "services:
  core-engine: {{ address: \"{address}\" }}
routes:
  - {{ name: buffer, path: \"/v1/{{symbol}}\", method: GET, service: core-engine, grpc: CoreEngine/GetMarketDataBuffer }}
  - {{ name: health, path: /engine, method: GET, service: core-engine, grpc: core_engine.v1.CoreEngine/HealthCheck }}
  - {{ name: ping, path: /ping, respond: {{ text: pong }} }}
"
    )
}

async fn ready(gateway: &Gateway) -> bool {
    gateway.get("/health/readiness").await.status == 200
}

#[tokio::test]
async fn a_backend_tells_its_descriptors() {
    let engine = Engine::start().await;
    let gateway = Gateway::start(&reflected(engine.address()));
    eventually("ready", || ready(&gateway)).await;
    for answer in gateway.send_both(&get("/engine")).await {
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"healthy".into()));
    }
    let answer = gateway.get("/v1/NOPE").await;
    assert_eq!((answer.status, answer.json()["details"][0]["reason"].clone()), (404, "UNKNOWN_SYMBOL".into()));
    gateway.stop().await;
    engine.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_down_at_the_start_is_served_when_it_comes_up() {
    let address = closed_port();
    let gateway = Gateway::start(&reflected(address));
    let answer = gateway.get("/health/readiness").await;
    let pending = r#"{"pending":["descriptors:core-engine"],"status":"not_ready"}"#;
    assert_eq!((answer.status, answer.text()), (503, pending));
    for answer in gateway.send_both(&get("/engine")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (503, "no_healthy_endpoint"));
    }
    // The rest works, and its state is told.
    assert_eq!(gateway.get("/ping").await.text(), "pong");
    let health = gateway.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"warn".into()));
    assert_eq!(health.json()["checks"]["service:core-engine"]["status"], "warn");

    let engine = Engine::start_at(address).await;
    eventually("ready", || ready(&gateway)).await;
    assert_eq!(gateway.get("/engine").await.status, 200);
    assert_eq!(gateway.get("/health").await.json()["status"], "pass");
    gateway.stop().await;
    engine.stop().await;
}

#[tokio::test]
async fn descriptors_of_an_earlier_run_serve_while_the_backend_is_down() {
    let engine = Engine::start().await;
    let address = engine.address();
    let gateway = Gateway::start(&reflected(address));
    eventually("ready", || ready(&gateway)).await;
    let folder = gateway.stop().await;
    engine.stop().await;

    let gateway = Gateway::start_in(folder, &reflected(address));
    eventually("ready", || ready(&gateway)).await;
    // The method is known, so a wrong request is told from a missing backend.
    assert_eq!(gateway.get("/v1/AAPL?limit=x").await.reason(), "bad_request");
    let answer = gateway.get("/engine").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
    let engine = Engine::start_at(address).await;
    eventually("the backend is reached again", || async { gateway.get("/engine").await.status == 200 }).await;
    gateway.stop().await;
    engine.stop().await;
}

/// What is on disk may be of no use any more; then it is as if there were nothing.
#[tokio::test]
async fn damaged_descriptors_on_disk_are_passed_over() {
    let engine = Engine::start().await;
    let gateway = Gateway::start(&reflected(engine.address()));
    eventually("ready", || ready(&gateway)).await;
    let folder = gateway.stop().await;
    let mut kept = 0;
    for file in std::fs::read_dir(folder.path().join("state")).unwrap() {
        std::fs::write(file.unwrap().path(), b"\xff\xff").unwrap();
        kept += 1;
    }
    assert_eq!(kept, 1);
    let gateway = Gateway::start_in(folder, &reflected(engine.address()));
    eventually("ready", || ready(&gateway)).await;
    assert_eq!(gateway.get("/engine").await.status, 200);
    gateway.stop().await;
    engine.stop().await;
}

/// A route that asks for a method that the backend does not have: it stays pending, the others too, nothing else breaks.
#[tokio::test]
async fn a_route_that_does_not_fit_what_the_backend_has_keeps_it_pending() {
    let engine = Engine::start().await;
    let yaml = reflected(engine.address()).replace("GetMarketDataBuffer", "GetNothing");
    let gateway = Gateway::start(&yaml);
    eventually("the backend was asked", || async {
        let health = gateway.get("/health").await.json();
        health["checks"]["service:core-engine"]["healthy"] == 1
    })
    .await;
    assert_eq!(gateway.get("/health/readiness").await.status, 503);
    assert_eq!(gateway.get("/v1/AAPL").await.reason(), "no_healthy_endpoint");
    assert_eq!(gateway.get("/ping").await.text(), "pong");
    gateway.stop().await;
    engine.stop().await;
}

/// A shop that tells its descriptors: routes by annotation, and the older version of reflection where `v1alpha`.
async fn telling(v1alpha: bool) -> (Peer, String) {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let method = if v1alpha { "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" } else { REFLECTION };
    peer.on(method, Script::reflects(&shop::DESCRIPTORS));
    let yaml = format!(
        "services: {{ shop: {{ address: \"{}\" }} }}
routes: [{{ name: annotated, service: shop, grpc: \"shop.v1.*\" }}]
",
        peer.address()
    );
    (peer, yaml)
}

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

#[tokio::test]
async fn annotations_come_by_reflection_of_both_versions() {
    for v1alpha in [false, true] {
        let (_peer, yaml) = telling(v1alpha).await;
        let gateway = Gateway::start(&yaml);
        eventually("ready", || ready(&gateway)).await;
        assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON);
        assert_eq!(gateway.get("/annotated/customers/a/orders/7").await.status, 200);
        gateway.stop().await;
    }
}

/// A call that was begun before ends on the old plans; what does not fit the routes changes nothing.
#[tokio::test]
async fn a_backend_that_has_changed_is_read_again_on_hup() {
    let (mut peer, yaml) = telling(false).await;
    let mut program = Program::run(env!("CARGO_BIN_EXE_tidegate"), &yaml);
    let address = program.listener("main").await;
    let annotated = |path: &'static str| async move { Http1::connect(address).await.send(&get(path)).await };
    eventually("ready", || async { annotated("/health/readiness").await.status == 200 }).await;
    let answer = annotated("/annotated/orders/7?gift=true").await;
    assert_eq!((answer.status, answer.json()["errors"][0]["field"].clone()), (400, "gift".into()));

    peer.on("GetOrder", Script::new().hold().message(shop::order()).status(0, ""));
    let mut http2 = Http2::connect(address).await;
    let mut running = http2.start(&get("/annotated/orders/7"), true).await;
    while peer.call().await.path != "/shop.v1.OrderService/GetOrder" {}
    let source = shop::PROTO.replace("bool verbose = 3;", "bool verbose = 3;\n  bool gift = 13;");
    let source = source.replace("/annotated/orders/{id}", "/renamed/orders/{id}");
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(source.leak())));
    program.hang_up();
    eventually("the new path", || async { annotated("/renamed/orders/x").await.status == 400 }).await;
    assert_eq!(annotated("/annotated/orders/7").await.status, 404);
    peer.release(2);
    assert_eq!(running.answer().await.text(), shop::ORDER_JSON);
    assert_eq!(annotated("/renamed/orders/7?gift=true").await.status, 200);

    let source = "syntax = \"proto3\"; package shop.v1; message A {} service OrderService { rpc B(A) returns (A); }";
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(source)));
    program.hang_up();
    program.logged("do not fit the routes").await;
    peer.release(1);
    assert_eq!(annotated("/renamed/orders/7").await.status, 200, "what was there before goes on");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}
