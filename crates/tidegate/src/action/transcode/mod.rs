//! JSON in, gRPC out: joins a compiled plan, a call and an encoder for the answer.
//!
//! ```text
//!   head ── sort ──► metadata, deadline
//!   path, query, body ── plan ──► message ── call ──► backend
//!                                             │
//!   answer ◄── print, envelope ◄── message ◄──┘        one message: `unary`
//!   body   ◄── encoder         ◄── messages ◄─┘        several: `streaming`
//! ```

mod body;
pub mod calls;
mod measure;
pub mod preflight;
mod streaming;
mod unary;
mod uploading;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Response};
use tidegate_config::valid::{
    EnumFormat, FieldNames, Int64Format, JsonPolicy, MultiSegmentEscape, Route, StreamFormat as ConfigFormat,
    UnknownPolicy,
};
use tidegate_config::{Code as ProblemCode, Diagnostic, Place};
use tidegate_route::{Captures, MultiEscape};
pub use tidegate_transcode::Binding;
use tidegate_transcode::json::{ReadOptions, UnknownFields, WriteOptions};
use tidegate_transcode::{
    AnswerKind, CallOptions, Idempotency, MethodPlan, Place as PlanPlace, PlanError, QueryOptions, RequestError,
    RequestParts, Schema, Status, StreamFormat, stream,
};

use super::envelope::Shape;
use super::mirror::Mirror;
use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::policy::headers::HeaderRules;
use crate::policy::metadata::{MetadataRules, to_response_headers};
use crate::reject::{Reason, Reject};
use crate::tasks;
use crate::telemetry::metrics::{Direction, RouteSeries, Stage, samples_transcoding};
use crate::time;
use crate::trace::Attribute;
use crate::upstream::{Asked as Endpoint, Call, CallError, CallHead, Cluster, Hedge, OWN_METADATA, RetryPlan};

const IGNORED: HeaderName = HeaderName::from_static("x-tidegate-ignored");

/// A compiled route to one gRPC method. Shared with the streams that it has begun.
#[derive(Debug)]
pub struct Transcode {
    plan: Arc<MethodPlan>,
    /// For single fields in envelopes.
    write: WriteOptions,
    /// What the HTTP body becomes, for whoever explains the route.
    body: tidegate_transcode::Body,
    response_body: Option<String>,
    cluster: Arc<Cluster>,
    path: PathAndQuery,
    metadata: MetadataRules,
    /// What the route does to the headers of answers, before the gateway says what it has written.
    answer: HeaderRules,
    escape: MultiEscape,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_body: u64,
    retry: RetryPlan,
    /// By its `.proto` file; the HTTP method says the rest.
    idempotent: bool,
    formats: Vec<StreamFormat>,
    mirror: Option<Arc<Mirror>>,
    hedge: Option<Box<Hedge>>,
    envelope: Option<Shape>,
    route: Box<str>,
    /// Where its conversions are counted.
    series: Arc<RouteSeries>,
}

/// A binding that does not fit the schema.
#[derive(Debug)]
pub struct BadBinding(PlanError);

impl BadBinding {
    /// The problem, at the key of the configuration that causes it.
    #[must_use]
    pub fn diagnostic(&self, path: &Place, body: &Place, response_body: &Place) -> Diagnostic {
        let (code, place) = match self.0.place {
            PlanPlace::Rpc => (ProblemCode::Descriptors, path.clone()),
            PlanPlace::Variable { column } => (ProblemCode::InvalidPath, inside(path, column)),
            PlanPlace::Body => (ProblemCode::InvalidValue, body.clone()),
            PlanPlace::ResponseBody => (ProblemCode::InvalidValue, response_body.clone()),
        };
        Diagnostic::error(code, self.0.to_string()).at(&place)
    }
}

/// The `column`-th character (from 1) of the text at `place`, to its end.
fn inside(place: &Place, column: usize) -> Place {
    let offset = u32::try_from(column.saturating_sub(1)).unwrap_or(0);
    let column = place.column.saturating_add(offset);
    if column >= place.end_column { place.clone() } else { Place { column, ..place.clone() } }
}

