//! Requests that must be refused, with the right word, before the backend sees anything of them; and answers of
//! backends that must not reach a client as a success.

use std::time::Duration;

use h2::Reason;
use tidegate_testkit::peer::{blurt, closed_port};
use tidegate_testkit::{Gateway, Peer, Request, Script, get, post, shop};

/// Status and reason of a request over both protocols.
async fn check(gateway: &Gateway, request: &Request, status: u16, reason: &str) {
    for answer in gateway.send_both(request).await {
        let shown = format!("{} {} {:.80?}", request.method, request.target, request.body);
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{shown}: {}", answer.text());
    }
}

/// Everything after this was refused before: the next call is the first that the backend sees.
async fn nothing_was_sent(gateway: Gateway, peer: &Peer) {
    peer.on("GetOrder", Script::ok(shop::order()));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    assert_eq!(peer.calls(), 1, "the backend saw a refused request");
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_that_are_not_the_message() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 8MiB }"));
    let deep = format!(r#"{}"card":"1"{}"#, r#"{"parent":"#.repeat(101) + "{", "}".repeat(102));
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(1 << 20));
    let bodies: &[&[u8]] = &[
        &b"[".repeat(100_000),
        &br#"{"parent":"#.repeat(100_000),
        deep.as_bytes(),
        long_key.as_bytes(),
        br#"{"card":"1","card":"1"}"#,
        br#"{"customerName":"a","customer_name":"a"}"#,
        br#"{"card":"1","invoice":"2"}"#,
        br#"{"customerName":"\ud800"}"#,
        br#"{"customerName":"\udc00\ud800"}"#,
        br#"{"customer\ud800Name":"x"}"#,
        br#"{"total":1e400}"#,
        br#"{"id":9223372036854775808}"#,
        br#"{"id":1.5}"#,
        br#"{"id":01}"#,
        br#"{"items":[{"count":-1}]}"#,
        br#"{"status":"LOST"}"#,
        br#"{"createdAt":"yesterday"}"#,
        br#"{"token":"*"}"#,
        br#"{"labels":{"a":"1","a":"2"}}"#,
        br#"{"labels":{"a":null}}"#,
        br#"{"nobody":1}"#,
        br#"{"items":[null]}"#,
        br#"{"card":1}"#,
        b"\xef\xbb\xbf{}",
        b"{\"customerName\":\"\xff\"}",
        b"{\"customerName\":\"\n\"}",
        b"{} {}",
        b"{},",
        b"{",
        b"[]",
        b"nul",
        b"'{}'",
    ];
    for body in bodies {
        check(&gateway, &post("/v1/orders", body), 400, "bad_request").await;
    }
    nothing_was_sent(gateway, &peer).await;
}

#[tokio::test]
async fn targets_that_are_not_the_message() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let targets = [
        "/v1/orders/%zz",
        "/v1/orders/%1",
        "/v1/orders/%00",
        "/v1/orders/%7F",
        "/v1/orders/%ff",
        "/v1/orders/%C0%AF",
        "/v1/orders/..",
        "/v1/orders/%2e%2E",
        "/v1//orders/7",
        "/v1/orders/7%2F..",
        "/v1/orders/9223372036854775808",
        "/v1/orders/7?verbose=%zz",
        "/v1/orders/7?tags=%ff",
        "/v1/orders/7?verbose=true&verbose=true",
        "/v1/orders/7?verbose=null",
        "/v1/orders/7?status=LOST",
        "/v1/orders/7?nobody=1",
        "/v1/orders/7?verbose.x=1",
        "/v1/orders/7?=1",
    ];
    for target in targets {
        check(&gateway, &get(target), 400, "bad_request").await;
    }
    let many: String = (0..1001).map(|_| "tags=a&").collect();
    check(&gateway, &get(&format!("/v1/orders/7?{many}")), 400, "bad_request").await;
    check(&gateway, &get(&format!("/v1/orders/7?customer={}", "x".repeat(9000))), 414, "bad_request").await;
    check(&gateway, &get("/v1/orders/7").body("{\"id\":1}"), 400, "bad_request").await;
    check(&gateway, &get(&"/".repeat(8000)), 400, "bad_request").await;
    nothing_was_sent(gateway, &peer).await;
}

