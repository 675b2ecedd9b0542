//! Who may open a WebSocket, and what others are told: ordinary answers of HTTP, before anything is switched.

use serde_json::json;
use tidegate_testkit::client::Http1;
use tidegate_testkit::websocket::{self, derive_accept_key};
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop, soon, tokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{config, json as next, say};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    )
}

/// Status, and `reason` of the body, of what answers these bytes.
async fn answer(gateway: &Gateway, bytes: String) -> (u16, String) {
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client.write_all(bytes.as_bytes()).await.unwrap();
    let mut read = String::new();
    // A refusal has a body, which names the request after the reason.
    let is_whole = |read: &str| {
        read.contains("\"request_id\"") || (read.starts_with("HTTP/1.1 101") && read.ends_with("\r\n\r\n"))
    };
    while !is_whole(&read) {
        read.push(char::from(soon(client.read_u8()).await.unwrap()));
    }
    let reason = read.split_once("\"reason\":\"").and_then(|(_, rest)| rest.split_once('"'));
    (read[9..12].parse().unwrap(), reason.map_or_else(String::new, |(reason, _)| reason.to_owned()))
}

async fn with(gateway: &Gateway, path: &str, more: &str) -> (u16, String) {
    answer(gateway, handshake(path, more)).await
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn a_handshake_is_answered_as_the_standard_says() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut http1 = Http1::connect(gateway.address()).await;
    http1
        .write(handshake("/ws/bare", "sec-websocket-extensions: permessage-deflate\r\nsec-websocket-protocol: a\r\n"))
        .await;
    let (status, headers) = http1.any_head().await;
    assert_eq!(status, 101);
    assert_eq!(headers.get("sec-websocket-accept").unwrap(), derive_accept_key(KEY.as_bytes()).as_str());
    assert_eq!(headers.get("upgrade").unwrap(), "websocket");
    assert!(headers.get("sec-websocket-extensions").is_none() && headers.get("sec-websocket-protocol").is_none());
    // Over HTTP/2 a key is not needed, and answered if there is one.
    let mut http2 = gateway.http2().await;
    let mut running = http2.start_socket("websocket", &get("/ws/bare").header("sec-websocket-key", KEY)).await;
    let (status, headers) = running.head().await.unwrap();
    assert_eq!((status, headers.get("sec-websocket-accept").is_some(), headers.get("upgrade")), (200, true, None));
    for (bytes, status) in [
        ("GET /ws/bare HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 426),
        (handshake("/ws/bare", "").replace("version: 13", "version: 12"), 426),
        (handshake("/ws/bare", "").replace(KEY, "c2hvcnQ="), 400),
        (handshake("/ws/bare", "").replace("sec-websocket-key", "x-key"), 400),
    ] {
        assert_eq!(answer(&gateway, bytes).await, refused(status, "bad_request"));
    }
    assert_eq!(
        answer(&gateway, handshake("/ws/bare", "").replace("GET", "POST")).await,
        refused(405, "method_not_allowed")
    );
    assert_eq!(http2.send(&get("/ws/bare")).await.status, 426);
    drop((http1, running, http2));
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_anything_else_is_looked_at() {
    let peer = Peer::start().await;
    let auth = format!(
        "auth: {{ providers: {{ main: {{ type: jwt, algorithms: [HS256], secret: \"{SECRET}\", token_from: [header, \"cookie:session\"] }} }} }}"
    );
    let own = Gateway::start(&config(peer.address(), "", ""));
    for (origin, status) in
        [("http://a", 101), ("https://a", 101), ("https://b", 403), ("null", 403), ("http://a:80", 403)]
    {
        assert_eq!(with(&own, "/ws", &format!("origin: {origin}\r\n")).await.0, status, "{origin}");
    }
    own.stop().await;
    let more = "    - { path: /ws/mine, protocol: plain, auth: { providers: [main] } }\n  allowed_origins: [\"https://app.example.com\", \"https://*.example.org\"]";
    let listed = Gateway::start(&config(peer.address(), more, &auth));
    let token = tokens::hs256(SECRET, &tokens::claims("u1", json!({})));
    for (path, fields, expected) in [
        ("/ws", "origin: https://app.example.com\r\n".to_owned(), refused(101, "")),
        ("/ws", "origin: https://x.example.org\r\n".to_owned(), refused(101, "")),
        ("/ws", "origin: http://a\r\n".to_owned(), refused(403, "forbidden")),
        // Without a credential it would be 401.
        ("/ws/mine", "origin: http://a\r\n".to_owned(), refused(403, "forbidden")),
        ("/ws/mine", String::new(), refused(401, "auth_missing")),
        ("/ws/mine", format!("authorization: Bearer {token}\r\n"), refused(101, "")),
        ("/ws/mine", format!("cookie: session={token}\r\n"), refused(403, "forbidden")),
        ("/ws/mine", format!("cookie: session={token}\r\norigin: https://app.example.com\r\n"), refused(101, "")),
    ] {
        assert_eq!(with(&listed, path, &fields).await, expected, "{path} {fields}");
    }
    listed.stop().await;
}

#[tokio::test]
async fn a_token_may_stand_where_the_endpoint_says_and_tells_backends_who_asks() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let auth = format!(
        "auth: {{ providers: {{ main: {{ type: jwt, algorithms: [HS256], secret: \"{SECRET}\" }} }}, forward: {{ x-user-id: sub }} }}"
    );
    let request = "request: { grpc: OrderService/WatchOrders, service: shop }";
    let more = format!(
        "    - {{ path: /ws/query, protocol: plain, {request}, auth: {{ providers: [main], token_from: [\"query:token\"], allow: {{ roles: [viewer] }} }} }}\n    - {{ path: /ws/header, protocol: plain, auth: {{ providers: [main] }} }}"
    );
    let gateway = Gateway::start(&config(peer.address(), &more, &auth));
    let token = |roles| tokens::hs256(SECRET, &tokens::claims("u1", json!({"roles": [roles]})));
    let (viewer, other) = (token("viewer"), token("other"));
    let expired = tokens::hs256(SECRET, &json!({"sub": "u1", "exp": 1_700_000_000}));
    for (path, fields, expected) in [
        (format!("/ws/query?token={other}"), String::new(), refused(403, "forbidden")),
        (format!("/ws/query?token={expired}"), String::new(), refused(401, "auth_expired")),
        (format!("/ws/query?token={viewer}x"), String::new(), refused(401, "auth_invalid")),
        ("/ws/query".to_owned(), format!("authorization: Bearer {viewer}\r\n"), refused(401, "auth_missing")),
        (format!("/ws/header?token={viewer}"), String::new(), refused(401, "auth_missing")),
        ("/ws/header".to_owned(), format!("authorization: Bearer {viewer}\r\n"), refused(101, "")),
    ] {
        assert_eq!(with(&gateway, &path, &fields).await, expected, "{path}");
    }
    let mut socket = websocket::http1(gateway.address(), &format!("/ws/query?token={viewer}")).await;
    say(&mut socket, r#"{"topic":"a"}"#).await;
    assert_eq!(next(&mut socket).await["type"], "data");
    let call = peer.call().await;
    assert_eq!(call.text("x-user-id"), "u1");
    let sent = format!("{:?}", call.metadata);
    assert!(!sent.contains(&viewer) && !sent.contains("sec-websocket"), "{sent}");
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be() {
    let peer = Peer::start().await;
    let limits = "  limits: { max_connections: 3, max_connections_per_ip: 2 }";
    let gateway = Gateway::start(&config(peer.address(), limits, "client_ip: { trusted_proxies: [127.0.0.0/8] }"));
    let from = |ip: &str| format!("x-forwarded-for: {ip}\r\n");
    let mut first = Http1::connect(gateway.address()).await;
    first.write(handshake("/ws/bare", &from("192.0.2.1"))).await;
    assert_eq!(first.any_head().await.0, 101);
    let mut second = Http1::connect(gateway.address()).await;
    second.write(handshake("/ws/bare", &from("192.0.2.1"))).await;
    assert_eq!(second.any_head().await.0, 101);
    assert_eq!(with(&gateway, "/ws/bare", &from("192.0.2.1")).await, refused(429, "rate_limited"));
    let mut third = Http1::connect(gateway.address()).await;
    third.write(handshake("/ws/bare", &from("192.0.2.2"))).await;
    assert_eq!(third.any_head().await.0, 101);
    assert_eq!(with(&gateway, "/ws/bare", &from("192.0.2.3")).await, refused(503, "overloaded"));
    drop(first);
    eventually("a place is free", || async { with(&gateway, "/ws/bare", &from("192.0.2.1")).await.0 == 101 }).await;
    drop((second, third));
    gateway.stop().await;
}

#[tokio::test]
async fn limits_of_routes_are_limits_of_handshakes() {
    let peer = Peer::start().await;
    let more = "    - { path: /ws/few, protocol: plain, rate_limits: [{ name: few, limit: 1/h, key: ip }] }";
    let gateway = Gateway::start(&config(peer.address(), more, ""));
    assert_eq!(with(&gateway, "/ws/few", "").await.0, 101);
    assert_eq!(with(&gateway, "/ws/few", "").await, refused(429, "rate_limited"));
    gateway.stop().await;
}
