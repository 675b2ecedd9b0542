//! Client streaming: an array or a sequence of JSON values, each of which becomes a message as soon as it is complete.

use h2::Reason;
use serde_json::{Value, json};
use tidegate_testkit::{Gateway, Peer, Request, Script, post, shop};

const NDJSON: &str = "application/x-ndjson";

/// Takes the whole stream, then answers.
fn takes_all() -> Script {
    Script::new().await_end().message(shop::message("ImportSummary", json!({"accepted": 2}))).status(0, "")
}

async fn start(script: Script) -> (Peer, Gateway) {
    let peer = Peer::with("Import", script).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    (peer, gateway)
}

fn items(messages: &[bytes::Bytes]) -> Vec<Value> {
    messages.iter().map(|message| shop::json("ImportItem", message)).collect()
}

/// An element with the SKU `sku`.
fn item(sku: &str) -> Value {
    json!({"item": {"sku": sku}})
}

#[tokio::test]
async fn arrays_and_sequences_become_messages() {
    let (mut peer, gateway) = start(takes_all()).await;
    let two = [json!({"batch": "b", "item": {"sku": "x"}}), item("y")];
    let bodies = [
        r#"[{"item":{"sku":"x"}},{"item":{"sku":"y"}}]"#,
        r#" [ {"item":{"sku":"x"}} , {"item":{"sku":"y"}} , ] "#,
        "{\"item\":{\"sku\":\"x\"}}\n{\"item\":{\"sku\":\"y\"}}\n",
        "{\"item\":{\"sku\":\"x\"}}\r\n\r\n{\"item\":{\"sku\":\"y\"}}",
        r#"{"item":{"sku":"x"}}{"item":{"sku":"y"}}"#,
    ];
    for body in bodies {
        for content_type in ["application/json", NDJSON] {
            let request = Request::new("POST", "/v1/batches/b").header("content-type", content_type).body(body);
            for answer in gateway.send_both(&request).await {
                assert_eq!((answer.status, answer.text()), (200, r#"{"accepted":2}"#), "{body}");
                assert_eq!(items(&peer.call().await.messages().await), two, "{body}");
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn values_of_path_and_query_go_into_the_first_message() {
    let (mut peer, gateway) = start(takes_all()).await;
    for (body, expected) in [
        ("[{},{}]", vec![json!({"batch": "b/c"}), json!({})]),
        ("[]", vec![json!({"batch": "b/c"})]),
        ("", vec![json!({"batch": "b/c"})]),
    ] {
        assert_eq!(gateway.post("/v1/batches/b%2Fc", body).await.status, 200, "{body:?}");
        assert_eq!(items(&peer.call().await.messages().await), expected, "{body:?}");
    }
    // The body is the whole message, so the query has nothing to say.
    assert_eq!(gateway.post("/v1/batches/b?mode=x", "[]").await.reason(), "bad_request");
    assert_eq!(peer.calls(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_message_is_sent_as_soon_as_it_is_complete() {
    let (mut peer, gateway) = start(takes_all()).await;
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/batches/b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    http1.write("5\r\n[{\"it\r\n").await;
    http1.write("13\r\nem\":{\"sku\":\"x\"}},{\"\r\n").await;
    let mut call = peer.call().await;
    assert_eq!(items(&call.first(1).await), [json!({"batch": "b", "item": {"sku": "x"}})]);
    assert!(!call.has_ended());
    http1.write("13\r\nitem\":{\"sku\":\"y\"}}]\r\n0\r\n\r\n").await;
    assert_eq!(call.messages().await.len(), 2);
    assert_eq!(http1.answer().await.text(), r#"{"accepted":2}"#);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_whose_first_element_is_bad_reaches_nobody() {
    let (peer, gateway) = start(takes_all()).await;
    let bodies =
        ["[{\"nobody\":1}]", "[1]", "[{},]x", "[,{}]", "null", "[{\"item\":{\"sku\":\"\\ud800\"}}]", "\u{feff}[]", "]"];
    for body in bodies {
        let answer = gateway.post("/v1/batches/b", body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{body}");
    }
    let answer =
        gateway.send(&Request::new("POST", "/v1/batches/b").header("content-type", "text/csv").body("a")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (415, "unsupported_media_type"));
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

/// The backend never takes a part of the messages for all of them.
#[tokio::test]
async fn a_bad_element_later_cancels_the_call() {
    let (mut peer, gateway) = start(takes_all()).await;
    for bad in ["{\"nobody\":1}]", "{\"item\":", "", "x", "]]"] {
        let mut http2 = gateway.http2().await;
        let mut running = http2.start(&post("/v1/batches/b", "[{},"), false).await;
        let mut call = peer.call().await;
        assert_eq!(call.first(1).await.len(), 1);
        running.write(bad, false).await;
        running.end();
        let answer = running.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{bad}");
        assert_eq!(call.reset().await, Reason::CANCEL, "{bad}");
        assert!(!call.has_ended());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_may_answer_before_the_stream_has_ended() {
    let scripts = [
        (Script::new().await_messages(1).trailers_only(9, "enough"), 400),
        (Script::new().await_messages(1).message(shop::message("ImportSummary", json!({}))).status(0, ""), 200),
    ];
    for (script, status) in scripts {
        let (mut peer, gateway) = start(script).await;
        let mut http1 = gateway.http1().await;
        http1.write("POST /v1/batches/b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[{},\r\n").await;
        assert_eq!(http1.answer().await.status, status);
        let mut http2 = gateway.http2().await;
        let mut running = http2.start(&post("/v1/batches/b", "[{},"), false).await;
        assert_eq!(running.answer().await.status, status);
        assert_eq!(items(&peer.call().await.first(1).await), [json!({"batch": "b"})]);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_cancels_the_call() {
    let (mut peer, gateway) = start(takes_all()).await;
    let mut http1 = gateway.http1().await;
    http1.write("POST /v1/batches/b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[{},\r\n").await;
    let mut call = peer.call().await;
    call.first(1).await;
    drop(http1);
    assert_eq!(call.reset().await, Reason::CANCEL);
    let mut http2 = gateway.http2().await;
    let running = http2.start(&post("/v1/batches/b", "[{},"), false).await;
    let mut call = peer.call().await;
    call.first(1).await;
    running.cancel();
    assert_eq!(call.reset().await, Reason::CANCEL);
    gateway.stop().await;
}

#[tokio::test]
async fn one_element_has_the_limit_of_a_body_and_the_stream_has_none() {
    let peer = Peer::with("Import", takes_all()).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 1KiB }"));
    let small = format!(r#"{{"item":{{"sku":"{}"}}}}"#, "x".repeat(500));
    let many = format!("[{}]", vec![small.as_str(); 20].join(","));
    assert_eq!(gateway.post("/v1/batches/b", &many).await.status, 200);
    let large = format!(r#"[{{"item":{{"sku":"{}"}}}}]"#, "x".repeat(2000));
    let answer = gateway.post("/v1/batches/b", &large).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    assert_eq!(peer.calls(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn both_sides_stream_over_http2() {
    let script = Script::new()
        .await_messages(1)
        .message(shop::event(1))
        .await_messages(2)
        .message(shop::event(2))
        .await_end()
        .message(shop::event(3))
        .status(0, "");
    let mut peer = Peer::with("Chat", script).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let mut http2 = gateway.http2().await;
    let request = Request::new("POST", "/v1/chat").header("content-type", NDJSON).header("accept", NDJSON);
    let mut running = http2.start(&request, false).await;
    running.write("{\"item\":{\"sku\":\"x\"}}\n", false).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    assert_eq!(running.piece().await.unwrap().unwrap(), "{\"sequence\":\"1\"}\n");
    running.write("{\"item\":{\"sku\":\"y\"}}\n", false).await;
    assert_eq!(running.piece().await.unwrap().unwrap(), "{\"sequence\":\"2\"}\n");
    running.end();
    assert_eq!(running.piece().await.unwrap().unwrap(), "{\"sequence\":\"3\"}\n");
    assert_eq!(running.piece().await, Ok(None));
    assert_eq!(items(&peer.call().await.messages().await), [item("x"), item("y")]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_bad_element_ends_a_stream_of_answers() {
    let mut peer = Peer::with("Chat", Script::new().await_messages(1).message(shop::event(1))).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let mut http2 = gateway.http2().await;
    let request = Request::new("POST", "/v1/chat").header("accept", NDJSON);
    let mut running = http2.start(&request, false).await;
    running.write("{}\n", false).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    assert_eq!(running.piece().await.unwrap().unwrap(), "{\"sequence\":\"1\"}\n");
    running.write("{\"nobody\":1}\n", false).await;
    let error = running.piece().await.unwrap().unwrap();
    let error: Value = serde_json::from_slice(&error).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["reason"]), (&json!(3), &json!("bad_request")));
    assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    gateway.stop().await;
}