/// What of a request's head decides about its answer; the rest has become metadata.
struct Asked {
    content_type: Option<HeaderValue>,
    format: StreamFormat,
    head: CallHead,
    deadline: Option<Instant>,
    /// Its conversions are measured.
    measured: bool,
}

impl Transcode {
    /// Compiles a route to one method.
    ///
    /// # Errors
    /// The binding does not fit the schema.
    pub fn compile(
        schema: &Arc<Schema>,
        binding: &Binding<'_>,
        route: &Route,
        cluster: Arc<Cluster>,
        (envelope, mirror): (Option<Shape>, Option<Arc<Mirror>>),
        series: Arc<RouteSeries>,
    ) -> Result<Self, BadBinding> {
        let policy = &route.policy;
        let options = call_options(&policy.json, &policy.ignore_query.value, policy.max_body.value);
        let plan = MethodPlan::compile(schema, binding, &options).map_err(BadBinding)?;
        let idempotent = plan.method().idempotency() != Idempotency::Unknown;
        let variables: Vec<String> = binding.template.variables().iter().map(|v| v.field_path.clone()).collect();
        Ok(Self {
            path: PathAndQuery::try_from(plan.rpc_path()).unwrap_or(PathAndQuery::from_static("/")),
            plan: Arc::new(plan),
            write: options.write,
            body: binding.body.clone(),
            response_body: binding.response_body.clone(),
            cluster,
            metadata: MetadataRules::compile(&policy.metadata, &variables)
                .with_headers(HeaderRules::compile(&policy.request_headers)),
            answer: HeaderRules::compile(&policy.response_headers),
            escape: match policy.multi_segment_escape.value {
                MultiSegmentEscape::KeepSlash => MultiEscape::KeepSlash,
                MultiSegmentEscape::Reserved => MultiEscape::Reserved,
                MultiSegmentEscape::All => MultiEscape::All,
            },
            timeout: policy.timeout.value,
            idle_timeout: policy.stream_idle_timeout.value,
            max_body: policy.max_body.value,
            retry: RetryPlan::compile(&policy.retry),
            idempotent,
            formats: policy.stream.value.iter().copied().map(stream_format).collect(),
            mirror,
            hedge: route.hedge.as_ref().map(|hedge| Box::new(Hedge::compile(hedge))),
            envelope,
            route: route.name.as_str().into(),
            series,
        })
    }

    /// The compiled method.
    #[must_use]
    pub fn plan(&self) -> &MethodPlan {
        &self.plan
    }

    /// What the HTTP body becomes, and which field of the answer is the HTTP body.
    #[must_use]
    pub fn bodies(&self) -> (&tidegate_transcode::Body, Option<&str>) {
        (&self.body, self.response_body.as_deref())
    }

    /// How values of several segments are decoded.
    #[must_use]
    pub fn escape(&self) -> MultiEscape {
        self.escape
    }

