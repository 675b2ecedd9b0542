//! Path, query and uploads: what a request costs before and around its JSON.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may fail by panic")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use divan::{Bencher, black_box};
use tidegate_route::Template;
use tidegate_transcode::{Binding, Body, CallOptions, MethodPlan, RequestParts, Schema};

fn main() {
    divan::main();
}

fn plan(rpc: &str, template: &str, body: &str) -> Arc<MethodPlan> {
    let protos = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/proto");
    let schema = Arc::new(Schema::from_protos(&["bindings.proto"], &[protos]).unwrap());
    let template = Template::parse(template).unwrap();
    let binding = Binding { rpc, template: &template, body: Body::parse(body), response_body: None };
    Arc::new(MethodPlan::compile(&schema, &binding, &CallOptions::default()).unwrap())
}

fn unary(bencher: Bencher<'_, '_>, template: &str, body_rule: &str, captures: &[&str], query: &str, body: &str) {
    let plan = plan("bindings.v1.Bindings/Call", template, body_rule);
    let captures: Vec<Cow<'_, str>> = captures.iter().map(|text| Cow::Borrowed(*text)).collect();
    let query = (!query.is_empty()).then_some(query);
    let parts = RequestParts { captures: &captures, query, body: body.as_bytes(), content_type: None };
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(move || {
        out.clear();
        plan.encode_unary(black_box(&parts), &mut out).unwrap();
        black_box(out.len())
    });
}

#[divan::bench]
fn one_variable(bencher: Bencher<'_, '_>) {
    unary(bencher, "/v1/{a_string}", "", &["o-1234567"], "", "");
}

#[divan::bench]
fn variable_of_31_levels(bencher: Bencher<'_, '_>) {
    let template = format!("/v1/{{inner.{}id}}", "child.".repeat(29));
    unary(bencher, &template, "", &["deep"], "", "");
}

#[divan::bench]
fn six_query_parameters(bencher: Bencher<'_, '_>) {
    let query = "an_int32=7&a_string=a%20b&inner.id=x&inner.count=2&ints=1&ints=2";
    unary(bencher, "/v1/orders", "", &[], query, "");
}

#[divan::bench]
fn variable_beside_a_body(bencher: Bencher<'_, '_>) {
    let body = r#"{"anInt32":7,"inner":{"count":2},"aBool":true}"#;
    unary(bencher, "/v1/{a_string}/{inner.id}", "*", &["o-1234567", "x"], "", body);
}

/// 1 MiB of small messages as one array, in chunks of 16 KiB.
#[divan::bench]
fn upload_of_a_mebibyte(bencher: Bencher<'_, '_>) {
    let plan = plan("bindings.v1.Bindings/Collect", "/v1/orders", "*");
    let message = r#"{"anInt32":7,"aString":"some text of a length","inner":{"count":2}}"#;
    let body = format!("[{}]", vec![message; (1 << 20) / message.len()].join(","));
    let mut out = Vec::with_capacity(1 << 20);
    bencher.counter(divan::counter::BytesCount::of_slice(body.as_bytes())).bench_local(move || {
        out.clear();
        let parts = RequestParts { captures: &[], query: None, body: &[], content_type: None };
        let mut upload = plan.upload(&parts).unwrap();
        for chunk in body.as_bytes().chunks(16 * 1024) {
            upload.push(black_box(chunk), &mut out).unwrap();
        }
        upload.finish(&mut out).unwrap();
        black_box(out.len())
    });
}
