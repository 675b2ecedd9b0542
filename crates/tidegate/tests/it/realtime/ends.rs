//! How a session ends, and what is told of it.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::client::Http1;
use tidegate_testkit::websocket::futures_util::{SinkExt as _, StreamExt as _};
use tidegate_testkit::websocket::{self, Message};
use tidegate_testkit::{Gateway, PATIENCE, Peer, Program, Script, eventually, get, shop, soon, tokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{both, closed, config, json as next, say};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A client as bytes, with its WebSocket open.
async fn raw(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut http1 = TcpStream::connect(address).await.unwrap();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    );
    http1.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(soon(http1.read_u8()).await.unwrap());
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "));
    http1
}

/// A frame of a client; its mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// The code of the close frame that the gateway answers `bytes` with, and whether it closes the connection then.
async fn code(address: std::net::SocketAddr, bytes: &[u8]) -> u16 {
    let mut socket = raw(address, "/ws/bare").await;
    socket.write_all(bytes).await.unwrap();
    let mut head = [0; 4];
    soon(socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[0], 0x88, "{head:x?}");
    let mut rest = Vec::new();
    // Not even a client that goes on sending, or says nothing more, keeps it open.
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is closed").unwrap_or_default();
    u16::from_be_bytes([head[2], head[3]])
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_by_code_and_closed() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "  limits: { max_message: 1KiB }", ""));
    let many = [&frame(0x01, b"a")[..], &frame(0x01, b"b")].concat();
    let announced = [0x82, 0xfe, 4, 1, 0, 0, 0, 0];
    for (what, bytes, expected) in [
        ("a reserved bit", frame(0xc1, b"a"), 1002),
        ("a reserved opcode", frame(0x83, b""), 1002),
        ("no mask", vec![0x81, 1, b'a'], 1002),
        ("a message in a message", many, 1002),
        ("a lone continuation", frame(0x80, b"a"), 1002),
        ("a bad close code", frame(0x88, &[3, 237]), 1002),
        ("not UTF-8", frame(0x81, b"\xff"), 1007),
        ("a message of bytes", frame(0x82, b"a"), 1003),
        ("a large message, announced", announced.to_vec(), 1009),
    ] {
        assert_eq!(code(gateway.address(), &bytes).await, expected, "{what}");
    }
    assert_eq!(code(gateway.address(), &frame(0x88, &[0x0f, 0xa0])).await, 4000, "a close is answered");
    gateway.stop().await;
}

