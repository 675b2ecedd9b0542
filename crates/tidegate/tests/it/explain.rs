//! `tidegate explain`: the answers, and that the running gateway gives the same ones.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::program::{Output, output};
use tidegate_testkit::{Gateway, Peer, Program, Request, Script, delete, gateway, get, post, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Routes of every kind: with variables, a body, a stream, an upload, annotations, a host, a fixed answer.
const CONFIG: &str = r#"version: 1
listeners: [{ name: main, address: "127.0.0.1:0" }]
defaults:
  timeout: 10s
  json: { field_names: proto }
services:
  shop: { address: "127.0.0.1:9", descriptors: shop.pb }
routes:
  - { name: get-order, path: "/v1/orders/{id}", method: GET, service: shop, grpc: OrderService/GetOrder, status_map: { DEADLINE_EXCEEDED: 408 } }
  - { name: create-order, path: /v1/orders, method: POST, service: shop, grpc: OrderService/CreateOrder, body: order, max_body: 1KiB }
  - { name: watch, path: "/v1/topics/{topic}", method: GET, service: shop, grpc: OrderService/WatchOrders, stream: [sse, ndjson] }
  - { name: import, path: "/v1/batches/{batch}", method: POST, service: shop, grpc: OrderService/Import, body: "*" }
  - { name: upload, path: "/v1/files/{name}", method: POST, service: shop, grpc: OrderService/Download, body: "*", errors: { format: status } }
  - { name: cancel, path: "/v1/orders/{id}:cancel", method: POST, service: shop, grpc: OrderService/GetOrder }
  - { name: annotated, service: shop, grpc: "shop.v1.*" }
  - { name: ping, path: /ping, hosts: [api.test, "*.api.test"], method: GET, respond: { text: pong } }
system_routes: { health: null, version: null }
"#;

/// A folder with `yaml` and the files of the shop.
fn folder(yaml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    folder
}

/// What `tidegate explain` says.
async fn explain(folder: &Path, arguments: &[&str]) -> Output {
    output(BINARY, folder, &[&["explain"], arguments].concat(), "").await
}

async fn check(arguments: &[&str], code: i32, expected: &str) {
    let folder = folder(CONFIG);
    let said = explain(folder.path(), &[arguments, &["-c", "tidegate.yaml"]].concat()).await;
    assert_eq!(said.stdout, expected, "{arguments:?}\n{}", said.stdout);
    assert_eq!((said.code, said.stderr.as_str()), (code, ""), "{arguments:?}");
}

/// The digest of the shop's descriptors, as explanations show it.
async fn digest() -> String {
    let folder = folder(CONFIG);
    let said = explain(folder.path(), &["GET", "/v1/orders/7", "-c", "tidegate.yaml"]).await;
    let (_, rest) = said.stdout.split_once("shop.pb ").unwrap();
    rest[..8].to_owned()
}

#[tokio::test]
async fn a_route_is_explained_with_its_policies_and_their_places() {
    let expected = "\
route   get-order                                          tidegate.yaml:9
  path    /v1/orders/{id}          id = \"7\"
  method  GET
policies, in order
  client_ip      the peer's address                        built in
  request_id     new                                       built in
  validation     max_body 1MiB                             built in
                 content_types no body                     built in
                 content_encoding identity                 built in
  deadline       timeout 10s                               defaults, tidegate.yaml:4
  metadata       all but hop-by-hop and reserved names     built in
  transcode      rpc shop.v1.OrderService/GetOrder         tidegate.yaml:9   descriptors: shop.pb DIGEST
                 field_names proto                         defaults, tidegate.yaml:5
  service        endpoints 127.0.0.1:9, name shop          service, tidegate.yaml:7
                 connect_timeout 2s                        service, tidegate.yaml:7
                 connections 1 to 4, keepalive every 10s, 3s for the answer  service, tidegate.yaml:7
                 max_message 10MiB                         service, tidegate.yaml:7
  transforms     status_map DEADLINE_EXCEEDED: 408         tidegate.yaml:9
  errors         format problem                            built in
not chosen
";
    check(&["GET", "/v1/orders/7"], 0, &expected.replace("DIGEST", &digest().await)).await;
}
