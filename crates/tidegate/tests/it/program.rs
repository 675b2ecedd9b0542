//! The program: arguments, exit codes, signals, and what it prints.

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::program::{Output, output};
use tidegate_testkit::{End, Peer, Program, Script, engine, gateway, get, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Runs the program with `arguments` in a folder that has `yaml` as `tidegate.yaml`, and the files of the shop.
async fn tidegate(yaml: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    output(BINARY, folder.path(), arguments, yaml).await
}

/// A program in front of a peer whose calls of `GetOrder` wait to be released, and one call that waits.
async fn busy(drain: &str) -> (Peer, Program, SocketAddr, Http1) {
    let mut peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let mut program = Program::run(BINARY, &shop::config(peer.address(), drain));
    let address = program.listener("main").await;
    let mut http1 = Http1::connect(address).await;
    http1.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    peer.call().await;
    (peer, program, address, http1)
}

#[tokio::test]
async fn term_lets_running_requests_finish() {
    let (peer, mut program, address, mut http1) = busy("").await;
    let mut idle = Http1::connect(address).await;
    assert_eq!(idle.send(&get("/health/readiness")).await.status, 200);
    program.terminate();
    assert!(idle.is_closed().await, "an idle connection is closed");
    tidegate_testkit::eventually("no more connections", || async { std::net::TcpStream::connect(address).is_err() })
        .await;
    peer.release(1);
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
    assert_eq!(answer.header("connection"), "close");
    assert!(http1.is_closed().await);
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn term_lets_streams_of_http2_finish() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).hold().status(0, "")).await;
    let mut program = Program::run(BINARY, &shop::config(peer.address(), ""));
    let mut http2 = Http2::connect(program.listener("main").await).await;
    let mut running = http2.start(&get("/v1/topics/a"), true).await;
    peer.call().await;
    assert_eq!(running.head().await.unwrap().0, 200);
    program.terminate();
    program.logged("draining").await;
    peer.release(1);
    let mut body = Vec::new();
    while let Some(piece) = running.piece().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    assert_eq!(body, br#"[{"sequence":"1"}]"#);
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn readiness_fails_before_the_listeners_close() {
    let peer = Peer::start().await;
    let drain = "drain: { readiness_delay: 60s, timeout: 60s }";
    let mut program = Program::run(BINARY, &shop::config(peer.address(), drain));
    let address = program.listener("main").await;
    program.terminate();
    program.logged("draining").await;
    let mut http1 = Http1::connect(address).await;
    let answer = http1.send(&get("/health/readiness")).await;
    assert_eq!((answer.status, answer.text()), (503, r#"{"pending":["draining"],"status":"not_ready"}"#));
    assert_eq!(http1.send(&get("/health/liveness")).await.status, 200);
    // Nothing is open, so the second signal cuts nothing.
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (_peer, mut program, _address, mut http1) = busy("drain: { readiness_delay: 0s, timeout: 60s }").await;
    program.terminate();
    program.logged("draining").await;
    program.terminate();
    assert_eq!(program.code().await, 1, "{}", program.log());
    assert!(http1.is_closed().await);
}

#[tokio::test]
async fn the_drain_deadline_cuts_what_is_open() {
    let (_peer, mut program, _address, mut http1) = busy("drain: { readiness_delay: 0s, timeout: 200ms }").await;
    program.terminate();
    assert_eq!(program.code().await, 124, "{}", program.log());
    assert!(http1.is_closed().await);
}

#[tokio::test]
async fn hup_ends_nothing() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let mut program = Program::run(BINARY, &shop::config(peer.address(), ""));
    let address = program.listener("main").await;
    program.hang_up();
    for _ in 0..3 {
        assert_eq!(Http1::connect(address).await.send(&get("/v1/orders/7")).await.status, 200);
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn an_array_is_broken_off_for_its_client_before_time_is_up() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1))).await;
    let mut program =
        Program::run(BINARY, &shop::config(peer.address(), "drain: { readiness_delay: 0s, timeout: 4s }"));
    let mut http1 = Http1::connect(program.listener("main").await).await;
    http1.write("GET /v1/topics/a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(http1.head().await.0, 200);
    http1.until("\"1\"").await;
    program.terminate();
    let mut seen = Vec::new();
    let end = loop {
        match http1.piece().await {
            Ok(Some(piece)) => seen.extend_from_slice(&piece),
            end => break end,
        }
    };
    // As an array has it, which no parser takes for a whole one.
    let error = r#",{"error":{"code":14,"message":"shutting down","reason":"draining"}}"#;
    assert_eq!((String::from_utf8(seen).unwrap().as_str(), end), (error, Err(End::Cut)));
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn a_taken_port_is_69_unless_it_is_shared() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = |address| {
        let listeners = format!("listeners: [{{ name: main, address: \"{address}\" }}]");
        shop::config(SocketAddr::from(([127, 0, 0, 1], 9)), &listeners)
    };
    let mut program = Program::run(BINARY, &yaml(address));
    assert_eq!(program.code().await, 69);
    program.logged("cannot listen").await;
    drop(taken);
    let mut first = Program::run_with(BINARY, &yaml(SocketAddr::from(([127, 0, 0, 1], 0))), &["--share-ports"]);
    let address = first.listener("main").await;
    let mut second = Program::run_with(BINARY, &yaml(address), &["--share-ports"]);
    assert_eq!(second.listener("main").await, address);
    first.terminate();
    assert_eq!(first.code().await, 0);
    assert_eq!(Http1::connect(address).await.send(&get("/health/liveness")).await.status, 200);
    second.terminate();
    assert_eq!(second.code().await, 0);
}

/// A configuration with two mistakes that the decoder finds.
const MISTAKES: &str = "version: 1
listeners: [{ name: main, address: \"127.0.0.1:0\" }]
services:
  shop: { address: \"127.0.0.1:9\", descriptors: shop.pb, timeuot: 5s }
routes:
  - { name: a, path: \"/v1/{id\", service: shop, grpc: OrderService/GetOrder }
";

const MISTAKES_TEXT: &str = r#"error[unknown_key]: unknown key "timeuot"
 --> tidegate.yaml:4:57
  |
4 |   shop: { address: "127.0.0.1:9", descriptors: shop.pb, timeuot: 5s }
  |                                                         ^^^^^^^ did you mean "timeout"?

error[invalid_path]: unclosed '{'
 --> tidegate.yaml:6:27
  |
6 |   - { name: a, path: "/v1/{id", service: shop, grpc: OrderService/GetOrder }
  |                           ^
2 errors, 0 warnings (1 file, 1 route, 1 service)
"#;

#[tokio::test]
async fn a_wrong_configuration_is_78_with_all_its_problems() {
    let checked = tidegate(MISTAKES, &["check", "-c", "tidegate.yaml"]).await;
    assert_eq!((checked.code, checked.stdout.as_str(), checked.stderr.as_str()), (78, MISTAKES_TEXT, ""));
    for command in ["run", "routes"] {
        let run = tidegate(MISTAKES, &[command, "-c", "tidegate.yaml"]).await;
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (78, "", MISTAKES_TEXT), "{command}");
    }
    let json = tidegate(MISTAKES, &["check", "-c", "tidegate.yaml", "--format", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(2), "{json:#}");
}

/// What only descriptors can tell: a method that is not there, and a variable that is no field.
#[tokio::test]
async fn what_does_not_fit_the_descriptors_is_78_too() {
    let routes = "  - { name: a, path: \"/a\", service: shop, grpc: OrderService/Nothing }
  - { name: b, path: \"/b/{nobody}\", service: shop, grpc: OrderService/GetOrder }";
    let yaml = gateway::complete(&format!(
        "services:\n  shop: {{ address: \"127.0.0.1:9\", descriptors: shop.pb }}\nroutes:\n{routes}\n"
    ));
    for command in ["check", "run"] {
        let output = tidegate(&yaml, &[command, "-c", "tidegate.yaml"]).await;
        let text = output.stdout + &output.stderr;
        assert_eq!(output.code, 78);
        for expected in ["tidegate.yaml:8:", "tidegate.yaml:9:", "Nothing", "nobody", "2 errors"] {
            assert!(text.contains(expected), "{expected} in:\n{text}");
        }
    }
    let yaml = yaml.replace("shop.pb", "nothing.pb");
    let output = tidegate(&yaml, &["check", "-c", "tidegate.yaml"]).await;
    assert!(output.code == 78 && output.stdout.contains("nothing.pb"), "{output:?}");
}

const ROUTES_TEXT: &str = "\
NAME                METHODS  PATH                                         TARGET                            AUTH  LIMITS  CACHE  ORIGIN
one                 GET      a.test/v1/{id}                               shop.v1.OrderService/GetOrder     -     -       -      tidegate.yaml:8
annotated           GET      /annotated/customers/{customer}/orders/{id}  shop.v1.OrderService/GetOrder     -     -       -      tidegate.yaml:9
annotated           POST     /annotated/orders                            shop.v1.OrderService/CreateOrder  -     -       -      tidegate.yaml:9
mine                GET      /annotated/orders/{id}                       shop.v1.OrderService/GetOrder     -     -       -      tidegate.yaml:10
ping                *        /ping                                        respond 200                       -     -       -      tidegate.yaml:11
system-liveness     GET      /health/liveness                             system liveness                   -     -       -      built in
system-readiness    GET      /health/readiness                            system readiness                  -     -       -      built in
system-grpc-health  POST     /grpc.health.v1.Health/Check                 system grpc health                -     -       -      built in
system-grpc-health  POST     /grpc.health.v1.Health/Watch                 system grpc health                -     -       -      built in
";

#[tokio::test]
async fn routes_prints_the_compiled_table() {
    let routes = "  - { name: one, path: \"/v1/{id}\", method: GET, service: shop, grpc: OrderService/GetOrder, hosts: [a.test] }
  - { name: annotated, service: shop, grpc: \"shop.v1.*\" }
  - { name: mine, path: \"/annotated/orders/{id}\", method: GET, service: shop, grpc: OrderService/GetOrder }
  - { name: ping, path: /ping, respond: { text: pong } }";
    let yaml = gateway::complete(&format!(
        "services:\n  shop: {{ address: \"127.0.0.1:9\", descriptors: shop.pb }}\nroutes:\n{routes}\nsystem_routes: {{ health: null, version: null }}\n"
    ));
    let output = tidegate(&yaml, &["routes", "-c", "tidegate.yaml"]).await;
    assert_eq!((output.code, output.stdout.as_str()), (0, ROUTES_TEXT), "{}", output.stderr);
    let json = tidegate(&yaml, &["routes", "-c", "tidegate.yaml", "--format", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["one", "annotated", "annotated", "mine", "ping"]), "{names:?}");
    let first = serde_json::json!({
        "name": "one", "methods": ["GET"], "hosts": ["a.test"], "path": "/v1/{id}", "service": "shop",
        "target": "shop.v1.OrderService/GetOrder", "auth": null, "limits": [], "cache": null,
        "origin": "tidegate.yaml:8",
    });
    assert_eq!(json[0], first);
}

#[tokio::test]
async fn schema_prints_what_is_committed() {
    let committed = include_str!("../../../../docs/tidegate.schema.json");
    for arguments in [&["schema"][..], &["schema", "--format", "json"]] {
        let printed = tidegate("", arguments).await;
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
        assert!(printed.stdout == committed, "docs/tidegate.schema.json is stale: run `make docs`");
    }
    assert!(committed.contains("https://json-schema.org/draft/2020-12/schema"));
}

#[tokio::test]
async fn a_good_configuration_passes_from_a_file_and_from_standard_input() {
    let yaml = gateway::complete(&shop::config(SocketAddr::from(([127, 0, 0, 1], 9)), ""));
    for file in ["tidegate.yaml", "-"] {
        let output = tidegate(&yaml, &["check", "-c", file]).await;
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", output.stdout);
        assert_eq!(output.stdout, "0 errors, 0 warnings (1 file, 9 routes, 1 service)\n");
    }
    let missing = tidegate("", &["check", "-c", "nothing.yaml"]).await;
    assert!(missing.code == 78 && missing.stdout.contains("nothing.yaml"), "{missing:?}");
}

#[tokio::test]
async fn version_and_usage() {
    let version = tidegate("", &["version"]).await;
    assert_eq!(version.code, 0);
    assert!(version.stdout.starts_with(concat!("tidegate ", env!("CARGO_PKG_VERSION"), " (")), "{}", version.stdout);
    let json = tidegate("", &["version", "--format", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    for arguments in [&["nothing"][..], &["run"], &["check", "--nothing"], &[]] {
        assert_eq!(tidegate("", arguments).await.code, 2, "{arguments:?}");
    }
}

#[tokio::test]
async fn healthcheck_asks_a_running_gateway() {
    let mut program = Program::run(BINARY, &shop::config(SocketAddr::from(([127, 0, 0, 1], 9)), ""));
    let address = program.listener("main").await;
    let ask = |path: &str| format!("http://{address}{path}");
    let cases = [
        (ask("/health/readiness"), 0, "healthy: 200\n"),
        (ask("/nowhere"), 1, "unhealthy: 404\n"),
        (format!("https://{address}/"), 1, "unreachable: only http:// can be asked, not https://\n"),
    ];
    for (url, code, printed) in cases {
        let output = tidegate("", &["healthcheck", "--url", &url]).await;
        assert_eq!((output.code, output.stdout.as_str()), (code, printed));
    }
    program.terminate();
    assert_eq!(program.code().await, 0);
    let gone = tidegate("", &["healthcheck", "--url", &ask("/health/readiness"), "--timeout-ms", "500"]).await;
    assert!(gone.code == 1 && gone.stdout.starts_with("unreachable: "), "{gone:?}");
}

#[tokio::test]
async fn the_log_is_json_and_names_the_version() {
    let mut program = Program::run(BINARY, &shop::config(SocketAddr::from(([127, 0, 0, 1], 9)), ""));
    program.listener("main").await;
    let line: serde_json::Value = serde_json::from_str(&program.logged("\"started\"").await).unwrap();
    assert_eq!((&line["version"], &line["services"]), (&env!("CARGO_PKG_VERSION").into(), &1.into()));
    program.terminate();
    assert_eq!(program.code().await, 0);
}

#[tokio::test]
async fn every_example_passes_check() {
    let mut checked = 0;
    for entry in std::fs::read_dir(engine::examples()).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("tidegate.yaml").exists() {
            let output = output(BINARY, &folder, &["check", "-c", "tidegate.yaml"], "").await;
            assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}: {}", folder.display(), output.stdout);
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked} examples");
}
