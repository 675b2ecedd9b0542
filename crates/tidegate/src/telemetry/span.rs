//! The spans that a recorded exchange becomes: one for the client's request, one for each request to a backend.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP servers and RPC clients, and ours
//! under `tidegate.`. Credentials, cookies and query strings never get here.

mod build;

use http::header::HeaderValue;

pub use self::build::{Clock, spans};
use crate::trace::{Attribute, SpanId, TraceId};

/// Which side of a request a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request of a client.
    Server,
    /// A request to a backend.
    Client,
}

/// One span that has ended, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// Its own name.
    pub span_id: SpanId,
    /// The span that caused it.
    pub parent: Option<SpanId>,
    /// `parent` belongs to another process.
    pub remote: bool,
    /// `tracestate` as it was passed on.
    pub state: Option<HeaderValue>,
    /// Which side.
    pub kind: Kind,
    /// Few different ones: made of method and route.
    pub name: Box<str>,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970; not before the start.
    pub end_ns: u64,
    /// Each key once.
    pub attributes: Vec<Attribute>,
    /// In the order of their times.
    pub events: Vec<Moment>,
    /// It counts as failed.
    pub error: bool,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// Of a closed list.
    pub name: &'static str,
    /// What there is to say about it.
    pub attributes: Vec<Attribute>,
}

#[cfg(test)]
pub(crate) mod tests;
