//! `response_headers` on each kind of route but proxied ones (see `proxy`): what is changed, and what no rule reaches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_testkit::{Answer, Gateway, Peer, Request, Script, get, shop};

use super::native::{config as native, framed};

const RULES: &str =
    "response_headers: { remove: [x-secret], set: { x-set: ours, cache-control: private }, add: { x-more: \"1\" } }";

/// The metadata of a backend that says more than it should.
fn said(script: Script) -> Script {
    script.metadata("x-secret", "s").metadata("x-set", "theirs").metadata("x-more", "0").metadata("x-kept", "k")
}

fn all(answer: &Answer, name: &str) -> Vec<String> {
    let values = answer.headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// The rules have changed what `said` told.
fn check(answer: &Answer) {
    assert_eq!(all(answer, "x-set"), ["ours"]);
    assert_eq!(all(answer, "x-more"), ["0", "1"]);
    assert_eq!((answer.header("x-secret"), answer.header("x-kept")), ("", "k"));
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.header("server"), "tidegate");
}

fn call(kind: &str, body: impl AsRef<[u8]>) -> Request {
    Request::new("POST", "/shop.v1.OrderService/GetOrder")
        .header("content-type", kind)
        .header("te", "trailers")
        .body(body)
}

#[tokio::test]
async fn a_message_that_becomes_json_has_what_the_route_says() {
    let peer = Peer::with("GetOrder", said(Script::new()).message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), &format!("defaults: {{ {RULES} }}")));
    for answer in gateway.send_both(&get("/v1/orders/7")).await {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.header("cache-control"), "private");
        check(&answer);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn streams_in_each_format_have_it_too() {
    let script = said(Script::new()).messages([shop::event(1), shop::event(2)]).status(0, "");
    let peer = Peer::with("WatchOrders", script).await;
    peer.on("Import", said(Script::new()).await_end().message(b"").status(0, ""));
    // What holds for other routes must not change how an answer to a call is read.
    let rules =
        RULES.replace("cache-control: private", "content-type: text/html, content-encoding: gzip, grpc-status: \"7\"");
    let gateway = Gateway::start(&shop::config(peer.address(), &format!("defaults: {{ {rules} }}")));
    for kind in ["application/json", "application/x-ndjson", "text/event-stream"] {
        let request = get("/v1/topics/a").header("accept", kind).header("te", "trailers");
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, all(&answer, "content-type")), (200, vec![kind.to_owned()]));
            assert_eq!((answer.header("content-encoding"), answer.header("grpc-status")), ("", ""));
            assert_eq!(answer.trailer("grpc-status"), "0");
            check(&answer);
        }
    }
    let upload = Request::new("POST", "/v1/batches/a").header("content-type", "application/x-ndjson").body("{}\n");
    for answer in gateway.send_both(&upload).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        check(&answer);
    }
    gateway.stop().await;
}

