//! Descriptors across reloads: files that change, and backends that are asked.

use tidegate_testkit::{Gateway, Peer, Script, eventually, shop};

use super::Outcome;

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

async fn ready(gateway: &Gateway) -> bool {
    gateway.get("/health/readiness").await.status == 200
}

/// The shop with a second service, as sources.
fn two_services() -> &'static str {
    let more = "\nservice Second { rpc Find(GetOrderRequest) returns (Order) { option (google.api.http) = { get: \"/second/{id}\" }; } }\n";
    format!("{}{more}", shop::PROTO).leak()
}

async fn telling() -> Peer {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("Find", Script::ok(shop::order()));
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(two_services())));
    peer
}

fn asked(peer: &Peer, routes: &str) -> String {
    format!("services: {{ shop: {{ address: \"{}\" }} }}\nroutes:\n{routes}", peer.address())
}

const ORDERS: &str = "  - { name: orders, service: shop, grpc: \"shop.v1.OrderService/*\" }\n";
const SECOND: &str = "  - { name: second, service: shop, grpc: \"shop.v1.Second/*\" }\n";
const FOUND: &str = "  - { name: found, path: \"/found/{id}\", service: shop, grpc: shop.v1.Second/Find }\n";

#[tokio::test]
async fn a_set_that_changes_is_read_again_and_the_connections_stay() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&format!("runtime: {{ workers: 1 }}\n{}", shop::config(peer.address(), "")));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    assert_eq!(gateway.get("/v1/orders/7?gift=true").await.status, 400);
    let source = shop::PROTO.replace("bool verbose = 3;", "bool verbose = 3;\n  bool gift = 13;");
    gateway.write("shop.pb", shop::descriptors_of(source.leak()));
    assert!(matches!(gateway.reload().await, Outcome::Applied { generation: 2, .. }));
    assert_eq!(gateway.get("/v1/orders/7?gift=true").await.status, 200);
    assert_eq!(peer.connections(), 1);
    gateway.write("shop.pb", b"\xff\xff\xff");
    assert!(matches!(gateway.reload().await, Outcome::Rejected { .. }));
    assert_eq!(gateway.get("/v1/orders/7?gift=true").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn sources_and_what_they_import_are_read_again() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("imports")).unwrap();
    let main = "syntax = \"proto3\"; package shop.v1; import \"order.proto\";
        service OrderService { rpc GetOrder(GetOrderRequest) returns (Order); }";
    let order = "syntax = \"proto3\"; package shop.v1; message GetOrderRequest { int64 id = 1; } message Order { int64 id = 1; }";
    std::fs::write(folder.path().join("main.proto"), main).unwrap();
    std::fs::write(folder.path().join("imports/order.proto"), order).unwrap();
    let yaml = format!(
        "services: {{ shop: {{ address: \"{}\", descriptors: [main.proto], proto_paths: [., imports] }} }}
routes: [{{ name: order, path: \"/orders/{{id}}\", service: shop, grpc: OrderService/GetOrder }}]
",
        peer.address()
    );
    let gateway = Gateway::start_in(folder, &yaml);
    assert_eq!(gateway.get("/orders/7?gift=true").await.status, 400);
    gateway.write(
        "imports/order.proto",
        order.replace("int64 id = 1; } message Order", "int64 id = 1; bool gift = 2; } message Order"),
    );
    assert!(matches!(gateway.reload().await, Outcome::Applied { .. }));
    assert_eq!(gateway.get("/orders/7?gift=true").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_backend_has_told_survives_and_it_is_not_asked_again() {
    let peer = telling().await;
    let gateway = Gateway::start(&asked(&peer, ORDERS));
    eventually("ready", || ready(&gateway)).await;
    let asked_before = peer.calls();
    let generation = gateway.generation();
    for number in 0..5 {
        let more = format!("  - {{ name: ping, path: /ping, respond: {{ text: n{number} }} }}\n");
        gateway.apply(&asked(&peer, &format!("{ORDERS}{more}"))).await;
        assert_eq!(gateway.get("/ping").await.text(), format!("n{number}"));
        assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON);
    }
    assert_eq!(gateway.generation(), generation + 5, "no descriptors were taken in");
    assert_eq!(peer.calls(), asked_before + 5);
    gateway.stop().await;
}

/// What was known goes on serving while the backend is asked for more, and readiness is not lost.
#[tokio::test]
async fn a_route_to_another_service_of_a_backend_is_served_once_it_has_told() {
    let peer = telling().await;
    let gateway = Gateway::start(&asked(&peer, ORDERS));
    eventually("ready", || ready(&gateway)).await;
    assert_eq!(gateway.get("/second/7").await.status, 404);
    gateway.apply(&asked(&peer, &format!("{ORDERS}{SECOND}{FOUND}"))).await;
    assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON);
    assert!(ready(&gateway).await);
    eventually("the new routes", || async { gateway.get("/second/7").await.status == 200 }).await;
    assert_eq!(gateway.get("/found/7").await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_moves_is_served_from_the_first_request() {
    let (old, new) = (telling().await, telling().await);
    let gateway = Gateway::start(&asked(&old, ORDERS));
    eventually("ready", || ready(&gateway)).await;
    gateway.apply(&asked(&new, ORDERS)).await;
    assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON);
    eventually("the new one was asked too", || async { new.calls() >= 2 }).await;
    eventually("the old one is left", || async { old.open_connections() == 0 }).await;
    assert!(ready(&gateway).await);
    gateway.stop().await;
}

/// A refused configuration may be good once the backend has told what it lacks.
#[tokio::test]
async fn a_configuration_that_came_before_its_backend_is_taken_when_that_tells() {
    let peer = telling().await;
    peer.on(REFLECTION, Script::reflects(&shop::DESCRIPTORS));
    let gift = "  - { name: gift, path: \"/gifts/{gift}\", service: shop, grpc: shop.v1.OrderService/GetOrder }\n";
    let gateway = Gateway::start(&asked(&peer, ORDERS));
    eventually("ready", || ready(&gateway)).await;
    gateway.write_config(&asked(&peer, &format!("{ORDERS}{gift}")));
    assert!(matches!(gateway.reload().await, Outcome::Rejected { .. }));
    let source = shop::PROTO.replace("bool verbose = 3;", "bool verbose = 3;\n  bool gift = 13;");
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(source.leak())));
    gateway.hang_up();
    eventually("the route", || async { gateway.get("/gifts/true").await.status == 200 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn readiness_does_not_wait_for_a_service_that_is_gone() {
    let nobody = tidegate_testkit::peer::closed_port();
    let yaml = format!(
        "services: {{ shop: {{ address: \"{nobody}\" }} }}\nroutes:\n{ORDERS}  - {{ name: ping, path: /ping, respond: {{ text: pong }} }}\n"
    );
    let gateway = Gateway::start(&yaml);
    assert!(!ready(&gateway).await);
    gateway.apply(&super::ping("pong")).await;
    assert!(ready(&gateway).await);
    // A service that comes later is not waited for: a reload must not take the process out of service.
    gateway.apply(&yaml).await;
    assert!(ready(&gateway).await);
    gateway.stop().await;
}

/// What the page of metrics says of the descriptors of `shop`.
async fn schema(gateway: &Gateway) -> Vec<String> {
    let page = gateway.get("/metrics").await;
    let about = |line: &&str| line.starts_with("tidegate_schema_");
    page.text().lines().filter(about).map(|line| line.replace("{service=\"shop\"", "{").replace("{,", "{")).collect()
}

#[tokio::test]
async fn metrics_tell_how_asking_for_descriptors_goes() {
    let metrics = "observability: { logs: { access: null }, metrics: { public_path: /metrics } }\n";
    let peer = telling().await;
    let gateway = Gateway::start(&format!("{}{metrics}", asked(&peer, ORDERS)));
    let expect = async |stale: u8, digests: u8, results: &[(&str, u8)]| {
        let mut lines =
            vec![format!("tidegate_schema_stale{{}} {stale}"), format!("tidegate_schema_digests{{}} {digests}")];
        let results = results.iter();
        lines.extend(
            results.map(|(result, count)| format!("tidegate_schema_refreshes_total{{result=\"{result}\"}} {count}")),
        );
        eventually(&format!("{lines:?}"), || async {
            let seen = schema(&gateway).await;
            lines.iter().all(|line| seen.contains(line))
        })
        .await;
    };
    expect(0, 1, &[("applied", 1)]).await;
    gateway.hang_up();
    expect(0, 1, &[("applied", 1), ("unchanged", 1)]).await;
    // Another set without what the routes name.
    let other = "syntax = \"proto3\"; package shop.v1; message M {} service OrderService { rpc R(M) returns (M); }";
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(other)));
    gateway.hang_up();
    expect(1, 2, &[("applied", 1), ("unchanged", 1), ("rejected", 1)]).await;
    assert_eq!(gateway.get("/annotated/orders/7").await.text(), shop::ORDER_JSON);
    // The same again is still not what serves.
    gateway.hang_up();
    expect(1, 2, &[("unchanged", 2), ("rejected", 1)]).await;
    peer.on(REFLECTION, Script::reflects(&shop::descriptors_of(two_services())));
    gateway.hang_up();
    expect(0, 2, &[("applied", 2)]).await;
    peer.on(REFLECTION, Script::fails(13, "broken"));
    gateway.hang_up();
    expect(1, 2, &[("applied", 2), ("failed", 1)]).await;
    gateway.stop().await;
}
