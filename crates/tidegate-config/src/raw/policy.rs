//! Policies, which stand under `defaults`, on a service or on a route.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{RawRateLimit, RawRouteAuth};
use crate::decode::{
    Bytes, Count, Cx, Decode, Field, Item, Name, Ratio, Table, Text, Time, closed_enum, did_you_mean, raw_struct,
};
use crate::diag::{Code, Diagnostic};
use crate::node::{Node, Value};
use crate::raw::{RawCors, RawValidate};
use crate::valid::{
    Compression, EnumFormat, ErrorFormat, EscapedSlashes, FieldNames, GRPC_CODES, Int64Format, MultiSegmentEscape,
    StreamFormat, UnknownPolicy,
};

raw_struct! {
    /// Policies. They may stand under `defaults`, on a service and on a route; the nearest one wins, key by key, and
    /// `null` removes what is inherited.
    RawPolicy {
        /// Whether a credential is needed: of `auth.default`, unless `auth` names other providers.
        auth_required: bool = "false",
        /// What is demanded of whoever asks.
        auth: RawRouteAuth,
        /// Deadline of a request; for a stream, of its first message. `null`: none.
        timeout: Time = "15s",
        /// Longest silence between two messages of a stream. `null`: no limit.
        stream_idle_timeout: Time = "60s",
        /// Largest request body. `null` removes an inherited limit and leaves that of the program.
        max_body: Bytes = "1MiB",
        /// How failures are written.
        errors: RawErrors,
        /// Name of the envelope that answers are put in.
        envelope: Name,
        /// How JSON is read and written.
        json: RawJson,
        /// Query keys that are dropped before anything reads them.
        ignore_query: Vec<Item<Text>> = "[]",
        /// HTTP statuses for gRPC codes, as in `{ DEADLINE_EXCEEDED: 408 }`. Merged code by code.
        status_map: CodeMap,
        /// Which request headers become gRPC metadata.
        metadata: RawMetadata,
        /// How often clients may ask. These are added to those that are inherited; `null` removes the inherited ones.
        rate_limits: Vec<Item<RawRateLimit>> = "[]",
        /// When a request is sent to the backend once more. `null`: never, but for requests that no backend can have seen.
        retry: RawRetry,
        /// What is done to the headers of requests on their way to the backend. What only the gateway may say is taken
        /// from clients before and added after.
        request_headers: RawHeaders,
        /// What is done to the headers of a backend's answers, and of `respond`; what `remove` and `set` name is taken out
        /// of trailers, too. What the gateway says itself is written afterwards, and its refusals are left as they are.
        /// Of answers to gRPC calls `content-type`, `content-encoding` and `grpc-*` cannot be changed.
        response_headers: RawHeaders,
        /// What a proxied route does with `%2F` and `%5C` in a path: `reject` (400) or `keep`. Servers read them in
        /// different ways.
        escaped_slashes: EscapedSlashes = "reject",
        /// Which answers are compressed for clients that ask for it (`gzip`, `br` or `zstd`): `whole` for those that have
        /// an end, `stream` for streams too; text and JSON from 1 KiB on. `null`: none. Without the key: `whole` for
        /// what the gateway writes itself, none for proxied routes.
        compress: Compression,
        /// Whether a proxied route undoes the coding of compressed request bodies (`gzip`, `zstd`, `deflate`). Routes that
        /// read bodies always do.
        decompress: bool = "false",
        /// Formats of streamed answers, chosen by `Accept`; the first is the default.
        stream: Vec<Item<StreamFormat>> = "[array, ndjson, sse]",
        /// Which escapes are decoded in a path value of more than one segment: all but `%2F`, all but reserved
        /// characters, or all.
        multi_segment_escape: MultiSegmentEscape = "keep_slash",
        /// Allows one `**` before the last segment of a path.
        inner_wildcard: bool = "false",
        /// Which pages of other origins may use it.
        cors: RawCors,
        /// What a request must be.
        validate: RawValidate,
    }
    later {
        "cache" "invalidate"
        "etag" "trailing_slash" "auto_mapping" "collision" "unexpected_body"
        "form_body" "enum_case" "enum_prefix" "query_maps" "query_plus" "field_mask" "status_from_metadata"
        "array_error" "ndjson_envelope" "sse" "stream_buffer" "shared"
    }
}

raw_struct! {
    /// How failures are written.
    RawErrors {
        /// `problem` is RFC 9457, `status` is `google.rpc.Status` as JSON, `envelope` is the `error` part of the
        /// route's envelope.
        format: ErrorFormat = "problem",
    }
}

raw_struct! {
    /// How JSON is read and written.
    RawJson {
        /// Field names in answers: `lowerCamelCase`, or as in the `.proto` file. Requests may use both.
        field_names: FieldNames = "camel",
        /// Enum values in answers.
        enums: EnumFormat = "name",
        /// Whether answers name fields that have their default value.
        emit_defaults: bool = "false",
        /// 64-bit integers in answers. JavaScript loses precision beyond 2^53 with `number`.
        int64: Int64Format = "string",
        /// Body fields that the message does not have: answer 400, drop them, or drop and name them in
        /// `x-tidegate-ignored`.
        unknown_fields: UnknownPolicy = "reject",
        /// The same for query keys.
        unknown_query: UnknownPolicy = "reject",
    }
}

