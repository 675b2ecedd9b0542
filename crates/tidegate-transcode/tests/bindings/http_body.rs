//! `google.api.HttpBody`: raw bodies in and out.

use crate::*;

const PNG: &[u8] = b"\x89PNG\r\n\x00\xff";

fn raw<'a>(body: &'a [u8], content_type: Option<&'a str>) -> Sent<'a> {
    Sent { body, content_type, ..Sent::default() }
}

fn check_as(input: &str, plan: &MethodPlan, sent: Sent<'_>, expected: Value) {
    let frames = encode(plan, sent).unwrap();
    assert_eq!(decode(input, &frames), [expected]);
}

#[test]
fn the_whole_message_can_be_raw() {
    let plan = plan("bindings.v1.Bindings/Raw", "/x", "*");
    let check = |sent, expected| check_as("google.api.HttpBody", &plan, sent, expected);
    check(raw(PNG, Some("image/png")), json!({"contentType": "image/png", "data": "iVBORw0KAP8="}));
    check(raw(b"{}", None), json!({"data": "e30="}));
    check(raw(b"", Some("text/plain")), json!({}));
}

#[test]
fn a_field_can_be_raw_and_the_rest_comes_from_path_and_query() {
    let plan = plan("bindings.v1.Bindings/Store", "/x/{folder.cover.content_type}", "folder.cover");
    let sent = Sent {
        captures: &["text/x"],
        query: Some("name=n&folder.name=f"),
        body: b"abc",
        content_type: Some("text/plain"),
    };
    let expected = json!({"name": "n", "folder": {"name": "f", "cover": {"contentType": "text/x", "data": "YWJj"}}});
    check_as("bindings.v1.File", &plan, sent, expected);
    for key in ["folder.cover.data", "folder.cover"] {
        let text = format!("{key}=x");
        let sent = Sent { query: Some(&text), ..sent };
        refused(&plan, sent, Stage::Query, Fault::NotAParameter, &[key]);
    }
}

#[test]
fn an_answer_is_a_range_of_the_message() {
    let http_body = |rpc: &str, response_body: Option<&str>| {
        let template = Template::parse("/x").unwrap();
        let response_body = response_body.map(str::to_owned);
        let binding = Binding { rpc, template: &template, body: Body::None, response_body };
        MethodPlan::compile(&schema(), &binding, &CallOptions::default()).unwrap()
    };
    let whole = http_body("bindings.v1.Bindings/Raw", None);
    let message = b"\x0a\x03a/b\x12\x02xy";
    let body = whole.http_body(message).unwrap();
    assert_eq!((body.content_type, &message[body.data]), ("a/b", &b"xy"[..]));
    let field = http_body("bindings.v1.Bindings/Store", Some("content"));
    let message = b"\x0a\x01n\x12\x09\x0a\x03a/b\x12\x02xy";
    let body = field.http_body(message).unwrap();
    assert_eq!((body.content_type, &message[body.data]), ("a/b", &b"xy"[..]));
    assert!(field.http_body(b"\x12\x09\x0a").is_err());
}

#[test]
fn an_upload_is_cut_into_pieces() {
    let plan = plan("bindings.v1.Bindings/Upload", "/x/{name}", "content");
    let sent = Sent { captures: &["n"], content_type: Some("image/png"), ..Sent::default() };
    let mut upload = sent.parts(|parts| plan.upload(parts)).unwrap();
    let mut out = Vec::new();
    upload.push(PNG, &mut out).unwrap();
    upload.push(&vec![7; 2 * tidegate_transcode::MAX_PIECE + 1], &mut out).unwrap();
    upload.finish(&mut out).unwrap();
    let messages = decode("bindings.v1.File", &out);
    assert_eq!(messages[0], json!({"name": "n", "content": {"contentType": "image/png", "data": "iVBORw0KAP8="}}));
    assert_eq!(messages.len(), 4);
    for later in &messages[1..] {
        assert!(later.get("name").is_none() && later["content"].get("contentType").is_none());
    }
    assert_eq!(messages[3], json!({"content": {"data": "Bw=="}}));
}
