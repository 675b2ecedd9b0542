//! However a request ends, its line in the access log and its series say so: who ended it, on which route, how much went
//! over the wire, and whose time it was.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::{End, Peer, Program, Request, Script, eventually, get, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Long enough to tell whose time it was.
const LONG: Duration = Duration::from_millis(200);

const OBSERVED: &str =
    "observability:\n  logs: { access: { output: access.log } }\n  metrics: { public_path: /metrics }\n";

/// The program in front of `peer`, with `more` in its configuration.
fn run(peer: &Peer, more: &str) -> Program {
    Program::run(BINARY, &shop::config(peer.address(), &format!("{OBSERVED}{more}")))
}

/// The line of the request that was sent with this id.
async fn line(program: &Program, id: &str) -> Value {
    let log = program.folder().join("access.log");
    let find = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.into_iter().find(|line| line["request_id"] == id)
    };
    eventually("the line is written", || async { find().is_some() }).await;
    find().unwrap()
}

fn ask(id: &str, target: &str) -> Request {
    get(target).header("x-request-id", id)
}

/// `duration_ms` without the field `part`, in milliseconds.
fn without(line: &Value, part: &str) -> f64 {
    line["duration_ms"].as_f64().unwrap() - line[part].as_f64().unwrap()
}

#[tokio::test]
async fn a_stream_that_ends_in_trailers_has_ended_well() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let mut program = run(&peer, "");
    let address = program.listener("main").await;
    for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
        let id = accept.replace('/', "-").replace('+', ".");
        let watch = |way: &str| ask(&format!("{id}-{way}"), "/v1/topics/a").header("accept", accept);
        assert_eq!(Http2::connect(address).await.send(&watch("2")).await.trailer("grpc-status"), "0");
        let with_trailers = watch("te").header("te", "trailers");
        assert_eq!(Http1::connect(address).await.send(&with_trailers).await.trailer("grpc-status"), "0");
        assert_eq!(Http1::connect(address).await.send(&watch("1")).await.end, End::Clean);
        for way in ["2", "te", "1"] {
            let line = line(&program, &format!("{id}-{way}")).await;
            assert_eq!((&line["status"], &line["reason"]), (&json!(200), &Value::Null), "{line}");
        }
    }
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_counted_for_the_route() {
    let mut peer = Peer::with("GetOrder", Script::new().hold()).await;
    let mut program = run(&peer, "");
    let address = program.listener("main").await;
    let mut client = Http1::connect(address).await;
    client.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nx-request-id: left\r\n\r\n").await;
    let _asked = peer.call().await;
    drop(client);
    let left = line(&program, "left").await;
    assert_eq!(
        json!([left["status"], left["reason"], left["route"], left["service"], left["rpc_method"], left["attempts"]]),
        json!([499, "client_closed", "get-order", "shop", "shop.v1.OrderService/GetOrder", 1]),
    );
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let counted = page.text().lines().any(|line| {
        line.starts_with("tidegate_http_requests_total{") && line.contains("get-order") && line.contains("\"499\"")
    });
    assert!(counted, "{}", page.text());
}

#[tokio::test]
async fn what_a_drain_cuts_is_not_the_clients_doing() {
    let mut peer = Peer::with("GetOrder", Script::new().hold()).await;
    let mut program = run(&peer, "drain: { readiness_delay: 0s, timeout: 300ms }\n");
    let mut client = Http1::connect(program.listener("main").await).await;
    client.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nx-request-id: cut\r\n\r\n").await;
    let _asked = peer.call().await;
    program.terminate();
    assert_eq!(program.code().await, 124, "{}", program.log());
    let cut = line(&program, "cut").await;
    assert_eq!((&cut["reason"], &cut["route"]), (&json!("draining"), &json!("get-order")), "{cut}");
}

#[tokio::test]
async fn an_answer_counts_as_far_as_the_client_took_it() {
    let large = shop::message("Order", json!({ "customerName": "a".repeat(1 << 20) }));
    let peer = Peer::with("GetOrder", Script::ok(large)).await;
    let mut program = run(&peer, "");
    let mut client = Http2::connect(program.listener("main").await).await;
    let mut running = client.start(&ask("half", "/v1/orders/7"), true).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    // The gateway waits for the client's window, which is not its own time.
    tokio::time::sleep(LONG).await;
    running.cancel();
    let half = line(&program, "half").await;
    assert_eq!((&half["status"], &half["reason"]), (&json!(200), &json!("client_closed")), "{half}");
    assert!(half["bytes_out"].as_u64().unwrap() < 1 << 20, "{half}");
    assert!(without(&half, "overhead_ms") > LONG.as_secs_f64() * 500.0, "{half}");
}