raw_struct! {
    /// Retries. Only requests that may be repeated are (`GET`, `HEAD`, `OPTIONS`, `PUT`, `DELETE`, or an RPC that its
    /// `.proto` file marks so), with a body of at most 64 KiB, and before anything was sent to the client. After a
    /// `connect_failure` any request is: nothing was sent. That is for endpoints that are tried once more; an endpoint that
    /// cannot be connected to is replaced by another one in any case, with `retry: null` too.
    RawRetry {
        /// Attempts after the first one. 0: none.
        max_retries: Count = "1",
        /// Failures that are worth another attempt: `connect_failure`, `reset` (the connection was lost before the answer),
        /// `timeout` (of one attempt), names of gRPC codes in lower case, and HTTP statuses.
        retry_on: Vec<Item<Text>> = "[connect_failure, unavailable, 502, 503]",
        /// The wait before an attempt.
        backoff: RawBackoff,
        /// How many of them the service gets in all; on a route, how many it gets from that route.
        budget: RawBudget,
        /// Longest time of one attempt, be it the only one. Without the key: what is left of `timeout`.
        per_try_timeout: Time,
        /// Repeats also what may not be repeated: the backend knows what it has done already.
        non_idempotent: bool = "false",
    }
}

raw_struct! {
    /// The wait before a retry: at random between nothing and twice as much each time.
    RawBackoff {
        /// The longest first wait.
        base: Time = "25ms",
        /// The longest wait of all.
        max: Time = "250ms",
    }
}

raw_struct! {
    /// How much load retries may add.
    RawBudget {
        /// Retries per request of the last 10 s.
        ratio: Ratio = "0.2",
        /// Retries per second that are always allowed.
        min_per_second: Count = "10",
    }
}

raw_struct! {
    /// Changes to headers, in this order. Each key is inherited by itself.
    RawHeaders {
        /// These are taken away.
        remove: Vec<Item<Text>> = "[]",
        /// These take the place of what is there, as in `{ x-edge: tidegate }`.
        set: Table<Text>,
        /// These stand beside what is there.
        add: Table<Text>,
    }
}

raw_struct! {
    /// Which request headers become gRPC metadata, beyond the built-in rules.
    RawMetadata {
        /// Only these headers pass. A name that ends in `*` is a prefix.
        allow: Vec<Item<Text>>,
        /// These headers do not pass. A name that ends in `*` is a prefix.
        deny: Vec<Item<Text>> = "[]",
        /// Lets `-bin` headers pass, as base64.
        allow_binary: bool = "false",
        /// Headers that begin with this pass, without it.
        prefix: Text,
    }
}

closed_enum! {
    ErrorFormat {
        "problem" => Self::Problem,
        "status" => Self::Status,
        "envelope" => Self::Envelope,
    }
    FieldNames {
        "camel" => Self::Camel,
        "proto" => Self::Proto,
    }
    EnumFormat {
        "name" => Self::Name,
        "number" => Self::Number,
    }
    Int64Format {
        "string" => Self::String,
        "number" => Self::Number,
    }
    UnknownPolicy {
        "reject" => Self::Reject,
        "ignore" => Self::Ignore,
        "report" => Self::Report,
    }
    StreamFormat {
        "array" => Self::Array,
        "ndjson" => Self::Ndjson,
        "sse" => Self::Sse,
        later "websocket"
    }
    Compression {
        "whole" => Self::Whole,
        "stream" => Self::Stream,
    }
    EscapedSlashes {
        "reject" => Self::Reject,
        "keep" => Self::Keep,
    }
    MultiSegmentEscape {
        "keep_slash" => Self::KeepSlash,
        "reserved" => Self::Reserved,
        "all" => Self::All,
    }
}

/// gRPC codes by number (1 to 16) with their HTTP status.
#[derive(Clone, Debug)]
pub(crate) struct CodeMap(pub(crate) Vec<(u8, Field<Count>)>);

impl Decode for CodeMap {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_type(node, "a mapping");
            return None;
        };
        let mut codes = Vec::with_capacity(entries.len());
        for entry in entries {
            cx.inside_key(&entry.key, |cx| {
                let name = entry.key.text();
                let code = GRPC_CODES.iter().position(|code| *code == name).and_then(|code| u8::try_from(code).ok());
                match code {
                    Some(0) => {
                        let problem = Diagnostic::error(Code::InvalidValue, "OK is not a failure");
                        cx.report(problem.help("status_map is for the other codes"), entry.key_span);
                    }
                    Some(code) => codes.push((code, Field::read(entry, cx))),
                    None => {
                        let problem = format!("{} is not a gRPC code", entry.key.shown());
                        let mut problem = Diagnostic::error(Code::InvalidValue, problem);
                        let upper = name.to_ascii_uppercase();
                        let near = GRPC_CODES.iter().copied().find(|code| *code == upper);
                        let near = near.or_else(|| did_you_mean(&upper, GRPC_CODES));
                        if let Some(near) = near.filter(|_| !entry.key.is_secret()) {
                            problem = problem.help(format!("did you mean \"{near}\"?"));
                        }
                        cx.report(problem, entry.key_span);
                    }
                }
            });
        }
        Some(Self(codes))
    }

    fn type_name() -> String {
        "mapping of gRPC codes to HTTP statuses".to_owned()
    }
}

impl JsonSchema for CodeMap {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "status_map".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes = GRPC_CODES.get(1..).unwrap_or_default();
        json_schema!({
            "type": "object",
            "propertyNames": { "enum": codes },
            "additionalProperties": { "type": ["integer", "null"], "minimum": 200, "maximum": 599 },
        })
    }
}
