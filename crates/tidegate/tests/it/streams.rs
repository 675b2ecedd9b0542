//! Server streaming: the formats to the byte, and every way in which a stream can end.

use std::time::Duration;

use h2::Reason;
use http::HeaderMap;
use serde_json::json;
use tidegate_testkit::{Answer, End, Gateway, Peer, Request, Script, get, settled, shop};
use tokio::io::AsyncWriteExt as _;

const ARRAY: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";
const FORMATS: [&str; 3] = [ARRAY, NDJSON, SSE];

/// Long enough for the backend to have written what came before.
const LATER: Duration = Duration::from_millis(30);

fn watch(accept: &str) -> Request {
    get("/v1/topics/a").header("accept", accept)
}

/// A peer that runs `script` for each watcher, and a gateway in front of it.
async fn start(script: Script) -> (Peer, Gateway) {
    let peer = Peer::with("WatchOrders", script).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    (peer, gateway)
}

#[tokio::test]
async fn the_format_is_the_one_that_is_accepted() {
    let (mut peer, gateway) = start(Script::new().messages([shop::event(1), shop::event(2)]).status(0, "")).await;
    let array = r#"[{"sequence":"1"},{"sequence":"2"}]"#;
    let ndjson = "{\"sequence\":\"1\"}\n{\"sequence\":\"2\"}\n";
    let sse = "data: {\"sequence\":\"1\"}\n\ndata: {\"sequence\":\"2\"}\n\nevent: end\ndata: {}\n\n";
    let cases = [
        (ARRAY, ARRAY, array),
        (NDJSON, NDJSON, ndjson),
        ("application/ndjson", NDJSON, ndjson),
        (SSE, SSE, sse),
        ("*/*", ARRAY, array),
        ("text/html, text/event-stream;q=0.9, application/json;q=0.1", SSE, sse),
        ("image/png", ARRAY, array),
    ];
    for (accept, content_type, body) in cases {
        for answer in gateway.send_both(&watch(accept)).await {
            assert_eq!((answer.status, answer.text(), answer.end), (200, body, End::Clean), "{accept}");
            assert_eq!(answer.header("content-type"), content_type);
            let sse = content_type == SSE;
            assert_eq!(answer.header("cache-control"), if sse { "no-store" } else { "" });
            assert_eq!(answer.header("x-accel-buffering"), if sse { "no" } else { "" });
            let mut call = peer.call().await;
            assert_eq!(shop::json("WatchRequest", &call.message().await), json!({"topic": "a"}));
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_decides_which_formats_there_are() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { stream: [sse, ndjson] }"));
    for (accept, content_type) in [(ARRAY, SSE), ("*/*", SSE), (NDJSON, NDJSON), ("", SSE)] {
        assert_eq!(gateway.send(&watch(accept)).await.header("content-type"), content_type, "{accept:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_without_messages_has_its_own_form() {
    for script in [Script::new().status(0, ""), Script::new().head().status(0, ""), Script::new().trailers_only(0, "")]
    {
        let (_peer, gateway) = start(script).await;
        for (accept, body) in [(ARRAY, "[]"), (NDJSON, ""), (SSE, "event: end\ndata: {}\n\n")] {
            for answer in gateway.send_both(&watch(accept)).await {
                assert_eq!((answer.status, answer.text(), answer.end), (200, body, End::Clean));
                assert_eq!(answer.header("content-type"), accept);
            }
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_failure_before_the_first_message_is_an_ordinary_answer() {
    let scripts = [
        (Script::fails(5, "no topic"), 404, "upstream_error"),
        (Script::new().head().status(5, "no topic"), 404, "upstream_error"),
        (Script::new().head().reset(Reason::INTERNAL_ERROR), 502, "upstream_reset"),
        (Script::new().head().cut_connection(), 502, "upstream_reset"),
        (Script::new().message(b"\xff\xff").status(0, ""), 502, "transcode_failed"),
        (Script::new().end_without_trailers(), 500, "upstream_error"),
    ];
    for (script, status, reason) in scripts {
        let (_peer, gateway) = start(script.clone()).await;
        for accept in FORMATS {
            for answer in gateway.send_both(&watch(accept)).await {
                let seen = (answer.status, answer.reason(), answer.end);
                assert_eq!(seen, (status, reason.to_owned(), End::Clean), "{script:?} {accept}");
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        }
        gateway.stop().await;
    }
}

/// The array is broken off; the other formats have a place for the error and end as they should.
#[tokio::test]
async fn a_failure_later_is_seen_in_every_format() {
    let first = || Script::new().message(shop::event(1));
    let scripts = [
        (
            first().status(14, "backend%20lost"),
            "14",
            r#"{"code":14,"message":"backend lost","reason":"upstream_error"}"#,
        ),
        (
            first().pause(LATER).reset(Reason::INTERNAL_ERROR),
            "14",
            r#"{"code":14,"message":"connection to the service lost","reason":"upstream_reset"}"#,
        ),
        (
            first().pause(LATER).cut_connection(),
            "14",
            r#"{"code":14,"message":"connection to the service lost","reason":"upstream_reset"}"#,
        ),
        (
            first().message(b"\xff\xff").status(0, ""),
            "13",
            r#"{"code":13,"message":"the service's answer cannot be converted","reason":"transcode_failed"}"#,
        ),
        (
            first().bytes(&b"\0\0\0\0\x05ab"[..]).status(0, ""),
            "13",
            r#"{"code":13,"message":"the service's answer cannot be converted","reason":"transcode_failed"}"#,
        ),
        (
            first().end_without_trailers(),
            "2",
            r#"{"code":2,"message":"the service ended the call without a status","reason":"upstream_error"}"#,
        ),
    ];
    for (script, code, error) in scripts {
        let (_peer, gateway) = start(script.clone()).await;
        for accept in FORMATS {
            let [first, second] = gateway.send_both(&watch(accept)).await;
            check_failed(&first, accept, error, End::Cut);
            check_failed(&second, accept, error, End::Reset(Reason::INTERNAL_ERROR));
            assert_eq!(second.trailer("grpc-status"), if accept == ARRAY { "" } else { code }, "{script:?}");
        }
        gateway.stop().await;
    }
}

fn check_failed(answer: &Answer, accept: &str, error: &str, broken_off: End) {
    let (body, end) = match accept {
        ARRAY => (format!(r#"[{{"sequence":"1"}},{{"error":{error}}}"#), broken_off),
        NDJSON => (format!("{{\"sequence\":\"1\"}}\n{{\"error\":{error}}}\n"), End::Clean),
        _ => (format!("data: {{\"sequence\":\"1\"}}\n\nevent: error\ndata: {error}\n\n"), End::Clean),
    };
    assert_eq!((answer.status, answer.text(), answer.end), (200, body.as_str(), end));
}

#[tokio::test]
async fn each_message_is_passed_on_at_once() {
    let script = Script::new().message(shop::event(1)).hold().message(shop::event(2)).hold().status(0, "");
    let (peer, gateway) = start(script).await;
    let mut http1 = gateway.http1().await;
    http1.write("GET /v1/topics/a HTTP/1.1\r\nhost: a\r\naccept: application/x-ndjson\r\n\r\n").await;
    assert_eq!(http1.head().await.0, 200);
    http1.until("\"1\"}\n").await;
    peer.release(1);
    assert_eq!(http1.until("\n").await, "{\"sequence\":\"2\"}\n");
    peer.release(1);
    assert_eq!(http1.piece().await, Ok(None));
    // Done with, the connection takes the next request.
    peer.on("WatchOrders", Script::new().status(0, ""));
    assert_eq!(http1.send(&watch(ARRAY)).await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn the_head_comes_with_the_first_message_and_not_before() {
    let script = Script::new().metadata("x-topic", "a").head().hold().message(shop::event(1)).status(0, "");
    let (mut peer, gateway) = start(script).await;
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&watch(NDJSON), true).await;
    peer.call().await.message().await;
    let early = tokio::time::timeout(Duration::from_millis(50), running.head()).await;
    assert!(early.is_err(), "a head before the first message: {early:?}");
    peer.release(1);
    gateway.stop().await;
}

#[tokio::test]
async fn trailers_go_to_those_who_take_them() {
    let (_peer, gateway) = start(Script::new().message(shop::event(1)).status(0, "")).await;
    for accept in FORMATS {
        let [plain, http2] = gateway.send_both(&watch(accept)).await;
        assert_eq!(plain.trailers, HeaderMap::new());
        assert_eq!((http2.trailer("grpc-status"), http2.trailers.contains_key("grpc-message")), ("0", true));
        let asked = gateway.send(&watch(accept).header("te", "trailers")).await;
        assert_eq!((asked.trailer("grpc-status"), asked.end), ("0", End::Clean));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn silence_between_messages_has_a_limit() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1))).await;
    let more = "defaults: { stream_idle_timeout: 100ms }";
    let mut peer = peer;
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let answer = gateway.send(&watch(NDJSON)).await;
    let expected = r#"{"error":{"code":4,"message":"the service did not answer in time","reason":"upstream_timeout"}}"#;
    assert_eq!(answer.text(), format!("{{\"sequence\":\"1\"}}\n{expected}\n"));
    assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    gateway.stop().await;
}

#[tokio::test]
async fn the_deadline_of_a_stream_is_that_of_its_first_message() {
    let slow = Script::new().message(shop::event(1)).pause(Duration::from_millis(1_200)).message(shop::event(2));
    let mut peer = Peer::with("WatchOrders", slow.status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 1s }"));
    assert_eq!(gateway.send(&watch(ARRAY)).await.text(), r#"[{"sequence":"1"},{"sequence":"2"}]"#);
    peer.call().await;
    peer.on("WatchOrders", Script::new().head());
    let answer = gateway.send(&watch(SSE)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream_timeout"));
    assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    gateway.stop().await;
}

/// A stream cut after every few bytes on the backend's side: nobody takes a part of it for all of it.
#[tokio::test]
async fn a_cut_stream_never_ends_as_if_it_were_whole() {
    let (peer, gateway) = start(Script::new().messages((1..=5).map(shop::event)).status(0, "")).await;
    let mut broken = 0;
    for bytes in (0..200).step_by(3) {
        peer.cut_after(bytes);
        for accept in FORMATS {
            let answer = gateway.send(&watch(accept)).await;
            if answer.status != 200 {
                assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
                broken += 1;
                continue;
            }
            let whole = answer.text().matches("sequence").count() == 5 && !answer.text().contains("error");
            let (good, bad) = match accept {
                ARRAY => (answer.text().ends_with("}]"), answer.end == End::Cut),
                NDJSON => (whole, answer.text().contains(r#"{"error":{"#)),
                _ => (answer.text().contains("event: end"), answer.text().contains("event: error")),
            };
            assert!(good != bad, "{bytes} {accept}: {:?} {}", answer.end, answer.text());
            assert_eq!(good, whole, "{bytes} {accept}: {}", answer.text());
            assert_eq!(answer.end == End::Clean, good || accept != ARRAY);
            broken += usize::from(bad);
        }
    }
    // Whether a cut is seen before or behind the first message depends on how busy the machine is.
    assert!(broken > 10, "the cuts do cut: {broken}");
    gateway.stop().await;
}

/// What a client does to leave.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Http1Close,
    Http2Reset,
    Http2Close,
}

async fn leaves(leave: Leave, method: &str, target: &str, script: Script, read: &str) {
    let mut peer = Peer::with(method, script).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let request = get(target).header("accept", NDJSON);
    let mut call;
    match leave {
        Leave::Http1Close => {
            let mut http1 = gateway.http1().await;
            http1.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\naccept: {NDJSON}\r\n\r\n")).await;
            call = peer.call().await;
            call.message().await;
            if !read.is_empty() {
                http1.head().await;
                http1.until(read).await;
            }
            drop(http1);
        }
        Leave::Http2Reset | Leave::Http2Close => {
            let mut http2 = gateway.http2().await;
            let mut running = http2.start(&request, true).await;
            call = peer.call().await;
            call.message().await;
            if !read.is_empty() {
                running.head().await.unwrap();
                running.piece().await.unwrap();
            }
            if matches!(leave, Leave::Http2Reset) {
                running.cancel();
                assert_eq!(call.reset().await, Reason::CANCEL, "{leave:?} {target}");
            }
            drop(http2);
        }
    }
    assert_eq!(call.reset().await, Reason::CANCEL, "{leave:?} {target}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call() {
    for leave in [Leave::Http1Close, Leave::Http2Reset, Leave::Http2Close] {
        leaves(leave, "WatchOrders", "/v1/topics/a", Script::new().message(shop::event(1)), "\n").await;
        leaves(leave, "WatchOrders", "/v1/topics/a", Script::new().head(), "").await;
        leaves(leave, "GetOrder", "/v1/orders/7", Script::new(), "").await;
        leaves(leave, "GetOrder", "/v1/orders/7", Script::new().message(shop::order()), "").await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back() {
    let message = shop::message("Event", json!({"text": "x".repeat(64 * 1024)}));
    let (mut peer, gateway) = start(Script::new().messages(vec![message; 512]).status(0, "")).await;
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&watch(NDJSON), true).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    let call = peer.call().await;
    let mut sent = 0;
    tidegate_testkit::eventually("the backend is held back", || {
        let before = std::mem::replace(&mut sent, call.sent());
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            before > 0 && before == sent
        }
    })
    .await;
    assert!(call.sent() < 4 << 20, "{} of 32 MiB were taken although nobody reads", call.sent());
    let mut read = 0;
    while let Some(piece) = running.piece().await.unwrap() {
        read += piece.len();
    }
    assert_eq!(read, 512 * (64 * 1024 + "{\"text\":\"\"}\n".len()));
    gateway.stop().await;
}

#[tokio::test]
async fn pieces_of_a_body_of_http_are_joined() {
    let part =
        |kind: &str, data: &str| shop::message("google.api.HttpBody", json!({"contentType": kind, "data": data}));
    let parts = [part("text/csv", "YSxi"), part("", ""), part("ignored/later", "Cg==")];
    let peer = Peer::with("DownloadParts", Script::new().messages(parts.clone()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for answer in gateway.send_both(&get("/v1/orders/7/parts")).await {
        assert_eq!((answer.header("content-type"), answer.text(), answer.end), ("text/csv", "a,b\n", End::Clean));
    }
    peer.on("DownloadParts", Script::new().messages(parts).status(14, "lost"));
    let [first, second] = gateway.send_both(&get("/v1/orders/7/parts")).await;
    assert_eq!((first.text(), first.end), ("a,b\n", End::Cut));
    assert_eq!((second.text(), second.end), ("a,b\n", End::Reset(Reason::INTERNAL_ERROR)));
    gateway.stop().await;
}

#[tokio::test]
async fn head_of_a_stream_has_no_body_and_ends_the_call() {
    let (mut peer, gateway) = start(Script::new().message(shop::event(1))).await;
    let mut http1 = gateway.http1().await;
    let answer = http1.send(&Request::new("HEAD", "/v1/topics/a")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, ARRAY));
    assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    peer.on("WatchOrders", Script::new().status(0, ""));
    assert_eq!(http1.send(&watch(ARRAY)).await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let (peer, gateway) =
        start(Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "")).await;
    let mut http2 = gateway.http2().await;
    let mut running = Vec::new();
    for _ in 0..50 {
        running.push(http2.start(&watch(NDJSON), true).await);
    }
    for stream in &mut running {
        assert_eq!(stream.head().await.unwrap().0, 200);
    }
    peer.release(50);
    for stream in &mut running {
        let mut body = Vec::new();
        while let Some(piece) = stream.piece().await.unwrap() {
            body.extend_from_slice(&piece);
        }
        assert_eq!(String::from_utf8(body).unwrap(), "{\"sequence\":\"1\"}\n{\"sequence\":\"2\"}\n");
    }
    gateway.stop().await;
}

/// The system would take in megabytes for a client that reads nothing. What it does take in, the windows of the backend's
/// stream and the buffers of the connection are less than one.
#[tokio::test]
async fn a_client_that_reads_nothing_has_little_of_its_backend_taken_in() {
    let event = shop::message("Event", json!({"text": "x".repeat(10_000)}));
    let (mut peer, gateway) = start(Script::new().every(Duration::ZERO, event)).await;
    let mut client = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let head = format!("GET /v1/topics/a HTTP/1.1\r\nhost: a\r\naccept: {NDJSON}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let call = peer.call().await;
    let taken = settled(|| call.sent()).await;
    assert!(taken < 1024 * 1024, "{taken}");
    drop(client);
    gateway.stop().await;
}
