//! What a call costs in heap allocations. Counts, never times.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_route::Template;
use tidegate_transcode::{
    Binding, Body, CallOptions, FrameReader, MethodPlan, RequestError, RequestParts, Schema, Status, StreamEncoder,
    Upload,
};

/// The budget of a small unary call, all of the transcoder's work from the parts to the printed answer.
const BUDGET: u64 = 3;

fn plan(template: &str, body: &str) -> MethodPlan {
    let protos = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/proto");
    let schema = Arc::new(Schema::from_protos(&["shop.proto"], &[protos]).unwrap());
    let template = Template::parse(template).unwrap();
    let rpc = "shop.v1.Orders/CreateOrder";
    let binding = Binding { rpc, template: &template, body: Body::parse(body), response_body: None };
    MethodPlan::compile(&schema, &binding, &CallOptions::default()).unwrap()
}

fn check(template: &str, body_rule: &str, captures: &[&str], query: &str, body: &str) {
    let plan = plan(template, body_rule);
    let captures: Vec<Cow<'_, str>> = captures.iter().map(|text| Cow::Borrowed(*text)).collect();
    let query = (!query.is_empty()).then_some(query);
    let parts = RequestParts { captures: &captures, query, body: body.as_bytes(), content_type: None };
    let answer = answer();
    let counted = allocation_counter::measure(|| {
        let mut request = Vec::with_capacity(512);
        plan.encode_unary(&parts, &mut request).unwrap();
        let mut printed = Vec::with_capacity(1024);
        plan.print(&answer, &mut printed).unwrap();
        assert_eq!(printed, ORDER.as_bytes());
    });
    let count = counted.count_total;
    assert!(count <= BUDGET, "{count} allocations for {template} with body {body_rule:?}");
}

const ORDER: &str = concat!(
    r#"{"id":"o1","number":"7","buyer":{"id":"b","email":"b@example.com","age":30},"#,
    r#""total":{"currency":"EUR","units":"12","nanos":500},"itemIds":[1,2,3],"paid":true,"note":"n"}"#
);

/// The message of [`ORDER`] as a backend sends it, fields in order.
fn answer() -> Vec<u8> {
    let parts = RequestParts { captures: &[], query: None, body: ORDER.as_bytes(), content_type: None };
    let mut frame = Vec::new();
    plan("/v1/orders", "*").encode_unary(&parts, &mut frame).unwrap();
    frame.split_off(5)
}

/// The buffer of the request, that of the answer, and one for what path and query give.
#[test]
fn a_small_unary_call_stays_within_its_allocations() {
    check("/v1/orders", "*", &[], "", ORDER);
    check("/v1/orders/{id}", "*", &["o1"], "", r#"{"paid":true}"#);
    check("/v1/orders/{id}/{buyer.email}", "*", &["o1", "b@example.com"], "", r#"{"id":"o1","buyer":{"age":30}}"#);
    check("/v1/orders/{id}/{number}", "", &["o1", "7"], "", "");
    check("/v1/orders/{id}", "", &["o1"], "paid=true&note=b&item_ids=1&item_ids=2&total.units=5", "");
    check("/v1/orders/{id}", "note", &["o1"], "paid=true", r#""n""#);
}

/// What an exchange holds per stream stays small, so that many can wait.
#[test]
fn states_of_streams_are_small() {
    let cases = [
        ("StreamEncoder", size_of::<StreamEncoder>(), 8),
        ("FrameReader", size_of::<FrameReader>(), 128),
        ("Upload", size_of::<Upload>(), 1024),
        ("Status", size_of::<Status>(), 80),
        ("RequestError", size_of::<RequestError>(), 32),
    ];
    for (name, size, limit) in cases {
        assert!(size <= limit, "{name} has {size} bytes");
    }
}

#[test]
fn frames_inside_a_chunk_cost_nothing() {
    let chunk = bytes::Bytes::from(vec![0; 5 * 100]);
    let counted = allocation_counter::measure(|| {
        let mut reader = FrameReader::new(10);
        reader.push(chunk.clone());
        let mut count = 0;
        while reader.next_frame().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
    });
    // The first clone of a `Bytes` that was a `Vec` makes its shared header.
    assert!(counted.count_total <= 1, "{}", counted.count_total);
}
