//! How a refusal is written: one formatter for everything, local failures and those of backends alike.
//!
//! Sources: RFC 9457 (`problem`), `google/rpc/status.proto` (`status`).

pub mod wire;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use tidegate_config::valid::{Policy, StatusOverride};
use tidegate_transcode::plan::FieldIndex;
use tidegate_transcode::{Code, Status};

use super::envelope::{self, Facts, Shape, write_json_string};
use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::policy::decompress;
use crate::policy::headers::HeaderRules;
use crate::reject::{Reason, Reject};
use crate::time;

/// How a route writes failures.
#[derive(Debug)]
pub struct FailureStyle {
    /// Name of the route; empty where none matched.
    pub route: Box<str>,
    /// The format.
    pub format: Format,
    /// Overrides of the standard table.
    pub status_map: StatusMap,
    /// A route to gRPC: `problem` then names the gRPC code.
    pub grpc: bool,
    /// Whoever speaks gRPC is answered in gRPC: on routes that pass it through, and where there is no route. On others such
    /// a request is a mistake, which plain HTTP says best.
    pub speaks_grpc: bool,
    /// What the route does to the headers of a backend's answers, of which a failure that the backend tells is one.
    pub answer: HeaderRules,
}

/// The format of a failure's body.
#[derive(Clone, Debug)]
pub enum Format {
    /// RFC 9457.
    Problem,
    /// `google.rpc.Status` as JSON.
    Status,
    /// The `error` shape of an envelope; `problem` if it fails at run time.
    Envelope(Arc<Shape>),
}

/// HTTP statuses of gRPC codes, with a route's overrides.
#[derive(Clone, Debug)]
pub struct StatusMap([u16; 17]);

impl Default for StatusMap {
    fn default() -> Self {
        Self::compile(&[])
    }
}

impl StatusMap {
    /// The standard table with `overrides`.
    #[must_use]
    pub fn compile(overrides: &[StatusOverride]) -> Self {
        let mut table = [500; 17];
        for (code, entry) in Code::all().zip(table.iter_mut()) {
            let own = overrides.iter().find(|o| o.code == code.number());
            *entry = own.map_or(code.http_status(), |o| o.status);
        }
        Self(table)
    }

