//! Requests in, messages out: path, query and body against one schema, judged by prost-reflect.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panic")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use tidegate_route::Template;
use tidegate_transcode::json::UnknownFields;
use tidegate_transcode::schema::compile_protos;
use tidegate_transcode::{
    Binding, Body, CallOptions, Fault, FrameReader, MethodPlan, Place, PlanErrorKind, RequestError, RequestParts,
    Schema, Stage,
};

mod bindings {
    mod bodies;
    mod descriptions;
    mod http_body;
    mod oracle;
    mod plans;
    mod queries;
    mod uploads;
}

fn set() -> &'static [u8] {
    static SET: OnceLock<Vec<u8>> = OnceLock::new();
    SET.get_or_init(|| {
        let protos = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/proto");
        compile_protos(&["bindings.proto"], &[protos]).unwrap()
    })
}

fn schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    Arc::clone(SCHEMA.get_or_init(|| Arc::new(Schema::from_descriptor_set(set()).unwrap())))
}

fn descriptor(name: &str) -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(set()).unwrap());
    pool.get_message_by_name(name).unwrap()
}

/// The binding of one route: template and body rule in the notation of annotations.
fn plan_with(rpc: &str, template: &str, body: &str, options: &CallOptions) -> Arc<MethodPlan> {
    let template = Template::parse(template).unwrap();
    let binding = Binding { rpc, template: &template, body: Body::parse(body), response_body: None };
    Arc::new(MethodPlan::compile(&schema(), &binding, options).unwrap())
}

fn plan(rpc: &str, template: &str, body: &str) -> Arc<MethodPlan> {
    plan_with(rpc, template, body, &CallOptions::default())
}

/// What a test sends.
#[derive(Clone, Copy, Default)]
struct Sent<'a> {
    captures: &'a [&'a str],
    query: Option<&'a str>,
    body: &'a [u8],
    content_type: Option<&'a str>,
}

impl<'a> Sent<'a> {
    fn parts<T>(self, then: impl FnOnce(&RequestParts<'_>) -> T) -> T {
        let captures: Vec<Cow<'_, str>> = self.captures.iter().map(|text| Cow::Borrowed(*text)).collect();
        then(&RequestParts {
            captures: &captures,
            query: self.query,
            body: self.body,
            content_type: self.content_type.map(str::as_bytes),
        })
    }
}

fn query(query: &str) -> Sent<'_> {
    Sent { query: Some(query), ..Sent::default() }
}

fn body(body: &str) -> Sent<'_> {
    Sent { body: body.as_bytes(), ..Sent::default() }
}

fn encode(plan: &MethodPlan, sent: Sent<'_>) -> Result<Vec<u8>, RequestError> {
    let mut out = b"before".to_vec();
    let result = sent.parts(|parts| plan.encode_unary(parts, &mut out));
    assert_eq!(&out[..6], b"before");
    if result.is_err() {
        assert_eq!(out.len(), 6, "a refused request leaves nothing behind");
    }
    result.map(|_| out.split_off(6))
}

/// The messages in gRPC frames as JSON, by prost-reflect.
fn decode(input: &str, frames: &[u8]) -> Vec<Value> {
    let mut reader = FrameReader::new(1 << 24);
    reader.push(bytes::Bytes::copy_from_slice(frames));
    let mut values = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        assert!(!frame.compressed);
        let message = DynamicMessage::decode(descriptor(input), frame.message).unwrap();
        values.push(serde_json::to_value(&message).unwrap());
    }
    reader.finish().unwrap();
    values
}

/// A request must become exactly this message of type `All`.
fn check(plan: &MethodPlan, sent: Sent<'_>, expected: Value) {
    let frames = encode(plan, sent).unwrap_or_else(|error| panic!("{error:?}, wanted {expected}"));
    assert_eq!(decode("bindings.v1.All", &frames), [expected]);
}

/// A request must be refused, blaming these fields.
fn refused(plan: &MethodPlan, sent: Sent<'_>, stage: Stage, fault: Fault, fields: &[&str]) {
    let error = encode(plan, sent).expect_err("must be refused");
    let names: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.stage, error.fault, names.as_slice()), (stage, fault, fields), "{error:?}");
}