#[tokio::test]
async fn a_close_is_answered_over_both_versions() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let (mut first, mut second, _connection) = both(&gateway, "/ws/bare").await;
    soon(first.send(Message::Ping(b"alive?".to_vec().into()))).await.unwrap();
    assert_eq!(soon(first.next()).await.unwrap().unwrap(), Message::Pong(b"alive?".to_vec().into()));
    soon(first.close(None)).await.unwrap();
    soon(second.close(None)).await.unwrap();
    assert!(matches!(soon(first.next()).await, Some(Ok(Message::Close(None)))));
    assert!(matches!(soon(second.next()).await, Some(Ok(Message::Close(None)))));
    assert!(soon(first.next()).await.is_none() && soon(second.next()).await.is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_asked_and_one_that_has_gone_is_closed() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "  ping: { interval: 100ms, timeout: 300ms }", ""));
    // It answers, which its library does by itself as long as it is read.
    let mut alive = websocket::http1(gateway.address(), "/ws/bare").await;
    for _ in 0..5 {
        assert!(matches!(soon(alive.next()).await, Some(Ok(Message::Ping(_)))));
    }
    let mut gone = raw(gateway.address(), "/ws/bare").await;
    let mut heard = Vec::new();
    soon(gone.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, [&[0x89, 0][..], &[0x88, 15, 0x11, 0x38], b"client_closed"].concat());
    drop(alive);
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_its_token_does() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).hold()).await;
    let auth = format!(
        "auth: {{ providers: {{ main: {{ type: jwt, algorithms: [HS256], secret: \"{SECRET}\", leeway: 0s }} }} }}"
    );
    let more = "    - { path: /ws/mine, protocol: plain, auth: { providers: [main], token_from: [\"query:t\"] }, request: { grpc: OrderService/WatchOrders, service: shop } }";
    let gateway = Gateway::start(&config(peer.address(), more, &auth));
    let token = tokens::hs256(SECRET, &json!({"sub": "u1", "exp": tokens::unix_now() + 2}));
    let (mut first, mut second, _connection) = both(&gateway, &format!("/ws/mine?t={token}")).await;
    say(&mut first, r#"{"topic":"a"}"#).await;
    assert_eq!(next(&mut first).await["type"], "data");
    assert_eq!(closed(&mut first).await, (4401, "auth_expired".to_owned()));
    assert_eq!(closed(&mut second).await, (4401, "auth_expired".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_sends_clients_away_with_a_hint_when_to_come_back() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).hold()).await;
    let rest =
        "drain: { readiness_delay: 0s, timeout: 2s }\nobservability: { logs: { access: { output: access.log } } }";
    let mut program = Program::run(BINARY, &config(peer.address(), "", rest));
    let address = program.listener("main").await;
    let mut first = websocket::http1(address, "/ws").await;
    let mut connection = tidegate_testkit::client::Http2::connect(address).await;
    let mut second = websocket::http2(&mut connection, "/ws").await;
    say(&mut first, r#"{"topic":"a"}"#).await;
    assert_eq!(next(&mut first).await["type"], "data");
    program.terminate();
    let closing = next(&mut first).await;
    assert_eq!((&closing["type"], &closing["reason"]), (&json!("closing"), &json!("draining")));
    assert!(closing["reconnect_after_ms"].is_u64());
    assert_eq!(closed(&mut first).await, (1001, "draining".to_owned()));
    assert_eq!(closed(&mut second).await, (1001, "draining".to_owned()));
    drop((first, second, connection));
    assert_eq!(program.code().await, 0, "{}", program.log());
    let lines = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["messages_in"].as_u64());
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, (messages_in, messages_out)) in lines.iter().zip([(0, 1), (1, 2)]) {
        assert_eq!((&line["status"], &line["reason"]), (&json!(101), &json!("draining")), "{line}");
        assert_eq!((&line["close_code"], &line["route"]), (&json!(1001), &json!("/ws")), "{line}");
        assert_eq!(
            (&line["messages_in"], &line["messages_out"]),
            (&json!(messages_in), &json!(messages_out)),
            "{line}"
        );
    }
}