#[tokio::test]
async fn a_body_counts_as_far_as_it_came_and_waiting_for_it_is_the_clients_time() {
    let peer = Peer::start().await;
    let mut program = run(&peer, "defaults: { max_body: 1KiB }\n");
    let address = program.listener("main").await;
    let head = |id: &str| {
        format!("POST /v1/orders HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\ntransfer-encoding: chunked\r\n\r\n")
    };
    let piece = format!("200\r\n{}\r\n", " ".repeat(0x200));
    let mut client = Http1::connect(address).await;
    client.write(format!("{}{piece}", head("large"))).await;
    tokio::time::sleep(LONG).await;
    client.write(format!("{piece}{piece}")).await;
    assert_eq!(client.answer().await.status, 413);
    let large = line(&program, "large").await;
    assert!(large["bytes_in"].as_u64().unwrap() > 1 << 10, "{large}");
    assert!(without(&large, "overhead_ms") > LONG.as_secs_f64() * 500.0, "{large}");
    let mut client = Http1::connect(address).await;
    client.write(format!("{}{piece}", head("broken"))).await;
    tokio::time::sleep(LONG).await;
    drop(client);
    let broken = line(&program, "broken").await;
    assert_eq!((&broken["reason"], &broken["bytes_in"]), (&json!("client_closed"), &json!(0x200)), "{broken}");
    assert!(without(&broken, "overhead_ms") > LONG.as_secs_f64() * 500.0, "{broken}");
}

#[tokio::test]
async fn an_answer_of_a_stream_is_its_first_message() {
    let script = Script::new().message(shop::event(1)).pause(LONG).reset(h2::Reason::INTERNAL_ERROR);
    let peer = Peer::with("WatchOrders", script).await;
    let mut program = run(&peer, "");
    let address = program.listener("main").await;
    let watch = ask("stream", "/v1/topics/a").header("accept", "application/x-ndjson");
    assert_eq!(Http1::connect(address).await.send(&watch).await.status, 200);
    let stream = line(&program, "stream").await;
    assert_eq!((&stream["status"], &stream["reason"]), (&json!(200), &json!("upstream_reset")), "{stream}");
    assert!(without(&stream, "upstream_ms") > LONG.as_secs_f64() * 500.0, "{stream}");
}

#[tokio::test]
async fn every_endpoint_that_was_tried_is_an_attempt() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let (down, up) = (closed_port(), peer.address());
    let yaml = shop::config(peer.address(), OBSERVED)
        .replace(&format!("address: \"{up}\""), &format!("endpoints: [\"{down}\", \"{up}\"]"));
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let mut attempts = 0;
    for number in 0..8 {
        let id = format!("attempt-{number}");
        assert_eq!(Http1::connect(address).await.send(&ask(&id, "/v1/orders/7")).await.status, 200);
        let line = line(&program, &id).await;
        assert_eq!(line["endpoint"], up.to_string());
        attempts += line["attempts"].as_u64().unwrap();
    }
    assert!(attempts > 8, "the one that is down was never tried");
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let count = |code: &str| -> u64 {
        let name = format!("tidegate_upstream_requests_total{{service=\"shop\",code=\"{code}\"}} ");
        page.text().lines().filter_map(|line| line.strip_prefix(&name)).map(|n| n.parse::<u64>().unwrap()).sum()
    };
    assert_eq!((count("OK"), count("UNAVAILABLE")), (8, attempts - 8), "{}", page.text());
}

#[tokio::test]
async fn a_good_status_without_a_message_is_no_success() {
    let peer = Peer::with("GetOrder", Script::new().status(0, "")).await;
    let mut program = run(&peer, "");
    let address = program.listener("main").await;
    assert_eq!(Http1::connect(address).await.send(&get("/v1/orders/7")).await.status, 502);
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let counts: Vec<_> =
        page.text().lines().filter(|line| line.starts_with("tidegate_upstream_requests_total{")).collect();
    assert_eq!(counts, ["tidegate_upstream_requests_total{service=\"shop\",code=\"INTERNAL\"} 1"]);
}

#[tokio::test]
async fn old_clients_have_their_version_told() {
    let peer = Peer::start().await;
    let mut program = run(&peer, "");
    let mut client = TcpStream::connect(program.listener("main").await).await.unwrap();
    client.write_all(b"GET /health/liveness HTTP/1.0\r\nhost: a\r\nx-request-id: old\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    assert_eq!(line(&program, "old").await["http_version"], "1.0");
}