    /// The HTTP status for a failure with `code`.
    #[must_use]
    pub fn status(&self, code: Code) -> StatusCode {
        let status = self.0.get(usize::from(code.number())).copied().unwrap_or(500);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl FailureStyle {
    /// The style of answers without a route, and of `respond` routes.
    #[must_use]
    pub fn plain(route: &str, format: Format) -> Self {
        Self {
            route: route.into(),
            format,
            status_map: StatusMap::default(),
            grpc: false,
            speaks_grpc: route.is_empty(),
            answer: HeaderRules::default(),
        }
    }

    /// The style of a route to gRPC.
    #[must_use]
    pub fn grpc(route: &str, format: Format, policy: &Policy) -> Self {
        Self {
            route: route.into(),
            format,
            status_map: StatusMap::compile(&policy.status_map),
            grpc: true,
            speaks_grpc: false,
            answer: HeaderRules::compile(&policy.response_headers),
        }
    }

    /// The HTTP status of `reject`. What the backend said, and a deadline that passed while it was silent, go through
    /// the route's table; everything else has the status of its reason.
    #[must_use]
    pub fn status(&self, reject: &Reject) -> StatusCode {
        if let Some(status) = reject.status {
            return status;
        }
        if reject.backend.is_some() || reject.reason == Reason::UpstreamTimeout {
            return self.status_map.status(reject.code());
        }
        reject.reason.status()
    }

    /// The whole answer to a refused request.
    #[must_use]
    pub fn respond(&self, exchange: &Exchange, reject: &Reject) -> Response<ResponseBody> {
        if self.speaks_grpc && exchange.wire.is_grpc() {
            let mut response = wire::refused(exchange, reject);
            self.change(reject, response.headers_mut());
            return response;
        }
        let status = self.status(reject);
        let (content_type, body) = self.body(exchange, reject, status);
        let mut response = Response::new(if exchange.head { ResponseBody::Empty } else { ResponseBody::full(body) });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        self.change(reject, headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = reject.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(challenge) = reject.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        let retry_after = reject.retry_after.or_else(|| reject.backend.as_ref()?.retry_after());
        if let Some(wait) = retry_after {
            // Rounded up: a client that comes back too early would be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if reject.coding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(decompress::ACCEPTED));
        }
        if reject.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The rules of the route, if the failure is an answer of its backend. What says that it is a failure goes over them.
    fn change(&self, reject: &Reject, headers: &mut HeaderMap) {
        if reject.backend.is_some() {
            self.answer.apply(headers);
        }
    }

    fn body(&self, exchange: &Exchange, reject: &Reject, status: StatusCode) -> (&'static str, Bytes) {
        let mut out = Vec::with_capacity(512);
        match &self.format {
            Format::Problem => {}
            Format::Status => {
                as_status(reject, exchange).write_json(&mut out);
                return ("application/json", out.into());
            }
            Format::Envelope(_) => {
                if self.fill_envelope(exchange, reject, milliseconds(exchange), &mut out) {
                    return ("application/json", out.into());
                }
            }
        }
        self.write_problem(exchange, reject, status, &mut out);
        ("application/problem+json", out.into())
    }

    /// Writes the failure in the envelope, if that is the format; otherwise, and if the envelope fails, nothing.
    pub fn fill_envelope(&self, exchange: &Exchange, reject: &Reject, duration_ms: f64, out: &mut Vec<u8>) -> bool {
        let Format::Envelope(shape) = &self.format else { return false };
        let filled = self.fill(shape, exchange, reject, duration_ms, out);
        if let Err(error) = &filled {
            tracing::warn!(route = %self.route, error, "the error envelope failed, the answer has the usual form");
            out.clear();
        }
        filled.is_ok()
    }

    fn fill(
        &self,
        shape: &Shape,
        exchange: &Exchange,
        reject: &Reject,
        duration_ms: f64,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let details = reject.backend.as_ref().and_then(|backend| backend.details_json());
        let facts = Facts {
            success: false,
            message: reject.message(),
            reason: reject.reason.word(),
            code: reject.code().name(),
            status: self.status(reject).as_u16(),
            details: details.as_deref().unwrap_or(b"[]"),
            request_id: exchange.request_id.as_str(),
            route: &self.route,
            timestamp: &time::rfc3339(time::unix_ms()),
            duration_ms,
        };
        shape.render::<NoResponse>(&facts, None, out).map_err(|error| match error {
            envelope::RenderError::Template(text) => text,
            envelope::RenderError::Response(never) => match never {},
        })
    }

    fn write_problem(&self, exchange: &Exchange, reject: &Reject, status: StatusCode, out: &mut Vec<u8>) {
        let word = reject.reason.word();
        let request_id = exchange.request_id.as_str();
        out.extend_from_slice(b"{\"type\":\"urn:tidegate:reason:");
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\",\"title\":");
        write_json_string(status.canonical_reason().unwrap_or("Error"), out);
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(status.as_str().as_bytes());
        out.extend_from_slice(b",\"detail\":");
        write_json_string(reject.message(), out);
        out.extend_from_slice(b",\"instance\":\"urn:tidegate:request:");
        out.extend_from_slice(request_id.as_bytes());
        out.extend_from_slice(b"\",\"reason\":\"");
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(request_id.as_bytes());
        out.push(b'"');
        if self.grpc {
            out.extend_from_slice(b",\"code\":\"");
            out.extend_from_slice(reject.code().name().as_bytes());
            out.push(b'"');
        }
        if let Some(details) = reject.backend.as_ref().and_then(|backend| backend.details_json()) {
            out.extend_from_slice(b",\"details\":");
            out.extend_from_slice(&details);
        }
        if !reject.violations.is_empty() {
            out.extend_from_slice(b",\"errors\":[");
            for (index, violation) in reject.violations.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b",{\"field\":" } else { b"{\"field\":" });
                write_json_string(&violation.field, out);
                out.extend_from_slice(b",\"message\":");
                write_json_string(&violation.message, out);
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

/// A refusal as `google.rpc.Status`: the backend's own as it is, a local one with its reason and field faults as details.
#[must_use]
pub fn as_status(reject: &Reject, exchange: &Exchange) -> Status {
    match &reject.backend {
        Some(backend) => Status::clone(backend),
        None => Status::new(reject.reason.code(), reject.detail.as_ref())
            .with_reason(reject.reason.word(), exchange.request_id.as_str())
            .with_violations(&reject.violations),
    }
}

/// Time since the head of the request, in milliseconds with three decimals.
#[must_use]
pub fn milliseconds(exchange: &Exchange) -> f64 {
    let micros = u32::try_from(exchange.elapsed().as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

/// Failures have no response to print.
enum NoResponse {}

impl envelope::Response for NoResponse {
    type Error = Infallible;

    fn print(&self, _: &mut Vec<u8>) -> Result<(), Infallible> {
        match *self {}
    }

    fn print_field(&self, _: FieldIndex, _: &mut Vec<u8>) -> Result<(), Infallible> {
        match *self {}
    }
}
