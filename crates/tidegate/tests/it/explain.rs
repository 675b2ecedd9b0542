//! `tidegate explain`: the answers, and that the running gateway gives the same ones.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::program::{Output, output};
use tidegate_testkit::{Gateway, Peer, Program, Request, Script, delete, get, post, shop};

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
  - { name: upload, path: "/v1/files/{name}", method: POST, service: shop, grpc: OrderService/Upload, body: file, errors: { format: status } }
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
                 content_encoding identity, gzip, zstd, deflate  built in
                 content_types no body                     built in
  deadline       timeout 10s                               defaults, tidegate.yaml:4
  metadata       all but hop-by-hop and reserved names     built in
  transcode      rpc shop.v1.OrderService/GetOrder         tidegate.yaml:9   descriptors: shop.pb DIGEST
                 field_names proto                         defaults, tidegate.yaml:5
  breaker        max_concurrent 2000, max_pending 1024     service, tidegate.yaml:7
  retry          max_retries 1                             built in
                 retry_on connect_failure, unavailable, 502, 503  built in
                 budget 0.2 of the requests, and 10 a second  service, tidegate.yaml:7
  service        name shop                                 service, tidegate.yaml:7
                 endpoints 127.0.0.1:9                     service, tidegate.yaml:7
                 load_balancing least_request              service, tidegate.yaml:7
                 outlier_detection after 5 errors for 10s, at most 50 %  service, tidegate.yaml:7
                 connect_timeout 2s                        service, tidegate.yaml:7
                 connections 1 to 4                        service, tidegate.yaml:7
                 keepalive every 10s, answer within 3s     service, tidegate.yaml:7
                 max_message 10MiB                         service, tidegate.yaml:7
  transforms     status_map DEADLINE_EXCEEDED: 408         tidegate.yaml:9
                 compress whole                            built in
  errors         format problem                            built in
not chosen
  cancel              path /v1/orders/{id}:cancel: the path does not end with \":cancel\"; the method is GET
  create-order        path /v1/orders: the route ends before segment 3, the path goes on with \"7\"; the method is GET
  watch               path /v1/topics/{topic}: segment 2 is \"orders\", the route wants \"topics\"
  annotated           path /annotated/orders/{id}: segment 1 is \"v1\", the route wants \"annotated\"
  import              path /v1/batches/{batch}: segment 2 is \"orders\", the route wants \"batches\"; the method is GET
  upload              path /v1/files/{name}: segment 2 is \"orders\", the route wants \"files\"; the method is GET
  annotated           path /annotated/orders: segment 1 is \"v1\", the route wants \"annotated\", the route ends before segment 3, the path goes on with \"7\"; the method is GET
  system-liveness     path /health/liveness: segment 1 is \"v1\", the route wants \"health\"
  system-readiness    path /health/readiness: segment 1 is \"v1\", the route wants \"health\"
  system-grpc-health  path /grpc.health.v1.Health/Check: segment 1 is \"v1\", the route wants \"grpc.health.v1.Health\"; the method is GET
  … and 3 more
";
    check(&["GET", "/v1/orders/7"], 0, &expected.replace("DIGEST", &digest().await)).await;
}