    /// The service that is called.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Who gets copies of calls.
    #[must_use]
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_deref()
    }

    /// Whether its `.proto` file says that the method may be called twice.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Formats of a streamed answer, the default first.
    #[must_use]
    pub fn formats(&self) -> &[StreamFormat] {
        &self.formats
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The refusal; nothing was sent to the client, and nothing to the backend if the request is at fault.
    pub async fn run(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        mut parts: Box<Parts>,
        body: RequestBody,
        path: &str,
        captures: &Captures,
    ) -> Result<Response<ResponseBody>, Reject> {
        let values = captures.decode_all(path, self.escape).map_err(|error| {
            self.conversion_failed(exchange, Stage::Path);
            Reject::bad_path(&error)
        })?;
        let asked = self.ask(exchange, &mut parts, &values)?;
        let query = parts.uri.query();
        match (self.plan.method().is_client_streaming(), self.plan.method().is_server_streaming()) {
            (false, false) => self.unary(exchange, asked, &values, query, body).await,
            (false, true) => tasks::boxed(|| self.server_stream(exchange, asked, &values, query, body)).await,
            (true, _) => tasks::boxed(|| self.upload(exchange, asked, &values, query, body)).await,
        }
    }

    fn ask(&self, exchange: &Exchange, parts: &mut Parts, values: &[Cow<'_, str>]) -> Result<Asked, Reject> {
        let content_type = single_content_type(&parts.headers)?;
        // `HttpBody` is what it is, whatever its client would take for a format of messages.
        let raw = self.plan.answer_kind() == AnswerKind::HttpBody;
        let format = if self.plan.method().is_server_streaming() && !raw {
            let accept = parts.headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes);
            stream::negotiate(accept, &self.formats)
        } else {
            StreamFormat::Array
        };
        let ring_key = self.cluster.ring_key(exchange, &parts.headers);
        let sorted = self.metadata.sort(exchange, parts, values, OWN_METADATA)?;
        let timeout = match (self.timeout, sorted.timeout) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        if let (Some(theirs), Some(record)) = (sorted.timeout, exchange.record()) {
            let asked = Attribute { key: "tidegate.timeout_ms", value: (theirs.as_secs_f64() * 1_000.0).into() };
            record.event(time::now(), "timeout", vec![asked]);
        }
        let waits_less = sorted.timeout.is_some() && timeout == sorted.timeout && timeout != self.timeout;
        let head = CallHead { ring_key, waits_less, ..CallHead::new(self.path.clone(), sorted.metadata) };
        let deadline = timeout.map(|timeout| exchange.started + timeout);
        Ok(Asked { content_type, format, head, deadline, measured: samples_transcoding() })
    }

    /// The headers of an answer but for those that say what the gateway has written: what the backend may tell a client,
    /// as the route changes it.
    fn tell(&self, metadata: &HeaderMap, headers: &mut HeaderMap) {
        to_response_headers(metadata, headers);
        self.answer.apply(headers);
    }

    /// Notes who was asked, or what became of it.
    fn reached(&self, exchange: &Exchange, call: Result<Call, CallError>) -> Result<Call, Reject> {
        let call = call.map_err(|error| self.failed(exchange, error))?;
        exchange.facts.endpoint_is(call.endpoint());
        if let Some(record) = exchange.record() {
            record.reached(call.endpoint(), call.peer());
        }
        Ok(call)
    }

    /// Notes who was asked last.
    fn asked_of(exchange: &Exchange, asked: &Endpoint) {
        exchange.facts.endpoint_is(&asked.endpoint);
        if let Some(record) = exchange.record() {
            record.reached(&asked.endpoint, asked.peer);
        }
    }

    /// The request message in its gRPC frame.
    fn encode(
        &self,
        exchange: &Exchange,
        asked: &Asked,
        values: &[Cow<'_, str>],
        query: Option<&str>,
        body: &[u8],
    ) -> Result<(Bytes, Option<HeaderValue>), Reject> {
        let parts = RequestParts {
            captures: values,
            query,
            body,
            content_type: asked.content_type.as_ref().map(HeaderValue::as_bytes),
        };
        let mut frame = Vec::new();
        let encode = || self.plan.encode_unary(&parts, &mut frame);
        let ignored = self.timed(exchange, asked.measured, Direction::Request, encode);
        let ignored = ignored.map_err(|error| self.refused(exchange, error))?;
        let names = (!ignored.paths.is_empty()).then(|| HeaderValue::from_str(&ignored.paths).ok());
        Ok((frame.into(), names.flatten()))
    }

    /// What became of a call, with the backend's details made readable.
    fn described(&self, error: CallError) -> Reject {
        let details = match &error {
            CallError::Status(failure) => self.readable(&failure.metadata),
            _ => None,
        };
        let mut reject = error.into_reject();
        if let Some(status) = details {
            reject.backend = Some(Box::new(status));
        }
        reject
    }

    /// What became of a call, as [`Transcode::described`]. Notes it for telemetry.
    fn failed(&self, exchange: &Exchange, error: CallError) -> Reject {
        exchange.facts.answered(exchange.elapsed());
        match &error {
            CallError::ConnectFailed { endpoint, .. } | CallError::Reset { endpoint, .. } => {
                exchange.facts.endpoint_is(endpoint);
                if let Some(record) = exchange.record() {
                    record.reached(endpoint, None);
                }
            }
            CallError::Status(failure) => exchange.facts.code_is(failure.status.code),
            CallError::NoEndpoint
            | CallError::BreakerOpen { .. }
            | CallError::Overloaded
            | CallError::DeadlineExceeded
            | CallError::Malformed(_)
            | CallError::Head(_) => {}
        }
        let code = match &error {
            CallError::Status(failure) => Some(failure.status.code),
            _ => None,
        };
        let reject = self.described(error);
        if let Some(record) = exchange.record() {
            let word = code.map_or(reject.reason.word(), tidegate_transcode::Code::name);
            record.failed(time::now(), code.unwrap_or(reject.reason.code()), word);
        }
        reject
    }

    /// The status in a backend's trailers with its details, if it has any.
    fn readable(&self, trailers: &HeaderMap) -> Option<Status> {
        let value = |name| trailers.get(name).map(HeaderValue::as_bytes);
        let details = value("grpc-status-details-bin")?;
        let (code, message) = (value("grpc-status"), value("grpc-message"));
        Some(Status::from_trailers(code, message, Some(details), self.plan.schema()))
    }
}

/// A response that is not the message of the schema.
fn unprintable(error: tidegate_transcode::ResponseError) -> Reject {
    Reject::new(Reason::TranscodeFailed).cause(error.to_string())
}

/// A request that does not become a message.
fn refused(error: RequestError) -> Reject {
    use tidegate_transcode::Reason as Word;
    let reason = match error.reason() {
        Word::BadRequest => Reason::BadRequest,
        Word::UnsupportedMediaType => Reason::UnsupportedMediaType,
        Word::PayloadTooLarge => Reason::PayloadTooLarge,
        Word::TranscodeFailed => Reason::TranscodeFailed,
    };
    Reject::new(reason).detail(error.fault.to_string()).violations(error.violations)
}

/// The content type of the request. Two of them may be read differently by the next reader.
fn single_content_type(headers: &HeaderMap) -> Result<Option<HeaderValue>, Reject> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next().cloned();
    match values.next() {
        Some(_) => Err(Reject::new(Reason::BadRequest).detail("more than one content-type")),
        None => Ok(first),
    }
}

fn call_options(json: &JsonPolicy, ignored_query: &[String], max_body: u64) -> CallOptions {
    CallOptions {
        read: ReadOptions { unknown_fields: unknown(json.unknown_fields.value) },
        write: WriteOptions {
            proto_names: json.field_names.value == FieldNames::Proto,
            enum_numbers: json.enums.value == EnumFormat::Number,
            int64_numbers: json.int64.value == Int64Format::Number,
            emit_defaults: json.emit_defaults.value,
        },
        query: QueryOptions {
            unknown: unknown(json.unknown_query.value),
            passed_over: ignored_query.to_vec(),
            ..QueryOptions::default()
        },
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
    }
}

fn unknown(policy: UnknownPolicy) -> UnknownFields {
    match policy {
        UnknownPolicy::Reject => UnknownFields::Reject,
        UnknownPolicy::Ignore => UnknownFields::Ignore,
        UnknownPolicy::Report => UnknownFields::Report,
    }
}

fn stream_format(format: ConfigFormat) -> StreamFormat {
    match format {
        ConfigFormat::Array => StreamFormat::Array,
        ConfigFormat::Ndjson => StreamFormat::Ndjson,
        ConfigFormat::Sse => StreamFormat::Sse,
    }
}
