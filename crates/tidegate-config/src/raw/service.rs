//! `services`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::RawPolicy;
use crate::decode::{Bytes, Count, Cx, Decode, Item, Ratio, Text, Time, closed_enum, raw_struct};
use crate::node::{Node, Value};
use crate::schema::Book;
use crate::valid::{BalancingPolicy, HealthCheckType, ServiceProtocol};

raw_struct! {
    /// A backend. Also takes the policies, for all routes that use it.
    RawService {
        /// What the backend speaks. Without the key: by the scheme of the endpoints, else by the routes: one that names an
        /// RPC makes it `grpc`, if none does it is `http`.
        protocol: ServiceProtocol,
        /// Speaks HTTP/2 with an HTTP service: with `https://` endpoints that agree to it (others get HTTP/1.1), and
        /// with `http://` endpoints without asking (h2c with prior knowledge). WebSockets and health checks go over
        /// HTTP/1.1 all the same.
        http2: bool = "false",
        /// The one endpoint, short for `endpoints` with one entry.
        address: Text,
        /// Addresses: `host:port`; `grpc://host:port` or `grpcs://host:port` (TLS); `http://host:port` or
        /// `https://host:port`, where the port may be left out; `unix:/path`; `dns://name:port`, where each address of the
        /// name is an endpoint, or `dns://server:port/name:port` to ask this name server. With
        /// `{ address: …, weight: … }` some get more requests than others.
        endpoints: Vec<Item<RawEndpoint>>,
        /// Where the descriptors come from: `reflection`, a descriptor set, or a list of `.proto` files. Files are
        /// relative to this one.
        descriptors: RawDescriptors = "reflection",
        /// Folders where imports of `.proto` files are looked for. Without the key: the folders of the files.
        proto_paths: Vec<Item<Text>>,
        /// Largest gRPC message that is received.
        max_message: Bytes = "10MiB",
        /// Longest time until a connection is ready, TLS and HTTP/2 included.
        connect_timeout: Time = "2s",
        /// Number and upkeep of connections.
        connections: RawConnections,
        /// TLS towards the backend.
        tls: RawUpstreamTls,
        /// Which endpoint gets a request.
        load_balancing: RawBalancing,
        /// Asks each endpoint again and again whether it is well. Without the key: nobody asks.
        health_check: RawHealthCheck,
        /// Leaves out endpoints that fail one request after the other; `null`: none.
        outlier_detection: RawOutliers,
        /// Refuses requests while the service fails, and more of them than it can take at once. Without the key it never
        /// opens; the limits hold all the same.
        circuit_breaker: RawBreaker,
        ..policy: RawPolicy,
    }
    later {
        "host"
    }
}

raw_struct! {
    /// An endpoint with a weight.
    RawWeighted {
        /// As in the short form.
        address: Text = required,
        /// Its part of the requests beside the weights of the others; for `dns://` of each address. 0: none, and requests
        /// that run end. At most 1000.
        weight: Count = "1",
    }
}

raw_struct! {
    /// Connections to each endpoint, for the whole process; dealt out to the workers, and a worker that is in use has
    /// at least one.
    RawConnections {
        /// Connections that stay open once they were used. HTTP/1.1 without `connections`: 64 for each worker.
        min: Count = "1",
        /// Most connections; a request that finds all of them in use waits 250 ms at most, and is then refused as
        /// `overloaded`. HTTP/1.1 without the key: as many as there are requests at once, which `max_concurrent` bounds.
        max: Count = "4",
        /// HTTP/2 pings while calls are open; `null` for none.
        keepalive: RawKeepalive,
    }
    later { "idle" "idle_timeout" }
}

raw_struct! {
    /// HTTP/2 pings.
    RawKeepalive {
        /// Time between pings.
        interval: Time = "10s",
        /// Longest time until the answer; then the connection is replaced.
        timeout: Time = "3s",
    }
}

raw_struct! {
    /// TLS towards a backend. All endpoints of the service use TLS, unless they say `grpc://`, `http://` or
    /// `unix:`.
    RawUpstreamTls {
        /// PEM file with the roots to trust. Without the key: those of the system.
        ca: Text,
        /// PEM file with the client certificate; together with `key`.
        cert: Text,
        /// PEM file with the client's private key; together with `cert`.
        key: Text,
        /// Name to ask for and to verify. Without the key: the host of the endpoint.
        server_name: Text,
    }
    later { "insecure" "alpn" }
}