#[tokio::test]
async fn what_the_request_brings_is_told_where_it_counts() {
    let folder = folder(CONFIG);
    let headers = ["-H", "accept: application/x-ndjson", "-H", "x-request-id: abc", "-H", "grpc-timeout: 5S"];
    let arguments =
        [&["GET", "https://api.test/v1/topics/a%20b?limit=3", "-c", "tidegate.yaml"], &headers[..]].concat();
    let said = explain(folder.path(), &arguments).await;
    for line in [
        "route   watch                                              tidegate.yaml:11",
        "  path    /v1/topics/{topic}       topic = \"a b\"",
        "  request_id     taken over                                built in",
        "  deadline       timeout 10s                               defaults, tidegate.yaml:4   the client waits only 5s",
        "                 stream_idle_timeout 1m                    built in",
        "                 stream sse, ndjson                        tidegate.yaml:11   by Accept: ndjson",
    ] {
        assert!(said.stdout.lines().any(|shown| shown == line), "{line}\n{}", said.stdout);
    }
    assert_eq!(said.code, 0);
    let json = explain(folder.path(), &[&arguments[..], &["--format", "json"]].concat()).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["matched"], &json["captures"]), (&json!("watch"), &json!({"topic": "a b"})));
    let timeout = json!({
        "name": "deadline",
        "stage": "request",
        "value": {"timeout": "10s"},
        "origin": {"level": "defaults", "file": "tidegate.yaml", "line": 4},
        "verdict": "allow",
        "note": "the client waits only 5s",
    });
    assert!(json["policies"].as_array().unwrap().contains(&timeout), "{json}");
    assert_eq!(json["would_answer"], Value::Null);
}

#[tokio::test]
async fn without_a_route_the_nearest_ones_are_told() {
    let expected = "\
no route matches GET /v1/order/7 on localhost
answer  404 route_not_found: no route for this path
not chosen
  get-order         path /v1/orders/{id}: segment 2 is \"order\", the route wants \"orders\"
  cancel            path /v1/orders/{id}:cancel: segment 2 is \"order\", the route wants \"orders\", the path does not end with \":cancel\"; the method is GET
  watch             path /v1/topics/{topic}: segment 2 is \"order\", the route wants \"topics\"
";
    let folder = folder(CONFIG);
    let said = explain(folder.path(), &["GET", "/v1/order/7", "-c", "tidegate.yaml"]).await;
    assert!(said.stdout.starts_with(expected), "{}", said.stdout);
    assert_eq!(said.code, 1);
    for (method, url, nearest) in [
        (
            "GET",
            "/v1/Orders/7",
            "get-order path segment 2 is \"Orders\", the route wants \"orders\": letter case counts",
        ),
        ("POST", "/v1/orders/", "create-order path the path ends with a slash, the route does not"),
        ("POST", "/v1/orders/7:stop", "get-order method the method is POST"),
        ("DELETE", "/v1/topics/a", "watch method the method is DELETE"),
        ("get", "/v1/topics/a", "watch method the method is get: methods are written in upper case"),
        ("GET", "/v1/topics", "watch path the path ends before segment 3, where the route wants a value"),
        (
            "GET",
            "/v1/topics/a/b/c",
            "watch path the route ends before segment 4, the path goes on with \"b\" and 1 more",
        ),
        ("GET", "/v1/topics/", "watch path segment 3 is empty, the route wants a value"),
        ("GET", "http://www.test/ping", "ping host the request asks for \"www.test\""),
        ("GET", "/nothing/at/all", "get-order path segment 1 is \"nothing\", the route wants \"v1\""),
    ] {
        let said = explain(folder.path(), &[method, url, "-c", "tidegate.yaml", "--format", "json"]).await;
        let json: Value = serde_json::from_str(&said.stdout).unwrap();
        let word = |key: &str| json["rejected"][0][key].as_str().unwrap().to_owned();
        assert_eq!(format!("{} {} {}", word("route"), word("predicate"), word("why")), nearest, "{method} {url}");
        assert_eq!((said.code, &json["matched"]), (1, &Value::Null), "{method} {url}");
        assert_eq!(json["rejected"].as_array().unwrap().len(), 10, "{method} {url}");
    }
}

#[tokio::test]
async fn a_route_that_another_one_goes_before_is_told_so() {
    let folder = folder(CONFIG);
    let said =
        explain(folder.path(), &["POST", "/v1/orders/7:cancel", "-c", "tidegate.yaml", "--format", "json"]).await;
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["matched"], said.code), (&json!("cancel"), 0));
    assert_eq!(json["rejected"][0]["route"], "get-order", "{json}");
}

