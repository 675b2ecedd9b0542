//! What clients say, and what they hear.

use bytes::Bytes;
use h2::Reason;
use serde_json::json;
use tidegate_testkit::websocket;
use tidegate_testkit::{Gateway, Peer, Script, eventually, settled, shop};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{both, closed, config, json, say, text};

#[tokio::test]
async fn a_request_is_a_stream_with_an_end() {
    let script = Script::new().messages([shop::event(1), shop::event(2)]).status(0, "");
    let mut peer = Peer::with("WatchOrders", script).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let (mut first, mut second, _connection) = both(&gateway, "/ws").await;
    check(&mut peer, &mut first).await;
    check(&mut peer, &mut second).await;
    drop((first, second));
    gateway.stop().await;
}

async fn check<Io: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer, socket: &mut websocket::WebSocketStream<Io>) {
    for (asked, id, sent) in [
        (r#"{"topic":"a","id":7}"#, r#","id":7"#, json!({"topic": "a", "limit": 7})),
        (r#"{"topic":"a","id":"x\u00e4","limit":3}"#, r#","id":"x\u00e4""#, json!({"topic": "a", "limit": 3})),
        (r#" { "topic" : "b" , "unknown" : {"a":[1]} } "#, "", json!({"topic": "b", "limit": 7})),
    ] {
        say(socket, asked).await;
        assert_eq!(shop::json("WatchRequest", &peer.call().await.message().await), sent, "{asked}");
        for event in [r#"{"sequence":"1"}"#, r#"{"sequence":"2"}"#] {
            assert_eq!(text(socket).await, format!(r#"{{"type":"data"{id},"data":{event}}}"#));
        }
        assert_eq!(text(socket).await, format!(r#"{{"type":"end"{id}}}"#));
    }
}

#[tokio::test]
async fn a_request_with_one_answer_is_repeated_as_on_routes_and_has_a_deadline() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::message("Order", json!({"id": "5"})))).await;
    let gateway = Gateway::start(&config(peer.address(), "", "defaults: { timeout: 30s }"));
    let mut socket = websocket::http1(gateway.address(), "/ws/order").await;
    // A field of the message that is called as the protocol calls its own is both.
    say(&mut socket, r#"{"id":5}"#).await;
    assert_eq!(text(&mut socket).await, r#"{"type":"data","id":5,"data":{"id":"5"}}"#);
    assert_eq!(text(&mut socket).await, r#"{"type":"end","id":5}"#);
    let mut call = peer.call().await;
    assert!(call.text("grpc-timeout").ends_with('m'));
    assert_eq!(shop::json("GetOrderRequest", &call.message().await), json!({"id": 5}));
    peer.on("GetOrder", Script::fails(5, "order 5 unknown"));
    say(&mut socket, r#"{"id":5}"#).await;
    let error = r#"{"type":"error","id":5,"reason":"upstream_error","status":404,"message":"order 5 unknown","code":"NOT_FOUND"}"#;
    assert_eq!(text(&mut socket).await, error);
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_run_side_by_side_and_a_failure_ends_its_own_alone() {
    let peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).hold().status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut socket = websocket::http1(gateway.address(), "/ws").await;
    for id in 0..32 {
        say(&mut socket, json!({"topic": "a", "id": id}).to_string()).await;
    }
    for id in 0..32 {
        assert_eq!(json(&mut socket).await["type"], "data", "{id}");
    }
    say(&mut socket, r#"{"topic":"a","id":"more"}"#).await;
    let refused = json(&mut socket).await;
    assert_eq!(
        (&refused["id"], &refused["reason"], &refused["status"]),
        (&json!("more"), &json!("rate_limited"), &json!(429))
    );
    peer.release(1);
    assert_eq!(json(&mut socket).await["type"], "end");
    peer.on("WatchOrders", Script::fails(7, "not for you"));
    say(&mut socket, r#"{"topic":"a","id":33}"#).await;
    let failed = json(&mut socket).await;
    assert_eq!(
        (&failed["id"], &failed["reason"], &failed["status"]),
        (&json!(33), &json!("upstream_error"), &json!(403))
    );
    // All that runs is cancelled with the socket.
    socket.close(None).await.unwrap();
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn what_says_nothing_is_told_so_and_the_connection_stays_open() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut socket = websocket::http1(gateway.address(), "/ws").await;
    for (said, id, reason) in [
        ("hello", json!(null), "bad_request"),
        ("[1]", json!(null), "bad_request"),
        (r#"{"id":1}"#, json!(1), "bad_request"),
        (r#"{"topic":5,"id":2}"#, json!(2), "bad_request"),
        (r#"{"type":"rpc","id":3}"#, json!(3), "bad_request"),
        (r#"{"type":"subscribe","id":4}"#, json!(4), "bad_request"),
    ] {
        say(&mut socket, said).await;
        let error = json(&mut socket).await;
        assert_eq!((&error["type"], error.get("id").unwrap_or(&json!(null))), (&json!("error"), &id), "{said}");
        assert_eq!(error["reason"], reason, "{said}: {error}");
    }
    say(&mut socket, r#"{"type":"subscribe","channels":["md:BTC","md:ETH"],"id":5}"#).await;
    for channel in ["md:BTC", "md:ETH"] {
        let error = r#""reason":"route_not_found","status":404,"message":"no such channel""#;
        assert_eq!(text(&mut socket).await, format!(r#"{{"type":"error","id":5,"channel":"{channel}",{error}}}"#));
    }
    say(&mut socket, r#"{"type":"ping","id":6}"#).await;
    let pong = json(&mut socket).await;
    assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(6)));
    assert!(pong["time"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(peer.calls(), 0);
    let mut bare = websocket::http1(gateway.address(), "/ws/bare").await;
    say(&mut bare, r#"{"topic":"a"}"#).await;
    assert_eq!(json(&mut bare).await["reason"], "bad_request");
    drop((socket, bare));
    gateway.stop().await;
}

#[tokio::test]
async fn too_many_messages_are_refused_and_too_many_refusals_close() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "  limits: { inbound: 3/s }", ""));
    let mut socket = websocket::http1(gateway.address(), "/ws/bare").await;
    for id in 0..4 {
        say(&mut socket, json!({"type": "ping", "id": id}).to_string()).await;
    }
    for _ in 0..3 {
        assert_eq!(json(&mut socket).await["type"], "pong");
    }
    let refused = json(&mut socket).await;
    assert_eq!((&refused["reason"], &refused["id"]), (&json!("rate_limited"), &json!(3)));
    for _ in 0..30 {
        say(&mut socket, "nonsense").await;
    }
    assert_eq!(closed(&mut socket).await, (4429, "rate_limited".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn an_envelope_is_all_that_is_sent() {
    let script = Script::new().message(shop::event(1)).status(0, "");
    let peer = Peer::with("WatchOrders", script).await;
    let envelopes = "envelopes: { quotes: { success: { ok: true, event: \"{{ response }}\", code: \"{{ code }}\" }, error: { ok: false, why: \"{{ message }}\", code: \"{{ code }}\" } } }";
    let endpoint = "    - { path: /ws/quotes, protocol: plain, envelope: quotes, request: { grpc: OrderService/WatchOrders, service: shop } }";
    let gateway = Gateway::start(&config(peer.address(), endpoint, envelopes));
    let mut socket = websocket::http1(gateway.address(), "/ws/quotes").await;
    say(&mut socket, r#"{"topic":"a","id":1}"#).await;
    assert_eq!(text(&mut socket).await, r#"{"ok":true,"event":{"sequence":"1"},"code":"OK"}"#);
    // Neither the end nor a pong is told.
    say(&mut socket, r#"{"type":"ping"}"#).await;
    peer.on("WatchOrders", Script::fails(5, "no topic"));
    say(&mut socket, r#"{"topic":"a"}"#).await;
    assert_eq!(text(&mut socket).await, r#"{"ok":false,"why":"no topic","code":"NOT_FOUND"}"#);
    say(&mut socket, "nonsense").await;
    let error = r#"{"ok":false,"why":"the message is not a JSON object","code":"INVALID_ARGUMENT"}"#;
    assert_eq!(text(&mut socket).await, error);
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_streams() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).hold()).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let (mut first, mut second, _connection) = both(&gateway, "/ws").await;
    say(&mut first, r#"{"topic":"a"}"#).await;
    let mut one = peer.call().await;
    say(&mut second, r#"{"topic":"a"}"#).await;
    let mut two = peer.call().await;
    assert_eq!(
        (json(&mut first).await["type"].as_str(), json(&mut second).await["type"].as_str()),
        (Some("data"), Some("data"))
    );
    // One says so, the other is simply gone.
    first.close(None).await.unwrap();
    drop(second);
    assert_eq!((one.reset().await, two.reset().await), (Reason::CANCEL, Reason::CANCEL));
    drop(first);
    gateway.stop().await;
}

/// One client asks for all that it may at once, and no answer comes whole: little is taken in of them all together. Once
/// they come whole all of them arrive.
#[tokio::test]
async fn unfinished_answers_of_one_client_are_bounded_together() {
    const LENGTH: usize = 700 * 1024;
    let (part, rest) = large("Order", "customerName", LENGTH);
    let script = Script::new().head().bytes(part).hold().bytes(rest).status(0, "");
    let mut peer = Peer::with("GetOrder", script).await;
    let gateway = Gateway::start(&config(peer.address(), "", "defaults: { timeout: null }"));
    let mut socket = websocket::http1(gateway.address(), "/ws/order").await;
    for id in 0..32 {
        say(&mut socket, json!({"id": id}).to_string()).await;
    }
    let mut calls = Vec::new();
    for _ in 0..settled(|| peer.calls()).await {
        calls.push(peer.call().await);
    }
    let taken = settled(|| calls.iter().map(|call| call.sent()).sum()).await;
    // The bound, one answer, and what may wait of each of the others in the window of its stream.
    assert!(taken <= 1024 * 1024 + LENGTH + 32 * 256 * 1024, "{taken}");
    peer.release(32);
    // An end may stand behind the message of another one.
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..64 {
        *told.entry(json(&mut socket).await["type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(told, [("data".to_owned(), 32), ("end".to_owned(), 32)].into());
    drop(socket);
    gateway.stop().await;
}

/// A message in its frame, cut after `length` bytes, which is all but a little of it.
fn large(message: &str, field: &str, length: usize) -> (Bytes, Bytes) {
    let message = shop::message(message, json!({field: "x".repeat(length)}));
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    let rest = framed.split_off(length);
    (framed.into(), rest.into())
}

/// While one call holds more than all may, the others are not read; each still ends at its own deadline.
#[tokio::test]
async fn a_request_that_is_passed_over_ends_at_its_deadline() {
    // More than the bound and what may be on its way.
    const LENGTH: usize = 1500 * 1024;
    let (part, rest) = large("Event", "text", LENGTH);
    let script = Script::new().message(shop::event(1)).bytes(part).hold().bytes(rest).hold();
    let mut peer = Peer::with("WatchOrders", script).await;
    let times = "defaults: { timeout: 3s, stream_idle_timeout: null }";
    let gateway = Gateway::start(&config(peer.address(), "", times));
    let mut socket = websocket::http1(gateway.address(), "/ws").await;
    say(&mut socket, r#"{"topic":"a","id":"most"}"#).await;
    assert_eq!(text(&mut socket).await, r#"{"type":"data","id":"most","data":{"sequence":"1"}}"#);
    let most = peer.call().await;
    eventually("the gateway has read more than it may", async || most.sent() > LENGTH).await;
    peer.on("WatchOrders", Script::new().message(shop::event(2)).hold());
    say(&mut socket, r#"{"topic":"a","id":"late"}"#).await;
    let mut late = peer.call().await;
    let error = json(&mut socket).await;
    assert_eq!(
        (&error["type"], &error["id"], &error["reason"], &error["status"]),
        (&json!("error"), &json!("late"), &json!("upstream_timeout"), &json!(504)),
        "{error}"
    );
    assert_eq!(late.reset().await, Reason::CANCEL);
    // It goes on, and gives back what it held.
    peer.release(1);
    assert_eq!(json(&mut socket).await["id"], "most");
    say(&mut socket, r#"{"topic":"a","id":"next"}"#).await;
    assert_eq!(text(&mut socket).await, r#"{"type":"data","id":"next","data":{"sequence":"2"}}"#);
    drop(socket);
    gateway.stop().await;
}

/// Of two calls with one answer each, the one that came first ends first, though the other one holds more.
#[tokio::test]
async fn requests_with_one_answer_end_in_the_order_of_their_deadlines() {
    let mut peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "", "defaults: { timeout: 4s }"));
    let mut socket = websocket::http1(gateway.address(), "/ws/order").await;
    for (id, length) in [(1, 300 * 1024), (2, 1500 * 1024)] {
        let (part, _) = large("Order", "customerName", length);
        peer.on("GetOrder", Script::new().head().bytes(part).hold());
        say(&mut socket, json!({"id": id}).to_string()).await;
        let call = peer.call().await;
        eventually("it is read", async || call.sent() >= length).await;
    }
    for id in [1, 2] {
        let error = json(&mut socket).await;
        assert_eq!((&error["id"], &error["reason"]), (&json!(id), &json!("upstream_timeout")), "{error}");
    }
    drop(socket);
    gateway.stop().await;
}

/// As on routes: `timeout` until the first message of a stream, `stream_idle_timeout` from message to message.
#[tokio::test]
async fn a_stream_has_a_deadline_for_its_first_message_and_one_for_each_that_follows() {
    let mut peer = Peer::start().await;
    for (times, script, messages) in [
        ("timeout: 1s, stream_idle_timeout: null", Script::new().hold(), 0),
        ("timeout: 1s, stream_idle_timeout: null", Script::new().head().hold(), 0),
        ("timeout: null, stream_idle_timeout: 200ms", Script::new().message(shop::event(1)).hold(), 1),
    ] {
        peer.on("WatchOrders", script);
        let gateway = Gateway::start(&config(peer.address(), "", &format!("defaults: {{ {times} }}")));
        let mut socket = websocket::http1(gateway.address(), "/ws").await;
        say(&mut socket, r#"{"topic":"a","id":1}"#).await;
        let mut call = peer.call().await;
        // The backend is not told, or it would end the stream then.
        assert!(!call.metadata.contains_key("grpc-timeout"));
        for _ in 0..messages {
            assert_eq!(json(&mut socket).await["type"], "data", "{times}");
        }
        let error = json(&mut socket).await;
        assert_eq!(
            (&error["type"], &error["id"], &error["reason"], &error["status"]),
            (&json!("error"), &json!(1), &json!("upstream_timeout"), &json!(504)),
            "{times}: {error}"
        );
        assert_eq!(call.reset().await, Reason::CANCEL, "{times}");
        // The connection stays open.
        say(&mut socket, r#"{"type":"ping"}"#).await;
        assert_eq!(json(&mut socket).await["type"], "pong", "{times}");
        drop(socket);
        gateway.stop().await;
    }
}