raw_struct! {
    /// Which endpoint gets a request.
    RawBalancing {
        /// The rule.
        policy: BalancingPolicy = "least_request",
        /// What `ring_hash` goes by: `user` (subject of the credential, else the address), `ip`, or `header:NAME`, without
        /// which a request goes anywhere.
        hash_on: Text,
    }
}

raw_struct! {
    /// How endpoints are asked whether they are well.
    RawHealthCheck {
        /// `grpc` is `grpc.health.v1.Health/Check`, `http` a GET that must answer 2xx, `tcp` a connection.
        type_: HealthCheckType = required,
        /// What `http` asks for.
        path: Text = "/",
        /// The service that `grpc` asks for. Without the key: the server as a whole.
        service: Text,
        /// Time between two checks, ± 10 %.
        interval: Time = "5s",
        /// Longest time until the answer.
        timeout: Time = "1s",
        /// Good checks in a row that bring it back.
        healthy_threshold: Count = "2",
        /// Bad checks in a row that take it out.
        unhealthy_threshold: Count = "3",
    }
}

raw_struct! {
    /// Endpoints that fail are left out for a while.
    RawOutliers {
        /// Failures in a row.
        consecutive_errors: Count = "5",
        /// How long the first time; then twice, three times as long, up to 300 s.
        base_ejection_time: Time = "10s",
        /// How many of the endpoints may be left out at once, in percent, rounded down; never the last one.
        max_ejection_percent: Count = "50",
    }
}

raw_struct! {
    /// When requests are refused for the good of the service.
    RawBreaker {
        /// Opens when this part of the attempts fails. `null`: `consecutive_failures` alone opens it.
        failure_ratio: Ratio = "0.5",
        /// Opens only after so many attempts in `window`.
        min_requests: Count = "20",
        /// The time that is looked at.
        window: Time = "10s",
        /// Opens after so many failures in a row, too.
        consecutive_failures: Count,
        /// How long it is open, ± 20 %; twice as long each time that a probe fails, up to eight times.
        open_for: Time = "5s",
        /// Requests that try whether the service is back; all must succeed.
        half_open_requests: Count = "3",
        /// Requests at once.
        max_concurrent: Count = "2000",
        /// Requests that wait for others to end, for 150 ms at most.
        max_pending: Count = "1024",
    }
}

closed_enum! {
    BalancingPolicy {
        "least_request" => Self::LeastRequest,
        "round_robin" => Self::RoundRobin,
        "peak_ewma" => Self::PeakEwma,
        "ring_hash" => Self::RingHash,
        "random" => Self::Random,
    }
    HealthCheckType {
        "grpc" => Self::Grpc,
        "http" => Self::Http,
        "tcp" => Self::Tcp,
    }
    ServiceProtocol {
        "grpc" => Self::Grpc,
        "http" => Self::Http,
    }
}

/// An address, or one with a weight.
#[derive(Clone, Debug)]
pub(crate) enum RawEndpoint {
    Address(Text),
    Weighted(Box<RawWeighted>),
}

impl Decode for RawEndpoint {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => Text::decode(node, cx).map(Self::Address),
            Value::Map(_) => RawWeighted::decode(node, cx).map(|weighted| Self::Weighted(Box::new(weighted))),
            Value::Null | Value::Broken | Value::List(_) => {
                cx.wrong_type(node, "an address, or { address: …, weight: … }");
                None
            }
        }
    }

    fn type_name() -> String {
        format!("text or {}", RawWeighted::type_name())
    }

    fn document(book: &mut Book) {
        RawWeighted::document(book);
    }
}

impl JsonSchema for RawEndpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let weighted = generator.subschema_for::<RawWeighted>();
        json_schema!({ "anyOf": [{ "type": "string" }, weighted] })
    }
}

/// `reflection`, one file or a list of files.
#[derive(Clone, Debug)]
pub(crate) enum RawDescriptors {
    /// `reflection` or the path of a descriptor set.
    Word(Text),
    Protos(Vec<Item<Text>>),
}

impl Decode for RawDescriptors {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => Text::decode(node, cx).map(Self::Word),
            Value::List(_) => Vec::decode(node, cx).map(Self::Protos),
            Value::Null | Value::Broken | Value::Map(_) => {
                cx.wrong_type(node, "\"reflection\", a file or a list of .proto files");
                None
            }
        }
    }

    fn type_name() -> String {
        "`reflection`, a file or a list of files".to_owned()
    }
}

impl JsonSchema for RawDescriptors {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "descriptors".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