/// Sends a request and asks what would become of it, and expects the same: status, reason and `Allow` of a refusal that
/// no backend has seen, or a call.
async fn agree(gateway: &Gateway, peer: &Peer, request: &Request) -> Option<String> {
    let shown = format!("{} {} {:?}", request.method, request.target, request.headers);
    let calls = peer.calls();
    let explained = gateway.explain(request);
    assert_eq!(peer.calls(), calls, "{shown}: an explanation sends nothing");
    let answer = gateway.send(request).await;
    let Some(refusal) = explained.would_answer else {
        let own = explained.route.is_some_and(|route| !route.target.contains('/'));
        assert!(own || peer.calls() == calls + 1, "{shown}: {} {}", answer.status, answer.text());
        return None;
    };
    assert_eq!(peer.calls(), calls, "{shown}: refused, but sent");
    let reason = match answer.json().pointer("/details/0/reason") {
        Some(reason) => reason.as_str().unwrap().to_ascii_lowercase(),
        None => answer.reason(),
    };
    assert_eq!(
        (answer.status, reason.as_str()),
        (refusal.status, refusal.reason.as_str()),
        "{shown}: {}",
        answer.text()
    );
    assert_eq!(answer.header("allow"), refusal.allow.unwrap_or_default(), "{shown}");
    let text = answer.text();
    assert!(text.contains(&refusal.detail), "{shown}: {text}");
    for error in refusal.errors {
        assert!(text.contains(&error.field) && text.contains(&error.message), "{shown}: {text}");
    }
    Some(format!("{} {}", answer.status, reason))
}

