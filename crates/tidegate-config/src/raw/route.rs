//! `routes`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Json, RawPolicy};
use crate::decode::{Count, Cx, Decode, Item, Name, Ratio, Text, Time, closed_enum, raw_struct, scalar};
use crate::node::Node;
use crate::valid::RouteProtocol;

raw_struct! {
    /// A route: which requests, and what is done with them. Also takes the policies.
    RawRoute {
        /// Unique name; shown in logs and metrics.
        name: Name = required,
        /// Path template with the syntax of `google.api.http`: `/v1/{id}`, `/v1/{name=shelves/*}`, `/files/{rest=**}`,
        /// `/v1/{id}:cancel`. Without the key: paths and methods come from the annotations of the RPCs.
        path: PathText,
        /// The one method. Without `method` and `methods`: any.
        method: Text,
        /// Several methods.
        methods: Vec<Item<Text>>,
        /// Hosts: `api.example.com`, or `*.example.com` for everything below. Without the key: any.
        hosts: Vec<Item<Text>>,
        /// Name of the backend.
        service: Name,
        /// Several backends instead of `service`, each with its part of the requests. Who gets a request is settled once,
        /// before anything else: all policies are those of that service, and it keeps the request for its retries.
        split: Vec<Item<RawShare>>,
        /// Another backend that gets copies of requests. What it answers is thrown away.
        mirror: RawMirror,
        /// A second attempt beside the first one if that takes long; the first good answer counts.
        hedge: RawHedge,
        /// The RPC: `pkg.Service/Method`, or `Service/Method` if the short name is unique. Without `path` also
        /// `pkg.Service/*` and `pkg.*`, for all annotated RPCs.
        grpc: Text,
        /// The first half of `grpc`; together with `grpc_method`.
        grpc_service: Text,
        /// The second half of `grpc`; together with `grpc_service`.
        grpc_method: Text,
        /// What the body of a request is: `"*"` for the whole message, or the path of one of its fields. Without the
        /// key: a body is refused.
        body: Text,
        /// Top-level field of the answer that becomes the body.
        response_body: Text,
        /// `grpc`: calls of gRPC and gRPC-Web clients pass through to the service as they are, without its descriptors.
        protocol: RouteProtocol,
        /// What the backend of a proxied route is asked instead of the request's own path.
        rewrite: RawRewrite,
        /// Lets clients of a proxied route open a WebSocket to its backend, over HTTP/1.1 or HTTP/2. Without it
        /// `Upgrade` is ignored. A socket is closed after five minutes in which neither side sends anything, or after
        /// `stream_idle_timeout` if that is set.
        websocket: bool = "false",
        /// Passes early hints (status 103) of a proxied route's backend on to clients of HTTP/2 and HTTP/1.1: their fields
        /// `link` and `content-security-policy`, and at most 8 KiB of them for a request. Without it they are dropped.
        early_hints: bool = "false",
        /// A fixed answer, instead of a backend.
        respond: RawRespond,
        ..policy: RawPolicy,
    }
    later {
        "redirect" "match" "headers" "query" "openapi"
    }
}

raw_struct! {
    /// One of the backends of a split route.
    RawShare {
        /// Name of the backend.
        service: Name = required,
        /// Its part of the requests, of the sum of all weights. 0: none.
        weight: Count = required,
    }
}

raw_struct! {
    /// Copies of requests for another backend, marked with `x-tidegate-mirror: true`. They begin once the whole request is
    /// there, and never delay, change or fail the request itself. Only requests with a body of at most 64 KiB are copied.
    RawMirror {
        /// Name of the backend, which speaks what that of the route does.
        service: Name = required,
        /// The part of the requests that is copied, above 0.
        ratio: Ratio = "1",
        /// Copies at once. Further requests are not copied, and counted.
        max_in_flight: Count = "100",
    }
}

raw_struct! {
    /// Further attempts while the first one is still waited for, each at an endpoint that does not have the request yet. The
    /// first good answer counts, the other attempts are cancelled. Only requests that may be repeated are hedged (as for
    /// `retry`, but `non_idempotent` has no say), with one message or a body of at most 64 KiB that has come. Attempts are
    /// taken out of the budget of retries.
    RawHedge {
        /// How long an answer is waited for before the next attempt. With `percentile`: the shortest wait.
        after: Time,
        /// Waits as long as so many percent of the route's answers of the last 30 to 60 seconds took, 50 to 99. Before 50
        /// answers are known nothing is hedged.
        percentile: Count,
        /// Attempts beside the first one: 1 or 2.
        max_hedges: Count = "1",
    }
}

raw_struct! {
    /// A new path for the backend of a proxied route.
    RawRewrite {
        /// The path, with variables of the route's path: `/{rest}`. The query stays as it is.
        path: Text = required,
    }
    later { "host" "query" }
}

raw_struct! {
    /// A fixed answer.
    RawRespond {
        /// HTTP status, 200 to 599.
        status: Count = "200",
        /// A JSON body.
        json: Json,
        /// A plain text body, instead of `json`.
        text: Text,
    }
    later { "headers" "file" "html" }
}

closed_enum! {
    RouteProtocol {
        "grpc" => Self::Grpc,
    }
}

/// A path with what is needed to point into it.
#[derive(Clone, Debug)]
pub(crate) struct PathText {
    pub(crate) text: String,
    /// Characters between the start of the value and the start of the text, if each character of the text is one
    /// character of the file; `None` after expansion or with escapes.
    pub(crate) offset: Option<u32>,
}

impl AsRef<str> for PathText {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Decode for PathText {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let scalar = scalar(node, "a path", cx)?;
        let text = scalar.text().to_owned();
        let offset = u32::from(scalar.quoted);
        let width = u32::try_from(text.chars().count()).unwrap_or(u32::MAX).saturating_add(offset.saturating_mul(2));
        let exact = !scalar.is_secret() && node.span.end_column == node.span.column.saturating_add(width);
        Some(Self { text, offset: exact.then_some(offset) })
    }

    fn type_name() -> String {
        "path template".to_owned()
    }
}

impl JsonSchema for PathText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "path".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(/|.*\$\{)" })
    }
}
