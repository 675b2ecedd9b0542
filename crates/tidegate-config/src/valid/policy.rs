//! Policies of a route, merged from `defaults` → service → route.

use std::time::Duration;

use super::cors::Cors;
use super::limits::RateLimit;
use super::origin::{Level, Origin, Setting};
use super::resilience::Retry;
use super::validate::Validate;

/// What governs the requests of one route.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Deadline of a request, from its complete head; `None` with `timeout: null`. 15 s by default. For a stream: the
    /// time to its first message.
    pub timeout: Setting<Option<Duration>>,
    /// Longest silence between two messages of a stream; `None` with `null`. 60 s by default.
    pub stream_idle_timeout: Setting<Option<Duration>>,
    /// Largest request body in bytes. 1 MiB by default.
    pub max_body: Setting<u64>,
    /// How failures are written. With [`ErrorFormat::Envelope`], `envelope` names one that has an `error` part.
    pub error_format: Setting<ErrorFormat>,
    /// Index into `Valid::envelopes`: wraps successes if it has a `success` part.
    pub envelope: Setting<Option<usize>>,
    /// How JSON is read and written.
    pub json: JsonPolicy,
    /// Query keys that are dropped before binding.
    pub ignore_query: Setting<Vec<String>>,
    /// HTTP statuses for gRPC codes, beyond the standard table; ordered by code, each code once.
    pub status_map: Vec<StatusOverride>,
    /// Which headers become metadata.
    pub metadata: MetadataPolicy,
    /// Formats of streamed answers; the first is the default. Not empty, no repetition. `[array, ndjson, sse]` by
    /// default.
    pub stream: Setting<Vec<StreamFormat>>,
    /// How escapes in values of more than one segment are decoded.
    pub multi_segment_escape: Setting<MultiSegmentEscape>,
    /// How often clients may ask: all must admit a request. Those of `defaults` first, then the service's, then the
    /// route's; names are unique.
    pub rate_limits: Vec<RateLimit>,
    /// When a request is sent once more.
    pub retry: Retry,
    /// What is done to the headers of requests on their way to the backend.
    pub request_headers: HeaderRules,
    /// What is done to the headers of a backend's answers.
    pub response_headers: HeaderRules,
    /// What a proxied route does with `%2F` and `%5C` in a path. Refused by default.
    pub escaped_slashes: Setting<EscapedSlashes>,
    /// Which answers are compressed; `None` with `null`. If nobody sets it, what the gateway writes itself is compressed
    /// as with [`Compression::Whole`], and nothing of a proxied route is: [`Policy::compression`].
    pub compress: Setting<Option<Compression>>,
    /// Whether a proxied route undoes the coding of request bodies. `false` by default.
    pub decompress: Setting<bool>,
    /// Whether one `**` may stand before the last segment of a template.
    pub inner_wildcard: Setting<bool>,
    /// Which pages of other origins may use it.
    pub cors: Cors,
    /// What a request must be.
    pub validate: Validate,
}

impl Policy {
    /// Which answers are compressed, for a route that is `proxied` or one whose answers the gateway writes.
    ///
    /// A backend over HTTP may compress by itself, and may answer with secrets beside what a client sent, whose length
    /// would tell of them: nobody but its owner knows.
    #[must_use]
    pub fn compression(&self, proxied: bool) -> Option<Compression> {
        match self.compress.origin.level {
            Level::BuiltIn => (!proxied).then_some(Compression::Whole),
            Level::Defaults | Level::Service | Level::Route => self.compress.value,
        }
    }
}

/// How failures are written (`errors.format`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorFormat {
    /// RFC 9457.
    Problem,
    /// `google.rpc.Status` as JSON.
    Status,
    /// The `error` part of the route's envelope.
    Envelope,
}

/// The `json` block.
#[derive(Clone, PartialEq, Debug)]
pub struct JsonPolicy {
    /// Spelling of field names in answers. Camel by default.
    pub field_names: Setting<FieldNames>,
    /// Enums in answers. Names by default.
    pub enums: Setting<EnumFormat>,
    /// Whether answers contain fields without presence that have their default value. `false` by default.
    pub emit_defaults: Setting<bool>,
    /// 64-bit integers in answers. Strings by default.
    pub int64: Setting<Int64Format>,
    /// Body fields that the message does not have. Refused by default.
    pub unknown_fields: Setting<UnknownPolicy>,
    /// Query keys that the message does not have. Refused by default.
    pub unknown_query: Setting<UnknownPolicy>,
}

/// Spelling of field names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldNames {
    /// `lowerCamelCase`, the JSON name.
    Camel,
    /// As in the `.proto` file.
    Proto,
}

/// How enum values are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnumFormat {
    /// By name.
    Name,
    /// By number.
    Number,
}

/// How 64-bit integers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Int64Format {
    /// As strings, as the proto3 JSON mapping says.
    String,
    /// As numbers; JavaScript loses precision beyond 2^53.
    Number,
}

/// What happens to names that the message does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownPolicy {
    /// 400.
    Reject,
    /// Dropped.
    Ignore,
    /// Dropped, and named in the answer's `x-tidegate-ignored`.
    Report,
}

/// One line of `status_map`.
#[derive(Clone, PartialEq, Debug)]
pub struct StatusOverride {
    /// gRPC code, 1 to 16.
    pub code: u8,
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Who set it.
    pub origin: Origin,
}

/// The `metadata` block. Names are lower case; one that ends in `*` is a prefix.
#[derive(Clone, PartialEq, Debug)]
pub struct MetadataPolicy {
    /// Only these headers pass; `None`: all that the general rules let through.
    pub allow: Setting<Option<Vec<String>>>,
    /// These do not pass.
    pub deny: Setting<Vec<String>>,
    /// Whether `-bin` headers pass, as base64.
    pub allow_binary: Setting<bool>,
    /// Headers that begin with this pass without it; `None`: no prefix rule.
    pub prefix: Setting<Option<String>>,
}

/// `request_headers` or `response_headers`, in the order in which they are done. Names are lower case.
#[derive(Clone, PartialEq, Debug)]
pub struct HeaderRules {
    /// Taken away.
    pub remove: Setting<Vec<String>>,
    /// Put in the place of what is there.
    pub set: Setting<Vec<(String, String)>>,
    /// Put beside what is there.
    pub add: Setting<Vec<(String, String)>>,
}

/// What becomes of an escaped slash or backslash in the path of a proxied request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EscapedSlashes {
    /// 400: servers read it in different ways.
    Reject,
    /// Passed on as it is.
    Keep,
}

/// Which answers are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Those that have an end.
    Whole,
    /// Streams too, each message sent at once.
    Stream,
}

/// A format of streamed answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamFormat {
    /// One JSON array.
    Array,
    /// One JSON text a line.
    Ndjson,
    /// Server-sent events.
    Sse,
}

/// Decoding of path values that span several segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultiSegmentEscape {
    /// Everything but `%2F`; the default.
    KeepSlash,
    /// Everything but reserved characters.
    Reserved,
    /// Everything.
    All,
}

/// Names of the gRPC codes by number; keys of `status_map` are all but `OK`.
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