#[tokio::test]
async fn the_running_gateway_answers_what_was_explained() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&CONFIG.replace("127.0.0.1:9", &peer.address().to_string()));
    let get_with = |name: &str, value: &str| get("/v1/orders/7").header(name, value);
    let big = vec![b' '; 2000];
    for (request, expected) in [
        (get("/v1/orders/7"), None),
        (get("/v1/orders/7?customer=a&tags=x&tags=y"), None),
        (get("/ping").header("host", "api.test"), None),
        (get("/health/readiness"), None),
        (get("/v1/order/7"), Some("404 route_not_found")),
        (get("/ping").header("host", "www.test"), Some("404 route_not_found")),
        (get("/v1/orders/7/"), Some("404 route_not_found")),
        (delete("/v1/orders/7"), Some("405 method_not_allowed")),
        (get("/v1/orders/7:cancel"), Some("400 bad_request")),
        (Request::new("TRACE", "/v1/orders/7"), Some("405 method_not_allowed")),
        (Request::new("PURGE", "/v1/topics/a"), Some("405 method_not_allowed")),
        (post("/health/readiness", "{}"), Some("405 method_not_allowed")),
        (get("/v1/orders/../7"), Some("400 bad_request")),
        (get("/v1//orders"), Some("400 bad_request")),
        (get("/v1/orders/%zz"), Some("400 bad_request")),
        (get("/v1/orders/%00"), Some("400 bad_request")),
        (get("/v1/orders/%ff"), Some("400 bad_request")),
        (get("/v1/topics/a%2f..%2fb"), Some("400 bad_request")),
        (get("/v1/orders/7").header("host", "a b"), Some("400 bad_request")),
        (get("/v1/orders/7").header("host", "user@shop.test"), Some("400 bad_request")),
        (get_with("expect", "a-miracle"), Some("417 bad_request")),
        (get("/v1/orders/seven"), Some("400 bad_request")),
        (get("/v1/orders/7?nobody=1"), Some("400 bad_request")),
        (get("/v1/orders/7?verbose=perhaps"), Some("400 bad_request")),
        (get("/v1/orders/7?customer=a&customer=b"), Some("400 bad_request")),
        (get("/v1/topics/a?limit=-1"), Some("400 bad_request")),
        (get_with("grpc-timeout", "soon"), Some("400 bad_request")),
        (get_with("request-timeout", "-1"), Some("400 bad_request")),
        (get_with("grpc-timeout", "0m"), Some("408 upstream_timeout")),
        (get_with("content-encoding", "gzip"), None),
        (get_with("content-encoding", "snappy"), Some("415 unsupported_media_type")),
        (get_with("content-encoding", "identity"), None),
        (get("/v1/orders/7").header("x-big", &"x".repeat(20_000)).header("x-big", &"x".repeat(11_000)), None),
        (get("/v1/orders/7").body("{}"), None),
        (get("/v1/orders/7").body(r#"{"customer":"a"}"#), Some("400 bad_request")),
        (post("/v1/orders", r#"{"card":"1"}"#), None),
        (post("/v1/orders", &big), Some("413 payload_too_large")),
        (Request::new("POST", "/v1/orders"), None),
        (Request::new("POST", "/v1/orders").header("content-type", "text/plain"), None),
        (
            Request::new("POST", "/v1/orders").header("content-type", "text/plain").body("{}"),
            Some("415 unsupported_media_type"),
        ),
        (
            Request::new("POST", "/v1/orders").header("content-type", "application/json; charset=latin1").body("{}"),
            Some("415 unsupported_media_type"),
        ),
        (post("/v1/orders", "{}").header("content-type", "application/json"), Some("400 bad_request")),
        (post("/v1/orders?order.id=1", "{}"), Some("400 bad_request")),
        (post("/v1/batches/b", r#"{"mode":"x"}"#), None),
        (Request::new("POST", "/v1/batches/b").header("content-type", "application/x-ndjson").body("{}"), None),
        (
            Request::new("POST", "/v1/batches/b").header("content-type", "text/csv").body("{}"),
            Some("415 unsupported_media_type"),
        ),
        (post("/v1/batches/b?mode=x", "{}"), Some("400 bad_request")),
        (post("/v1/files/7", "{}").header("content-encoding", "br"), Some("415 unsupported_media_type")),
        (get("/annotated/orders/7"), None),
        (get("/annotated/customers/a/orders/x"), Some("400 bad_request")),
        (Request::new("HEAD", "/v1/orders/7"), None),
        (Request::new("OPTIONS", "*"), Some("400 bad_request")),
    ] {
        let answered = agree(&gateway, &peer, &request).await;
        assert_eq!(answered.as_deref(), expected, "{} {} {:?}", request.method, request.target, request.headers);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_that_is_down_or_unknown_is_explained_as_it_is_answered() {
    let peer = Peer::start().await;
    let closed = closed_port().to_string();
    let gateway = Gateway::start(&CONFIG.replace("127.0.0.1:9", &closed));
    assert_eq!(gateway.explain(&get("/v1/orders/7")).would_answer, None, "nobody has tried yet");
    assert_eq!(gateway.get("/v1/orders/7").await.status, 503);
    let answered = agree(&gateway, &peer, &get("/v1/orders/7")).await;
    assert_eq!(answered.as_deref(), Some("503 connect_failed"));
    gateway.stop().await;
    let reflection = CONFIG.replace("127.0.0.1:9", &closed).replace("shop.pb", "reflection");
    let reflection = reflection.replace("OrderService/", "shop.v1.OrderService/");
    let gateway = Gateway::start(&reflection);
    let answered = agree(&gateway, &peer, &get("/v1/orders/7")).await;
    assert_eq!(answered.as_deref(), Some("503 no_healthy_endpoint"));
    let notes = gateway.explain(&get("/annotated/orders/7")).notes;
    assert_eq!(notes, ["the paths of route annotated are not known yet: shop has not told them"]);
    gateway.stop().await;
}

#[tokio::test]
async fn offline_what_reflection_told_an_earlier_run_is_remembered() {
    let reflection = Script::reflects(&shop::DESCRIPTORS);
    let peer = Peer::with("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", reflection).await;
    let yaml = CONFIG.replace("127.0.0.1:9", &peer.address().to_string()).replace("shop.pb", "reflection");
    let yaml = yaml.replace("OrderService/", "shop.v1.OrderService/");
    let bare = folder(&yaml);
    let said = explain(bare.path(), &["GET", "/annotated/orders/7", "-c", "tidegate.yaml"]).await;
    let note = "note    the paths of route annotated are not known offline: ask a running gateway (--admin) that shop has told them\n";
    assert!(said.code == 1 && said.stdout.ends_with(note), "{said:?}");
    let said = explain(bare.path(), &["GET", "/v1/orders/7", "-c", "tidegate.yaml"]).await;
    assert!(said.stdout.contains("descriptors: reflection not known offline"), "{}", said.stdout);
    assert!(!said.stdout.contains("\nanswer "), "what is not known offline is no refusal\n{}", said.stdout);
    let mut program = Program::run(BINARY, &yaml);
    program.logged("descriptors taken in").await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let said = explain(program.folder(), &["GET", "/annotated/orders/7", "-c", "tidegate.yaml"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("descriptors: reflection "), "{}", said.stdout);
    let routes = output(BINARY, program.folder(), &["routes", "-c", "tidegate.yaml"], "").await;
    assert!(routes.stdout.contains("/annotated/orders/{id}"), "{}", routes.stdout);
}

#[tokio::test]
async fn usage_and_broken_configurations_have_their_exit_codes() {
    let folder = folder(CONFIG);
    std::fs::write(folder.path().join("broken.yaml"), "version: 1\nrouts: []\n").unwrap();
    for (arguments, code, part) in [
        (&["GET", "v1/orders", "-c", "tidegate.yaml"][..], 2, "is not a URL"),
        (&["G T", "/v1/orders", "-c", "tidegate.yaml"], 2, "is not a method"),
        (&["GET", "/v1/orders", "-H", "nonsense", "-c", "tidegate.yaml"], 2, "expected `name: value`"),
        (&["GET", "/v1/orders", "-H", "a b: c", "-c", "tidegate.yaml"], 2, "is not a header"),
        (&["GET", "/v1/orders"], 2, "is needed"),
        (&["GET"], 2, "Usage"),
        (&["GET", "/v1/orders", "-c", "broken.yaml"], 78, "did you mean"),
        (&["GET", "/v1/orders", "-c", "nothing.yaml"], 78, "nothing.yaml"),
    ] {
        let said = explain(folder.path(), arguments).await;
        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{arguments:?} {said:?}");
        assert!(said.stderr.contains(part), "{arguments:?}: {}", said.stderr);
    }
    let nobody = format!("http://{}", closed_port());
    let said = explain(folder.path(), &["GET", "/v1/orders", "--admin", &nobody]).await;
    assert!(said.code == 1 && said.stderr.contains("refused"), "{said:?}");
}

#[tokio::test]
async fn the_running_gateway_is_asked_over_its_admin_address() {
    let closed = closed_port().to_string();
    let admin = "admin: { address: \"127.0.0.1:0\", token: not-to-be-guessed }";
    let yaml = format!("{}{admin}\n", CONFIG.replace("127.0.0.1:9", &closed));
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let line: Value = serde_json::from_str(&program.logged("admin API").await).unwrap();
    let admin = format!("http://{}", line["address"].as_str().unwrap());
    let online = ["GET", "/v1/orders/7", "--admin", &admin, "--token", "not-to-be-guessed"];
    let before = explain(program.folder(), &online).await;
    assert_eq!((before.code, before.stderr.as_str()), (0, ""), "{}", before.stdout);
    assert!(before.stdout.contains(&format!("endpoints {closed}")), "{}", before.stdout);
    assert!(!before.stdout.contains("\nanswer "), "{}", before.stdout);
    // The same text as from the file, but for what only the running one knows.
    let offline = explain(program.folder(), &["GET", "/v1/orders/7", "-c", "tidegate.yaml"]).await;
    let common = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("endpoints ") && !line.starts_with("as of "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(common(&before.stdout), common(&offline.stdout));
    assert_eq!(tidegate_testkit::client::Http1::connect(address).await.send(&get("/v1/orders/7")).await.status, 503);
    let after = explain(program.folder(), &online).await;
    assert!(after.stdout.contains("\nanswer  503 connect_failed: "), "{}", after.stdout);
    assert!(after.stdout.contains("   transient_failure\n"), "{}", after.stdout);
    let last = after.stdout.lines().last().unwrap();
    assert!(last.starts_with("as of   configuration ") && last.ends_with(", generation 1"), "{last}");
    let json = explain(program.folder(), &[&online[..], &["--format", "json"]].concat()).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["matched"], &json["would_answer"]["status"]), (&json!("get-order"), &json!(503)));
    let nowhere =
        explain(program.folder(), &["GET", "/nowhere", "--admin", &admin, "--token", "not-to-be-guessed"]).await;
    assert_eq!(nowhere.code, 1);
    for token in ["guessed", "two words"] {
        let said = explain(program.folder(), &["GET", "/", "--admin", &admin, "--token", token]).await;
        assert!(said.code == 1 && said.stdout.is_empty() && !said.stderr.contains("not-to-be-guessed"), "{said:?}");
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn what_routes_do_to_answers_is_told_of_every_kind() {
    const YAML: &str = r#"version: 1
listeners: [{ name: main, address: "127.0.0.1:0" }]
services:
  shop: { address: "127.0.0.1:9", descriptors: shop.pb }
  web: { address: "http://127.0.0.1:9" }
defaults: { response_headers: { set: { x-edge: "1", content-type: text/html } } }
routes:
  - { name: hints, path: /hints, service: web, early_hints: true }
  - { name: no-hints, path: /no-hints, service: web, early_hints: true, response_headers: { remove: [link] } }
  - { name: plain, path: /plain, service: web }
  - { name: call, path: /call, service: shop, grpc: OrderService/GetOrder }
  - { name: native, path: "/shop.v1.OrderService/{method}", service: shop, protocol: grpc }
  - { name: fixed, path: /fixed, respond: { text: a } }
"#;
    let folder = folder(YAML);
    let of_proxies = vec![("transforms", r#"set ["x-edge","content-type"]"#)];
    let of_calls = vec![("transforms", r#"set ["x-edge"]"#)];
    let hints = |rest: &[(&'static str, &'static str)]| [&[("early_hints", "passed on")][..], rest].concat();
    for (method, path, expected) in [
        ("GET", "/hints", hints(&of_proxies)),
        ("GET", "/no-hints", hints(&[&[("transforms", r#"remove ["link"]"#)][..], &of_proxies].concat())),
        ("GET", "/plain", of_proxies.clone()),
        ("GET", "/call", of_calls.clone()),
        ("POST", "/shop.v1.OrderService/GetOrder", of_calls),
        ("GET", "/fixed", of_proxies),
    ] {
        let said = explain(folder.path(), &[method, path, "-c", "tidegate.yaml", "--format", "json"]).await;
        let all: Value = serde_json::from_str(&said.stdout).unwrap();
        let policies = all["policies"].as_array().unwrap();
        let seen: Vec<(&str, String)> = policies
            .iter()
            .filter(|policy| policy["name"] == "early_hints" || policy["name"] == "transforms")
            .filter_map(|policy| match &policy["value"] {
                Value::String(text) => Some((policy["name"].as_str()?, text.clone())),
                Value::Object(one) => {
                    let (key, value) = one.iter().next()?;
                    (key != "compress").then_some((policy["name"].as_str()?, format!("{key} {value}")))
                }
                _ => None,
            })
            .collect();
        let expected: Vec<(&str, String)> = expected.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        assert_eq!(seen, expected, "{path}");
        let note =
            policies.iter().find(|policy| policy["name"] == "early_hints").map(|policy| policy["note"].is_string());
        assert_eq!(note.unwrap_or(false), path == "/no-hints", "{path}");
    }
}
