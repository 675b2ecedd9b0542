//! Demands on requests: what does not meet them is refused before the backend hears of it.

use tempfile::TempDir;
use tidegate_testkit::web::ok;
use tidegate_testkit::{Gateway, Request, Web, get, post};

const SCHEMA: &str = r##"{ "type": "object", "required": ["id"], "additionalProperties": false,
  "properties": { "id": { "$ref": "#/$defs/id" }, "next": { "$ref": "#" }, "list": { "type": "array" } },
  "$defs": { "id": { "type": "integer", "minimum": 1 } } }"##;

async fn web() -> Web {
    Web::start(|heard| ok(&heard.body.len().to_string())).await
}

fn config(web: &Web) -> String {
    format!(
        "services: {{ web: {{ endpoints: [\"http://{}\"] }} }}
routes:
  - {{ name: types, path: /types, service: web, validate: {{ content_types: [application/json, image/*], required_headers: [X-Tenant] }} }}
  - {{ name: schema, path: /schema, service: web, max_body: 4KiB, validate: {{ schema: body.json, max_json_depth: 5 }} }}
  - {{ name: ping, path: /ping, respond: {{ text: pong }}, validate: {{ required_headers: [x-tenant] }} }}
",
        web.address()
    )
}

fn gateway(web: &Web) -> Gateway {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("body.json"), SCHEMA).unwrap();
    Gateway::start_in(folder, &config(web))
}

#[tokio::test]
async fn content_types_and_headers_are_demanded_before_the_backend_hears_anything() {
    let web = web().await;
    let gateway = gateway(&web);
    let typed =
        |kind: &str| Request::new("POST", "/types").header("content-type", kind).header("x-tenant", "a").body("{}");
    for kind in ["text/plain", "application/jsonx", "image", "image/", "application/json, image/png"] {
        for answer in gateway.send_both(&typed(kind)).await {
            assert_eq!((answer.status, answer.reason().as_str()), (415, "unsupported_media_type"), "{kind}");
        }
    }
    let untyped = Request::new("POST", "/types").header("x-tenant", "a").body("{}");
    assert_eq!(gateway.send(&untyped).await.status, 415);
    for request in [get("/types"), get("/types").header("x-tenant", " "), get("/ping")] {
        let answer = gateway.send(&request).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "validation_failed"));
        assert!(answer.text().contains("x-tenant"), "{}", answer.text());
    }
    assert_eq!(web.heard().len(), 0);
    for kind in ["application/json", "Application/JSON; charset=x", "image/png"] {
        assert_eq!(gateway.send(&typed(kind)).await.status, 200, "{kind}");
    }
    assert_eq!(gateway.send(&get("/types").header("x-tenant", "a")).await.status, 200, "no body, no type");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_follows_its_schema_arrives_byte_for_byte_and_no_other_does() {
    let web = web().await;
    let gateway = gateway(&web);
    let deep = r#"{"id":1,"next":"#.repeat(6) + "{}" + &"}".repeat(6);
    for (body, status, reason) in [
        (r#"{"id":0}"#, 400, "validation_failed"),
        (r#"{}"#, 400, "validation_failed"),
        (r#"{"id":1,"SECRET":1}"#, 400, "validation_failed"),
        (r#"{"id":1,"id":2}"#, 400, "validation_failed"),
        (r#"{"id":1,"next":{"id":"SECRET"}}"#, 400, "validation_failed"),
        (deep.as_str(), 400, "validation_failed"),
        (r#"{"id":1"#, 400, "bad_request"),
        ("", 400, "validation_failed"),
        (&"x".repeat(5_000), 413, "payload_too_large"),
    ] {
        for answer in gateway.send_both(&post("/schema", body)).await {
            assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{body}");
            assert!(!answer.text().contains("SECRET"), "{}", answer.text());
        }
    }
    let coded = post("/schema", r#"{"id":1}"#).header("content-encoding", "br");
    assert_eq!(gateway.send(&coded).await.status, 415);
    let untyped = Request::new("POST", "/schema").body(r#"{"id":1}"#);
    assert_eq!(gateway.send(&untyped).await.status, 415);
    assert_eq!(web.heard().len(), 0, "nothing reached the backend");
    let body = " {\"id\" : 1,\n \"list\":[1.50, \"\\u0041\"]} ";
    for answer in gateway.send_both(&post("/schema", body)).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            (web.last().body.as_slice(), web.last().field("content-length")),
            (body.as_bytes(), body.len().to_string())
        );
    }
    let mut http1 = gateway.http1().await;
    http1.write("POST /schema HTTP/1.1\r\nhost: a\r\ncontent-type: application/a+json\r\ntransfer-encoding: chunked\r\n\r\n").await;
    http1.write("4\r\n{\"id\r\n4\r\n\":1}\r\n0\r\n\r\n").await;
    assert_eq!(http1.answer().await.status, 200);
    assert_eq!((web.last().body.as_slice(), web.last().field("content-length").as_str()), (&br#"{"id":1}"#[..], "8"));
    assert_eq!(gateway.send(&get("/schema")).await.status, 200, "nothing to look into");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_in_pieces_is_bounded_as_one_with_a_length() {
    let web = web().await;
    let gateway = gateway(&web);
    let mut http2 = gateway.http2().await;
    let start = Request::new("POST", "/schema").header("content-type", "application/json");
    let mut running = http2.start(&start, false).await;
    for _ in 0..5 {
        running.write(" ".repeat(1_000), false).await;
    }
    assert_eq!(running.answer().await.status, 413);
    assert_eq!(web.heard().len(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_sees_that_a_schema_has_changed_and_a_broken_one_changes_nothing() {
    let web = web().await;
    let gateway = gateway(&web);
    assert_eq!(gateway.post("/schema", r#"{"id":"a"}"#).await.status, 400);
    gateway.write("body.json", r#"{"$ref": "https://example.com/schema.json"}"#);
    let _refused = gateway.look().await;
    assert_eq!(gateway.post("/schema", r#"{"id":"a"}"#).await.status, 400);
    gateway.write("body.json", "true");
    let _applied = gateway.look().await;
    assert_eq!(gateway.generation(), 2);
    assert_eq!(gateway.post("/schema", r#"{"id":"a"}"#).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn an_explanation_names_what_is_demanded() {
    let web = web().await;
    let gateway = gateway(&web);
    let explanation = gateway.explain(&get("/types"));
    let refusal = explanation.would_answer.as_ref().unwrap();
    assert_eq!((refusal.status, refusal.reason.as_str()), (400, "validation_failed"));
    let text = explanation.to_text();
    assert!(text.contains("required_headers x-tenant") && text.contains("content_types application/json"), "{text}");
    gateway.stop().await;
}
