//! What becomes of streams when the process, or their listener, ends: they end before they would be cut, each in the
//! form of its format.

use serde_json::Value;
use tidegate_testkit::client::{Http1, Http2, Running};
use tidegate_testkit::{End, Gateway, Peer, Program, Request, Script, get, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";

const ERROR: &str = r#"{"code":14,"message":"shutting down","reason":"draining"}"#;

fn watch(accept: &str) -> Request {
    get("/v1/topics/a").header("accept", accept)
}

/// A backend with a stream that begins, and a program in front of it.
async fn streaming(drain: &str, script: Script) -> (Peer, Program) {
    let peer = Peer::with("WatchOrders", script).await;
    let more =
        format!("drain: {drain}\nobservability: {{ logs: {{ access: {{ output: access.log, sample_ok: 0 }} }} }}");
    let program = Program::run(BINARY, &shop::config(peer.address(), &more));
    (peer, program)
}

/// A stream of each protocol, with its first message on the way.
async fn begin(peer: &mut Peer, program: &mut Program, accept: &str) -> (Http1, Http2, Running) {
    let address = program.listener("main").await;
    let mut http1 = Http1::connect(address).await;
    let request = format!("GET /v1/topics/a HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n");
    http1.write(request).await;
    assert_eq!(http1.head().await.0, 200);
    let mut http2 = Http2::connect(address).await;
    let mut running = http2.start(&watch(accept), true).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    for _ in 0..2 {
        peer.call().await;
    }
    (http1, http2, running)
}

/// The rest of a body, and how it ended.
async fn rest1(http1: &mut Http1) -> (String, End) {
    let mut body = Vec::new();
    loop {
        match http1.piece().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return (String::from_utf8(body).unwrap(), End::Clean),
            Err(end) => return (String::from_utf8(body).unwrap(), end),
        }
    }
}

async fn rest2(running: &mut Running) -> (String, End) {
    let mut body = Vec::new();
    loop {
        match running.piece().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return (String::from_utf8(body).unwrap(), End::Clean),
            Err(end) => return (String::from_utf8(body).unwrap(), end),
        }
    }
}

/// The last event but for the time to wait, which is given.
fn retry(body: &str) -> u64 {
    let rest = body.strip_prefix("data: {\"sequence\":\"1\"}\n\nretry: ");
    let (retry, event) = rest.and_then(|rest| rest.split_once("\n\n")).unwrap_or_else(|| panic!("{body:?}"));
    assert_eq!(event, format!("event: error\ndata: {ERROR}\n\n"));
    retry.parse().unwrap()
}

fn access(program: &Program) -> Vec<Value> {
    let text = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn event_streams_end_early_with_a_hint_when_to_come_back() {
    let script = Script::new().message(shop::event(1));
    // A quarter of it is well below the patience of a test, all of it is above.
    let (mut peer, mut program) = streaming("{ readiness_delay: 0s, timeout: 20s }", script).await;
    let (mut http1, _http2, mut running) = begin(&mut peer, &mut program, SSE).await;
    program.terminate();
    let (one, two) = tokio::join!(rest1(&mut http1), rest2(&mut running));
    for (body, end) in [&one, &two] {
        assert_eq!(*end, End::Clean);
        assert!((1_000..=4_000).contains(&retry(body)), "{body:?}");
    }
    assert!(http1.is_closed().await);
    assert_eq!(program.code().await, 0, "{}", program.log());
    let lines = access(&program);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"draining".into()), "{line}");
    }
}

#[tokio::test]
async fn streams_that_end_by_themselves_in_time_are_not_disturbed() {
    let script = Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    let (mut peer, mut program) = streaming("{ readiness_delay: 0s, timeout: 60s }", script).await;
    let (mut http1, _http2, mut running) = begin(&mut peer, &mut program, NDJSON).await;
    program.terminate();
    program.logged("draining").await;
    peer.release(2);
    let whole = "{\"sequence\":\"1\"}\n{\"sequence\":\"2\"}\n".to_owned();
    assert_eq!(rest1(&mut http1).await, (whole.clone(), End::Clean));
    assert_eq!(rest2(&mut running).await, (whole, End::Clean));
    assert!(http1.is_closed().await);
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn endless_streams_of_lines_end_with_an_error_before_they_are_cut() {
    let script = Script::new().message(shop::event(1));
    let (mut peer, mut program) = streaming("{ readiness_delay: 0s, timeout: 4s }", script).await;
    let (mut http1, _http2, mut running) = begin(&mut peer, &mut program, NDJSON).await;
    program.terminate();
    let (one, two) = tokio::join!(rest1(&mut http1), rest2(&mut running));
    let body = format!("{{\"sequence\":\"1\"}}\n{{\"error\":{ERROR}}}\n");
    for seen in [one, two] {
        assert_eq!(seen, (body.clone(), End::Clean));
    }
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn a_second_signal_cuts_streams_at_once() {
    let script = Script::new().message(shop::event(1));
    let (mut peer, mut program) = streaming("{ readiness_delay: 0s, timeout: 60s }", script).await;
    let (mut http1, _http2, mut running) = begin(&mut peer, &mut program, NDJSON).await;
    program.terminate();
    program.logged("draining").await;
    program.terminate();
    assert_eq!(program.code().await, 1, "{}", program.log());
    assert_eq!(rest1(&mut http1).await.1, End::Cut);
    assert_ne!(rest2(&mut running).await.1, End::Clean);
}

#[tokio::test]
async fn a_stream_that_has_not_begun_is_refused() {
    let (mut peer, mut program) = streaming("{ readiness_delay: 0s, timeout: 8s }", Script::new()).await;
    let address = program.listener("main").await;
    let mut http1 = Http1::connect(address).await;
    let request = watch(SSE);
    let asking = async { http1.send(&request).await };
    let ending = async {
        peer.call().await;
        program.terminate();
    };
    let (answer, ()) = tokio::join!(asking, ending);
    assert_eq!((answer.status, answer.reason(), answer.end), (503, "draining".to_owned(), End::Clean));
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn streams_of_a_listener_that_a_reload_removes_end_in_the_same_way() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1))).await;
    let listeners = |more: &str| {
        let all = format!("[{{ name: main, address: \"127.0.0.1:0\" }}{more}]");
        shop::config(peer.address(), &format!("listeners: {all}\ndrain: {{ readiness_delay: 0s, timeout: 8s }}"))
    };
    let (both, one) = (listeners(", { name: goes, address: \"127.0.0.1:0\" }"), listeners(""));
    let gateway = Gateway::start(&both);
    let mut goes = Http1::connect(gateway.listener("goes")).await;
    let mut stays = Http1::connect(gateway.listener("main")).await;
    for http1 in [&mut goes, &mut stays] {
        http1.write(format!("GET /v1/topics/a HTTP/1.1\r\nhost: a\r\naccept: {SSE}\r\n\r\n")).await;
        assert_eq!(http1.head().await.0, 200);
        http1.until("\"1\"").await;
    }
    gateway.apply(&one).await;
    let mut call = peer.call().await;
    let (body, end) = rest1(&mut goes).await;
    assert!(body.ends_with(&format!("event: error\ndata: {ERROR}\n\n")), "{body:?}");
    assert_eq!(end, End::Clean);
    assert_eq!(call.reset().await, h2::Reason::CANCEL);
    assert!(goes.is_closed().await);
    // The other one goes on until its client leaves.
    let mut call = peer.call().await;
    drop(stays);
    assert_eq!(call.reset().await, h2::Reason::CANCEL);
    gateway.stop().await;
}