#[tokio::test]
async fn what_the_path_has_bound_a_body_cannot_change() {
    let peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let put = |body| Request::new("PUT", "/v1/customers/ada/orders/7").body(body);
    check(&gateway, &put(r#"{"id":8}"#), 400, "bad_request").await;
    for body in [r#"{"id":7}"#, r#"{"id":"7"}"#, "{}"] {
        assert_eq!(gateway.send(&put(body)).await.status, 200);
    }
    assert_eq!(peer.calls(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn content_types_and_codings_that_cannot_be_read() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let cases = [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/grpc"),
        ("content-type", "application/grpc-web"),
        ("content-type", "application/grpc-web-text"),
        ("content-type", "application/json; charset=iso-8859-1"),
        ("content-type", "application/jsonp"),
        ("content-encoding", "gzip, gzip"),
        ("content-encoding", "br"),
    ];
    for (name, value) in cases {
        let request = Request::new("POST", "/v1/orders").header(name, value).body("{}");
        check(&gateway, &request, 415, "unsupported_media_type").await;
    }
    nothing_was_sent(gateway, &peer).await;
}

#[tokio::test]
async fn json_under_other_names_is_read() {
    let peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    for kind in ["application/json", "application/merge-patch+json", "Application/JSON;Charset=\"UTF-8\""] {
        let request = Request::new("POST", "/v1/orders").header("content-type", kind).body("{}");
        assert_eq!(gateway.send(&request).await.status, 200, "{kind}");
    }
    assert_eq!(gateway.send(&Request::new("POST", "/v1/orders").body("{}")).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 64KiB }"));
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 65537\r\n\r\n").await;
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    assert_eq!(answer.header("connection"), "close");
    assert!(http1.is_closed().await);
    let mut http2 = gateway.http2().await;
    let request = Request::new("POST", "/v1/orders").header("content-length", "65537");
    assert_eq!(http2.start(&request, false).await.answer().await.status, 413);
    // At the limit it is a matter of its content.
    let spaces = " ".repeat(65_536);
    check(&gateway, &post("/v1/orders", &spaces), 400, "bad_request").await;
    nothing_was_sent(gateway, &peer).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_when_it_gets_there() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 64KiB }"));
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
    for _ in 0..9 {
        http1.try_write(&chunk).await;
    }
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&Request::new("POST", "/v1/orders"), false).await;
    running.write(" ".repeat(65_537), false).await;
    assert_eq!(running.answer().await.status, 413);
    nothing_was_sent(gateway, &peer).await;
}

/// Raw bytes that are no request of HTTP/1.1, the status of the answer; the connection closes after it.
#[tokio::test]
async fn framing_that_could_be_read_in_two_ways_closes_the_connection() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let cases = [
        ("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", 400),
        ("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}", 400),
        ("POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: +2\r\n\r\n{}", 400),
        ("POST /v1/orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\n", 400),
        ("GET /v1/orders/7 HTTP/1.1\r\n\r\n", 400),
        ("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /v1/orders/7 HTTP/1.1\nhost: a\n\n", 400),
        ("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", 400),
        ("GET /v1/orders/7 HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 405),
        ("GET /v1/orders/7 HTTP/3.0\r\nhost: a\r\n\r\n", 505),
    ];
    for (bytes, status) in cases {
        let mut http1 = gateway.http1().await;
        http1.write(bytes).await;
        let answer = http1.answer().await;
        assert_eq!(answer.status, status, "{bytes:?}: {}", answer.text());
        assert!(http1.is_closed().await, "{bytes:?}");
    }
    nothing_was_sent(gateway, &peer).await;
}

/// What a backend does, and the status and reason that a client gets instead of a success.
#[tokio::test]
async fn answers_that_are_not_the_message() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let deep = (0..101).fold(Vec::new(), |inner: Vec<u8>, _| nested(&inner));
    let half = Script::new().bytes(&b"\0\0\0\0\x0aabc"[..]).status(0, "");
    let cases = [
        (Script::ok(b"\xff\xff\xff"), 502, "transcode_failed"),
        (Script::ok(b"\x12\x01\xff"), 502, "transcode_failed"),
        (Script::ok(b"\x0a\x05"), 502, "transcode_failed"),
        (Script::ok(deep), 502, "transcode_failed"),
        (Script::new().bytes(&b"\x02\0\0\0\0"[..]).status(0, ""), 502, "transcode_failed"),
        (Script::new().bytes(&b"\x01\0\0\0\x01a"[..]).status(0, ""), 502, "transcode_failed"),
        (Script::new().bytes(&b"\0\xff\xff\xff\xff"[..]), 502, "transcode_failed"),
        (half.clone(), 502, "transcode_failed"),
        (Script::new().status(0, ""), 502, "transcode_failed"),
        (Script::new().trailers_only(0, ""), 502, "transcode_failed"),
        (Script::new().messages([shop::order(), shop::order()]).status(0, ""), 502, "transcode_failed"),
        (Script::new().message(shop::order()).end_without_trailers(), 500, "upstream_error"),
        (Script::new().message(shop::order()).status(5, "late"), 404, "upstream_error"),
        (Script::new().message(shop::order()).trailers(&[("grpc-status", "x")]), 500, "upstream_error"),
        (Script::new().http(200, "text/html", "<h1>hello</h1>"), 500, "upstream_error"),
        (Script::new().http(404, "text/html", "<h1>no</h1>"), 501, "upstream_error"),
        (Script::new().http(503, "text/plain", ""), 503, "upstream_error"),
        (Script::new().http(302, "text/plain", "elsewhere"), 500, "upstream_error"),
        (Script::new().reset(Reason::INTERNAL_ERROR), 502, "upstream_reset"),
        (Script::new().message(shop::order()).reset(Reason::CANCEL), 502, "upstream_reset"),
        (Script::new().cut_connection(), 502, "upstream_reset"),
        (Script::new().message(shop::order()).cut_connection(), 502, "upstream_reset"),
    ];
    for (index, (script, status, reason)) in cases.into_iter().enumerate() {
        peer.on("GetOrder", script.clone());
        let answer = gateway.get("/v1/orders/7").await;
        let seen = (answer.status, answer.reason());
        assert_eq!(seen, (status, reason.to_owned()), "case {index}: {script:?}: {}", answer.text());
        assert!(!answer.text().contains("<h1>"), "text of the backend");
    }
    gateway.stop().await;
}

/// `inner` as field 12 (`parent`) of an order.
fn nested(inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inner.len()).unwrap();
    let low = u8::try_from(length & 0x7f).unwrap();
    let mut bytes = vec![0x62];
    if length < 0x80 {
        bytes.push(low);
    } else {
        bytes.extend([low | 0x80, u8::try_from(length >> 7).unwrap()]);
    }
    bytes.extend_from_slice(inner);
    bytes
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_taken() {
    let peer = Peer::start().await;
    let yaml = shop::config(peer.address(), "").replace("descriptors:", "max_message: 1KiB, descriptors:");
    let gateway = Gateway::start(&yaml);
    for (length, status) in [(1021, 200), (1022, 502)] {
        let mut message = vec![0x12, 0x80 | u8::try_from(length & 0x7f).unwrap(), u8::try_from(length >> 7).unwrap()];
        message.resize(3 + length, b'x');
        peer.on("GetOrder", Script::ok(&message));
        assert_eq!(gateway.get("/v1/orders/7").await.status, status, "{} bytes", message.len());
    }
    gateway.stop().await;
}

/// An answer cut after every byte: never a success, unless all of it was there.
#[tokio::test]
async fn an_answer_that_is_cut_is_never_a_success() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let mut failed = 0;
    for bytes in (0..400).step_by(3) {
        peer.cut_after(bytes);
        let answer = gateway.get("/v1/orders/7").await;
        match answer.status {
            200 => assert_eq!(answer.text(), shop::ORDER_JSON),
            502 => assert_eq!(answer.reason(), "upstream_reset"),
            503 => assert_eq!(answer.reason(), "connect_failed"),
            other => panic!("{other} after {bytes} bytes: {}", answer.text()),
        }
        failed += usize::from(answer.status != 200);
    }
    assert!(failed > 10, "the cuts do cut: {failed}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_not_there() {
    let gateway = Gateway::start(&shop::config(closed_port(), ""));
    for answer in gateway.send_both(&get("/v1/orders/7")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.text().contains("127.0.0.1"), "no address");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_does_not_speak_http2() {
    let kinds: [(&'static [u8], usize); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", 1 << 20),
        (b"", 0),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1 << 20),
    ];
    for (bytes, read) in kinds {
        let (address, serving) = blurt(bytes, read).await;
        let gateway = Gateway::start(&shop::config(address, "defaults: { timeout: 3s }"));
        let answer = gateway.get("/v1/orders/7").await;
        let expected = [(503, "connect_failed".to_owned()), (502, "upstream_reset".to_owned())];
        assert!(expected.contains(&(answer.status, answer.reason())), "{bytes:?}: {}", answer.text());
        gateway.stop().await;
        serving.abort();
    }
}

/// Hostile input of every kind at once does not cost the process anything.
#[tokio::test]
async fn the_process_answers_after_everything() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let junk: [&[u8]; 8] = [
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nXX",
        b"GET",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{",
        b"POST /v1/batches/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[{\"it",
    ];
    for bytes in junk {
        for _ in 0..10 {
            let mut http1 = gateway.http1().await;
            http1.try_write(bytes).await;
            // Dropped as it is, half a request.
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    // Stopping checks that nothing has panicked.
    gateway.stop().await;
}