/// A stream without end, and a client that reads none of it: the backend is held up, and the client closed.
#[tokio::test]
async fn a_client_that_takes_nothing_holds_up_its_backend_and_is_closed() {
    let event = shop::message("Event", json!({"text": "x".repeat(60_000)}));
    let mut peer = Peer::with("WatchOrders", Script::new().every(Duration::ZERO, event)).await;
    let rest = "observability: { logs: { access: { output: access.log } } }";
    let mut program = Program::run(BINARY, &config(peer.address(), "  limits: { write_timeout: 1s }", rest));
    let address = program.listener("main").await;
    let mut first = raw(address, "/ws").await;
    first.write_all(&frame(0x81, br#"{"topic":"a"}"#)).await.unwrap();
    let mut connection = tidegate_testkit::client::Http2::connect(address).await;
    let mut second = connection.start_socket("websocket", &get("/ws")).await;
    assert_eq!(second.head().await.unwrap().0, 200);
    let (mut sender, _unread) = second.split();
    sender.send_data(frame(0x81, br#"{"topic":"a"}"#).into(), false).unwrap();
    for _ in 0..2 {
        let mut call = peer.call().await;
        call.reset().await;
    }
    let log = program.folder().join("access.log");
    eventually("both are told", || async { std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 2) })
        .await;
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["reason"], &line["close_code"]), (&json!("overloaded"), &json!(1006)), "{line}");
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

/// A client that is slow has the ping behind all that it has not read yet, and says nothing meanwhile. That it takes what
/// it is sent shows that it lives; when it no longer does, it is closed.
#[tokio::test]
async fn a_client_that_is_slow_and_takes_what_it_is_sent_is_not_taken_for_dead() {
    let event = shop::message("Event", json!({"text": "x".repeat(10_000)}));
    let peer = Peer::with("WatchOrders", Script::new().every(Duration::ZERO, event)).await;
    let rest = "observability: { logs: { access: { output: access.log } } }";
    let more = "  ping: { interval: 100ms, timeout: 2s }\n  limits: { write_timeout: 5s }";
    let mut program = Program::run(BINARY, &config(peer.address(), more, rest));
    let address = program.listener("main").await;
    let mut http1 = raw(address, "/ws").await;
    http1.write_all(&frame(0x81, br#"{"topic":"a"}"#)).await.unwrap();
    let mut connection = tidegate_testkit::client::Http2::connect(address).await;
    let mut http2 = connection.start_socket("websocket", &get("/ws")).await;
    assert_eq!(http2.head().await.unwrap().0, 200);
    let (mut sender, mut reader) = http2.split();
    sender.send_data(frame(0x81, br#"{"topic":"a"}"#).into(), false).unwrap();
    // Less than any machine makes, so that the client is what it waits for.
    let mut piece = vec![0; 8 * 1024];
    let begun = tokio::time::Instant::now();
    // For longer than a client may be silent.
    while begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        soon(http1.read_exact(&mut piece)).await.expect("it is open");
        let data = soon(reader.data()).await.expect("it is open").expect("it is open");
        reader.flow_control().release_capacity(data.len()).unwrap();
    }
    let log = program.folder().join("access.log");
    assert_eq!(std::fs::read_to_string(&log).unwrap_or_default(), "");
    eventually("both are closed", || async {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 2)
    })
    .await;
    drop((http1, sender, reader, connection));
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn metrics_tell_how_many_there_are_and_how_they_ended() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", "observability: { metrics: { public_path: /metrics } }"));
    let page = async || gateway.get("/metrics").await.text().to_owned();
    assert!(!page().await.contains("tidegate_ws_"), "nothing is told of what there never was");
    let (mut first, second, _connection) = both(&gateway, "/ws").await;
    say(&mut first, r#"{"topic":"a"}"#).await;
    assert_eq!(
        (next(&mut first).await["type"].as_str(), next(&mut first).await["type"].as_str()),
        (Some("data"), Some("end"))
    );
    for line in [
        r#"tidegate_ws_connections{listener="main",protocol="http1"} 1"#,
        r#"tidegate_ws_connections{listener="main",protocol="http2"} 1"#,
        r#"tidegate_ws_messages_total{direction="in"} 1"#,
        r#"tidegate_ws_messages_total{direction="out"} 2"#,
        r#"tidegate_ws_bytes_total{direction="in",stage="raw"} 13"#,
        r#"tidegate_ws_bytes_total{direction="in",stage="wire"} 19"#,
    ] {
        eventually(line, || async { page().await.contains(line) }).await;
    }
    soon(first.close(None)).await.unwrap();
    drop((first, second));
    for line in [
        r#"tidegate_ws_connections{listener="main",protocol="http1"} 0"#,
        r#"tidegate_ws_connections{listener="main",protocol="http2"} 0"#,
        r#"tidegate_ws_connections_closed_total{listener="main",reason=""} 1"#,
        r#"tidegate_ws_connections_closed_total{listener="main",reason="client_closed"} 1"#,
    ] {
        eventually(line, || async { page().await.contains(line) }).await;
    }
    gateway.stop().await;
}

/// Sessions belong to the process: a reload that takes their endpoint away closes none.
#[tokio::test]
async fn a_reload_closes_no_session() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut socket = websocket::http1(gateway.address(), "/ws").await;
    gateway.apply(&shop::config(peer.address(), "")).await;
    let mut http1 = Http1::connect(gateway.address()).await;
    http1.write("GET /ws HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(http1.head().await.0, 404);
    say(&mut socket, r#"{"topic":"a"}"#).await;
    assert_eq!(next(&mut socket).await["type"], "data");
    drop(socket);
    gateway.stop().await;
}
