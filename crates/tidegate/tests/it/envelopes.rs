//! Answers inside a shape of the configuration: typed values, expressions, and both ends of an exchange.

use serde_json::json;
use tidegate_testkit::{Answer, Gateway, Peer, Script, get, shop};

/// One route that answers in the envelope `e` with `shape`, and with the policies `more`.
fn config(address: std::net::SocketAddr, shape: &str, more: &str) -> String {
    format!(
        "services:
  shop: {{ address: \"{address}\", descriptors: shop.pb }}
routes:
  - {{ name: get-order, path: \"/v1/orders/{{id}}\", service: shop, grpc: OrderService/GetOrder, envelope: e{more} }}
envelopes:
  e:
{shape}"
    )
}

async fn start(script: Script, shape: &str, more: &str) -> (Peer, Gateway) {
    let peer = Peer::with("GetOrder", script).await;
    let gateway = Gateway::start(&config(peer.address(), shape, more));
    (peer, gateway)
}

async fn ask(gateway: &Gateway) -> Answer {
    let [first, second] = gateway.send_both(&get("/v1/orders/7").header("x-request-id", "t-1")).await;
    assert_eq!((first.status, second.status), (200, 200), "{}", first.text());
    assert_eq!(first.header("content-type"), "application/json");
    first
}

/// `shape` around the order is exactly `expected`.
async fn check(shape: &str, expected: &str) {
    let (_peer, gateway) = start(Script::ok(shop::order()), &format!("    success: {shape}\n"), "").await;
    assert_eq!(ask(&gateway).await.text(), expected, "{shape}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_hole_that_stands_alone_keeps_its_type() {
    let order = shop::ORDER_JSON;
    let cases = [
        (r#"{ a: "{{ response }}" }"#, format!(r#"{{"a":{order}}}"#)),
        (r#"["{{ response.customer_name }}", "{{ response.customerName }}"]"#, r#"["Ada","Ada"]"#.to_owned()),
        (r#"["{{ response.id }}", "{{ response.items }}", "{{ response.labels }}"]"#, r#"["7",[],{}]"#.to_owned()),
        (r#"["{{ response.total }}", "{{ response.parent }}", "{{ response.token }}"]"#, r#"[0,{},""]"#.to_owned()),
        (r#"["{{ success }}", "{{ status }}", "{{ code }}", "{{ message }}"]"#, r#"[true,200,"OK","OK"]"#.to_owned()),
        (r#"["{{ request_id }}", "{{ route }}", "{{ reason }}"]"#, r#"["t-1","get-order",""]"#.to_owned()),
        (r#"[1, 2.50, null, true, "text", { b: [] }]"#, r#"[1,2.50,null,true,"text",{"b":[]}]"#.to_owned()),
    ];
    for (shape, expected) in cases {
        check(shape, &expected).await;
    }
}

#[tokio::test]
async fn a_hole_inside_a_text_becomes_text() {
    check(r#"["order {{ response.id }} of {{ response.customerName }}"]"#, r#"["order 7 of Ada"]"#).await;
    check(r#"["{{ status }}!"]"#, r#"["200!"]"#).await;
}

#[tokio::test]
async fn expressions_compute() {
    let cases = [
        (r#""{{ response.customerName | upper }}""#, r#""ADA""#),
        (r#""{{ response.id | int + 1 }}""#, "8"),
        (r#""{{ response.status == 'OPEN' }}""#, "true"),
        (r#""{{ [response.status, status, success] }}""#, r#"["OPEN",200,true]"#),
        (r#""{{ 'big' if duration_ms > 100000 else 'small' }}""#, r#""small""#),
    ];
    for (expression, expected) in cases {
        check(&format!("{{ x: {expression} }}"), &format!(r#"{{"x":{expected}}}"#)).await;
    }
}

#[tokio::test]
async fn what_a_shape_may_not_say_is_told_at_the_start() {
    for (shape, told) in [
        (r#""{{ response.nobody }}""#, "nobody"),
        (r#""{{ nobody }}""#, "nobody"),
        (r#""{{ 1 + }}""#, "tidegate.yaml"),
        (r#""{{ status is notest }}""#, "notest"),
        (r#""{{ response | nofilter }}""#, "nofilter"),
    ] {
        let yaml = config(tidegate_testkit::peer::closed_port(), &format!("    success: {{ x: {shape} }}\n"), "");
        let Err(text) = Gateway::try_start_in(tempfile::TempDir::new().unwrap(), &yaml) else {
            panic!("{shape} was accepted");
        };
        assert!(text.contains(told), "{told} in:\n{text}");
        assert!(text.contains("tidegate.yaml:"), "{text}");
    }
}

/// The shape of the market-data system, for both outcomes.
const BOTH: &str = r#"    success:
      success: true
      message: "{{ message }}"
      market_data: "{{ response.items }}"
      metadata: { source_id: "{{ response.customer_name }}", symbols_count: "{{ response.id }}", response_time: "{{ duration_ms }}", grpc_status: "{{ code }}" }
      timestamp: "{{ timestamp }}"
    error:
      success: false
      message: "{{ message }}"
      metadata: { error: "{{ message }}", grpc_status: "{{ code }}", reason: "{{ reason }}", status: "{{ status }}", details: "{{ details }}" }
      timestamp: "{{ timestamp }}"
"#;

#[tokio::test]
async fn both_outcomes_have_their_shape() {
    let more = ", errors: { format: envelope }, json: { field_names: proto, int64: number, emit_defaults: true }";
    let (peer, gateway) = start(Script::ok(shop::order()), BOTH, more).await;
    let answer = ask(&gateway).await.json();
    assert!(answer["metadata"]["response_time"].is_number(), "{answer}");
    let expected = json!({"source_id": "Ada", "symbols_count": 7, "grpc_status": "OK"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&answer["metadata"][name], value);
    }
    assert_eq!((&answer["success"], &answer["market_data"]), (&json!(true), &json!([])));

    let details = shop::details(json!({"code": 5, "message": "gone", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GONE", "domain": "shop"},
    ]}));
    peer.on("GetOrder", Script::new().status_with(5, "gone", "grpc-status-details-bin", &details));
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, answer.header("cache-control")), (404, "no-store"));
    let expected = json!({
        "error": "gone", "grpc_status": "NOT_FOUND", "reason": "upstream_error", "status": 404,
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GONE", "domain": "shop"}],
    });
    assert_eq!(answer.json()["metadata"], expected);
    let answer = gateway.get("/v1/orders/x").await;
    let metadata = answer.json()["metadata"].clone();
    assert_eq!((&metadata["reason"], &metadata["details"]), (&json!("bad_request"), &json!([])));
    gateway.stop().await;
}

/// A message with quotes, line breaks and other scripts stays one JSON string.
#[tokio::test]
async fn texts_are_escaped() {
    let order = shop::message("Order", json!({"customerName": "\"},{\"x\":\"\\\u{1}é\n{{ 1 }}"}));
    let shape = "    success: [\"{{ response.customerName }}\", \"<{{ response.customerName }}>\"]\n";
    let (_peer, gateway) = start(Script::ok(order), shape, "").await;
    let text = "\"},{\"x\":\"\\\u{1}é\n{{ 1 }}";
    assert_eq!(ask(&gateway).await.json(), json!([text, format!("<{text}>")]));
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_an_error_in_an_envelope_too() {
    let (_peer, gateway) = start(Script::ok(b"\xff\xff"), BOTH, ", errors: { format: envelope }").await;
    let answer = gateway.get("/v1/orders/7").await;
    assert_eq!((answer.status, &answer.json()["metadata"]["reason"]), (502, &json!("transcode_failed")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_can_do_without_the_envelope() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let yaml = format!(
        "services:
  shop: {{ address: \"{}\", descriptors: shop.pb }}
defaults: {{ envelope: e }}
envelopes: {{ e: {{ success: {{ data: \"{{{{ response }}}}\" }} }} }}
routes:
  - {{ name: a, path: \"/a/{{id}}\", service: shop, grpc: OrderService/GetOrder }}
  - {{ name: b, path: \"/b/{{id}}\", service: shop, grpc: OrderService/GetOrder, envelope: null }}
",
        peer.address()
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get("/a/7").await.text(), format!(r#"{{"data":{}}}"#, shop::ORDER_JSON));
    assert_eq!(gateway.get("/b/7").await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}
