//! Clients and backends that mean no good: what they send, and that nothing but the refusal comes of it.

use std::process::Stdio;

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, Peer, Program, Request, Script, eventually, get, post, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// A target that is neither a path nor a URL would read as the name of a host, and its path as `/`.
#[tokio::test]
async fn a_target_without_a_slash_is_no_path() {
    let peer = Peer::start().await;
    let root = "routes:\n  - { name: root, path: /, respond: { text: root } }";
    let yaml = shop::config(peer.address(), "").replace("routes:", root);
    let gateway = Gateway::start(&yaml);
    for target in ["admin", "a.example", "admin:80"] {
        let mut http1 = gateway.http1().await;
        http1.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{target}");
        assert_eq!(answer.header("connection"), "close", "{target}");
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn an_expectation_that_nobody_meets_is_refused() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for answer in gateway.send_both(&get("/v1/orders/7").header("expect", "a-miracle")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (417, "bad_request"));
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

/// A header that ends in a space is malformed in HTTP/2, so a path must not be able to make one.
#[tokio::test]
async fn a_path_cannot_make_metadata_malformed() {
    let mut peer = Peer::with("WatchOrders", Script::new().message(shop::event(1)).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for (path, value) in [("%20a%20", "%20a%20"), ("a%20b", "a b"), ("%C3%A4", "%C3%A4")] {
        assert_eq!(gateway.get(&format!("/v1/topics/{path}")).await.status, 200);
        assert_eq!(peer.call().await.text("x-path-topic"), value, "{path}");
    }
    gateway.stop().await;
}

/// The deadline runs from the head on, whether or not a first message has come.
#[tokio::test]
async fn an_upload_that_never_begins_ends_at_the_deadline() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { timeout: 200ms }"));
    for path in ["/v1/batches/b", "/v1/chat", "/v1/orders"] {
        let mut http1 = gateway.http1().await;
        let head = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
        http1.write(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}")).await;
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream_timeout"), "{path}");
        assert_eq!(answer.header("connection"), "close", "{path}");
    }
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 1KiB }"));
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/orders HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1025\r\n\r\n").await;
    let (status, headers) = http1.any_head().await;
    assert_eq!((status, headers["connection"].to_str().unwrap()), (413, "close"));
    // The same if all of it is there already.
    let answer = gateway.post("/v1/orders", vec![b' '; 1025]).await;
    assert_eq!((answer.status, answer.header("connection")), (413, "close"));
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_coding_that_cannot_be_undone_is_refused_with_what_can() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for coding in ["br", "gzip, gzip", "snappy"] {
        for answer in gateway.send_both(&post("/v1/orders", "{}").header("content-encoding", coding)).await {
            assert_eq!((answer.status, answer.reason().as_str()), (415, "unsupported_media_type"), "{coding}");
            assert_eq!(answer.header("accept-encoding"), "gzip, zstd, deflate", "{coding}");
        }
    }
    let answer =
        gateway.send(&Request::new("POST", "/v1/orders").header("content-type", "text/xml").body("<a/>")).await;
    assert_eq!((answer.status, answer.header("accept-encoding")), (415, ""));
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

/// Every 503 says when to come back, that of a service without descriptors too.
#[tokio::test]
async fn an_unknown_service_says_when_to_come_back() {
    let nobody = tidegate_testkit::peer::closed_port();
    let yaml = shop::config(nobody, "").replace("descriptors: shop.pb", "descriptors: reflection");
    let gateway = Gateway::start(&yaml);
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_healthy_endpoint"));
    assert_eq!(answer.header("retry-after"), "1");
    gateway.stop().await;
    let gateway = Gateway::start(&shop::config(nobody, ""));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
    assert_eq!(answer.header("retry-after"), "1");
    gateway.stop().await;
}

/// Backends may end a connection, and with it the calls of other clients, for a byte that metadata cannot hold.
#[tokio::test]
async fn metadata_is_printable_ascii_whatever_a_client_sends() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let cases: [(&[u8], &str); 4] = [(b"a b", "a b"), (b"50%", "50%"), (b"\xff\xfe%", "%FF%FE%25"), (b"a\tb", "a%09b")];
    for (sent, expected) in cases {
        let mut http1 = gateway.http1().await;
        let head: [&[u8]; 3] = [b"GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nx-note: ", sent, b"\r\n\r\n"];
        http1.write(head.concat()).await;
        assert_eq!(http1.answer().await.status, 200);
        assert_eq!(peer.call().await.text("x-note"), expected);
    }
    gateway.stop().await;
}

/// Each listener for itself would have room for them.
#[tokio::test]
async fn clients_of_several_listeners_leave_descriptors_to_the_rest_together() {
    const DESCRIPTORS: usize = 128;
    let yaml = "listeners: [{ name: main, address: \"127.0.0.1:0\" }, { name: other, address: \"127.0.0.1:0\" }]\n\
                routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n";
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run -c tidegate.yaml");
    let mut program = Program::run_by_shell(BINARY, yaml, &script, Stdio::null());
    let addresses = [program.listener("main").await, program.listener("other").await];
    let mut kept = Vec::new();
    for address in addresses.iter().cycle().take(DESCRIPTORS / 2) {
        let mut http1 = Http1::connect(*address).await;
        assert_eq!(http1.send(&get("/ping")).await.status, 200);
        kept.push(http1);
    }
    for address in addresses {
        let refused = Http1::connect(address).await.send(&get("/ping")).await;
        assert_eq!((refused.status, refused.reason()), (503, "overloaded".to_owned()));
    }
    kept.truncate(10);
    for address in addresses {
        eventually("there is room again", || async {
            Http1::connect(address).await.send(&get("/ping")).await.status == 200
        })
        .await;
    }
    drop(kept);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

/// A balancer that asks at a listener of its own hears the truth, however many clients there are elsewhere.
#[tokio::test]
async fn a_listener_for_probes_has_descriptors_whatever_the_clients_of_others_hold() {
    const DESCRIPTORS: usize = 128;
    const OWN: usize = 8;
    let yaml = "listeners: [{ name: main, address: \"127.0.0.1:0\" }, { name: probes, address: \"127.0.0.1:0\" }]\n\
                routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n";
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run -c tidegate.yaml");
    let mut program = Program::run_by_shell(BINARY, yaml, &script, Stdio::null());
    let (main, probes) = (program.listener("main").await, program.listener("probes").await);
    let mut kept = Vec::new();
    for address in std::iter::repeat_n(main, DESCRIPTORS / 2).chain(std::iter::repeat_n(probes, OWN)) {
        let mut http1 = Http1::connect(address).await;
        assert_eq!(http1.send(&get("/health/readiness")).await.status, 200, "{}", kept.len());
        kept.push(http1);
    }
    for address in [main, probes] {
        let refused = Http1::connect(address).await.send(&get("/health/readiness")).await;
        assert_eq!((refused.status, refused.reason()), (503, "overloaded".to_owned()));
    }
    drop(kept);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}
