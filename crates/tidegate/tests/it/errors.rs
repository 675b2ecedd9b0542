//! How failures are written: three formats, on every protocol, for local and remote failures alike.

use serde_json::json;
use tidegate_testkit::{Answer, Gateway, Peer, Request, Script, get, post, shop};

const PROBLEM: &str = "defaults: { errors: { format: problem } }";
const STATUS: &str = "defaults: { errors: { format: status } }";
/// The error envelope of the market-data example.
const ENVELOPE: &str = r#"
defaults: { errors: { format: envelope }, envelope: s0 }
envelopes:
  s0:
    error:
      success: false
      message: "{{ message }}"
      metadata: { error: "{{ message }}", grpc_status: "{{ code }}" }
      timestamp: "{{ timestamp }}"
"#;

/// Sends `request` with the request id `t-1` over both protocols, and compares the bodies, apart from the time.
async fn check(gateway: &Gateway, request: Request, status: u16, expected: &str) -> Answer {
    let [first, second] = gateway.send_both(&request.header("x-request-id", "t-1")).await;
    for answer in [&first, &second] {
        assert_eq!((answer.status, without_time(answer.text()).as_str()), (status, expected));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-request-id"), "t-1");
        let problem = expected.starts_with(r#"{"type""#);
        let kind = if problem { "application/problem+json" } else { "application/json" };
        assert_eq!(answer.header("content-type"), kind);
    }
    first
}

/// `text` with the time of its envelope replaced; it must be RFC 3339 in UTC with seconds.
fn without_time(text: &str) -> String {
    let Some((before, after)) = text.split_once(r#""timestamp":""#) else { return text.to_owned() };
    let (time, after) = after.split_once('"').unwrap();
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00Z");
    format!(r#"{before}"timestamp":"TIME"{after}"#)
}

#[tokio::test]
async fn a_missing_order_in_each_format() {
    let peer = Peer::with("GetOrder", Script::fails(5, "order 7 unknown")).await;
    let cases = [
        (
            PROBLEM,
            r#"{"type":"urn:tidegate:reason:upstream_error","title":"Not Found","status":404,"detail":"order 7 unknown","instance":"urn:tidegate:request:t-1","reason":"upstream_error","request_id":"t-1","code":"NOT_FOUND"}"#,
        ),
        (STATUS, r#"{"code":5,"message":"order 7 unknown"}"#),
        (
            ENVELOPE,
            r#"{"success":false,"message":"order 7 unknown","metadata":{"error":"order 7 unknown","grpc_status":"NOT_FOUND"},"timestamp":"TIME"}"#,
        ),
    ];
    for (format, expected) in cases {
        let gateway = Gateway::start(&shop::config(peer.address(), format));
        check(&gateway, get("/v1/orders/7"), 404, expected).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn faults_of_fields_in_each_format() {
    let peer = Peer::start().await;
    let request = || get("/v1/orders/x?verbose=maybe&nobody=1");
    let cases = [
        (
            PROBLEM,
            r#"{"type":"urn:tidegate:reason:bad_request","title":"Bad Request","status":400,"detail":"a value does not fit the type of its field","instance":"urn:tidegate:request:t-1","reason":"bad_request","request_id":"t-1","code":"INVALID_ARGUMENT","errors":[{"field":"id","message":"expected int64"},{"field":"verbose","message":"expected true or false"},{"field":"nobody","message":"unknown parameter"}]}"#,
        ),
        (
            STATUS,
            r#"{"code":3,"message":"a value does not fit the type of its field","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BAD_REQUEST","domain":"tidegate","metadata":{"reason":"bad_request","request_id":"t-1"}},{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"id","description":"expected int64"},{"field":"verbose","description":"expected true or false"},{"field":"nobody","description":"unknown parameter"}]}]}"#,
        ),
        (
            ENVELOPE,
            r#"{"success":false,"message":"a value does not fit the type of its field","metadata":{"error":"a value does not fit the type of its field","grpc_status":"INVALID_ARGUMENT"},"timestamp":"TIME"}"#,
        ),
    ];
    for (format, expected) in cases {
        let gateway = Gateway::start(&shop::config(peer.address(), format));
        check(&gateway, request(), 400, expected).await;
        gateway.stop().await;
    }
    assert_eq!(peer.calls(), 0);
}

#[tokio::test]
async fn details_of_a_backend_are_passed_on() {
    let details = shop::details(json!({"code": 8, "message": "slow down", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"},
        {"@type": "type.googleapis.com/shop.v1.Item", "sku": "x"},
    ]}));
    let script = Script::new().status_with(8, "slow%20down", "grpc-status-details-bin", &details);
    let peer = Peer::with("GetOrder", script).await;
    let list = r#"[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"},{"@type":"type.googleapis.com/shop.v1.Item","sku":"x"}]"#;
    let status = format!(r#"{{"code":8,"message":"slow down","details":{list}}}"#);
    let problem = format!(
        r#"{{"type":"urn:tidegate:reason:upstream_error","title":"Too Many Requests","status":429,"detail":"slow down","instance":"urn:tidegate:request:t-1","reason":"upstream_error","request_id":"t-1","code":"RESOURCE_EXHAUSTED","details":{list}}}"#
    );
    for (format, expected) in [(STATUS, status), (PROBLEM, problem)] {
        let gateway = Gateway::start(&shop::config(peer.address(), format));
        let answer = check(&gateway, get("/v1/orders/7"), 429, &expected).await;
        assert_eq!(answer.header("retry-after"), "2");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn no_route_and_a_wrong_method_look_like_every_other_failure() {
    let peer = Peer::start().await;
    let cases = [
        (PROBLEM, r#""reason":"route_not_found""#, r#""reason":"method_not_allowed""#),
        (STATUS, r#""code":5,"message":"no route for this path""#, r#""reason":"METHOD_NOT_ALLOWED""#),
        (ENVELOPE, r#""grpc_status":"NOT_FOUND""#, r#""grpc_status":"UNIMPLEMENTED""#),
    ];
    for (format, no_route, no_method) in cases {
        let gateway = Gateway::start(&shop::config(peer.address(), format));
        for (request, status, expected) in
            [(get("/v2/orders/7"), 404, no_route), (Request::new("DELETE", "/v1/orders/7"), 405, no_method)]
        {
            for answer in gateway.send_both(&request).await {
                assert_eq!(answer.status, status);
                assert!(answer.text().contains(expected), "{expected} in {}", answer.text());
                assert_eq!(answer.header("allow"), if status == 405 { "GET, HEAD" } else { "" });
            }
        }
        gateway.stop().await;
    }
    assert_eq!(peer.calls(), 0);
}

#[tokio::test]
async fn head_has_the_status_of_get_and_no_body() {
    let peer = Peer::with("GetOrder", Script::fails(5, "order 7 unknown")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let mut http1 = gateway.http1().await;
    for (target, status) in [("/v1/orders/7", 404), ("/v1/orders/x", 400), ("/nowhere", 404)] {
        let head = Request::new("HEAD", target);
        assert_eq!(http1.send(&head).await.status, status);
        let answer = gateway.http2().await.send(&head).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    // The connection is still in step.
    assert_eq!(http1.send(&get("/v1/orders/7")).await.reason(), "upstream_error");
    gateway.stop().await;
}

/// Code of the backend, HTTP status, its name.
#[tokio::test]
async fn every_code_has_its_status() {
    let peer = Peer::start().await;
    let more = "defaults: { status_map: { DEADLINE_EXCEEDED: 408, DATA_LOSS: 418 } }";
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let cases = [
        (1, 499, "CANCELLED"),
        (2, 500, "UNKNOWN"),
        (3, 400, "INVALID_ARGUMENT"),
        (4, 408, "DEADLINE_EXCEEDED"),
        (5, 404, "NOT_FOUND"),
        (6, 409, "ALREADY_EXISTS"),
        (7, 403, "PERMISSION_DENIED"),
        (8, 429, "RESOURCE_EXHAUSTED"),
        (9, 400, "FAILED_PRECONDITION"),
        (10, 409, "ABORTED"),
        (11, 400, "OUT_OF_RANGE"),
        (12, 501, "UNIMPLEMENTED"),
        (13, 500, "INTERNAL"),
        (14, 503, "UNAVAILABLE"),
        (15, 418, "DATA_LOSS"),
        (16, 401, "UNAUTHENTICATED"),
        (17, 500, "UNKNOWN"),
        (99, 500, "UNKNOWN"),
    ];
    for (code, status, name) in cases {
        // In the head alone, and in trailers after a head.
        for script in [Script::fails(code, "no"), Script::new().head().status(code, "no")] {
            peer.on("GetOrder", script);
            let answer = gateway.get("/v1/orders/7").await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(name)), "{code}");
            assert_eq!(answer.json()["detail"], "no");
            assert_eq!(answer.reason(), if code == 4 { "upstream_timeout" } else { "upstream_error" });
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_text_of_a_backend_is_made_harmless() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), STATUS));
    let long = "x".repeat(5000);
    let cases = [
        ("no%20%22order%22%0a", "no \"order\"\\n".to_owned()),
        ("100%", "100%".to_owned()),
        ("%ff", "\u{fffd}".to_owned()),
        ("%F0%9F%98%80", "\u{1F600}".to_owned()),
        (long.as_str(), "x".repeat(4096)),
    ];
    for (sent, expected) in cases {
        peer.on("GetOrder", Script::fails(9, sent));
        let answer = gateway.get("/v1/orders/7").await;
        assert_eq!(answer.json()["message"], expected);
        assert!(answer.body.iter().all(|byte| *byte >= 0x20), "no raw control characters");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_envelope_that_fails_falls_back_to_a_problem() {
    let more = r#"
defaults: { errors: { format: envelope }, envelope: broken }
envelopes: { broken: { error: { half: "{{ message / 2 }}" } } }
"#;
    let peer = Peer::with("GetOrder", Script::fails(5, "order 7 unknown")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), more));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
    assert_eq!(answer.json()["detail"], "order 7 unknown");
    gateway.stop().await;
}

/// Names that a client made up are shown, cut short; values never are.
#[tokio::test]
async fn what_a_client_sent_is_not_echoed() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let key = "k".repeat(100);
    let answer = gateway.get(&format!("/v1/orders/7?{key}=1&verbose=planted-secret")).await;
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors[0]["field"], "k".repeat(64));
    assert!(!answer.text().contains("planted-secret"));
    let answer = gateway.post("/v1/orders", r#"{"total":"planted-secret"}"#).await;
    assert_eq!(answer.json()["errors"], json!([{"field": "order.total", "message": "expected double"}]));
    assert!(!answer.text().contains("planted-secret"));
    let answer = gateway.send(&post("/v1/orders", "{}").header("content-type", "application/json")).await;
    assert_eq!(answer.json()["detail"], "more than one content-type");
    gateway.stop().await;
}
