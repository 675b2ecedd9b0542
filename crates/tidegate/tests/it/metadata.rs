//! Which headers become metadata, which metadata becomes headers, and what nobody can forge.

use std::collections::BTreeMap;

use serde_json::json;
use tidegate_testkit::peer::Call;
use tidegate_testkit::{Gateway, Peer, Request, Script, get, post, shop};

/// What every call carries, whatever the client sent.
const ALWAYS: [&str; 12] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-timeout",
    "te",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-proto",
    "x-path-id",
    "x-request-id",
];

/// What a call carries beyond that.
fn beyond(call: &Call) -> BTreeMap<String, String> {
    for name in ALWAYS {
        assert!(call.metadata.contains_key(name), "{name} is missing in {:?}", call.metadata);
    }
    let more = call.metadata.iter().filter(|(name, _)| !ALWAYS.contains(&name.as_str()));
    more.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

async fn start(more: &str) -> (Peer, Gateway) {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    (peer, gateway)
}

/// Sends `headers` over both protocols; `expected` is what the backend gets of them.
async fn check(more: &str, headers: &[(&str, &str)], expected: &[(&str, &str)]) {
    let (mut peer, gateway) = start(more).await;
    let request = headers.iter().fold(get("/v1/orders/7"), |request, (name, value)| request.header(name, value));
    for answer in gateway.send_both(&request).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(beyond(&peer.call().await), expected);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn end_to_end_headers_pass() {
    let headers = [
        ("authorization", "Bearer token"),
        ("accept-language", "de"),
        ("x-tenant", "acme"),
        ("user-agent", "curl/8"),
        ("if-none-match", "\"a\""),
    ];
    let mut expected = headers.to_vec();
    expected[3] = ("x-forwarded-user-agent", "curl/8");
    check("", &headers, &expected).await;
}

#[tokio::test]
async fn what_only_the_gateway_may_say_cannot_be_forged() {
    let forged = [
        ("x-user-id", "root"),
        ("X-User-Email", "root@example.com"),
        ("x_user_id", "root"),
        ("x-auth-roles", "admin"),
        ("x-path-other", "1"),
        ("x-tidegate-trace", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-port", "1"),
        ("x_forwarded_for", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
        ("true-client-ip", "1.2.3.4"),
        ("cf-connecting-ip", "1.2.3.4"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("grpc-encoding", "gzip"),
        ("grpc-trace-bin", "AAAA"),
        ("token-bin", "AAAA"),
        ("cookie", "a=b"),
        ("te", "trailers"),
        ("accept-encoding", "gzip"),
    ];
    check("", &forged, &[]).await;
    // In spite of the lists of a route.
    check("defaults: { metadata: { allow: [x-user-id, x-forwarded-for, cookie, grpc-encoding] } }", &forged, &[]).await;
    let prefixed =
        [("grpc-metadata-x-user-id", "root"), ("grpc-metadata-grpc-timeout", "1n"), ("grpc-metadata-te", "x")];
    check("defaults: { metadata: { prefix: grpc-metadata- } }", &prefixed, &[]).await;
}

#[tokio::test]
async fn the_gateway_says_where_a_request_came_from() {
    let (mut peer, gateway) = start("").await;
    let answers = gateway.send_both(&get("/v1/orders/%37?verbose=true").header("x-forwarded-host", "forged")).await;
    for answer in answers {
        assert_eq!(answer.status, 200);
        let call = peer.call().await;
        let expected = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "shop.test"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-path", "/v1/orders/%37"),
            ("x-forwarded-proto", "http"),
            ("x-path-id", "7"),
            ("user-agent", concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
        ];
        for (name, value) in expected {
            assert_eq!(call.text(name), value, "{name}");
            assert_eq!(call.metadata.get_all(name).iter().count(), 1, "{name}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn values_of_the_path_are_printable_in_metadata() {
    let mut peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let request = Request::new("PUT", "/v1/customers/Zo%C3%AB%20%25/orders/7").body("{}");
    assert_eq!(gateway.send(&request).await.status, 200);
    let mut call = peer.call().await;
    assert_eq!(shop::json("CreateOrderRequest", &call.message().await)["customer"], "Zoë %");
    assert_eq!((call.text("x-path-customer"), call.text("x-path-order.id")), ("Zo%C3%AB %25", "7"));
    gateway.stop().await;
}

/// Over HTTP/1.1 only: HTTP/2 has no `Connection`.
#[tokio::test]
async fn what_connection_names_is_hop_by_hop() {
    let (mut peer, gateway) = start("").await;
    let mut http1 = gateway.http1().await;
    http1
        .write(
            "GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nconnection: X-Hop, x-request-id, x-forwarded-for, keep-alive\r\n\
             x-hop: 1\r\nx-end: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\nupgrade: h2c\r\n\r\n",
        )
        .await;
    assert_eq!(http1.answer().await.status, 200);
    let call = peer.call().await;
    assert_eq!(beyond(&call), BTreeMap::from([("x-end".to_owned(), "2".to_owned())]));
    assert_eq!(call.text("x-forwarded-for"), "127.0.0.1");
    gateway.stop().await;
}

#[tokio::test]
async fn lists_of_a_route_choose_further() {
    let headers = [("authorization", "secret"), ("x-a", "1"), ("x-b", "2"), ("accept-language", "de")];
    check("defaults: { metadata: { allow: [x-a, authorization] } }", &headers, &[headers[0], headers[1]]).await;
    check("defaults: { metadata: { deny: [authorization] } }", &headers, &headers[1..]).await;
    check("defaults: { metadata: { allow: [\"x-*\"], deny: [x-b] } }", &headers, &[headers[1]]).await;
    check("defaults: { metadata: { deny: [\"x-*\", \"accept*\"] } }", &headers, &headers[..1]).await;
    check("defaults: { metadata: { allow: [] } }", &headers, &[]).await;
    let prefixed = [("grpc-metadata-x-a", "1"), ("x-b", "2")];
    check("defaults: { metadata: { prefix: grpc-metadata- } }", &prefixed, &[("x-a", "1"), ("x-b", "2")]).await;
}

#[tokio::test]
async fn binary_metadata_passes_where_it_is_allowed() {
    let allowed = "defaults: { metadata: { allow_binary: true } }";
    let headers = [("token-bin", "AQID"), ("other-bin", "AQI")];
    check(allowed, &headers, &headers).await;
    let (peer, gateway) = start(allowed).await;
    for answer in gateway.send_both(&get("/v1/orders/7").header("token-bin", "no base64")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"));
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made_and_returned() {
    let (mut peer, gateway) = start("").await;
    let long = "a".repeat(129);
    for (sent, taken) in [("abc-1_2.3", true), ("a b", false), ("{}", false), (long.as_str(), false)] {
        for answer in gateway.send_both(&get("/v1/orders/7").header("x-request-id", sent)).await {
            let call = peer.call().await;
            assert_eq!(call.text("x-request-id"), answer.header("x-request-id"));
            assert_eq!(answer.header("x-request-id") == sent, taken, "{sent}");
            assert_eq!(call.metadata.get_all("x-request-id").iter().count(), 1);
        }
    }
    let twice = get("/v1/orders/7").header("x-request-id", "a").header("x-request-id", "b");
    let [first, second] = gateway.send_both(&twice).await;
    assert_eq!((first.header("x-request-id").len(), second.header("x-request-id").len()), (26, 26));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    gateway.stop().await;
}

#[tokio::test]
async fn heads_have_a_limit() {
    let (peer, gateway) = start("").await;
    let huge = "x".repeat(20_000);
    let request = get("/v1/orders/7").header("x-a", &huge).header("x-b", &huge);
    let [first, second] = gateway.send_both(&request).await;
    assert_eq!((first.status, first.reason().as_str()), (431, "bad_request"));
    // The h2 crate answers by itself, before there is a request.
    assert_eq!(second.status, 431);
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn metadata_of_an_answer_passes_an_allow_list() {
    let script = Script::new()
        .metadata("x-cache", "hit")
        .metadata("set-cookie", "a=b")
        .metadata("set-cookie", "c=d")
        .metadata("etag", "\"1\"")
        .metadata("location", "/v1/orders/8")
        .metadata("server", "grpc-go")
        .metadata("x-request-id", "forged")
        .metadata("x-tidegate-ignored", "forged")
        .metadata("x-token-bin", "AAAA")
        .metadata("grpc-encoding", "identity")
        .metadata("internal-host", "db-1")
        .metadata("transfer-coding", "x");
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    peer.on("GetOrder", script.clone().message(shop::order()).status_with(0, "", "x-trailing", "no"));
    peer.on("WatchOrders", script.message(shop::event(1)).status_with(0, "", "x-trailing", "no"));
    for target in ["/v1/orders/7", "/v1/topics/a"] {
        for answer in gateway.send_both(&get(target)).await {
            assert_eq!(answer.status, 200);
            let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
            names.retain(|name| !["content-length", "transfer-encoding", "trailer"].contains(name));
            names.sort_unstable();
            let expected =
                ["content-type", "date", "etag", "location", "server", "set-cookie", "x-cache", "x-request-id"];
            assert_eq!(names, expected, "{target}");
            assert_eq!(answer.header("server"), "tidegate");
            assert_ne!(answer.header("x-request-id"), "forged");
            assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_ignored_is_reported() {
    let more = "defaults: { json: { unknown_fields: report, unknown_query: report }, ignore_query: [utm] }";
    let mut peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let request = post("/v1/orders?customer=Ada&colour=red&utm=x", r#"{"card":"1","items":[{"sku":"x","size":1}]}"#);
    for answer in gateway.send_both(&request).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-ignored"), "colour,order.items.size");
        let sent = json!({"customer": "Ada", "order": {"card": "1", "items": [{"sku": "x"}]}});
        assert_eq!(shop::json("CreateOrderRequest", &peer.call().await.message().await), sent);
    }
    gateway.stop().await;
}
