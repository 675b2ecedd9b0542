//! Batches as OTLP writes them, and what a collector answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::wire;
use crate::telemetry::span::{Kind, Moment, Span};
use crate::trace::{Attribute, Value};
use crate::version;

/// Name of the product, of the service and of the scope.
const NAME: &str = "tidegate";

/// Who sends: the same for all spans of a process.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Differs from process to process.
    pub instance: Arc<str>,
}

/// An `ExportTraceServiceRequest`, encoded.
#[must_use]
pub fn encode(spans: Vec<Span>, resource: &Resource) -> Bytes {
    let text = |key: &str, text: &str| wire::KeyValue {
        key: key.to_owned(),
        value: Some(wire::AnyValue { string: Some(text.to_owned()), ..wire::AnyValue::default() }),
    };
    let resource = wire::Resource {
        attributes: vec![
            text("service.name", NAME),
            text("service.version", version::VERSION),
            text("service.instance.id", &resource.instance),
        ],
    };
    let scope = wire::Scope { name: NAME.to_owned(), version: version::VERSION.to_owned() };
    let scope_spans = wire::ScopeSpans { scope: Some(scope), spans: spans.into_iter().map(span).collect() };
    let resource_spans =
        wire::ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: String::new() };
    wire::ExportRequest { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

fn span(span: Span) -> wire::Span {
    let remote = if span.remote { wire::FLAG_REMOTE } else { 0 };
    let state = span.state.as_ref().and_then(|state| state.to_str().ok()).unwrap_or_default();
    wire::Span {
        trace_id: span.trace_id.bytes().to_vec(),
        span_id: span.span_id.bytes().to_vec(),
        trace_state: state.to_owned(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: span.name.into_string(),
        kind: match span.kind {
            Kind::Server => wire::KIND_SERVER,
            Kind::Client => wire::KIND_CLIENT,
        },
        start_time_unix_nano: span.start_ns,
        // The wall clock may have been set back in between.
        end_time_unix_nano: span.end_ns.max(span.start_ns),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        events: span.events.into_iter().map(event).collect(),
        status: span.error.then(|| wire::Status { message: String::new(), code: wire::STATUS_ERROR }),
        flags: wire::FLAG_SAMPLED | wire::FLAG_HAS_REMOTE | remote,
    }
}

fn event(moment: Moment) -> wire::Event {
    wire::Event {
        time_unix_nano: moment.unix_ns,
        name: moment.name.to_owned(),
        attributes: moment.attributes.into_iter().map(attribute).collect(),
    }
}

fn attribute(attribute: Attribute) -> wire::KeyValue {
    let mut value = wire::AnyValue::default();
    match attribute.value {
        Value::Word(word) => value.string = Some(word.to_owned()),
        Value::Name(name) => value.string = Some(name.as_ref().to_owned()),
        Value::Text(text) => value.string = Some(text.into_string()),
        Value::Int(number) => value.int = Some(number),
        Value::Float(measure) => value.double = Some(measure),
    }
    wire::KeyValue { key: attribute.key.to_owned(), value: Some(value) }
}

/// What a collector says to a batch that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Spans that it did not want.
    pub rejected: usize,
    /// Why.
    pub message: String,
}

/// Reads an `ExportTraceServiceResponse`. One that cannot be read says nothing: the batch was taken.
#[must_use]
pub fn verdict(answer: &[u8]) -> Verdict {
    let partial = wire::ExportResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    let partial = partial.unwrap_or_default();
    Verdict { rejected: usize::try_from(partial.rejected_spans).unwrap_or(0), message: partial.error_message }
}

/// How long a collector wants to be left alone: the `google.rpc.RetryInfo` in an encoded `google.rpc.Status`.
#[must_use]
pub fn retry_delay(status: &[u8]) -> Option<Duration> {
    let details = wire::Details::decode(status).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = wire::RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}
