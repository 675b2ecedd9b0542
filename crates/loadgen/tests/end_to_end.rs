//! Load, floor and backend against each other: right answers are counted, wrong ones are caught at both ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot start has failed")]
#![expect(clippy::needless_pass_by_value, reason = "`json!` is easier to read without `&` before it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use loadgen::backend::{self, Replay};
use loadgen::floor::{self, Table};
use loadgen::load::{self, Options, Report};
use loadgen::scenario::Scenario;
use loadgen::schema;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    service S {
      rpc Get(In) returns (Out);
      rpc Watch(In) returns (stream Out);
    }
    message In { string id = 1; }
    message Out { string id = 1; int64 n = 2; map<string, string> labels = 3; }
"#;

fn scenario(rpc: &str, exchanges: Value) -> Scenario {
    serde_json::from_value(json!({"rpc": rpc, "exchanges": exchanges})).unwrap()
}

fn unary(id: &str, answer: Value) -> Value {
    let message = json!({"id": id, "n": "7", "labels": {"a": "b", "c": "d"}});
    json!({"http": {"method": "GET", "path": format!("/{id}")}, "request": {"id": id}, "responses": [message], "answer": answer})
}

fn right(id: &str) -> Value {
    json!({"labels": {"c": "d", "a": "b"}, "id": id, "n": "7"})
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Loads the floor, which was prepared with `sent`, in front of a backend that plays `played`, expecting `expected`.
async fn run(sent: &Scenario, played: &Scenario, expected: &Scenario) -> Report {
    let files = tempfile::tempdir().unwrap();
    let proto = files.path().join("t.proto");
    std::fs::write(&proto, PROTO).unwrap();
    let set = schema::compile(&[proto], files.path()).unwrap();

    let (backend_listener, backend) = listener().await;
    let replay = Arc::new(Replay::new(played, &set).unwrap());
    let backend_task = tokio::spawn(backend::serve(backend_listener, replay));
    let (floor_listener, target) = listener().await;
    let table = Arc::new(Table::new(sent, &set).unwrap());
    let floor_task = tokio::spawn(floor::serve(floor_listener, backend, table));

    let options = Options {
        target,
        connections: 8,
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(20),
        requests_max: Some(200),
        watch: vec![("self".to_owned(), std::process::id())],
    };
    let report = load::run(expected, &options).await.unwrap();
    backend_task.abort();
    floor_task.abort();
    report
}

#[tokio::test]
async fn every_right_answer_is_counted() {
    let scenario = scenario("t.S/Get", json!([unary("x", right("x")), unary("y", right("y"))]));
    let report = run(&scenario, &scenario, &scenario).await;
    assert_eq!((report.requests, report.errors, report.samples), (200, 0, vec![]));
    assert!(report.p50_us > 0 && report.p99_us >= report.p50_us);
    assert_eq!(report.cpu[0].name, "self");
}

#[tokio::test]
async fn a_stream_is_played_message_by_message() {
    let messages: Vec<Value> = (0..100).map(|n| json!({"id": "x", "n": n.to_string()})).collect();
    let exchange = json!({"http": {"method": "POST", "path": "/w", "body": {"id": "x"}},
        "request": {"id": "x"}, "responses": messages, "answer": messages});
    let scenario = scenario("t.S/Watch", json!([exchange]));
    let report = run(&scenario, &scenario, &scenario).await;
    assert_eq!((report.requests, report.errors), (200, 0));
}

#[tokio::test]
async fn a_wrong_answer_is_an_error_with_its_text() {
    let sent = scenario("t.S/Get", json!([unary("x", json!({"id": "z"}))]));
    let expected = scenario("t.S/Get", json!([unary("x", right("x"))]));
    let report = run(&sent, &sent, &expected).await;
    assert_eq!((report.requests, report.errors), (0, 200));
    assert!(report.samples[0].contains(r#"wrong answer: HTTP/1.1 200 OK"#), "{:?}", report.samples);
}

#[tokio::test]
async fn a_request_message_that_is_not_in_the_scenario_is_refused_by_the_backend() {
    let played = scenario("t.S/Get", json!([unary("y", right("y"))]));
    let sent = scenario("t.S/Get", json!([unary("x", right("x"))]));
    let report = run(&sent, &played, &sent).await;
    assert_eq!((report.requests, report.errors), (0, 200));
    assert!(report.samples[0].contains("HTTP/1.1 502"), "{:?}", report.samples);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_ends_the_run_early() {
    let (listener, target) = listener().await;
    drop(listener);
    let options = Options {
        target,
        connections: 2,
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(20),
        requests_max: None,
        watch: vec![],
    };
    let report = load::run(&scenario("t.S/Get", json!([unary("x", right("x"))])), &options).await.unwrap();
    assert!(report.requests == 0 && report.errors >= 1000);
    assert!(report.seconds < 15.0 && report.samples.len() == 3);
}
