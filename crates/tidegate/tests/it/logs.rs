//! The access log and the process log of the program: what stands in them, and that no output holds up a request.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{PATIENCE, Peer, Program, Request, Script, eventually, get, post, shop};
use tokio::io::AsyncReadExt as _;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// In front of `peer`, with access lines to `output`.
fn config(peer: &Peer, output: &str) -> String {
    shop::config(peer.address(), &format!("observability: {{ logs: {{ access: {{ output: {output} }} }} }}"))
}

/// Every line of a file; all of them are whole.
fn lines(path: &Path) -> Vec<Value> {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is not whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// `number` lines of a file, once they are there.
async fn written(path: &Path, number: usize) -> Vec<Value> {
    eventually("the lines are written", || async {
        std::fs::read_to_string(path).is_ok_and(|text| text.lines().count() >= number)
    })
    .await;
    lines(path)
}

/// Takes what differs from run to run out of a line, after a look at it.
fn settle(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    let stamp = fields.remove("ts").unwrap();
    assert_eq!(stamp.as_str().map(str::len), Some(24), "{stamp}");
    let duration = fields.remove("duration_ms").unwrap().as_f64().unwrap();
    let overhead = fields.remove("overhead_ms").unwrap().as_f64().unwrap();
    assert!(overhead <= duration);
    if let Some(upstream) = fields.remove("upstream_ms") {
        assert!(upstream.as_f64().unwrap() <= duration);
    }
    line
}

#[tokio::test]
async fn every_answer_has_a_line_with_what_is_known_of_it() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let mut program = Program::run(BINARY, &config(&peer, "access.log"));
    let address = program.listener("main").await;
    let log = program.folder().join("access.log");
    let ask = |id: &str, target: &str| get(target).header("x-request-id", id).header("user-agent", "test/1");
    let mut http1 = Http1::connect(address).await;
    assert_eq!(http1.send(&ask("one", "/v1/orders/7?verbose=true")).await.status, 200);
    let one = settle(&written(&log, 1).await[0]);
    assert_eq!(http1.send(&ask("two", "/nowhere?a=b")).await.status, 404);
    let two = settle(&written(&log, 2).await[1]);
    assert_eq!(Http2::connect(address).await.send(&ask("three", "/health/liveness")).await.status, 200);
    let three = settle(&written(&log, 3).await[2]);
    let host = &one["host"];
    assert_eq!(
        one,
        json!({
            "request_id": "one", "listener": "main", "client_ip": "127.0.0.1", "method": "GET", "host": host,
            "path": "/v1/orders/7", "http_version": "1.1", "route": "get-order", "service": "shop",
            "endpoint": peer.address().to_string(), "rpc_method": "shop.v1.OrderService/GetOrder",
            "status": 200, "grpc_status": "OK", "bytes_in": 0, "bytes_out": shop::ORDER_JSON.len(), "attempts": 1,
            "user_agent": "test/1",
        })
    );
    assert_eq!(
        two,
        json!({
            "request_id": "two", "listener": "main", "client_ip": "127.0.0.1", "method": "GET", "host": host,
            "path": "/nowhere", "http_version": "1.1", "status": 404, "reason": "route_not_found", "bytes_in": 0,
            "bytes_out": two["bytes_out"], "user_agent": "test/1",
        })
    );
    assert_eq!((&three["http_version"], &three["route"]), (&json!("2"), &json!("system-liveness")));
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_request_has_a_line_with_what_is_known_of_it() {
    let peer = Peer::start().await;
    let observability =
        "observability: { logs: { access: { output: access.log } }, metrics: { public_path: /metrics } }";
    let mut program = Program::run(BINARY, &shop::config(peer.address(), observability));
    let address = program.listener("main").await;
    let log = program.folder().join("access.log");
    let mut seen = 0;
    let mut check = async |status: u16, reason: &str, known: Value| {
        seen += 1;
        let line = settle(&written(&log, seen).await[seen - 1]);
        let mut expected = json!({
            "request_id": line["request_id"], "listener": "main", "client_ip": "127.0.0.1", "status": status,
            "reason": reason, "bytes_in": 0, "bytes_out": line["bytes_out"],
        });
        expected.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
        assert_eq!(line, expected);
    };
    let nothing = json!({});
    let oversize = format!("GET /a HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let hosts = "GET /a?b HTTP/1.1\r\nhost: a\r\nhost: b\r\nx-request-id: two\r\nuser-agent: test/1\r\n\r\n";
    let http1 = [
        ("no request\r\n\r\n", 400, "bad_request", nothing.clone()),
        // The beginning of a handshake.
        ("\x16\x03\x01\x02\x00\x01\x00\x01", 400, "bad_request", nothing.clone()),
        (&oversize, 431, "bad_request", nothing),
        (
            hosts,
            400,
            "bad_request",
            json!({
                "request_id": "two", "method": "GET", "host": "a", "path": "/a", "http_version": "1.1",
                "user_agent": "test/1",
            }),
        ),
        (
            "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
            405,
            "method_not_allowed",
            json!({ "method": "CONNECT", "host": "a:443", "http_version": "1.1" }),
        ),
        (
            "TRACE /a HTTP/1.1\r\nhost: a\r\n\r\n",
            405,
            "method_not_allowed",
            json!({ "method": "TRACE", "host": "a", "path": "/a", "http_version": "1.1" }),
        ),
    ];
    for (bytes, status, reason, known) in http1 {
        let mut http1 = Http1::connect(address).await;
        http1.try_write(bytes).await;
        assert_eq!(http1.answer().await.status, status, "{bytes:?}");
        check(status, reason, known).await;
    }
    let mut http2 = Http2::connect(address).await;
    let two = get("/a?b").header("host", "other.test").header("x-request-id", "three");
    assert_eq!(http2.send(&two).await.status, 400);
    let known = json!({
        "request_id": "three", "method": "GET", "host": "other.test", "path": "/a", "http_version": "2",
    });
    check(400, "bad_request", known).await;
    drop(http2);
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let other = page.text().lines().find(|line| line.contains("method=\"OTHER\"") && line.contains("code=\"400\""));
    assert!(other.is_some_and(|line| line.ends_with(" 2")), "{other:?}");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn planted_secrets_and_forged_lines_reach_no_log() {
    const PLANTED: &str = "pl4nt3d";
    let peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let yaml = config(&peer, "access.log");
    let mut program = Program::run_changed(BINARY, &yaml, |command| {
        command.env("TIDEGATE_LOG", "trace");
    });
    let address = program.listener("main").await;
    let secret = |request: Request| {
        let request = request.header("authorization", &format!("Bearer {PLANTED}"));
        let request = request.header("cookie", &format!("session={PLANTED}")).header("x-api-key", PLANTED);
        request.header("proxy-authorization", PLANTED).header("user-agent", "a\"}\u{9b}31m\u{ff}")
    };
    let targets = [
        post(&format!("/v1/orders?token={PLANTED}"), format!("{{\"note\":\"{PLANTED}\"}}")),
        post("/v1/orders", format!("{{\"{PLANTED}\":1}}")),
        get(&format!("/v1/orders/{{}}?{PLANTED}={PLANTED}")),
        get(&format!("/nowhere?token={PLANTED}")),
        get("/%1b%5b31m%0a%7b%22status%22:200%7d"),
    ];
    let mut requests = 0;
    for request in targets.map(secret) {
        Http1::connect(address).await.send(&request).await;
        Http2::connect(address).await.send(&request).await;
        requests += 2;
    }
    // What never becomes a request: a user in the authority, and a head that is no head.
    for head in [
        format!("GET http://{PLANTED}@a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n {PLANTED}\r\n\r\n"),
    ] {
        let mut http1 = Http1::connect(address).await;
        http1.write(head).await;
        http1.answer().await;
    }
    let log = program.folder().join("access.log");
    written(&log, requests).await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let text = std::fs::read_to_string(&log).unwrap();
    for all in [text, program.log()] {
        assert!(!all.contains(PLANTED), "{all}");
        assert!(!all.chars().any(|character| character.is_control() && character != '\n'), "{all:?}");
    }
    assert!(lines(&log).len() >= requests);
    // Every line of the process log is JSON as well.
    let told = parse(&(program.log() + "\n"));
    assert!(told.iter().any(|line| line["level"] == "debug"), "{told:?}");
}

#[tokio::test]
async fn a_standard_output_that_nobody_reads_holds_up_no_request() {
    const REQUESTS: usize = 3_000;
    let peer = Peer::start().await;
    let mut program = Program::run_changed(BINARY, &config(&peer, "stdout"), |command| {
        command.stdout(Stdio::piped());
    });
    let mut stdout = program.stdout().unwrap();
    let address = program.listener("main").await;
    let mut http1 = Http1::connect(address).await;
    // Several times what the pipe and the buffers hold.
    let request = get("/health/liveness").header("user-agent", &"x".repeat(4_000));
    for _ in 0..REQUESTS {
        assert_eq!(http1.send(&request).await.status, 200);
    }
    // The process log is not held up either.
    program.rotate();
    program.logged("opening log files again").await;
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        text
    });
    let told: Value = serde_json::from_str(&program.logged("lines of a log were lost").await).unwrap();
    let lost = usize::try_from(told["lines"].as_u64().unwrap()).unwrap();
    assert_eq!((&told["output"], &told["level"]), (&json!("stdout"), &json!("warn")));
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    assert!(lost > 0);
    assert_eq!(parse(&reading.await.unwrap()).len() + lost, REQUESTS, "every line is written or counted");
}

#[tokio::test]
async fn the_process_ends_although_its_standard_output_is_blocked() {
    let peer = Peer::start().await;
    let mut program = Program::run_changed(BINARY, &config(&peer, "stdout"), |command| {
        command.stdout(Stdio::piped());
    });
    let _unread = program.stdout().unwrap();
    let mut http1 = Http1::connect(program.listener("main").await).await;
    let request = get("/health/liveness").header("user-agent", &"x".repeat(4_000));
    // More than the pipe holds.
    for _ in 0..100 {
        assert_eq!(http1.send(&request).await.status, 200);
    }
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    // The last line of the process log.
    program.logged("\"stopped\"").await;
}

#[tokio::test]
async fn a_full_disk_holds_up_no_request_and_is_told_once() {
    let peer = Peer::start().await;
    let mut program = Program::run(BINARY, &config(&peer, "/dev/full"));
    let mut http1 = Http1::connect(program.listener("main").await).await;
    for _ in 0..500 {
        assert_eq!(http1.send(&get("/health/liveness")).await.status, 200);
    }
    let told: Value = serde_json::from_str(&program.logged("a log cannot be written").await).unwrap();
    assert_eq!((&told["output"], &told["level"]), (&json!("/dev/full"), &json!("error")));
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    assert_eq!(program.log().matches("a log cannot be written").count(), 1);
    let lost: u64 = parse(&(program.log() + "\n")).iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert_eq!(lost, 500, "all of them are told as lost");
}

#[tokio::test]
async fn rotation_by_rename_and_usr1_loses_no_line() {
    const ROTATIONS: usize = 10;
    let peer = Peer::start().await;
    let mut program = Program::run(BINARY, &config(&peer, "access.log"));
    let address = program.listener("main").await;
    let folder = program.folder().to_owned();
    let log = folder.join("access.log");
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn(async move {
        let mut http1 = Http1::connect(address).await;
        let mut asked = 0;
        while stopped.try_recv().is_err() {
            assert_eq!(http1.send(&get("/health/liveness")).await.status, 200);
            asked += 1;
        }
        asked
    });
    for rotation in 0..ROTATIONS {
        written(&log, 1).await;
        std::fs::rename(&log, folder.join(format!("access.log.{rotation}"))).unwrap();
        program.rotate();
        eventually("the file is made again", || async { log.exists() }).await;
    }
    stop.send(()).unwrap();
    let asked: usize = asking.await.unwrap();
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let mut seen = HashSet::new();
    for rotation in 0..ROTATIONS {
        seen.extend(
            lines(&folder.join(format!("access.log.{rotation}"))).iter().map(|line| line["request_id"].to_string()),
        );
    }
    seen.extend(lines(&log).iter().map(|line| line["request_id"].to_string()));
    assert_eq!(seen.len(), asked);
}

#[tokio::test]
async fn a_reload_moves_the_access_log_and_changes_the_level() {
    let peer = Peer::start().await;
    let mut program = Program::run(BINARY, &config(&peer, "old.log"));
    let mut http1 = Http1::connect(program.listener("main").await).await;
    let folder = program.folder().to_owned();
    assert_eq!(http1.send(&get("/nowhere")).await.status, 404);
    written(&folder.join("old.log"), 1).await;
    assert!(!program.log().contains("\"refused\""));
    let file = folder.join("tidegate.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, yaml.replace("{ output: old.log }", "{ output: new.log }, level: debug")).unwrap();
    program.hang_up();
    program.logged("\"reloaded\"").await;
    assert_eq!(http1.send(&get("/nowhere")).await.status, 404);
    assert_eq!(written(&folder.join("new.log"), 1).await.len(), 1);
    program.logged("\"refused\"").await;
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    assert_eq!(lines(&folder.join("old.log")).len(), 1);
}

#[tokio::test]
async fn the_environment_sets_levels_and_a_bad_one_is_told_and_ignored() {
    for (name, value, debug, bad) in [
        ("TIDEGATE_LOG", "debug", true, false),
        ("RUST_LOG", "tidegate::gateway=debug", true, false),
        ("RUST_LOG", "", false, false),
        ("TIDEGATE_LOG", "loud", false, true),
    ] {
        let peer = Peer::start().await;
        let mut program = Program::run_changed(BINARY, &config(&peer, "access.log"), |command| {
            command.env(name, value);
        });
        let mut http1 = Http1::connect(program.listener("main").await).await;
        assert_eq!(http1.send(&get("/nowhere")).await.status, 404);
        drop(http1);
        program.terminate();
        assert_eq!(program.code().await, 0, "{}", program.log());
        assert_eq!(program.log().contains("\"refused\""), debug, "{name}={value}: {}", program.log());
        assert_eq!(program.log().contains("environment are ignored"), bad, "{name}={value}");
    }
}

#[tokio::test]
async fn an_access_log_that_is_off_writes_nothing() {
    let peer = Peer::start().await;
    let yaml = shop::config(peer.address(), "observability: { logs: { access: null } }");
    let mut program = Program::run_changed(BINARY, &yaml, |command| {
        command.stdout(Stdio::piped());
    });
    let mut stdout = program.stdout().unwrap();
    let mut http1 = Http1::connect(program.listener("main").await).await;
    assert_eq!(http1.send(&get("/health/liveness")).await.status, 200);
    drop(http1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stdout.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!(text, "");
}