/// A refusal of the gateway is not an answer of the backend, on no kind of route.
#[tokio::test]
async fn failures_of_a_backend_are_its_answers_and_refusals_are_not() {
    let peer = Peer::with("GetOrder", Script::fails(5, "no order")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), &format!("defaults: {{ {RULES} }}")));
    for answer in gateway.send_both(&get("/v1/orders/7")).await {
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
        assert_eq!((answer.header("x-set"), answer.header("x-more")), ("ours", "1"));
        assert_eq!(all(&answer, "cache-control"), ["no-store"]);
    }
    for answer in gateway.send_both(&get("/v1/orders/7?unknown=1")).await {
        assert_eq!((answer.status, answer.header("x-set"), answer.header("x-more")), (400, "", ""));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_fixed_answer_has_what_its_route_says() {
    let rules = "response_headers: { set: { content-type: text/html, x-set: ours }, add: { vary: x-a } }";
    let yaml = format!("routes:\n  - {{ name: page, path: /, respond: {{ text: \"<p>\" }}, {rules} }}\n");
    let gateway = Gateway::start(&yaml);
    for answer in gateway.send_both(&get("/")).await {
        assert_eq!((answer.status, answer.text(), answer.header("x-set")), (200, "<p>", "ours"));
        assert_eq!(all(&answer, "content-type"), ["text/html"]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn calls_that_pass_through_have_it_in_head_and_trailers() {
    let script = said(Script::new()).metadata("grpc-encoding", "identity").message(b"one");
    let script = script.trailers(&[("grpc-status", "0"), ("x-secret", "s"), ("x-set", "theirs"), ("x-cost", "7")]);
    let peer = Peer::with("GetOrder", script).await;
    let gateway = Gateway::start(&native(peer.address(), &format!(", {RULES}"), ""));
    let answer = gateway.http2().await.send(&call("application/grpc", framed(b""))).await;
    check(&answer);
    assert_eq!((answer.status, answer.body), (200, framed(b"one")));
    assert_eq!(answer.headers.get("content-type").unwrap(), "application/grpc");
    assert_eq!(answer.headers.get("grpc-encoding").unwrap(), "identity");
    let trailer = |name: &str| answer.trailers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((trailer("grpc-status"), trailer("x-cost")), (Some("0".to_owned()), Some("7".to_owned())));
    assert_eq!((trailer("x-secret"), trailer("x-set")), (None, None));
    gateway.stop().await;
}

#[tokio::test]
async fn grpc_web_has_it_in_head_and_last_frame() {
    let script = said(Script::new()).message(b"one");
    let script = script.trailers(&[("grpc-status", "0"), ("x-secret", "s"), ("x-cost", "7")]);
    let peer = Peer::with("GetOrder", script).await;
    let gateway = Gateway::start(&native(peer.address(), &format!(", {RULES}"), ""));
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let text = kind.ends_with("text");
        let body = if text { STANDARD.encode(framed(b"")).into_bytes() } else { framed(b"") };
        for answer in gateway.send_both(&call(kind, body)).await {
            assert_eq!((answer.status, answer.header("content-type")), (200, kind));
            check(&answer);
            let body = if text {
                answer.body.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
            } else {
                answer.body.clone()
            };
            assert!(body.starts_with(&framed(b"one")));
            let end = String::from_utf8_lossy(&body).into_owned();
            assert!(end.contains("grpc-status: 0\r\n") && end.contains("x-cost: 7\r\n"), "{end}");
            assert!(!end.contains("x-secret"), "{end}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_status_without_messages_stays_sound() {
    let ends = [("grpc-status", "5"), ("grpc-message", "no%20order"), ("x-secret", "s"), ("x-set", "theirs")];
    for script in [Script::new().trailers(&ends), Script::new().head().trailers(&ends)] {
        let peer = Peer::with("GetOrder", script).await;
        let defaults =
            format!("defaults: {{ {} }}", RULES.replace("[x-secret]", "[x-secret, grpc-message, content-type]"));
        let gateway = Gateway::start(&native(peer.address(), "", &defaults));
        let answer = gateway.http2().await.send(&call("application/grpc", framed(b""))).await;
        let either = |name| format!("{}{}", answer.header(name), answer.trailer(name));
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc"));
        assert_eq!((either("grpc-status"), either("grpc-message")), ("5".to_owned(), "no%20order".to_owned()));
        assert_eq!((either("x-secret"), either("x-set")), (String::new(), "ours".to_owned()));
        for answer in gateway.send_both(&call("application/grpc-web", framed(b""))).await {
            let end = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(end.contains("grpc-status: 5\r\n") && end.contains("grpc-message: no%20order\r\n"), "{end}");
            assert!(!end.contains("x-secret") && !end.contains("x-set"), "{end}");
            assert_eq!((answer.header("x-set"), answer.header("content-type")), ("ours", "application/grpc-web"));
        }
        gateway.stop().await;
    }
}

/// What the gateway says of a call by itself has no answer of a backend to change.
#[tokio::test]
async fn a_call_that_nobody_answered_is_left_as_it_is() {
    let gateway = Gateway::start(&native(tidegate_testkit::peer::closed_port(), &format!(", {RULES}"), ""));
    let answer = gateway.http2().await.send(&call("application/grpc", framed(b""))).await;
    assert_eq!((answer.status, answer.header("grpc-status"), answer.header("x-set")), (200, "14", ""));
    gateway.stop().await;
}
